"""From detections to face tracks, by the rules of SyncNet's `run_pipeline.py`.

Source: joonson/syncnet_python, `run_pipeline.py` (`track_shot` and the loop over shots). The rules
decide which frames LSE-C and LSE-D are computed on, so they are kept with their peculiarities:

- A track counts its detections, not its frames, against the minimum.
- In a frame, the face after one that has just joined a track is passed over.
- A track takes every overlapping face of a frame, not the best one.
- A shot is skipped if it is shorter than the minimum; one of just that length is tried, although
  no track in it can be longer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import FaceTrack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from tfbench.core.types import TrackSettings
    from tfbench.faces.detect import Detections

__all__ = ["explain", "link"]

Box = list[float]


@dataclass(frozen=True, eq=False)
class _Face:
    frame: int
    box: Box
    points: Tensor
    score: float


def link(
    detections: Sequence[Detections], cuts: Sequence[int], settings: TrackSettings
) -> tuple[FaceTrack, ...]:
    """Join the detections of consecutive frames to tracks.

    Within a shot, a track starts at the first face that is left over and takes each later face
    that overlaps its last one, until none has been seen for more than `max_gap` frames. Frames
    without a face are filled by linear interpolation.

    Args:
        detections: One entry a frame, most certain face first.
        cuts: Index of the first frame of every shot but the first, ascending.
        settings: The thresholds.

    Returns:
        The tracks in the reference's order: by shot, then by the frame in which the track starts,
        then by the detector's order in that frame. Not sorted by length. May be empty; `explain`
        says why.

    Raises:
        InputError: A cut lies outside of the clip, or cuts are not ascending.
    """
    return tuple(
        _filled(faces)
        for faces in _runs(detections, cuts, settings)
        if len(faces) > settings.min_frames and _side(_boxes(faces)) > settings.min_face
    )


def explain(  # noqa: PLR0911
    detections: Sequence[Detections], cuts: Sequence[int], settings: TrackSettings
) -> str:
    """Say in words why `link` finds no track; "" where it finds one.

    Args:
        detections: As for `link`.
        cuts: As for `link`.
        settings: As for `link`.
    """
    if link(detections, cuts, settings):
        return ""
    n = len(detections)
    least = settings.min_frames
    if n <= least:
        return f"the clip has {n} frames; a face track needs more than {least}"
    best = max((float(d.scores.max()) for d in detections if len(d.scores)), default=None)
    if best is None:
        return f"no face was detected in {n} frames"
    if best <= settings.min_score:
        return (
            f"the most certain face in {n} frames has probability {best:.2f}; "
            f"more than {settings.min_score:g} is needed"
        )
    runs = list(_runs(detections, cuts, settings))
    longest = max((len(faces) for faces in runs), default=0)
    if longest > least:
        side = max(_side(_boxes(faces)) for faces in runs if len(faces) > least)
        return f"the largest face is {side:.0f} px; more than {settings.min_face:g} px are needed"
    if longest:
        return f"the longest face track has {longest} frames; more than {least} are needed"
    return f"faces are seen only in shots of fewer than {least} frames"


def _shots(n_frames: int, cuts: Sequence[int]) -> list[tuple[int, int]]:
    edges = [0, *cuts, n_frames]
    if cuts and any(a >= b for a, b in itertools.pairwise(edges)):
        raise InputError(
            f"cuts must ascend and lie between frames 1 and {n_frames - 1} of a clip of "
            f"{n_frames} frames; got {list(cuts)}"
        )
    return list(itertools.pairwise(edges))


def _runs(
    detections: Sequence[Detections], cuts: Sequence[int], settings: TrackSettings
) -> Iterator[list[_Face]]:
    """Yield every run of linked faces, long or short, of each shot that is long enough."""
    for start, stop in _shots(len(detections), cuts):
        if stop - start < settings.min_frames:
            continue
        shot = [_faces(i, detections[i], settings.min_score) for i in range(start, stop)]
        while run := _follow(shot, settings):
            yield run


def _faces(frame: int, found: Detections, min_score: float) -> list[_Face]:
    rows = zip(found.boxes.tolist(), found.points, found.scores.tolist(), strict=True)
    return [_Face(frame, box, points, score) for box, points, score in rows if score > min_score]


def _follow(shot: list[list[_Face]], settings: TrackSettings) -> list[_Face]:
    """Take one run of linked faces out of a shot; empty when no face is left."""
    run: list[_Face] = []
    for faces in shot:
        if run and faces and faces[0].frame - run[-1].frame > settings.max_gap:
            break
        i = 0
        while i < len(faces):
            if not run or _overlap(faces[i].box, run[-1].box) > settings.min_iou:
                run.append(faces.pop(i))
            # After a removal this passes over one face, as the reference's loop does.
            i += 1
    return run


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union; 0 where both boxes are empty."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / both if both > 0 else 0.0


def _boxes(faces: list[_Face]) -> np.ndarray:
    """Interpolate boxes: float64 (n, 4), one row for each frame from the first to the last."""
    seen = np.array([face.frame for face in faces])
    boxes = np.array([face.box for face in faces])
    frames = np.arange(seen[0], seen[-1] + 1)
    return np.stack([np.interp(frames, seen, boxes[:, k]) for k in range(4)], axis=1)


def _side(boxes: np.ndarray) -> float:
    """Mean width or mean height, whichever is larger, in pixels."""
    return float((boxes[:, 2:] - boxes[:, :2]).mean(axis=0).max())


def _filled(faces: list[_Face]) -> FaceTrack:
    start = faces[0].frame
    n = faces[-1].frame - start + 1
    points = torch.full((n, 5, 2), torch.nan)
    scores = torch.full((n,), torch.nan)
    for face in faces:
        points[face.frame - start] = face.points
        scores[face.frame - start] = face.score
    return FaceTrack(start, torch.from_numpy(_boxes(faces)).float(), points, scores)
