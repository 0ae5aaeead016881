"""Training of Wav2Lip's lip-sync expert, which supervises generators and never judges them.

Prajwal et al. 2020 (Section 3.1; Rudrabha/Wav2Lip `color_syncnet_train.py`): a window of five
lower faces and 0.2 s of sound of one clip, from the same time or from another, and the binary
cross-entropy of the cosine of their embeddings. Here an example is several windows of one clip
with the sound of each, and every pair of them is one of the loss; pairs that belong together
weigh as much as all others. With `windows=2` that is the reference's draw, half of the pairs wrong
and both from one clip; more windows give more wrong pairs for the same work.

`official` (configs/evaluators/color_syncnet.official.yaml) has the published layers and settings;
the defaults are small enough for a CPU: a quarter of the widths, faces of 64 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from tfbench.core.errors import ConfigError, Unscorable
from tfbench.core.types import FPS, SAMPLE_RATE
from tfbench.core.views import ViewKey
from tfbench.evaluators.base import Figure, Positive, Share, TrainConfig, Trainee
from tfbench.faces.align import cut_transformed
from tfbench.faces.crop import ANY_FACE, SHORT_NAMES
from tfbench.media.spectral import log_mel
from tfbench.metrics.lse import sync_distances
from tfbench.nets.color_syncnet import COLUMNS, WINDOW, ColorSyncNet, cosine_loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from torch import Tensor, nn

    from tfbench.core.types import FaceTrack, Sample, TrackSettings
    from tfbench.core.views import Views
    from tfbench.evaluators.base import Kept

__all__ = [
    "ColorSyncNetTrainee",
    "ColorSyncNetConfig",
    "TalkingFace",
    "first_column",
    "kept_talk",
    "mel_chunks",
    "recoloured",
    "talk_view",
]

COLUMNS_PER_SECOND = 80
SAMPLES_PER_FRAME = SAMPLE_RATE // int(FPS)
LARGEST_SHIFT = 10
VSHIFT = 15
LOUDEST = 4.0
"""Of a mel spectrogram; 0.48 are 6 decibels."""


@dataclass(frozen=True)
class TalkingFace:
    """The face's box with room for the chin, stretched to a square, as Wav2Lip cuts it.

    Rudrabha/Wav2Lip `inference.py`: each edge of the box is the mean over five frames, and the
    lower edge lies ten pixels below the box. Here the mean is over as many frames before as after,
    where the reference looks ahead only; the room below is a share of the box's height, so that
    it does not depend on the frame's size; and what lies beyond the frame is black, where the
    reference stretches what lies inside.

    Attributes:
        size: Side of the result in pixels.
        smooth: Frames over which edges are averaged, odd. An opening mouth lowers the box: the
            more frames, the less of that is left for a network to read lips from.
        below: Room below the box, as a share of its height.
        tracking: How faces are tracked.
    """

    size: int
    smooth: int = 5
    below: float = 0.05
    tracking: TrackSettings = field(default=ANY_FACE)

    def __post_init__(self) -> None:
        if self.size < 1 or self.smooth < 1 or self.smooth % 2 == 0 or self.below <= -1:
            raise ConfigError(
                "a talking face has a size of at least 1 pixel, an odd number of frames to smooth "
                f"over and room below above -1; got {self.size}, {self.smooth} and {self.below}"
            )

    @property
    def name(self) -> str:
        """Such as "talking-96.5.0.05", followed by what differs in tracking."""
        changes = [
            f".{short}{getattr(self.tracking, name):g}"
            for name, short in SHORT_NAMES.items()
            if hasattr(ANY_FACE, name) and getattr(self.tracking, name) != getattr(ANY_FACE, name)
        ]
        return f"talking-{self.size}.{self.smooth}.{self.below:g}{''.join(changes)}"

    def regions(self, track: FaceTrack) -> Tensor:
        """Turn a track into transforms, float32 (n, 6), as those of `AlignedFace.regions`."""
        boxes = _means(track.boxes.double().numpy(), self.smooth)
        boxes[:, 3] += self.below * (boxes[:, 3] - boxes[:, 1])
        scale = self.size / (boxes[:, 2:] - boxes[:, :2])
        # Boxes count from the first pixel's edge, transforms from its centre.
        shift = (scale - 1) / 2 - scale * boxes[:, :2]
        zero = np.zeros(len(boxes))
        rows = [scale[:, 0], zero, shift[:, 0], zero, scale[:, 1], shift[:, 1]]
        return torch.from_numpy(np.stack(rows, axis=1)).float()

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Cut uint8 (t, 3, H, W) frames to uint8 (t, 3, size, size); see `Crop.cut`."""
        return cut_transformed(frames, regions, self.size, antialias=True)


