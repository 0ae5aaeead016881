"""Mouths as lip readers are fed: faces aligned by landmarks, and a square around the lips.

The preparation of AV-HuBERT (Shi et al. 2022; facebookresearch/av_hubert,
`avhubert/preparation/align_mouth.py`), which is that of Martinez et al. 2020 (mpc001/
Lipreading_using_Temporal_Convolutional_Networks). In a frame, the base of the nose and the corners
of the eyes, averaged over this frame and the 11 after it, are brought by turning, scaling and
moving as near as possible to their places in a mean face of 256 x 256 pixels; the crop is the
square of 96 around the middle of the frame's own 20 mouth points, moved inside the 256 x 256 by
whole pixels. The last 11 frames keep the last transform, and a shorter clip has one for all.

Differences: the reference truncates resampled pixels where these are rounded, so it is half a gray
level darker in the mean; it interpolates landmarks of frames in which its detector saw no face,
while landmarks here are looked for in every frame of a track.

`SteadyMouthCrop` is the later preparation of the same authors (mpc001/
Visual_Speech_Recognition_for_Multiple_Languages, `pipelines/detectors/retinaface/
video_process.py`): eight points, the bridge of the nose and the mouth's corners among them;
averages over as many frames before as after, at most six, moved to where the frame's own points
are; and the middle of the averaged mouth. The reference fits by the least median of squares with a
refinement, which drops points that lie far off; here all count. On five real clips of 253 frames
(LRS3, GRID, HDTF) with landmarks of dlib, grays are within one level in four, and in one corners of
the crop are up to 2.2 pixels apart; those of `MouthCrop` are 1.6 to 4.1 pixels away in the median
of a clip, at most 8.5. The reference stops at a mouth nearer than 48 pixels to an edge of the
256 x 256; here the crop is moved inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from tfbench.core.errors import ConfigError, InputError
from tfbench.faces.align import cut_transformed, similarity
from tfbench.faces.crop import FaceInFrame
from tfbench.faces.landmarks import mediapipe_to_68

if TYPE_CHECKING:
    from torch import Tensor

    from tfbench.core.types import FaceTrack, TrackSettings
    from tfbench.core.views import ViewKey

__all__ = ["FACE", "MOUTH", "PLACES", "STABLE", "MouthCrop", "SteadyMouthCrop"]

FACE = 256
"""Side in pixels of the mean face."""

STABLE = (33, 36, 39, 42, 45)
"""Points that speech does not move: the base of the nose, and outer and inner corners of the right
and inner and outer corners of the left eye."""

PLACES = (
    (128.87017961, 137.30253356),
    (92.52245553, 94.36876014),
    (112.77241724, 94.9436087),
    (145.52511509, 94.53499862),
    (166.67710071, 93.56562296),
)
"""Where those belong in the mean face, x y from the first pixel's centre: rows of
`preprocessing/20words_mean_face.npy` of mpc001/Lipreading_using_Temporal_Convolutional_Networks."""

EIGHT = (28, *STABLE, 48, 54)
"""The bridge of the nose, `STABLE`, and the mouth's right and left corner."""

EIGHT_PLACES = (
    (128.48854473, 106.92459506),
    *PLACES,
    (107.16760614, 157.19606764),
    (152.19284005, 156.98711116),
)
"""Where those belong, rows of the same file."""

MOUTH = slice(48, 68)
WINDOW = 12


