"""SyncTalklip: the lips of a video redrawn so that they fit other speech and can be read.

"SyncTalklip: Highly Synchronized Lip-Readable Speaker Generation with Multi-Task Learning", 2024
(anonymous draft). Read beside the paper: Yangxiaoda1/SyncTalkLip and Sxjdwang/TalkLip, on which
it builds (`train.py`, `models/talklip.py`, `models/learn_sync.py`, `utils/data_avhubert.py`).

The generator sees a face whose lower half is black and a whole face of the same person, and hears
a frame's feature f_a of the whole utterance, of a tunable AV-HuBERT that begins as the expert's.
Frames are drawn out of a clip and judged one by one (Eqs. 7 to 10), then put back among the true
ones: a frozen AV-SyncNet reads that stream (Eq. 4) and gives f_v, and each drawn frame's f_v shall
be nearer to its own f_a than those of the other drawn frames are (Eqs. 11 and 12). The expert is
noted as a supervisor: it may not judge what it has trained.

Variants: `conv` takes an expert with a convolution before the alignment, through which both f_a
and f_v go; `freeze` takes f_a for Eq. 12 from the expert, while the tunable encoder is trained.

Deviations, each with its reason:
- Eqs. 8 and 9 as printed let the discriminator call true faces false. The signs here are those of
  the code: binary cross-entropy, with the generator taken for real.
- Eq. 12 divides by the number of other drawn frames, which is 0 for the single frame of the
  paper's example: windows have five frames or more. Its F, a linear layer, is unbounded, and so
  is the loss: F is a learned factor between 0 and a bound, and is logged.
- The expert reads mouths that are aligned by landmarks. TalkLip's expert reads the middle of
  frames of LRS2, which other videos do not have.
- Layers of the audio encoder drop nothing in training; all of them are tuned. TalkLip's code tunes
  layers 9 to 11 of 12, after training without them.
- Both codes put a linear layer on f_a, between two normalisations (`models/learn_sync.py`), under
  their contrastive loss. Here only "infonce" may have it (`project`): distances of Eq. 11 are
  between the features themselves. TalkLip's negatives are sounds, compared with the own sound;
  here they are the other drawn frames of the clip, as in Eq. 12.
- Generator and discriminator share one Adam, as in `wav2lip`, where the reason is.
- What is cut out, and put back with a soft edge: see `TalkingFace` and `wav2lip`.

Not in the paper, decided here: everything that is marked so in `SyncTalklipConfig`; features of
sound come 25 a second, and frames at other rates take what lies between them, by time; sound of
any length is heard in stretches of 10 s, with 2 s before and after.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import ConfigError, InputError
from tfbench.core.types import Need
from tfbench.evaluators._mouths import mouth_view
from tfbench.evaluators.color_syncnet import talk_view
from tfbench.methods._editing import FaceEditor
from tfbench.methods._lips import LipMethod
from tfbench.methods._synctalklip_config import SyncTalklipConfig
from tfbench.methods._synctalklip_data import (
    Stretch,
    draw_stretch,
    draw_sway,
    draw_windows,
    excerpt,
    kept,
    place_view,
    together,
    unread,
    varied,
)
from tfbench.methods._synctalklip_losses import (
    LipCode,
    Projection,
    Scale,
    apart,
    drift,
    info_nce,
    motion_of,
    mouths_of,
    put_back,
    see_drawn,
    swayed,
)
from tfbench.methods._synctalklip_measure import assessed
from tfbench.methods._synctalklip_nets import (
    FaceGenerator,
    Listener,
    SoundEncoder,
    Unheard,
    deepest,
    load_expert,
    place_of,
    take_faces,
)
from tfbench.methods._wav2lip_nets import (
    QualityDiscriminator,
    masked,
    quality_losses,
)
from tfbench.methods.base import given
from tfbench.nets.av_syncnet import filled, lip_loss
from tfbench.nets.avhubert import CROP
from tfbench.nets.frozen import full_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction

    from tfbench.core.types import Request, Sample
    from tfbench.core.views import ViewKey, Views
    from tfbench.evaluators.base import Figure, Kept
    from tfbench.faces.mouth import MouthCrop
    from tfbench.methods._editing import Piece
    from tfbench.nets.av_syncnet import AVSyncNet
    from tfbench.nets.frozen import Frozen

__all__ = ["SyncTalklip", "SyncTalklipConfig"]


class SyncTalklip(LipMethod):
    """Redraws the face of every frame with lips that fit the sound and can be read.

    Args:
        config: Its settings.
    """

    name = "synctalklip"
    version = "3"
    Config = SyncTalklipConfig
    needs = frozenset({Need.SPEECH, Need.IDENTITY})
    PARTS: ClassVar[dict[str, type[nn.Module]]] = {"net": FaceGenerator, "hearing": SoundEncoder}
    monitor: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    config: SyncTalklipConfig
    net: FaceGenerator
    hearing: Any

    def begin(self) -> None:
        """Make generator and discriminator; the audio encoder is of the expert's sizes."""
        c = self.config
        self.net = FaceGenerator(c.width, c.most, c.side, c.smooth, c.below, c.decoder_width)
        self.hearing = Unheard()
        self.critic = QualityDiscriminator(c.critic_width, c.most, c.side)
        self.scale = Scale(c.most_scale)
        self.projection: nn.Module = nn.Identity()
        self.code: LipCode | None = None

    # What is kept of a clip

    @cached_property
    def mouth_crop(self) -> MouthCrop:
        """The aligned mouths that the expert reads.

        Raises:
            MissingAsset: The landmark network is not on this machine.
        """
        from tfbench.faces.mouth import MouthCrop
        from tfbench.nets import landmarks

        points = landmarks.landmark_view(landmarks.load(self.config.landmarks), "pred")
        return MouthCrop(points, CROP)

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """The face that is redrawn and the mouth that is read, and where both lie."""
        face, mouth = self.crop, self.mouth_crop
        places = place_view(face), place_view(mouth)
        return talk_view(face), mouth_view(mouth), *places, mouth.points

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep faces, mouths, the map between both, lips and the sound of their time: `kept`."""
        return kept(sample, views, self.keys)

    # Training

    @cached_property
    def expert(self) -> Frozen[AVSyncNet]:
        """The expert, neither trained nor saved.

        Raises:
            ConfigError: The settings name another network, or one that reads other mouths.
            MissingAsset: Its weights are not here.
        """
        c = self.config
        if not c.expert:
            raise ConfigError(
                f"{self.label} is supervised by an AV-SyncNet, and none is named: train one with "
                "`tfbench train av_syncnet half=b` and give its bundle, "
                "expert=runs/train/.../bundle; for puppets one ships, expert=av_syncnet.puppets"
            )
        return load_expert(c.expert, c.landmarks)

    def on_train_start(self) -> None:
        """Move the expert; inside a measurement its weights would be fit for nothing else."""
        self.expert.to(self.device)

    def gather(self) -> None:
        """Load the expert, and note it as a supervisor; take faces, where that is asked for.

        It is noted also where it judges nothing: the audio encoder begins as its own.

        Raises:
            ConfigError: Features of another expert's encoder would be compared with the expert's.
        """
        c, expert = self.config, self.expert.module
        if c.faces_from and not c.init:
            self.supervisors += take_faces(self.net, c.faces_from)
        near = isinstance(self.hearing, Unheard) or self.hearing.dim == expert.dim
        if (c.contrasting and not self.comparable) or (c.hold_weight and not near):
            raise ConfigError(
                f"the audio encoder of {c.init or c.weights} (features of width "
                f"{self.hearing.dim}) was not trained with the expert {c.expert} (width "
                f"{expert.dim}), so that their features cannot be compared; take "
                "encoder_from=expert, which keeps the generator, or contrast_sound=frozen, or the "
                "expert that it was trained with; a run with hold_weight and contrast=none brings "
                "features of the same width to another expert's"
            )
        if c.shape_weight:
            found_by = self.mouth_crop.points.evaluator
            self.taught_by = tuple(sorted({*self.taught_by, found_by}))
        self.supervisors = tuple(sorted({*self.supervisors, self.expert.sha256}))

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Begin with the expert's audio encoder, and check that it can read all clips.

        Raises:
            InputError: Clips lack a transcript, or one does not fit the expert's vocabulary, or
                they are too long to be read as a whole and lack the times of words.
        """
        c, expert = self.config, self.expert.module
        if isinstance(self.hearing, Unheard) or c.encoder_from == "expert":
            channels = deepest(self.net.settings["width"], self.net.settings["most"])
            self.hearing = SoundEncoder.of(
                expert.encoder, channels, self.hearing.audio_map, self.expert.sha256
            )
        if c.hold_weight and c.encoder_rate:
            # Whoever's it was, it is brought to this expert's features and kept there.
            self.hearing.settings["teacher"] = self.expert.sha256
        if c.project:
            self.projection = Projection(expert.dim, expert.dim)
        self.hearing.encoder.requires_grad_(c.encoder_rate > 0)
        if c.shape_weight:
            motion = motion_of([clip.array("lips") for clip in clips])
            self.code = LipCode(motion, self.hearing.settings["channels"])
        if c.lip_weight:
            self._refuse_unread(clips)

    def _refuse_unread(self, clips: Sequence[Kept]) -> None:
        longest, tokenise = self.config.longest, self.expert.module.tokenise
        reasons = {clip.id: why for clip in clips if (why := unread(clip, longest, tokenise))}
        if reasons:
            name, why = next(iter(reasons.items()))
            raise InputError(
                f"{len(reasons)} of {len(clips)} clips cannot be read for the lip-reading loss, "
                f"such as {name}: {why}; leave them out, give a transcript (Whisper writes one: "
                "tfbench.nets.whisper), or set lip_weight=0"
            )

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw windows of one clip and a frame of another time; see `excerpt`."""
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        stretch = draw_stretch(clip, c.longest, rng, read=c.lip_weight > 0)
        tokens = self.expert.module.tokenise(stretch.text) if c.lip_weight else ()
        at = draw_windows(stretch.stop - stretch.start, c.window, c.groups, rng)
        others = self.other_places(clip.shapes["faces"][0], at + stretch.start)
        read = self.excerpt(clip, stretch, at.tolist(), int(rng.choice(others)), tokens)
        read = varied(read, rng) if c.augment else read
        return read | draw_sway(c.sway, rng)

    def excerpt(
        self,
        clip: Kept,
        stretch: Stretch,
        at: Sequence[int],
        other: int,
        tokens: Sequence[int],
    ) -> dict[str, Tensor]:
        """Read what a training step needs of a clip; see `excerpt`.

        Adds "tokens" int64 (L,), the subwords, none where nothing is read.
        """
        opacity = self.opacity if self.config.context == "faces" else None
        read = excerpt(clip, stretch, at, other, opacity)
        return read | {"tokens": torch.tensor(tokens, dtype=torch.int64)}

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Join drawn frames one after the other, and fill up what is as long as a clip."""
        tokens = filled([e["tokens"].tolist() for e in examples])
        return together(examples) | {"tokens": tokens}

    def loss(self, batch: Any) -> Tensor:
        """Compute Equation 13; the discriminator's loss is added, and shares no gradient.

        Where nothing that is drawn counts, nothing is drawn.
        """
        heard = self.hearing(batch["sound"], batch["padding"])
        total = heard.new_zeros(())
        for name, (weight, loss) in self.sound_losses(batch, heard).items():
            self.log(name, loss)
            total = total + weight * loss
        return total + self._drawn_loss(batch, heard) if self.config.drawing else total

    def sound_losses(self, batch: Any, heard: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Compute what is asked of the audio encoder alone: name -> weight and loss, ().

        Args:
            batch: Of `collate`.
            heard: (B, T, D), of the tuned encoder.
        """
        c, padding, losses = self.config, batch["padding"], {}
        if self.code:
            vectors = self.hearing.project(heard)
            losses["shape loss"] = c.shape_weight, self.code.loss(vectors, batch["lips"], padding)
        if c.hold_weight:
            with torch.no_grad():
                expert = self.on_device().hear(batch["sound"], padding)
            losses["drift"] = c.hold_weight, drift(heard, expert, padding)
        return losses

    def _drawn_loss(self, batch: Any, heard: Tensor) -> Tensor:
        """Compute the weighted losses of drawn faces and of the streams with them."""
        c = self.config
        real, drawn = self._pair(batch, heard)
        off = self.off(drawn, real)
        self.log("L1", 255 * F.l1_loss(drawn.detach(), real))
        total = c.l1_weight * off
        if c.lip_weight or c.contrasting:
            total = total + self._stream_loss(batch, heard, drawn)
        if c.adversarial_weight and self.global_step >= c.adversarial_from:
            fooled, judged = quality_losses(self.critic, real, drawn)
            self.log("adversarial loss", fooled)
            self.log("discriminator's loss", judged)
            total = total + c.adversarial_weight * fooled + judged
        return total

    def _stream_loss(self, batch: Any, heard: Tensor, drawn: Tensor) -> Tensor:
        """Compute the weighted lip-reading and contrastive losses of the streams."""
        c = self.config
        seen = self.see(batch, drawn)
        total = drawn.new_zeros(())
        if c.lip_weight:
            unread = self.lip_loss(batch, seen)
            self.log("lip loss", unread)
            total = total + c.lip_weight * unread
        if c.contrasting:
            confused = self.contrast_loss(batch, heard, seen, self.scale())
            self.log("contrastive loss", confused)
            self.log("scale", self.scale())
            total = total + c.contrast_weight * confused
        return total

    def _pair(self, batch: Any, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Return real and drawn faces of a batch, (N, 3, S, S) each, 0 to 1."""
        real = batch["faces"].float() / 255
        reference = (batch["reference"].float() / 255).repeat_interleave(batch["drawn"], 0)
        own = heard.flatten(0, 1)[batch["rows"]]
        return real, self.draw(real, reference, own).float()

    def draw(self, faces: Tensor, reference: Tensor, heard: Tensor) -> Tensor:
        """Redraw faces.

        Args:
            faces: float32 (N, 3, S, S), 0 to 1; of the lower half nothing is seen.
            reference: float32 (N, 3, S, S), 0 to 1, the same person.
            heard: (N, D), features of the sound.

        Returns:
            (N, 3, S, S), 0 to 1.
        """
        drawn: Tensor = self.net(self.hearing.project(heard), masked(faces, reference))
        return drawn

    def see(self, batch: Any, drawn: Tensor) -> Tensor:
        """Let the expert see clips in which drawn faces (N, 3, S, S) are put back: (B, T, D)."""
        around = batch["mouths"].flatten(0, 1)[batch["rows"]].float()
        # Beyond black and white a reader may like what no video shows.
        mouths = mouths_of(drawn.clamp(0, 1), batch["maps"], around, self.opacity)
        video = put_back(batch["mouths"], mouths, batch["rows"], batch["padding"])
        if "sway" in batch:
            video = swayed(video, batch["sway"])
        return see_drawn(self.on_device(), video, batch["rows"], batch["padding"])

    def lip_loss(self, batch: Any, seen: Tensor) -> Tensor:
        """Compute Equation 4, (), from what the expert has seen, (B, T, D)."""
        logits = self.on_device().write_logits(seen, batch["tokens"], batch["padding"])
        return lip_loss(logits, batch["tokens"], self.config.label_smoothing)

    def contrast_loss(
        self, batch: Any, heard: Tensor, seen: Tensor, scale: Tensor | float = 1.0
    ) -> Tensor:
        """Compute Equation 12, or its traditional counterpart: (), the mean over clips.

        Args:
            batch: Of `collate`.
            heard: (B, T, D), of the tuned encoder.
            seen: (B, T, D), of `see`.
            scale: F of Eq. 11.
        """
        c = self.config
        pairs = self.compared(batch, heard, seen)
        if c.contrast == "infonce":
            losses = [info_nce(self.projection(a), v, c.temperature) for a, v in pairs]
        else:
            tau = c.tau or 1 / self.expert.module.dim
            losses = [apart(a, v, tau, scale) for a, v in pairs]
        return torch.stack(losses).mean()

    @property
    def akin(self) -> bool:
        """Whether the audio encoder began as the expert's, or will."""
        return (
            isinstance(self.hearing, Unheard)
            or self.config.encoder_from == "expert"
            or self.hearing.settings["teacher"] == self.expert.sha256
        )

    @property
    def comparable(self) -> bool:
        """Whether f_a and f_v come from one network, or did when training began."""
        return self.akin or self.config.contrast_sound == "frozen"

    def compared(self, batch: Any, heard: Tensor, seen: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return f_a and f_v of each clip's drawn frames, (n, D) each."""
        padding, counts = batch["padding"], batch["drawn"].tolist()
        if self.config.contrast_sound == "frozen":
            with torch.no_grad():
                heard = self.on_device().hear(batch["sound"], padding)
        both = (self.on_device().align(features, padding) for features in (heard, seen))
        heard, seen = (features.flatten(0, 1)[batch["rows"]] for features in both)
        return list(zip(heard.split(counts), seen.split(counts), strict=True))

    def on_device(self) -> AVSyncNet:
        """Return the expert where the other networks are."""
        return self.expert.to(self.device).module

    def trained(self) -> list[dict[str, Any]]:
        """Return all that is trained; the audio encoder has a rate of its own, or is left out."""
        rate = self.config.encoder_rate
        nets = (self.scale, self.hearing.audio_map, self.projection)
        groups = super().trained() + [{"params": list(net.parameters())} for net in nets]
        if rate:
            tuned = list(self.hearing.encoder.parameters())
            groups.append({"params": tuned, "lr": self.config.lr * rate})
        return groups

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Draw all frames of each clip, or of as many words of it as `longest` allows.

        Words are asked of the clips that have some which the expert can write; no clip is refused.

        Returns:
            "loss", the weighted sum of the next three as if as many frames were drawn as a step
            draws: Eq. 13 without discriminator, and with F = 1, which learning does not move;
            "shape loss" and "drift", where they have a weight, are part of it. It stands on the
            clips that have a lip loss; where none has, it is measured without that term, on all
            clips. "L1" in gray levels, every pixel alike; "lip loss", of the clips that can be
            read;
            "contrastive loss" a frame, with F = 1; "own sound nearest", the share of frames whose
            f_v is nearer to their own f_a than to that of any other frame. The last three again, of
            the true mouths. "contrastive loss" and "own sound nearest" are missing where the audio
            encoder began with another expert than the one that sees.
        """
        return assessed(self, clips)

    # Generation

    def check_request(self, request: Request) -> None:
        """Refuse also where the audio encoder is not known, which is of its expert's sizes."""
        if isinstance(self.hearing, Unheard):
            self.ready()
        super().check_request(request)

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the edited video; see `Generator.frames`.

        Raises:
            GenerationError: No face is seen, or a still shows several.
            InputError: The speech is empty.
        """
        self.eval()
        editor = FaceEditor(request, self.detector, self.crop.regions, self.net.side)
        still = editor.stills(1).to(self.device).float() / 255
        listener = Listener(self.hearing, given(request.speech).waveform, self.device)
        opacity = self.opacity
        for piece in editor.pieces(self.batch or 1):
            faces = piece.faces
            if len(faces):
                faces = self._redrawn(piece, still, listener, request.fps)
            yield editor.paste(piece, faces, opacity)
        self.unedited, self.remark = editor.unedited, editor.remark

    @torch.inference_mode()
    def _redrawn(self, piece: Piece, still: Tensor, listener: Listener, fps: Fraction) -> Tensor:
        """Redraw a piece's faces, float (m, 3, S, S), 0 to 255."""
        faces = piece.faces.to(self.device).float() / 255
        with full_precision():
            heard = listener.at([place_of(number, fps) for number in piece.numbers.tolist()])
            return 255 * self.draw(faces, still.expand_as(faces), heard)
