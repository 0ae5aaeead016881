"""Changes of the face: a mouth that stands still, other lips, another person, another emotion.

What is put into a frame is first laid over the face there: the eyes and the nose of both are
brought to the places of one template, in which the region is a soft ellipse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from tfbench.core.errors import InputError
from tfbench.faces.align import TEMPLATES, similarity
from tfbench.validation.change import Change, Claim, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from tfbench.core.types import Clip, Video

__all__ = ["FACE", "MOUTH", "FrozenMouth", "OtherEmotion", "OtherLips", "OtherPerson", "Region"]

TEMPLATE = np.array(TEMPLATES["arcface"].places) + 0.5
STILL_POINTS = np.array([1.0, 1.0, 1.0, 0.0, 0.0])
"""Weights of eyes, nose and mouth corners: what lips do must not move the face."""
SMOOTHING = 5
"""Frames over which the detector's points are averaged."""

LIPS = (
    Claim("lmd", "the lips are not where they should be"),
    Claim("wer", "the words cannot be read from the lips"),
    Claim("lse", "lips and sound do not belong together", "LSE-D"),
    Claim("lse", "lips and sound do not belong together", "LSE-C"),
)
ONLY_LIPS = (
    Claim("speech_wer", "the sound is not touched"),
    Claim("csim", "the person is the same"),
)


@dataclass(frozen=True)
class Region:
    """A soft ellipse in the template of a face, which is 112 pixels wide.

    Attributes:
        centre: x and y.
        radii: Half widths.
        edge: Share of the radius over which it fades out.
    """

    centre: tuple[float, float]
    radii: tuple[float, float]
    edge: float = 0.3

    def weights(self, places: Tensor) -> Tensor:
        """Return how much of each place (..., 2) belongs to the region, 0 to 1."""
        away = (places - torch.tensor(self.centre)) / torch.tensor(self.radii)
        rise = ((1 - away.norm(dim=-1)) / self.edge).clamp(0, 1)
        return rise * rise * (3 - 2 * rise)


MOUTH = Region((56.5, 94.0), (31.0, 22.0))
FACE = Region((56.5, 72.0), (44.0, 54.0))


class FrozenMouth(Change):
    """A mouth that stops moving."""

    name = "frozen_mouth"
    title = "Mouth frozen"
    unit = "% of the time"
    about = (
        "For the last part of the clip the mouth region of its first frame is laid over the "
        "moving head."
    )
    levels = (25, 50, 75, 100)
    responds = LIPS
    ignores = ONLY_LIPS

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield frames whose mouth stands still from some moment on."""
        first = next(subject.clip.video.frames(0, 1))
        points = _points(subject, subject.clip)
        n = subject.clip.video.n_frames
        yield from _patched(
            subject.clip.video, points, first, points[:1], [0] * n, MOUTH, _last(n, level)
        )


class OtherLips(Change):
    """Lips that say something else."""

    name = "other_lips"
    title = "Lips of another sentence"
    unit = "% of the time"
    about = (
        "For the last part of the clip the mouth region comes from another clip of the same "
        "person, who says something else there."
    )
    levels = (25, 50, 75, 100)
    partner = "sentence"
    responds = LIPS
    ignores = ONLY_LIPS

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield frames whose mouth is another clip's from some moment on."""
        n = subject.clip.video.n_frames
        yield from _from_other(subject, MOUTH, _last(n, level))


class OtherPerson(Change):
    """The face turns into somebody else's."""

    name = "other_person"
    title = "Face of another person"
    unit = "% opacity"
    about = "The face of a clip of another person is laid over the face, with rising opacity."
    levels = (25, 50, 75, 100)
    partner = "person"
    responds = (Claim("csim", "the face becomes another person's"),)
    ignores = (Claim("speech_wer", "the sound is not touched"),)

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield frames with another face in them."""
        n = subject.clip.video.n_frames
        yield from _from_other(subject, FACE, np.full(n, level / 100))


class OtherEmotion(Change):
    """The same sentence of the same person, with feeling."""

    name = "other_emotion"
    title = "Another emotion, of rising level"
    unit = "level"
    about = (
        "The frames of a neutral clip are replaced by those of the clip in which the same person "
        "says the same sentence with an emotion of this level, at the same share of the time; "
        "the neutral clip and its sound stay the truth."
    )
    levels = (1, 2, 3)
    partner = "levels"
    responds = (Claim("efd", "the face shows another emotion than the true one"),)
    ignores = (
        Claim("speech_wer", "the sound is not touched"),
        Claim("csim", "the person is the same"),
    )

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield the other clip's frames, as many as the clip has."""
        if len(subject.others) < level:
            raise InputError(f"{subject.id} has no clip of emotion level {level:g}")
        other = _all_frames(subject.others[round(level) - 1].video)
        n = subject.clip.video.n_frames
        yield from other[_spread(n, len(other))].split(32)


