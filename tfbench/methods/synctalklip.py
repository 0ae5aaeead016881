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
- Generator and discriminator share one Adam, as in `wav2lip`, where the reason is.
- What is cut out, and put back with a soft edge: see `TalkingFace` and `wav2lip`.

Not in the paper, decided here: everything that is marked so in `SyncTalklipConfig`; features of
sound come 25 a second, and frames at other rates take what lies between them, by time; sound of
any length is heard in stretches of 10 s, with 2 s before and after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import ConfigError, InputError
from tfbench.core.types import FPS, Need
from tfbench.evaluators._mouths import mouth_view
from tfbench.evaluators.base import Figure, Positive, Share
from tfbench.evaluators.color_syncnet import TalkingFace, talk_view
from tfbench.methods._editing import FaceEditor, soft_edge
from tfbench.methods._synctalklip_data import (
    SHORTEST,
    Stretch,
    draw_stretch,
    draw_windows,
    excerpt,
    kept,
    place_view,
    together,
)
from tfbench.methods._synctalklip_losses import (
    Scale,
    apart,
    info_nce,
    mouths_of,
    nearest_own,
    put_back,
    see_drawn,
)
from tfbench.methods._synctalklip_nets import FaceGenerator, Listener, SoundEncoder, deepest
from tfbench.methods._wav2lip_nets import (
    QualityDiscriminator,
    masked,
    quality_losses,
    weighted_l1,
)
from tfbench.methods.base import Method, MethodConfig, given
from tfbench.nets.av_syncnet import AVSyncNet, filled, from_reader, lip_loss
from tfbench.nets.avhubert import CROP, WINDOW, AVHubertReader
from tfbench.nets.bundle import load_network
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tfbench.core.types import Crop, Request, Sample, ViewKey, Views
    from tfbench.evaluators.base import Kept
    from tfbench.methods._editing import Piece

__all__ = ["SyncTalklip", "SyncTalklipConfig"]

