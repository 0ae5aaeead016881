"""Training of SyncNet, which judges LSE-D, LSE-C and the offset between sound and lips.

Chung and Zisserman 2016 train the two towers with a contrastive loss: pairs of lips and sound that
belong together are drawn near, pairs shifted against each other are pushed beyond a margin. Here
both kinds come from one stretch of one clip, so that neither face, voice nor background helps to
tell them apart, and the shifts reach down to a single frame, the hardest. `objective=multiway`, the
default, lets every window of lips choose its sound among all windows of the stretch, and the
other way round (the N-way matching of Chung, Chung and Kang, "Perfect match", ICASSP 2019, with
distances for logits); `objective=margin` is the contrastive loss of 2016 on the same pairs. With
both, the unnormalised Euclidean distance is what is trained, which is what LSE measures.

`official` (configs/evaluators/syncnet.official.yaml) has the published layers and input; the
defaults are small enough for a CPU: about a sixth of the widths, gray, and only the middle of the
face crop, where the mouth is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import Unscorable
from tfbench.core.types import FPS, SAMPLE_RATE, TrackSettings
from tfbench.core.views import ViewKey
from tfbench.evaluators.base import Figure, Positive, Share, TrainConfig, Trainee
from tfbench.faces.crop import SyncNetCrop
from tfbench.media.spectral import mfcc
from tfbench.metrics.lse import sync_distances
from tfbench.nets.syncnet import COLUMNS, COLUMNS_PER_FRAME, WINDOW, SyncNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from tfbench.core.types import Sample
    from tfbench.core.views import Views
    from tfbench.evaluators.base import Kept

__all__ = ["SyncNetTrainee", "SyncNetConfig"]

TRACKING = TrackSettings(min_frames=24, min_face=0)
SAMPLES_PER_FRAME = SAMPLE_RATE // int(FPS)
LARGEST_SHIFT = 10
VSHIFT = 15


@dataclass(frozen=True)
class SyncNetConfig(TrainConfig):
    """Settings of the evaluator `syncnet`.

    Attributes:
        dimensions: Length of the embeddings.
        lips: Channels of the six lip convolutions.
        sound: Channels of the six sound convolutions.
        hidden: Width between the two fully connected layers.
        side: Of the square face crop, pixels.
        window: Rows from, to, columns from, to that the lips' tower reads, pixels of the crop.
        colour: Whether it reads colour.
        stride: Of the second lip convolution.
        margin: Largest random move of the lips' window, pixels.
        stretch: Windows of lips in an example.
        others: Windows of sound beside them, before and after, that belong to none of them.
        objective: "multiway" or "margin".
        temperature: What distances are divided by before they are compared.
        threshold: Margin of the contrastive loss.
    """

    steps: Positive = 800
    every: Positive = 100
    batch: Positive = 16
    lr: Annotated[float, Field(gt=0)] = 2e-3
    warmup: Annotated[int, Field(ge=0)] = 100
    ema: Share = 0.99
    dimensions: Positive = 256
    lips: tuple[int, int, int, int, int, int] = (16, 48, 64, 64, 64, 128)
    sound: tuple[int, int, int, int, int, int] = (16, 32, 64, 48, 48, 128)
    hidden: Positive = 256
    side: Positive = 128
    window: tuple[int, int, int, int] = (44, 108, 32, 96)
    colour: bool = False
    stride: Positive = 1
    margin: Annotated[int, Field(ge=0)] = 6
    stretch: Positive = 16
    others: Annotated[int, Field(ge=0)] = 2
    objective: Literal["multiway", "margin"] = "multiway"
    temperature: Annotated[float, Field(gt=0)] = 1.0
    threshold: Annotated[float, Field(gt=0)] = 20.0


class SyncNetTrainee(Trainee):
    """Learns which sound belongs to which lips.

    Args:
        config: Its settings.
    """

    name = "syncnet"
    Config = SyncNetConfig
    monitor: ClassVar[str] = "offset within 1 frame"
    higher_is_better: ClassVar[bool] = True
    config: SyncNetConfig

    def __init__(self, config: SyncNetConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.net = SyncNet(
            c.dimensions, c.lips, c.sound, c.hidden, c.side, c.window, c.colour, c.stride
        )
        self.crop = SyncNetCrop(TRACKING, size=c.side)

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """What the lip tower reads, with room for the random moves."""
        c = self.config
        name = f"lips.{'x'.join(map(str, c.window))}.{c.margin}.{'colour' if c.colour else 'gray'}"
        return (ViewKey(name, "pred", self.crop, extract=self._look),)

    def _look(self, frames: Tensor) -> Tensor:
        return self.net.look(frames, self.config.margin)

    def keep(self, _sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep the longest track's lips and the sound of its time.

        Returns:
            "lips" uint8 (T, C, h, w) and "mfcc" float32 (4 T - 1, 13), of the same whole frames.
        """
        part = max(views.parts(self.keys[0]), key=lambda p: len(p.values))
        speech = views.speech("pred")
        start, stop = part.start * SAMPLES_PER_FRAME, part.stop * SAMPLES_PER_FRAME
        waveform = speech.waveform[start:stop]
        n = min(len(part.values), len(waveform) // SAMPLES_PER_FRAME)
        least = self.config.stretch + WINDOW
        if n < least:
            raise Unscorable(f"{n} frames of a face with sound; at least {least} are needed")
        if not bool(waveform.any()):
            raise Unscorable("the sound is silent")
        return {"lips": part.values[:n], "mfcc": mfcc(waveform)[: COLUMNS_PER_FRAME * n]}

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a stretch of one clip.

        Returns:
            "lips" uint8 (stretch + 4, C, h, w); "mfcc" float32 (stretch + 2 others, 13, 20);
            "there" bool (stretch + 2 others,), False where the clip has no such window; "gain" and
            "level" (), what gray levels are multiplied with and what is added.
        """
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        n = min(clip.shapes["lips"][0], clip.shapes["mfcc"][0] // COLUMNS_PER_FRAME)
        first = int(rng.integers(n - WINDOW - c.stretch + 2))
        lips = clip.array("lips", first, first + c.stretch + WINDOW - 1)
        low, high = first - c.others, first + c.stretch + c.others
        there = torch.tensor([0 <= k <= n - WINDOW for k in range(low, high)])
        begin, end = max(low, 0), min(high, n - WINDOW + 1)
        columns = clip.array(
            "mfcc", COLUMNS_PER_FRAME * begin, COLUMNS_PER_FRAME * (end - 1) + COLUMNS
        )
        windows = columns.T.unfold(1, COLUMNS, COLUMNS_PER_FRAME).permute(1, 0, 2)
        whole = windows.new_zeros(high - low, *windows.shape[1:])
        whole[there] = windows
        return {
            "lips": self._moved(lips, rng),
            "mfcc": whole + self._colouring(rng),
            "there": there,
            "gain": torch.tensor(rng.uniform(0.8, 1.25), dtype=torch.float32),
            "level": torch.tensor(rng.uniform(-25, 25), dtype=torch.float32),
        }

    def _moved(self, lips: Tensor, rng: np.random.Generator) -> Tensor:
        """Cut the window at a random place, mirrored in half of the cases."""
        margin = self.config.margin
        top, left = (int(x) for x in rng.integers(0, 2 * margin + 1, 2))
        height, width = lips.shape[2] - 2 * margin, lips.shape[3] - 2 * margin
        cut = lips[:, :, top : top + height, left : left + width]
        return cut.flip(3) if rng.random() < 0.5 else cut

    def _colouring(self, rng: np.random.Generator) -> Tensor:
        """Draw another microphone and loudness: a constant on every cepstral coefficient."""
        scale = np.concatenate([[1.0], np.full(12, 2.0)])
        return torch.from_numpy(rng.normal(0, scale).astype(np.float32))[:, None]

    def loss(self, batch: Any) -> Tensor:
        """Compare every window of lips with every window of sound of its stretch."""
        c = self.config
        lips = batch["lips"].float() * batch["gain"][:, None, None, None, None]
        lips = (lips + batch["level"][:, None, None, None, None]).clamp(0, 255)
        windows = lips.unfold(1, WINDOW, 1).permute(0, 1, 2, 5, 3, 4).flatten(0, 1)
        seen = self.net.forward_lip(windows).unflatten(0, (len(lips), c.stretch))
        heard = self.net.forward_audio(batch["mfcc"].flatten(0, 1)[:, None])
        heard = heard.unflatten(0, (len(lips), -1))
        distances = _distances(seen.float(), heard.float())
        own = torch.arange(c.stretch, device=distances.device)
        if c.objective == "margin":
            return _contrastive(distances, batch["there"], own + c.others, c.threshold)
        logits = (-distances / c.temperature).masked_fill(~batch["there"][:, None], -1e4)
        target = own.repeat(len(lips))
        by_lips = F.cross_entropy(logits.flatten(0, 1), target + c.others)
        mine = logits[:, :, c.others : c.others + c.stretch].transpose(1, 2)
        by_sound = F.cross_entropy(mine.flatten(0, 1), target)
        self.log("accuracy", (logits.argmax(2) == own + c.others).float().mean(), prog_bar=True)
        return (by_lips + by_sound) / 2

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Shift every clip's sound by random amounts, and see whether LSE's offset finds them.

        Each clip is shifted once by -10 to 10 frames, drawn by its place in the list; its own
        offset, which is zero in a clip in sync, counts as found within one frame too.
        """
        hits, exact, zero, distances, confidences = 0, 0, 0, [], []
        for k, clip in enumerate(clips):
            lips, sound = self._embed(clip)
            n = len(lips) - 1  # the reference leaves out the last window
            shift = int(np.random.default_rng([11, k]).integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1))
            found = VSHIFT - int(sync_distances(*_shifted(lips[:n], sound[:n], shift)).argmin())
            hits += abs(found - shift) <= 1
            exact += found == shift
            curve = sync_distances(lips[:n], sound[:n])
            zero += abs(VSHIFT - int(curve.argmin())) <= 1
            distances.append(float(curve.min()))
            confidences.append(float(curve.median() - curve.min()))
        n_clips = len(clips)
        return (
            Figure.share("offset within 1 frame", hits, n_clips),
            Figure.share("offset exact", exact, n_clips),
            Figure.share("in sync within 1 frame", zero, n_clips),
            Figure.mean("LSE-D", distances),
            Figure.mean("LSE-C", confidences),
        )

    def _embed(self, clip: Kept) -> tuple[Tensor, Tensor]:
        margin = self.config.margin
        lips = clip.array("lips").to(self.device)
        inside = lips[:, :, margin : lips.shape[2] - margin, margin : lips.shape[3] - margin]
        seen = self.net.embed_seen(inside)
        heard = self.net.embed_audio(clip.array("mfcc").to(self.device))
        n = min(len(seen), len(heard))
        return seen[:n], heard[:n]

    def parts(self) -> dict[str, nn.Module]:
        """Return the network."""
        return {"net": self.net}


def _distances(seen: Tensor, heard: Tensor) -> Tensor:
    """Euclidean distances (B, L, D) against (B, A, D) -> (B, L, A)."""
    squares = seen.square().sum(2)[:, :, None] + heard.square().sum(2)[:, None]
    return (squares - 2 * seen @ heard.transpose(1, 2)).clamp(min=1e-6).sqrt()


def _contrastive(distances: Tensor, there: Tensor, own: Tensor, margin: float) -> Tensor:
    """Squares of the distances of pairs, and of what others lack to the margin; both weigh half."""
    pairs = torch.zeros(distances.shape[1:], dtype=torch.bool, device=distances.device)
    pairs[torch.arange(len(own)), own] = True
    others = there[:, None] & ~pairs
    near = distances[:, pairs].square().mean()
    far = (margin - distances).clamp(min=0).square()
    return (near + (far * others).sum() / others.sum()) / 2


def _shifted(lips: Tensor, sound: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Let the sound come `shift` frames early, over the windows that both still have."""
    n = len(lips) - abs(shift)
    return (lips[:n], sound[shift:][:n]) if shift >= 0 else (lips[-shift:][:n], sound[:n])