def _from_other(subject: Subject, region: Region, shares: np.ndarray) -> Iterator[Tensor]:
    """Lay a region of the first other clip over the subject's face, frame by frame."""
    if not subject.others:
        raise InputError(f"{subject.id} has no other clip to take a face from")
    other = subject.others[0]
    frames = _all_frames(other.video)
    # A clip that is shorter goes forth and back, so that it never jumps.
    turn = np.r_[0 : len(frames), len(frames) - 2 : 0 : -1] if len(frames) > 1 else np.zeros(1, int)
    order = [int(turn[k % len(turn)]) for k in range(len(shares))]
    yield from _patched(
        subject.clip.video,
        _points(subject, subject.clip),
        frames,
        _points(subject, other),
        order,
        region,
        shares,
    )


def _patched(
    video: Video,
    points: np.ndarray,
    source: Tensor,
    source_points: np.ndarray,
    order: list[int],
    region: Region,
    shares: np.ndarray,
) -> Iterator[Tensor]:
    """Lay a region of source frames over a video's face.

    Args:
        video: What is changed.
        points: float64 (T, 5, 2), of its face.
        source: uint8 (S, 3, h, w).
        source_points: float64 (S, 5, 2).
        order: Which source frame goes over each frame, T of them.
        region: Of the face.
        shares: Opacity of each frame, (T,).
    """
    to_face = similarity(points, TEMPLATE, STILL_POINTS)
    from_source = similarity(source_points, TEMPLATE, STILL_POINTS)
    at = 0
    for frames in video.frames():
        made = [
            _laid_over(
                frame, source[order[k]], to_face[k], from_source[order[k]], region, shares[k]
            )
            if shares[k] > 0
            else frame
            for k, frame in enumerate(frames, at)
        ]
        yield torch.stack(made)
        at += len(frames)


def _laid_over(
    frame: Tensor,
    source: Tensor,
    to_face: np.ndarray,
    source_to_face: np.ndarray,
    region: Region,
    share: float,
) -> Tensor:
    """Blend one frame (3, H, W) with the aligned source (3, h, w) inside the region."""
    height, width = frame.shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], -1).double()
    inside = places @ torch.from_numpy(to_face.T)
    back = np.linalg.inv(np.vstack([source_to_face, (0, 0, 1)]))[:2]
    ones = torch.ones_like(inside[..., :1])
    there = torch.cat([inside, ones], -1) @ torch.from_numpy(back.T)
    size = torch.tensor([source.shape[2], source.shape[1]], dtype=torch.float64)
    grid = (2 * there / size - 1).float()[None]
    warped = F.grid_sample(source[None].float(), grid, padding_mode="border", align_corners=False)
    weight = share * region.weights(inside.float())
    mixed = frame + weight * (warped[0] - frame)
    return mixed.round().clamp(0, 255).to(torch.uint8)


def _last(n: int, percent: float) -> np.ndarray:
    """Return the opacity of n frames of which the last part is replaced, (n,)."""
    return (np.arange(n) >= n - round(percent / 100 * n)).astype(float)


def _spread(n: int, m: int) -> Tensor:
    """Return which of m frames stands at the same share of the time, for n frames."""
    return ((torch.arange(n) + 0.5) * m / n).long().clamp(max=m - 1)


def _points(subject: Subject, clip: Clip) -> np.ndarray:
    """Return the smoothed points of a clip's face."""
    points = subject.face(clip)
    return np.asarray(ndimage.uniform_filter1d(points, SMOOTHING, axis=0, mode="nearest"))


def _all_frames(video: Video) -> Tensor:
    return torch.cat(list(video.frames()))