@dataclass(frozen=True)
class ColorSyncNetConfig(TrainConfig):
    """Settings of the expert `color_syncnet`.

    Attributes:
        batch: Clips in a step, each with `windows` windows.
        widths: Channels of the five stages of both towers; the last is the embeddings' length.
        side: Of the square face crop, pixels; its lower half is read.
        windows: Windows of one clip in an example, each with its sound.
        smooth: Frames over which the face's box is averaged.
        below: Room below the face's box, as a share of its height.
        augment: Whether faces are mirrored and made lighter or darker, and sound louder or softer.
            The reference does not.
    """

    steps: Positive = 2400
    every: Positive = 200
    batch: Positive = 8
    lr: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 100
    ema: Share = 0.99
    widths: tuple[int, int, int, int, int] = (8, 16, 32, 64, 128)
    side: Positive = 64
    windows: Annotated[int, Field(ge=2)] = 4
    smooth: Positive = 13
    below: float = 0.05
    augment: bool = True


class ColorSyncNetTrainee(Trainee):
    """Learns to tell whether sound and lips belong together.

    Args:
        config: Its settings.
    """

    name = "color_syncnet"
    Config = ColorSyncNetConfig
    monitor: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    config: ColorSyncNetConfig

    def __init__(self, config: ColorSyncNetConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.net = ColorSyncNet(c.widths, c.side)
        self.crop = TalkingFace(c.side, c.smooth, c.below)

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """The face, upper half too."""
        return (talk_view(self.crop),)

    def keep(self, _sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep the longest track's faces and the sound of its time; see `kept_talk`."""
        return kept_talk(views, self.keys[0], max(self.config.windows, 3) + WINDOW)

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw windows of one clip.

        Returns:
            "faces" uint8 (windows, 5, 3, side, side); "mel" float32 (windows, 80, 16); "gain" and
            "level" (), what brightness is multiplied with and what is added.
        """
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        n = clip.shapes["faces"][0] - WINDOW + 1
        starts = [int(k) for k in rng.choice(n, c.windows, replace=False)]
        faces = torch.stack([clip.array("faces", k, k + WINDOW) for k in starts])
        mel = mel_chunks(clip.array("mel"), [first_column(k) for k in starts])
        mirrored, loudness = rng.random() < 0.5, float(rng.uniform(-0.5, 0.5))
        gain, level = rng.uniform(0.8, 1.25), rng.uniform(-0.1, 0.1)
        if not c.augment:
            mirrored, loudness, gain, level = False, 0.0, 1.0, 0.0
        return {
            "faces": faces.flip(-1) if mirrored else faces,
            "mel": (mel + loudness).clamp(-LOUDEST, LOUDEST),
            "gain": torch.tensor(gain, dtype=torch.float32),
            "level": torch.tensor(level, dtype=torch.float32),
        }

    def loss(self, batch: Any) -> Tensor:
        """Compare every window of a clip with the sound of every window of it."""
        faces = recoloured(batch["faces"], batch["gain"], batch["level"])
        windows = self.net.look(faces.flatten(0, 1))[:, 0]
        n = faces.shape[:2]
        seen = self.net.embed_faces(windows).unflatten(0, n)
        heard = self.net.embed_sound(batch["mel"].flatten(0, 1)[:, None]).unflatten(0, n)
        right, wrong = _pairs_loss(heard, seen)
        self.log("right", right)
        self.log("wrong", wrong)
        return (right + wrong) / 2

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Judge all pairs of windows and sound of each clip, and find the sound's shift.

        Each clip is shifted once by -10 to 10 frames, drawn by its place in the list. "pairs told
        apart" is the mean of two shares: right pairs above a cosine of 0.5, wrong ones below.
        """
        losses, apart, hits, exact = [], [], 0, 0
        for k, clip in enumerate(clips):
            heard, seen = self._embed(clip)
            right, wrong = _pairs_loss(heard[None], seen[None])
            losses.append(float(right + wrong) / 2)
            apart.append(_told_apart(heard @ seen.T))
            shift = int(np.random.default_rng([11, k]).integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1))
            found = VSHIFT - int(sync_distances(*_shifted(seen, heard, shift)).argmin())
            hits += abs(found - shift) <= 1
            exact += found == shift
        return (
            Figure.mean("loss", losses),
            Figure.mean("pairs told apart", apart, unit="%"),
            Figure.share("offset within 1 frame", hits, len(clips)),
            Figure.share("offset exact", exact, len(clips)),
        )

    def _embed(self, clip: Kept) -> tuple[Tensor, Tensor]:
        """Embed sound and faces of every window of a clip, (n, D) each."""
        seen = self.net.embed_clip(clip.array("faces").to(self.device))
        chunks = mel_chunks(clip.array("mel"), [first_column(k) for k in range(len(seen))])
        return self.net.embed_sound(chunks[:, None].to(self.device)), seen

    def parts(self) -> dict[str, nn.Module]:
        """Return the network."""
        return {"net": self.net}


def talk_view(crop: TalkingFace) -> ViewKey:
    """Ask for the faces of the scored clip themselves."""
    return ViewKey("faces", "pred", crop, extract=_as_they_are)


def kept_talk(views: Views, key: ViewKey, least: int) -> dict[str, Tensor]:
    """Keep the longest track's faces and the sound of its time.

    Args:
        views: Of the clip.
        key: Made by `talk_view`.
        least: Fewest frames.

    Returns:
        "faces" uint8 (T, 3, size, size) and "mel" float32 (1 + floor(3.2 T), 80), of the same
        whole frames.

    Raises:
        Unscorable: The clip is too short, silent or without a face.
    """
    part = max(views.parts(key), key=lambda p: len(p.values))
    speech = views.speech("pred")
    start, stop = part.start * SAMPLES_PER_FRAME, part.stop * SAMPLES_PER_FRAME
    waveform = speech.waveform[start:stop]
    n = min(len(part.values), len(waveform) // SAMPLES_PER_FRAME)
    if n < least:
        raise Unscorable(f"{n} frames of a face with sound; at least {least} are needed")
    if not bool(waveform.any()):
        raise Unscorable("the sound is silent")
    return {"faces": part.values[:n], "mel": log_mel(waveform[: n * SAMPLES_PER_FRAME])}


def first_column(frame: int | Fraction, fps: Fraction = FPS) -> int:
    """Return the mel column at which a frame begins, 80 a second; negative before the first."""
    return int(COLUMNS_PER_SECOND * frame // fps)


def mel_chunks(mel: Tensor, columns: Sequence[int]) -> Tensor:
    """Cut sixteen columns from each of some places on.

    Args:
        mel: float32 (T, 80), at least one row; beyond its ends it is silent.
        columns: First columns of the chunks; may lie beyond the ends.

    Returns:
        float32 (n, 80, 16).
    """
    places = torch.tensor(columns)[:, None] + torch.arange(COLUMNS)
    inside = (places >= 0) & (places < len(mel))
    rows = mel[places.clamp(0, len(mel) - 1).to(mel.device)]
    silent = rows.new_full((), -LOUDEST)
    return torch.where(inside[:, :, None].to(mel.device), rows, silent).transpose(1, 2)


def recoloured(faces: Tensor, gain: Tensor, level: Tensor) -> Tensor:
    """Turn faces into numbers, lighter or darker.

    Args:
        faces: uint8 (B, ...).
        gain: (B,), what they are multiplied with.
        level: (B,), what is added, 1 being white.

    Returns:
        float32 (B, ...), 0 to 1.
    """
    shape = (-1, *[1] * (faces.ndim - 1))
    return (faces.float() / 255 * gain.view(shape) + level.view(shape)).clamp(0, 1)


def _means(values: np.ndarray, n: int) -> np.ndarray:
    """Return the mean over n rows around each row; near the ends over those that there are."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    at = np.arange(len(values))
    low, high = np.maximum(at - n // 2, 0), np.minimum(at + n // 2 + 1, len(values))
    means: np.ndarray = (sums[high] - sums[low]) / (high - low)[:, None]
    return means


def _pairs_loss(heard: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of the pairs that belong together and of all others, from (B, n, D) of each."""
    n = seen.shape[1]
    rows, columns = np.nonzero(~np.eye(n, dtype=bool))
    right = cosine_loss(heard, seen, seen.new_ones(seen.shape[:2]))
    other = seen.new_zeros(seen.shape[0], len(rows))
    return right, cosine_loss(heard[:, rows], seen[:, columns], other)


def _told_apart(cosines: Tensor) -> float:
    """Mean of the shares of right (the diagonal) and wrong pairs that 0.5 tells apart, in %."""
    own = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    over = cosines > 0.5
    return 50 * float(over[own].float().mean() + (~over[~own]).float().mean())


def _shifted(seen: Tensor, heard: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Let the sound come `shift` frames early, over the windows that both still have."""
    n = len(seen) - abs(shift)
    return (seen[:n], heard[shift:][:n]) if shift >= 0 else (seen[-shift:][:n], heard[:n])


def _as_they_are(frames: Tensor) -> Tensor:
    return frames
