"""Lip sync error: distance and confidence of SyncNet, and the offset between sound and lips.

Chung and Zisserman 2016; named LSE-D and LSE-C by Prajwal et al. 2020 (Wav2Lip). Computed as
joonson/syncnet_python does (`SyncNetInstance.py`, `run_pipeline.py`): for every window of five
frames at 25 fps the embedding of the lips is compared with those of the sound at offsets of -15
to +15 frames, and the mean distance over all windows is taken for each offset. LSE-D is the
smallest of the 31 (lower is better), LSE-C the median minus the smallest (higher is better), the
offset where the smallest lies, in frames; positive where the sound comes before the lips.

Two differences from the reference: it encodes its crops with XVID and reads them back as JPEG
files of ffmpeg's default quality, and it finds faces with S3FD; here crops go to the network as
they are, and MTCNN finds faces. With the same pixels the numbers are the same (largest difference
4e-6 on three real clips and a synthetic one, seeded weights); the JPEG step alone moved LSE-D by
0.004 to 0.21 there (tests/metrics/lse_reference.json).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import FPS, SAMPLE_RATE, Column, Score, TrackSettings
from tfbench.core.views import ViewKey, Views
from tfbench.faces.crop import ANY_FACE, SyncNetCrop, WholeFrame
from tfbench.media.spectral import mfcc
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.types import Speech
    from tfbench.core.views import Part
    from tfbench.nets.frozen import Frozen

__all__ = ["LSE", "LseSettings", "lse", "n_windows", "sync_distances"]

WINDOW = 5
EPS = 1e-6
SAMPLES_PER_FRAME = SAMPLE_RATE // int(FPS)


def n_windows(n_frames: int, n_samples: int) -> int:
    """Return how many windows the reference compares, 0 or more.

    It takes the shorter of picture and sound and stops five frames before the end, which is one
    window fewer than there are.

    Args:
        n_frames: At 25 fps.
        n_samples: At 16 kHz.
    """
    return max(min(n_frames, n_samples // SAMPLES_PER_FRAME) - WINDOW, 0)


def sync_distances(lips: Tensor, sound: Tensor, vshift: int = 15) -> Tensor:
    """Mean distance between lips and sound for every offset.

    Args:
        lips: float (N, D), embeddings of consecutive windows.
        sound: float (N, D), of the same windows.
        vshift: Largest offset, in frames; beyond the ends the sound's embedding is zero.

    Returns:
        (2 vshift + 1,), from the sound taken `vshift` frames early to `vshift` frames late.
        Distances are Euclidean with 1e-6 added to every difference, as
        `torch.nn.functional.pairwise_distance` does.

    Raises:
        InputError: The shapes differ or there is no window.
    """
    if lips.shape != sound.shape or lips.ndim != 2 or lips.shape[0] == 0:
        raise InputError(
            "lips and sound must have embeddings (N, D) of the same windows, at least one; "
            f"got {tuple(lips.shape)} and {tuple(sound.shape)}"
        )
    n = lips.shape[0]
    padded = F.pad(sound, (0, 0, vshift, vshift))
    shifts = range(2 * vshift + 1)
    return torch.stack(
        [F.pairwise_distance(lips, padded[k : k + n], eps=EPS).mean() for k in shifts]
    )


def lse(distances: Tensor) -> tuple[Tensor, Tensor, int]:
    """Reduce the distances of all offsets to the three numbers.

    Args:
        distances: (2 vshift + 1,), from `sync_distances`.

    Returns:
        LSE-D (), LSE-C () and the offset in frames.
    """
    smallest, where = distances.min(0)
    return smallest, distances.median() - smallest, distances.shape[0] // 2 - int(where)


@dataclass(frozen=True)
class LseSettings:
    """How a definition reads a clip.

    Attributes:
        crop: What the network sees, at the published network's size.
        vshift: Largest offset tried, in frames.
    """

    crop: SyncNetCrop | WholeFrame
    vshift: int = 15


SHORT = TrackSettings(min_frames=24)
LATENTSYNC = TrackSettings(min_frames=50, shot_threshold=27.0)


class LSE(TalkingFaceMetric):
    """LSE-D, LSE-C and the audio-video offset.

    Definitions:
        `syncnet_pipeline`: SyncNet's own pipeline; tracks of more than 100 frames.
        `syncnet_short`: the same for tracks of at least 25 frames.
        `latentsync`: LatentSync's pipeline; tracks of more than 50 frames, and cuts where
            PySceneDetect 0.6 sees them (bytedance/LatentSync, `eval/syncnet_detect.py`, which
            reports the confidence and the offset).
        `wav2lip_lrs`: the whole frame resized to 224, as Wav2Lip scores cropped data sets.
        `any_face`: as `syncnet_short`, for faces of any size; the pipeline drops those of 100
            pixels or less, which small frames have.

    Crops have the size that the network reads, 224 for the published one. A clip's value is the
    mean over its tracks, a data set's the mean over clips.

    Args:
        definition: One of the above.
        network: A SyncNet.
    """

    name = "lse"
    judge_has = ("embed_lips", "embed_audio")
    definitions: ClassVar[Mapping[str, LseSettings]] = {
        "syncnet_pipeline": LseSettings(SyncNetCrop()),
        "syncnet_short": LseSettings(SyncNetCrop(tracking=SHORT)),
        "latentsync": LseSettings(SyncNetCrop(tracking=LATENTSYNC)),
        "wav2lip_lrs": LseSettings(WholeFrame(224)),
        "any_face": LseSettings(SyncNetCrop(tracking=ANY_FACE)),
    }
    columns = (
        Column("LSE-D", higher_is_better=False),
        Column("LSE-C", higher_is_better=True),
        Column("AV offset", "frames"),
    )

    values: list[Tensor]

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__(definition, network)
        self.add_rows("values")

    @classmethod
    def default_definition(cls, longest: int | None = None) -> str:
        """Choose the pipeline, or its short form where it would refuse every clip."""
        short = longest is not None and longest <= TrackSettings().min_frames
        return "syncnet_short" if short else "syncnet_pipeline"

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """Lip embeddings of every window of five frames."""
        judge = self._judge()
        crop = replace(self.settings.crop, size=judge.module.side)
        return (ViewKey("syncnet.lip", "pred", crop, judge.sha256, 4, self._embed_lips),)

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Score each track against the sound of its own time."""
        speech = views.speech("pred")
        rows: list[Score] = []
        for part in self._lips(views):
            try:
                values = self._score(part.values, part.stop - part.start, _span(speech, part))
            except Unscorable as error:
                rows += [
                    Score(views.case, part.name, column.name, views.cluster, reason=str(error))
                    for column in self.columns
                ]
            else:
                rows += self.score(views, part.name, values)
        return tuple(rows)

    def update(self, frames: Tensor, waveform: Tensor) -> None:
        """Add one cropped clip.

        Args:
            frames: uint8 (T, 3, side, side) RGB at 25 fps, side being the network's, 224 for the
                published one.
            waveform: float32 (S,) at 16 kHz, in [-1, 1].

        Raises:
            Unscorable: The clip is silent or too short.
        """
        with torch.inference_mode():
            lips = self._embed_lips(frames.to(self.device))
        values = self._score(lips, frames.shape[0], waveform)
        self.values.append(torch.tensor([list(values.values())], dtype=torch.float64))

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of each column over clips, float64 ()."""
        means = self.rows("values").mean(0)
        return {column.name: mean for column, mean in zip(self.columns, means, strict=True)}

    def _lips(self, views: Views) -> tuple[Part, ...]:
        try:
            return views.parts(self.needs[0])
        except Unscorable as error:
            if self.definition != "syncnet_pipeline":
                raise
            raise Unscorable(f"{error}; lse.syncnet_short takes tracks of 25 frames") from error

    def _embed_lips(self, frames: Tensor) -> Tensor:
        lips: Tensor = self._judge().module.embed_lips(frames)
        return lips

    def _score(self, lips: Tensor, n_frames: int, waveform: Tensor) -> dict[str, float]:
        n = n_windows(n_frames, waveform.shape[0])
        if n < 1:
            raise Unscorable(
                f"{n_frames} frames with {waveform.shape[0] / SAMPLE_RATE:.2f} s of sound leave no "
                "window; at least 6 frames with sound are needed"
            )
        if not bool(waveform.any()):
            raise Unscorable("the sound is silent")
        judge = self._judge().module
        with torch.inference_mode():
            audio = judge.embed_audio(mfcc(waveform.to(self.device)))[:n]
        distances = sync_distances(lips[:n].to(audio.device), audio, self.settings.vshift)
        distance, confidence, offset = lse(distances)
        return {"LSE-D": float(distance), "LSE-C": float(confidence), "AV offset": float(offset)}


def _span(speech: Speech, part: Part) -> Tensor:
    """Cut the sound of a track's frames."""
    return speech.waveform[part.start * SAMPLES_PER_FRAME : part.stop * SAMPLES_PER_FRAME]