Weight = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class SyncTalklipConfig(MethodConfig):
    """Settings of SyncTalklip; the defaults are those of the paper and of the authors' code.

    The paper names no weight of a loss. The code's are for sums over a batch of eight texts, and
    for features of length 1; they are given here for the mean over texts and for Eq. 12 as printed.

    Attributes:
        batch: Clips in a step.
        width: Channels of the generator's first layer; the others are multiples of it.
        decoder_width: The same of the decoder.
        most: No layer has more channels.
        side: Of the faces, pixels.
        critic_width: Channels of the discriminator's first layer.
        expert: The frozen AV-SyncNet: `av_syncnet.<variant>`, or the folder of a bundle; "" for
            none, which trains nothing.
        landmarks: Variant of `tfbench.nets.landmarks` by which mouths are found; the expert's.
        encoder_from: Where the audio encoder begins: with that of `init`, where there is one, or
            with the "expert" always.
        encoder_rate: Share of the learning rate for the audio encoder; 0 leaves it as it is.
        window: Consecutive frames that are drawn; the code's.
        groups: Windows of one clip that are drawn, where it is long enough. The code draws 8 % of
            the frames as beginnings, and of those nearer than five frames the first: about five.
        longest: Frames of a clip that are heard and read; of a longer one a run of its words,
            where their times are known. Not in the paper.
        l1_weight: Of Eq. 7, the mean absolute difference.
        adversarial_weight: Of the generator's part of Eq. 10; 0 for no discriminator.
        adversarial_from: Step from which there is a discriminator. Not in the paper.
        lip_weight: Of Eq. 4, a sum over subwords; 0 needs no transcripts.
        label_smoothing: Of Eq. 4. The code takes that of the expert's training, the paper none.
        contrast: Eq. 12 ("l1"), the traditional cross-entropy of cosines ("infonce"), or "none".
        contrast_weight: Of that.
        contrast_sound: Whose f_a: the "tuned" encoder's, or the expert's "frozen" one, which is
            the variant `freeze`.
        tau: Of Eq. 11; 0 for 1 / D, so that distances are about 1. Not in the paper.
        most_scale: Bound of F of Eq. 11, which begins at half of it. Not in the paper.
        temperature: Of "infonce", TalkLip's.
        context: The mouths among which drawn ones are put back: the true "crops", as sharp as the
            clip, or those with the true "faces" put into them, as sharp as drawn ones. Not in the
            paper.
        smooth: Frames over which the face's box is averaged, odd.
        below: Room below the face's box, as a share of its height. Not in the paper.
        feather: Width of the soft edge with which a face is put back, as a share of its side; 0
            for a hard one. Not in the paper.
        put_back: The "whole" face, or its "lower" half only. Not in the paper.
        mouth_weight: How much more Eq. 7 counts in the middle of the mouth; its mean weight stays
            1. Not in the paper.
    """

    steps: Positive = 60_000
    every: Positive = 3000
    batch: Positive = 8
    lr: Annotated[float, Field(gt=0)] = 1e-4
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Literal["cosine", "none"] = "none"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    width: Positive = 16
    decoder_width: Positive = 16
    most: Positive = 512
    side: Positive = 96
    critic_width: Positive = 32
    expert: str = "av_syncnet.large_lrs2"
    landmarks: str = "dlib68"
    encoder_from: Literal["init", "expert"] = "init"
    encoder_rate: Weight = 1.0
    window: Annotated[int, Field(ge=5, lt=SHORTEST)] = 5
    groups: Positive = 5
    longest: Annotated[int, Field(ge=SHORTEST)] = 100
    l1_weight: Weight = 0.93
    adversarial_weight: Weight = 0.07
    adversarial_from: Annotated[int, Field(ge=0)] = 0
    lip_weight: Weight = 8e-5
    label_smoothing: Share = 0.0
    contrast: Literal["l1", "infonce", "none"] = "l1"
    contrast_weight: Weight = 1.3e-4
    contrast_sound: Literal["tuned", "frozen"] = "tuned"
    tau: Weight = 0.0
    most_scale: Annotated[float, Field(gt=0)] = 2.0
    temperature: Annotated[float, Field(gt=0)] = 0.07
    context: Literal["crops", "faces"] = "crops"
    smooth: Positive = 5
    below: float = 0.05
    feather: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    put_back: Literal["whole", "lower"] = "whole"
    mouth_weight: Weight = 0.0


class Unheard(nn.Module):
    """Stands for the audio encoder until an expert or a bundle brings it."""

    settings: ClassVar[dict[str, Any]] = {}