@dataclass(frozen=True)
class MouthCrop:
    """The mouth in an aligned face.

    Frames are resampled bilinearly, with black beyond the frame.

    Attributes:
        points: Landmarks of each frame, (68, 2) or MediaPipe's (478, 2), such as the views that
            LMD needs; its side does not matter, since landmarks are those of the clip that is cut.
        size: Side of the result in pixels, even, at most 256.
        window: Over how many frames landmarks are averaged for the alignment.
        antialias: Whether frames that shrink by two or more are averaged over blocks first; the
            reference does not.
    """

    points: ViewKey
    size: int = 96
    window: int = WINDOW
    antialias: bool = False

    def __post_init__(self) -> None:
        if self.size % 2 or not 2 <= self.size <= FACE:
            raise ConfigError(f"a mouth's size is even, 2 to {FACE} pixels; got {self.size}")
        if self.window < 1:
            raise ConfigError(f"landmarks are averaged over 1 frame at least; got {self.window}")
        if self.points.crop.tracking is None or self.points.context:
            raise ConfigError(
                f"mouths are placed by landmarks of every frame of a tracked face; the view "
                f"'{self.points.name}' of the crop '{self.points.crop.name}' gives others"
            )

    @property
    def name(self) -> str:
        """Starts with such as "mouth-96.dlib68", followed by what differs from the defaults."""
        name = f"mouth-{self.size}.{self.points.name.rpartition('.')[2]}"
        if self.window != WINDOW:
            name += f".window{self.window}"
        if self.antialias:
            name += ".antialias"
        if self.points.crop != FaceInFrame():
            name += f".{self.points.crop.name}"
        return name

    @property
    def tracking(self) -> TrackSettings | None:
        """As for the landmarks."""
        return self.points.crop.tracking

    def regions(self, track: FaceTrack, points: Tensor | None = None) -> Tensor:
        """Turn the landmarks of a track into one transform a frame.

        Args:
            track: n frames.
            points: float (n, 68, 2) or (n, 478, 2), x y in pixels from the first one's edge.

        Returns:
            float32 (n, 6), the rows a b c d e f of x' = a x + b y + c, y' = d x + e y + f, from
            pixels of the frame to pixels of the result, both counted from the first one's centre.

        Raises:
            InputError: Landmarks are missing, of another shape, not finite, or all in one place.
        """
        # Tracks and landmarks count from the first pixel's edge.
        landmarks = _as_68(points, len(track)) - 0.5
        matrices, mouths = self._fitted(landmarks)
        centres = np.einsum("nij,nj->ni", matrices[:, :, :2], mouths) + matrices[:, :, 2]
        half = self.size // 2
        # Whole pixels, so that a still face is resampled in the same way in every frame.
        matrices[:, :, 2] -= np.round(np.clip(centres, half, FACE - half)) - half
        return torch.from_numpy(matrices).float().flatten(1)

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Cut uint8 (t, 3, H, W) frames to uint8 (t, 3, size, size); see `Crop.cut`."""
        return cut_transformed(frames, regions, self.size, self.antialias)

    def _fitted(self, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return transforms (n, 2, 3) to the mean face, and the mouths' middles (n, 2) in frames.

        Args:
            landmarks: float64 (n, 68, 2).
        """
        faces = _smoothed(landmarks[:, STABLE], self.window)
        matrices = similarity(faces, np.array(PLACES), np.ones(len(STABLE)))
        return matrices, landmarks[:, MOUTH].mean(1)


@dataclass(frozen=True)
class SteadyMouthCrop(MouthCrop):
    """The mouth in a face aligned with its own corners, as Auto-AVSR's networks are fed.

    Attributes:
        window: Over how many frames at most landmarks are averaged, odd; near the ends of a track
            fewer, as many before a frame as after.
    """

    window: int = 13

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window % 2 == 0:
            raise ConfigError(
                f"as many frames are averaged before as after, so in all an odd number; "
                f"got {self.window}"
            )

    @property
    def name(self) -> str:
        """Such as "steady-mouth-96.dlib68.window13"."""
        return f"steady-{super().name}"

    def _fitted(self, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steady = _centred(landmarks, self.window // 2)
        matrices = similarity(steady[:, EIGHT], np.array(EIGHT_PLACES), np.ones(len(EIGHT)))
        return matrices, steady[:, MOUTH].mean(1)


def _as_68(points: Tensor | None, n: int) -> np.ndarray:
    """Check landmarks and return them as float64 (n, 68, 2)."""
    if (
        points is None
        or points.ndim != 3
        or points.shape[0] != n
        or points.shape[1] not in (68, 478)
    ):
        found = "none" if points is None else str(tuple(points.shape))
        raise InputError(
            f"a mouth in {n} frames is placed by landmarks ({n}, 68, 2) or ({n}, 478, 2); "
            f"got {found}"
        )
    whole = points.double().cpu()
    landmarks: np.ndarray = (mediapipe_to_68(whole) if points.shape[1] == 478 else whole).numpy()
    if not np.isfinite(landmarks).all():
        raise InputError("landmarks that place a mouth must be finite in every frame")
    return landmarks


def _smoothed(points: np.ndarray, window: int) -> np.ndarray:
    """Average (n, k, 2) over each frame and those after it; the last whole window is repeated."""
    window = min(window, len(points))
    means = sliding_window_view(points, window, axis=0).mean(-1)
    repeated = np.repeat(means[-1:], window - 1, axis=0)
    return np.concatenate([means, repeated])


def _centred(points: np.ndarray, reach: int) -> np.ndarray:
    """Average shapes (n, k, 2) over frames on both sides; each stays where its own points are."""
    steady = np.empty_like(points)
    for k in range(len(points)):
        near = min(reach, k, len(points) - 1 - k)
        steady[k] = points[k - near : k + near + 1].mean(0)
    moved: np.ndarray = steady + (points - steady).mean(1, keepdims=True)
    return moved
