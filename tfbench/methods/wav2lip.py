"""Wav2Lip: the lips of a video redrawn to fit other speech.

Prajwal, Mukhopadhyay, Namboodiri and Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
Generation In The Wild", ACM Multimedia 2020. Read beside the paper: the authors' code
(Rudrabha/Wav2Lip: `hq_wav2lip_train.py`, `inference.py`, `hparams.py`, `models/`).

The generator sees a face whose lower half is black, a whole face of the same person, and 0.2 s of
sound as a mel spectrogram, and draws the whole face. It learns from the absolute difference to
the true face, from a frozen expert that knows which lips fit which sound (`color_syncnet`), and
from a discriminator that tells drawn lower halves from true ones. Where its loss counts, the
expert is noted as a supervisor: it may not judge what it has trained.

Deviations, each with its reason:
- The whole face is that of the request's identity still, another time of the same person as in
  training. `reference=same` takes the very frame that is edited, as `inference.py` does; where a
  clip is scored against itself (protocol `self`) that shows the network the true lips.
- The sound of a frame begins one frame before it, in training and in generation. The reference
  trains so and generates with sound that begins with the frame, which moves the lips by 40 ms. A
  checkpoint of the authors is fed as `inference.py` feeds it.
- At the ends of the speech the sound goes on as silence, in training too; the reference leaves
  such windows out of training, and repeats the last whole chunk.
- What is cut out: see `TalkingFace`. It is put back with a soft edge, `feather`, and by cubic
  interpolation; the reference overwrites the whole box, and interpolates linearly.
- Generator and discriminator share one Adam and one backward pass. The generator's loss passes
  through a copy of the discriminator without its gradients and the discriminator's loss through
  faces without theirs, so that each gets the gradient that it gets in two steps, and Adam treats
  every parameter by itself.
- Colours are RGB; official weights are turned when they are loaded.

Not in the paper, decided here: everything that is marked so in `Wav2LipConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import ConfigError
from tfbench.core.types import FPS, Need
from tfbench.core.views import ViewKey
from tfbench.evaluators.base import Figure, Positive, Share
from tfbench.evaluators.color_syncnet import (
    COLUMNS_PER_SECOND,
    LOUDEST,
    first_column,
    kept_talk,
    mel_chunks,
    talk_view,
)
from tfbench.media.windows import mel_columns
from tfbench.methods._editing import FaceEditor
from tfbench.methods._lips import LipConfig, LipMethod
from tfbench.methods._pixel_loss import dimmed, draw_gains
from tfbench.methods._wav2lip_nets import (
    LipGenerator,
    QualityDiscriminator,
    load_generator,
    masked,
    quality_losses,
)
from tfbench.methods.base import given
from tfbench.nets.bundle import load_network
from tfbench.nets.color_syncnet import COLUMNS, WINDOW, ColorSyncNet, cosine_loss
from tfbench.nets.frozen import Frozen, full_precision, state_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tfbench.core.types import Request, Sample, Speech
    from tfbench.core.views import Views
    from tfbench.evaluators.base import Kept
    from tfbench.methods._editing import Piece

__all__ = ["Wav2Lip", "Wav2LipConfig"]

OFFICIAL = ("wav2lip", "wav2lip-gan")
"""Assets that `weights` may name."""
SHORTEST = 3 * WINDOW + 1
"""Frames of a clip that is trained on, as in the reference."""
MEASURED = 4
"""Windows of a held-out clip that are measured."""


@dataclass(frozen=True)
class Wav2LipConfig(LipConfig):
    """Settings of Wav2Lip beside those of `LipConfig`; as the paper and the authors' code.

    Attributes:
        weights: As for every method, or an official checkpoint: the asset "wav2lip" or
            "wav2lip-gan", or the path of a .pth file.
        batch: Windows of five frames in a step.
        expert: The frozen lip-sync expert: `color_syncnet.<variant>`, or the folder of a bundle.
        sync_weight: Share of the expert's loss.
        sync_below: That share is 0 until the expert's loss on held-out clips is below this, and
            stays from then on.
        scattered: Whether, as long as the expert does not count, the five frames of an example
            come from five clips, so that a step sees more of them. Not in the paper.
        adversarial_weight: Share of the discriminator's loss; the rest is the absolute difference.
        lead: Frames by which a frame's sound begins before it.
        reference: Whose whole face the generator sees: the "identity" still's, or the "same" frame
            that is edited.
    """

    # The reference trains until it is stopped; how long is not in the paper.
    steps: Positive = 300_000
    batch: Positive = 16
    expert: str = "color_syncnet.official"
    sync_weight: Share = 0.03
    sync_below: float = 0.75
    scattered: bool = False
    adversarial_weight: Share = 0.07
    lead: Annotated[int, Field(ge=0)] = 1
    reference: Literal["identity", "same"] = "identity"


class Wav2Lip(LipMethod):
    """Redraws the face of every frame with lips that fit the sound.

    Args:
        config: Its settings.
    """

    name = "wav2lip"
    version = "3"
    Config = Wav2LipConfig
    needs = frozenset({Need.SPEECH, Need.IDENTITY})
    PARTS: ClassVar[dict[str, type[nn.Module]]] = {"net": LipGenerator}
    monitor: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    config: Wav2LipConfig
    net: LipGenerator

    def begin(self) -> None:
        """Make the generator and the discriminator; the latter is not part of a bundle."""
        c = self.config
        self.net = LipGenerator(c.width, c.most, c.side, c.smooth, c.below, c.lead, c.decoder_width)
        self.critic = QualityDiscriminator(c.critic_width, c.most, c.side)
        self.syncing = False

    @property
    def label(self) -> str:
        """As for every method; official checkpoints are named by their asset or file."""
        if not _is_official(self.config.weights):
            return super().label
        _, plus, overlays = self.named.partition("+")
        return f"{self.name}.{Path(self.config.weights).stem}{plus}{overlays}"

    def _take(self, source: str) -> None:
        if not _is_official(source):
            super()._take(source)
            return
        self.load_official(_official_file(source))

    def load_official(self, path: Path) -> None:
        """Take a generator of the authors, such as wav2lip_gan.pth.

        It is fed sound that begins with each frame, as `inference.py` does.

        Raises:
            AssetError: The file cannot be read, or is of another architecture.
        """
        net = load_generator(path).eval()
        self._weights = {"net": state_sha256(net.state_dict())}
        self.adopt({"net": net})

    # Training

    @cached_property
    def expert(self) -> Frozen[ColorSyncNet]:
        """The expert, neither trained nor saved.

        Raises:
            ConfigError: The settings name another network, or one for other faces.
            MissingAsset: Its weights are not here.
        """
        frozen = load_network(self.config.expert)
        side = getattr(frozen.module, "side", None)
        if not isinstance(frozen.module, ColorSyncNet) or side != self.net.side:
            raise ConfigError(
                f"the expert {self.config.expert} must be a color_syncnet for faces of "
                f"{self.net.side} pixels; it is a {type(frozen.module).__name__} for {side}"
            )
        return frozen

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """The face that is to be redrawn."""
        return (talk_view(self.crop),)

    def keep(self, _sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep the longest track's faces and the sound of its time; see `kept_talk`."""
        return kept_talk(views, self.keys[0], SHORTEST)

    def on_train_start(self) -> None:
        """Move the expert; inside a measurement its weights would be fit for nothing else."""
        self.expert.to(self.device)

    def gather(self) -> None:
        """Load the expert, and note it as a supervisor where it does more than measure."""
        expert = self.expert.sha256
        if self.config.sync_weight:
            self.supervisors = tuple(sorted({*self.supervisors, expert}))

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a window of five frames and another one of the same clip; see `window`."""
        scattered = self.config.scattered and not self.syncing
        drawn = (self._five_of_five if scattered else self._five_of_one)(clips, rng)
        return self._augmented(drawn, rng, scattered) if self.config.augment else drawn

    def _augmented(
        self, drawn: dict[str, Tensor], rng: np.random.Generator, scattered: bool
    ) -> dict[str, Tensor]:
        """Mirror and darken each of five clips' frames, or those of the one clip alike."""
        n = WINDOW if scattered else 1
        mirrored = torch.from_numpy(rng.random(n) < 0.5).view(-1, 1, 1, 1)
        gains = draw_gains(rng, n)
        both = {name: dimmed(drawn[name], gains) for name in ("faces", "reference")}
        return drawn | {name: torch.where(mirrored, x.flip(-1), x) for name, x in both.items()}

    def _five_of_one(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        clip = clips[int(rng.integers(len(clips)))]
        n = clip.shapes["faces"][0] - WINDOW + 1
        start = int(rng.integers(n))
        return self.window(clip, start, int(rng.choice(self.other_places(n, start))))

    def _five_of_five(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a frame of each of five clips, as `window` gives those of one; "mel" is silence."""
        drawn = []
        for clip in (clips[int(k)] for k in rng.integers(len(clips), size=WINDOW)):
            n = clip.shapes["faces"][0]
            at = int(rng.integers(n))
            other = int(rng.choice(self.other_places(n, at)))
            chunk = mel_chunks(clip.array("mel"), [first_column(at - self.net.lead)])
            pair = (clip.array("faces", k, k + 1) for k in (at, other))
            drawn.append((*pair, chunk))
        faces, reference, sound = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        silence = torch.full_like(sound[0], -LOUDEST)
        return {"faces": faces, "reference": reference, "sound": sound, "mel": silence}

    def window(self, clip: Kept, start: int, other: int) -> dict[str, Tensor]:
        """Read five frames, what the generator is fed for them, and what the expert hears.

        Args:
            clip: Where from.
            start: First of the frames to be drawn.
            other: First of those that show the person.

        Returns:
            "faces" and "reference" uint8 (5, 3, S, S), "sound" float32 (5, 80, 16), a chunk for
            each frame, and "mel" float32 (80, 16), that of the window.
        """
        columns = [first_column(start + k - self.net.lead) for k in range(WINDOW)]
        chunks = mel_chunks(clip.array("mel"), [*columns, first_column(start)])
        return {
            "faces": clip.array("faces", start, start + WINDOW),
            "reference": clip.array("faces", other, other + WINDOW),
            "sound": chunks[:WINDOW],
            "mel": chunks[WINDOW],
        }

    def loss(self, batch: Any) -> Tensor:
        """Sum the generator's and the discriminator's loss, which share no gradient."""
        c = self.config
        real, drawn = self._pair(batch)
        sync = c.sync_weight if self.syncing else 0.0
        adversarial = c.adversarial_weight if self.global_step >= c.adversarial_from else 0.0
        off = self.off(drawn, real)
        self.log("L1", 255 * F.l1_loss(drawn.detach(), real))
        total = (1 - sync - adversarial) * off
        if sync:
            out_of_sync = self._sync_loss(batch["mel"], drawn)
            self.log("sync loss", out_of_sync)
            total = total + sync * out_of_sync
        if adversarial:
            fooled, judged = self._quality_losses(real.flatten(0, 1), drawn.flatten(0, 1))
            self.log("adversarial loss", fooled)
            self.log("discriminator's loss", judged)
            total = total + adversarial * fooled + judged
        return total

    def _pair(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return real and drawn faces of a batch, (B, 5, 3, S, S) each, 0 to 1."""
        real, reference = (batch[name].float() / 255 for name in ("faces", "reference"))
        drawn = self.draw(real.flatten(0, 1), reference.flatten(0, 1), batch["sound"].flatten(0, 1))
        return real, drawn.float().unflatten(0, real.shape[:2])

    def draw(self, faces: Tensor, reference: Tensor, sound: Tensor) -> Tensor:
        """Redraw faces.

        Args:
            faces: float32 (n, 3, S, S), 0 to 1; of the lower half nothing is seen.
            reference: float32 (n, 3, S, S), 0 to 1, the same person.
            sound: float32 (n, 80, 16).

        Returns:
            (n, 3, S, S), 0 to 1.
        """
        drawn: Tensor = self.net(sound[:, None], masked(faces, reference))
        return drawn

    def _sync_loss(self, mel: Tensor, faces: Tensor) -> Tensor:
        """How little the expert holds lips and sound for one, from (B, 80, 16), (B, 5, 3, S, S)."""
        expert = self.expert.to(self.device).module
        heard, seen = expert(mel[:, None], expert.look(faces)[:, 0])
        return cosine_loss(heard, seen, heard.new_ones(len(heard)))

    def _quality_losses(self, real: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the generator, which would be taken for real, and of the discriminator."""
        return quality_losses(self.critic, real, drawn)

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Draw four windows of each clip; from the first good sync loss on, the expert counts.

        Returns:
            "loss", what is learned from, without discriminator and as if the expert counted, all
            clips alike; "L1" in gray levels, every pixel alike; "sync loss"; and that of the true
            faces.
        """
        share, rows = self.config.sync_weight, []
        for clip in clips:
            n = clip.shapes["faces"][0] - WINDOW + 1
            starts = np.linspace(0, n - 1, MEASURED).round().astype(int).tolist()
            others = [self._other_end(k, n) for k in starts]
            windows = [self.window(clip, *pair) for pair in zip(starts, others, strict=True)]
            batch = {name: value.to(self.device) for name, value in self.collate(windows).items()}
            real, drawn = self._pair(batch)
            off, l1 = float(self.off(drawn, real)), 255 * float(F.l1_loss(drawn, real))
            sync, true = (float(self._sync_loss(batch["mel"], faces)) for faces in (drawn, real))
            rows.append(((1 - share) * off + share * sync, l1, sync, true))
        names = ("loss", "L1", "sync loss", "sync loss of true faces")
        columns = zip(*rows, strict=True)
        figures = tuple(Figure.mean(n, list(c)) for n, c in zip(names, columns, strict=True))
        self.syncing |= share > 0 and figures[2].value < self.config.sync_below
        return figures

    def _other_end(self, start: int, n: int) -> int:
        """Return which of a clip's n windows shows the person to one that is measured."""
        if not self.config.ends:
            return (start + n // 2) % n
        return 0 if start else n - 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note whether the expert counts."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["syncing"] = self.syncing

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on as it was."""
        super().on_load_checkpoint(checkpoint)
        self.syncing = checkpoint["syncing"]

    # Generation

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the edited video; see `Generator.frames`.

        Raises:
            GenerationError: No face is seen, or a still shows several.
            InputError: The speech is empty.
        """
        self.net.eval()
        editor = FaceEditor(request, self.detector, self.crop.regions, self.net.side)
        opacity = self.opacity
        still = None if self.config.reference == "same" else self._identity(editor)
        for piece in editor.pieces(self.batch or 1):
            faces = self._redrawn(request, piece, still) if len(piece.faces) else piece.faces
            yield editor.paste(piece, faces, opacity)
        self.unedited, self.remark = editor.unedited, editor.remark

    @torch.inference_mode()
    def _redrawn(self, request: Request, piece: Piece, still: Tensor | None) -> Tensor:
        """Redraw a piece's faces, float (m, 3, S, S), 0 to 255."""
        faces = piece.faces.to(self.device).float() / 255
        reference = faces if still is None else still.expand_as(faces)
        sound = self._sound(request, piece.numbers.tolist()).to(self.device)
        with full_precision():
            return 255 * self.draw(faces, reference, sound)

    def _identity(self, editor: FaceEditor) -> Tensor:
        """Return the face of the identity still, (1, 3, S, S), 0 to 1."""
        return editor.stills(1).to(self.device).float() / 255

    def _sound(self, request: Request, numbers: Sequence[int]) -> Tensor:
        """Compute the sound of some frames, ascending; float32 (n, 80, 16)."""
        speech: Speech = given(request.speech)
        # What was learnt at 25 frames a second is a time, not a number of frames.
        lead = self.net.lead * request.fps / FPS
        columns = [first_column(k - lead, request.fps) for k in numbers]
        total = 1 + len(speech.waveform) * COLUMNS_PER_SECOND // speech.sample_rate
        # At least one column, which frames beyond the end do not see.
        low = min(max(columns[0], 0), total - 1)
        high = max(min(columns[-1] + COLUMNS, total), low + 1)
        mel = mel_columns(speech.waveform, low, high)
        return mel_chunks(mel, [column - low for column in columns])


def _is_official(weights: str) -> bool:
    return weights in OFFICIAL or Path(weights).suffix == ".pth"


def _official_file(source: str) -> Path:
    from tfbench.core.assets import locate

    return locate(source) if source in OFFICIAL else Path(source)