class SyncTalklip(Method):
    """Redraws the face of every frame with lips that fit the sound and can be read.

    Args:
        config: Its settings.
    """

    name = "synctalklip"
    Config = SyncTalklipConfig
    needs = frozenset({Need.SPEECH, Need.IDENTITY})
    PARTS: ClassVar[dict[str, type[nn.Module]]] = {"net": FaceGenerator, "hearing": SoundEncoder}
    monitor: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    config: SyncTalklipConfig
    net: FaceGenerator
    hearing: Any
    critic: QualityDiscriminator

    def begin(self) -> None:
        """Make generator and discriminator; the audio encoder is of the expert's sizes."""
        c = self.config
        self.net = FaceGenerator(c.width, c.most, c.side, c.smooth, c.below, c.decoder_width)
        self.hearing = Unheard()
        self.critic = QualityDiscriminator(c.critic_width, c.most, c.side)
        self.scale = Scale(c.most_scale)

    def adopt(self, parts: Mapping[str, nn.Module]) -> None:
        """Take trained networks; the discriminator has to see faces of their size."""
        super().adopt(parts)
        c, side = self.config, self.net.side
        if self.critic.settings["side"] != side:
            self.critic = QualityDiscriminator(c.critic_width, c.most, side)

    @property
    def crop(self) -> TalkingFace:
        """What the generator is fed, also where its settings come with its weights."""
        return TalkingFace(self.net.side, self.net.smooth, self.net.below)

    @property
    def opacity(self) -> Tensor:
        """With which faces are put back, float32 (S, S)."""
        c = self.config
        return soft_edge(self.net.side, c.feather, lower=c.put_back == "lower")

    # What is kept of a clip

    @cached_property
    def mouth_crop(self) -> Crop:
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
        return talk_view(face), mouth_view(mouth), place_view(face), place_view(mouth)

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep faces, mouths, the map between both, and the sound of their time; see `kept`."""
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
                "expert=runs/train/.../bundle"
            )
        frozen = load_network(c.expert)
        if isinstance(frozen.module, AVHubertReader):
            frozen = Frozen(from_reader(frozen.module), frozen.name, frozen.sha256)
        if not isinstance(frozen.module, AVSyncNet):
            raise ConfigError(
                f"the expert {c.expert} must be an av_syncnet or an AV-HuBERT that reads lips; it "
                f"is a {type(frozen.module).__name__}"
            )
        reading = frozen.module.reader.reading
        if not reading.aligned or reading.landmarks != c.landmarks:
            what = f"by {reading.landmarks}" if reading.aligned else "in the middle of the frame"
            raise ConfigError(
                f"the expert {c.expert} finds mouths {what}, here they are found by landmarks "
                f"{c.landmarks}; set landmarks, or take an expert that reads aligned mouths"
            )
        encoder = frozen.module.encoder
        # A factor on its front end's gradient is for its own training.
        encoder.settings = replace(encoder.settings, front_gradient=1.0)
        return frozen

    def on_train_start(self) -> None:
        """Move the expert; inside a measurement its weights would be fit for nothing else."""
        self.expert.to(self.device)

    def gather(self) -> None:
        """Load the expert, and note it as a supervisor."""
        self.supervisors = tuple(sorted({*self.supervisors, self.expert.sha256}))

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Begin with the expert's audio encoder, and check that it can read all clips.

        Raises:
            InputError: Clips lack a transcript, or one does not fit the expert's vocabulary.
            ConfigError: The audio encoder is not of the expert's width.
        """
        c, expert = self.config, self.expert.module
        if isinstance(self.hearing, Unheard) or c.encoder_from == "expert":
            channels = deepest(self.net.settings["width"], self.net.settings["most"])
            self.hearing = SoundEncoder.of(expert.encoder, channels)
        if c.contrast != "none" and self.hearing.dim != expert.dim:
            raise ConfigError(
                f"the audio encoder gives features of width {self.hearing.dim}, the expert "
                f"{c.expert} of width {expert.dim}, so they cannot be compared; take "
                "encoder_from=expert, or another expert"
            )
        self.hearing.encoder.requires_grad_(c.encoder_rate > 0)
        if c.lip_weight:
            self._refuse_unread(clips)

    def _refuse_unread(self, clips: Sequence[Kept]) -> None:
        reasons = {clip.id: why for clip in clips if (why := self._unread(clip))}
        if reasons:
            name, why = next(iter(reasons.items()))
            raise InputError(
                f"{len(reasons)} of {len(clips)} clips cannot be read for the lip-reading loss, "
                f"such as {name}: {why}; leave them out, give a transcript (Whisper writes one: "
                "tfbench.nets.whisper), or set lip_weight=0"
            )

    def _unread(self, clip: Kept) -> str:
        """Say why a clip's transcript does not serve; "" where it does."""
        text = clip.facts.get("transcript")
        if not isinstance(text, str):
            return "it has no transcript"
        words = [str(word) for word, _, _ in clip.facts.get("word_times", ())]
        try:
            for one in (text, *words):
                self.expert.module.tokenise(one)
        except InputError as error:
            return str(error)
        return ""

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw windows of one clip and a frame of another time; see `excerpt`."""
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        stretch = draw_stretch(clip, c.longest, rng)
        at = draw_windows(stretch.stop - stretch.start, c.window, c.groups, rng)
        others = np.setdiff1d(np.arange(clip.shapes["faces"][0]), at + stretch.start)
        return self.excerpt(clip, stretch, at.tolist(), int(rng.choice(others)))

    def excerpt(
        self, clip: Kept, stretch: Stretch, at: Sequence[int], other: int
    ) -> dict[str, Tensor]:
        """Read what a training step needs of a clip; see `excerpt`.

        Adds "tokens" int64 (L,), the subwords, none where there are no words that fit.
        """
        opacity = self.opacity if self.config.context == "faces" else None
        read = excerpt(clip, stretch, at, other, opacity)
        tokens = self._subwords(clip, stretch.text)
        return read | {"tokens": torch.tensor(tokens, dtype=torch.int64)}

    def _subwords(self, clip: Kept, text: str | None) -> tuple[int, ...]:
        try:
            return self.expert.module.tokenise(text or "")
        except InputError as error:
            if self.config.lip_weight:
                raise InputError(f"{clip.id} cannot be read: {error}") from error
            return ()

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Join drawn frames one after the other, and fill up what is as long as a clip."""
        tokens = filled([e["tokens"].tolist() for e in examples])
        return together(examples) | {"tokens": tokens}

    def loss(self, batch: Any) -> Tensor:
        """Compute Equation 13; the discriminator's loss is added, and shares no gradient."""
        c = self.config
        heard = self.hearing(batch["sound"], batch["padding"])
        real, drawn = self._pair(batch, heard)
        off = weighted_l1(drawn, real, c.mouth_weight)
        self.log("L1", 255 * off)
        total = c.l1_weight * off
        if c.lip_weight or c.contrast != "none":
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
        if c.contrast != "none":
            confused = self.contrast_loss(batch, heard, seen)
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
        mouths = mouths_of(drawn, batch["maps"], around, self.opacity)
        video = put_back(batch["mouths"], mouths, batch["rows"], batch["padding"])
        return see_drawn(self._expert, video, batch["rows"], batch["padding"])

    def lip_loss(self, batch: Any, seen: Tensor) -> Tensor:
        """Compute Equation 4, (), from what the expert has seen, (B, T, D)."""
        logits = self._expert.write_logits(seen, batch["tokens"], batch["padding"])
        return lip_loss(logits, batch["tokens"], self.config.label_smoothing)

    def contrast_loss(self, batch: Any, heard: Tensor, seen: Tensor) -> Tensor:
        """Compute Equation 12, or its traditional counterpart: (), the mean over clips.

        Args:
            batch: Of `collate`.
            heard: (B, T, D), of the tuned encoder.
            seen: (B, T, D), of `see`.
        """
        c = self.config
        pairs = self._compared(batch, heard, seen)
        if c.contrast == "infonce":
            losses = [info_nce(a, v, c.temperature) for a, v in pairs]
        else:
            tau = c.tau or 1 / self._expert.dim
            losses = [apart(a, v, tau, self.scale()) for a, v in pairs]
        return torch.stack(losses).mean()

    def _compared(self, batch: Any, heard: Tensor, seen: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return f_a and f_v of each clip's drawn frames, (n, D) each."""
        padding, counts = batch["padding"], batch["drawn"].tolist()
        if self.config.contrast_sound == "frozen":
            with torch.no_grad():
                heard = self._expert.hear(batch["sound"], padding)
        both = (self._expert.align(features, padding) for features in (heard, seen))
        heard, seen = (features.flatten(0, 1)[batch["rows"]] for features in both)
        return list(zip(heard.split(counts), seen.split(counts), strict=True))

    @property
    def _expert(self) -> AVSyncNet:
        return self.expert.to(self.device).module

    def configure_optimizers(self) -> Any:
        """Make the Adam of the reference; each parameter is a matter of its own to it."""
        c = self.config
        rates = ((self.net, 1), (self.critic, 1), (self.scale, 1), (self.hearing.audio_map, 1))
        groups = [{"params": list(net.parameters()), "lr": c.lr * rate} for net, rate in rates]
        if c.encoder_rate:
            tuned = list(self.hearing.encoder.parameters())
            groups.append({"params": tuned, "lr": c.lr * c.encoder_rate})
        optimizer = torch.optim.Adam(groups, c.lr, (0.5, 0.999), weight_decay=c.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Draw all frames of each clip, or of as many words of it as `longest` allows.

        Returns:
            "loss", the weighted sum of the next three without the discriminator's, as if one
            window were drawn; "L1" in gray levels; "lip loss", where all clips have words that
            fit; "contrastive loss" a frame; "own sound nearest", the share of frames whose f_v is
            nearer to their own f_a than to that of any other frame; and these three of the true
            mouths.
        """
        rows = [self._measured(clip, k) for k, clip in enumerate(clips)]
        kept = [name for name in rows[0] if all(name in row for row in rows)]
        units = {"own sound nearest": "%", "own sound nearest, true mouths": "%"}
        return tuple(
            Figure.mean(name, [row[name] for row in rows], unit=units.get(name, ""))
            for name in kept
        )

    def _measured(self, clip: Kept, number: int) -> dict[str, float]:
        c = self.config
        stretch = draw_stretch(clip, c.longest, np.random.default_rng([12, number]))
        n = stretch.stop - stretch.start
        example = self.excerpt(clip, stretch, range(n), 0)
        batch = {k: value.to(self.device) for k, value in self.collate([example]).items()}
        heard = self.hearing(batch["sound"])
        real = batch["faces"].float() / 255
        reference = (batch["reference"].float() / 255).expand_as(real)
        pieces = zip(*(x.split(c.frames_at_once) for x in (real, reference, heard[0])), strict=True)
        drawn = torch.cat([self.draw(*piece).float() for piece in pieces])
        off = float(F.l1_loss(drawn, real))
        judged = self._judged(batch, heard, self.see(batch, drawn))
        video = put_back(batch["mouths"], drawn.new_zeros(0, WINDOW, WINDOW), batch["rows"][:0])
        true = self._judged(batch, heard, self._expert.see(video))
        loss = c.l1_weight * off + c.lip_weight * judged.get("lip loss", 0.0)
        if c.contrast != "none":
            drawn_frames = c.window if c.contrast == "l1" else 1
            loss += c.contrast_weight * drawn_frames * judged["contrastive loss"]
        marked = {f"{name}, true mouths": value for name, value in true.items()}
        return {"loss": loss, "L1": 255 * off, **judged, **marked}

    def _judged(self, batch: Any, heard: Tensor, seen: Tensor) -> dict[str, float]:
        """Measure what the expert sees of one clip whose frames are all drawn."""
        found = {}
        if batch["tokens"].numel():
            found["lip loss"] = float(self.lip_loss(batch, seen))
        if self.hearing.dim == self._expert.dim:
            ((a, v),) = self._compared(batch, heard, seen)
            frames = len(a) if self.config.contrast != "infonce" else 1
            found["contrastive loss"] = float(self.contrast_loss(batch, heard, seen)) / frames
            found["own sound nearest"] = 100 * float(nearest_own(a, v))
        return found

    # Generation

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the edited video; see `Generator.frames`.

        Raises:
            GenerationError: No face is seen, or a still shows several, or the speech is empty.
        """
        self.eval()
        editor = FaceEditor(request, self.detector, self.crop.regions, self.net.side)
        still = editor.stills(request, 1).to(self.device).float() / 255
        listener = Listener(self.hearing, given(request.speech).waveform, self.device)
        for piece in editor.pieces(self.batch or 1):
            faces = piece.faces
            if len(faces):
                faces = self._redrawn(piece, still, listener, request.fps)
            yield editor.paste(piece, faces, self.opacity)
        self.unedited = editor.unedited

    @torch.inference_mode()
    def _redrawn(self, piece: Piece, still: Tensor, listener: Listener, fps: Fraction) -> Tensor:
        """Redraw a piece's faces, float (m, 3, S, S), 0 to 255."""
        faces = piece.faces.to(self.device).float() / 255
        with full_precision():
            heard = listener.at([place_of(number, fps) for number in piece.numbers.tolist()])
            return 255 * self.draw(faces, still.expand_as(faces), heard)


def place_of(frame: int, fps: Fraction) -> Fraction:
    """Return where the middle of a frame lies among features, whose middles are whole numbers."""
    half = Fraction(1, 2)
    return FPS * (frame + half) / fps - half
