"""Faces turned, scaled and moved to a fixed place, as identity and emotion networks are fed.

`AlignedFace` brings the points of the eyes, the nose and the mouth's corners as near as possible
to fixed places, the template (Umeyama 1991, in the plane and without reflection); `SquareFace`
scales the tracked box and keeps its aspect. Both resample each frame once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F

from tfbench.core.errors import ConfigError, InputError
from tfbench.faces.crop import ANY_FACE, SHORT_NAMES, FaceInFrame

if TYPE_CHECKING:
    from torch import Tensor

    from tfbench.core.types import FaceTrack, TrackSettings

__all__ = ["TEMPLATES", "AlignedFace", "SquareFace", "Template", "cut_transformed", "similarity"]


@dataclass(frozen=True)
class Template:
    """Where the five points of a track belong.

    Attributes:
        side: Of the picture, in pixels.
        places: x y of left eye, right eye, nose, left and right mouth corner, counted from the
            first pixel's centre.
        weights: Of the points' squared distances.
    """

    side: int
    places: tuple[tuple[float, float], ...]
    weights: tuple[float, ...] = (1, 1, 1, 1, 1)


TEMPLATES = {
    "arcface": Template(
        112,
        (
            (38.2946, 51.6963),
            (73.5318, 51.5014),
            (56.0252, 71.7366),
            (41.5493, 92.3655),
            (70.7299, 92.2041),
        ),
    ),
    "dlib": Template(
        224,
        ((69.3, 66.4), (151.2, 66.8), (108.7, 109.0), (77.3, 160.4), (144.9, 160.0)),
        (4, 4, 1, 0, 0),
    ),
}
"""By name.

- `arcface`: of deepinsight/insightface (`python-package/insightface/utils/face_align.py`).
- `dlib`: where MTCNN's points lie in dlib's face chips with a padding of 0.25, which dlib places
  by five points of its own (eye corners and the base of the nose): medians over 40 real clips,
  each of its frames' median. The mouth has no weight, as for dlib: with it, a smile zooms. So
  placed, a chip's corners lie 4.7 of 224 pixels (median of 400 frames; 90 %: 15.5) from those of
  dlib's own; in frontal faces 3 to 5 (GRID, HDTF, MEAD), in VoxCeleb2, where heads turn, 11.5.
"""


@dataclass(frozen=True)
class AlignedFace:
    """The face with its five points near those of a template.

    Each frame is placed by its points and resampled bilinearly with black beyond the frame, as
    `cv2.warpAffine` does to within one gray level.

    Attributes:
        size: Side of the result in pixels; the template is scaled to it.
        template: A key of `TEMPLATES`.
        antialias: Whether frames that shrink by two or more are averaged over blocks first. The
            identity networks' own preparation does not; dlib's chips are smoothed.
        smoothing: Frames over which points are averaged, the frame in their middle; odd. 1 takes
            each frame's own points.
        tracking: How faces are tracked.
    """

    size: int = 112
    template: str = "arcface"
    antialias: bool = False
    smoothing: int = 1
    tracking: TrackSettings = ANY_FACE

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.template not in TEMPLATES:
            known = " and ".join(TEMPLATES)
            raise ConfigError(f"no face template '{self.template}'; there are {known}")
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise ConfigError(f"smoothing is an odd number of frames; got {self.smoothing}")

    @property
    def name(self) -> str:
        """Starts with such as "aligned-112", followed by what differs from the defaults."""
        name = f"aligned-{self.size}"
        if self.template != "arcface":
            name += f".{self.template}"
        if self.antialias:
            name += ".antialias"
        if self.smoothing > 1:
            name += f".smooth{self.smoothing}"
        return name + _tracked(self.tracking)

    def regions(self, track: FaceTrack) -> Tensor:
        """Turn a track into one transform a frame.

        Points of frames where no face was seen are interpolated in time; before the first and
        after the last seen face they stay where they are.

        Returns:
            float32 (n, 6), the rows a b c d e f of x' = a x + b y + c, y' = d x + e y + f, from
            pixels of the frame to pixels of the result, both counted from the first one's centre.

        Raises:
            InputError: No frame of the track has points, or a frame's points are all one.
        """
        # Tracks count from the first pixel's edge.
        points = _averaged(_seen_everywhere(track.points.double().numpy()), self.smoothing) - 0.5
        template = TEMPLATES[self.template]
        # Pixel centres lie half a pixel from the edge in pictures of any size.
        wanted = (np.array(template.places) + 0.5) * (self.size / template.side) - 0.5
        matrices = similarity(points, wanted, np.array(template.weights))
        return torch.from_numpy(matrices).float().flatten(1)

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Cut uint8 (t, 3, H, W) frames to uint8 (t, 3, size, size); see `Crop.cut`."""
        return cut_transformed(frames, regions, self.size, self.antialias)


@dataclass(frozen=True)
class SquareFace:
    """The square around the tracked face's box.

    Its side is the longer side of the box. Boxes pass a median filter over 13 frames; what
    shrinks by two or more is averaged over blocks before it is resampled; beyond the frame is
    black.

    Attributes:
        size: Side of the result in pixels.
        tracking: How faces are tracked.
    """

    size: int
    tracking: TrackSettings = ANY_FACE

    def __post_init__(self) -> None:
        _check_size(self.size)

    @property
    def name(self) -> str:
        """Starts with such as "square-64", followed by what differs from the defaults."""
        return f"square-{self.size}{_tracked(self.tracking)}"

    def regions(self, track: FaceTrack) -> Tensor:
        """Turn a track into transforms, float32 (n, 6), as those of `AlignedFace`."""
        boxes = FaceInFrame(self.tracking).regions(track)
        scale = self.size / (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        shift = self.size / 2 - scale[:, None] * centre
        # Boxes count from the first pixel's edge, transforms from its centre.
        shift += (scale[:, None] - 1) / 2
        zero = torch.zeros_like(scale)
        return torch.stack([scale, zero, shift[:, 0], zero, scale, shift[:, 1]], dim=1)

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Cut uint8 (t, 3, H, W) frames to uint8 (t, 3, size, size); see `Crop.cut`."""
        return cut_transformed(frames, regions, self.size, antialias=True)


def similarity(points: np.ndarray, wanted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Find the turn, scale and shift that bring points nearest to others, in least squares.

    Args:
        points: float64 (n, k, 2), x y.
        wanted: float64 (k, 2).
        weights: (k,), of the squared distances.

    Returns:
        float64 (n, 2, 3), to be multiplied with (x, y, 1); never a reflection.

    Raises:
        InputError: All k points of a set are the same (as far as they weigh).
    """
    # As complex numbers a similarity is z' = turn * z + shift, an ordinary linear fit.
    source, target = points @ np.array([1, 1j]), wanted @ np.array([1, 1j])
    shares = weights / weights.sum()
    centre, goal = source @ shares, target @ shares
    around = source - centre[:, None]
    spread = np.abs(around) ** 2 @ shares
    if (spread == 0).any():
        raise InputError("the five points of a face are one and the same; it cannot be aligned")
    turn = (around.conj() * (target - goal)) @ shares / spread
    shift = goal - turn * centre
    rows = [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]]
    return np.moveaxis(np.array(rows), -1, 0)


def _seen_everywhere(points: np.ndarray) -> np.ndarray:
    """Fill the frames of (n, 5, 2) points that are not numbers from their neighbours in time."""
    n = len(points)
    flat = points.reshape(n, -1)
    seen = np.flatnonzero(np.isfinite(flat).all(axis=1))
    if len(seen) == 0:
        raise InputError("the face has no points in any frame, so that it cannot be aligned")
    filled = [np.interp(np.arange(n), seen, column[seen]) for column in flat.T]
    return np.stack(filled, axis=1).reshape(points.shape)


def _averaged(points: np.ndarray, window: int) -> np.ndarray:
    """Average each frame's points with its neighbours'; near the ends over those that there are."""
    reach = window // 2
    sums = np.cumsum(np.concatenate([np.zeros_like(points[:1]), points]), axis=0)
    here = np.arange(len(points))
    first, stop = np.maximum(here - reach, 0), np.minimum(here + reach + 1, len(points))
    averages: np.ndarray = (sums[stop] - sums[first]) / (stop - first)[:, None, None]
    return points if window == 1 else averages


def cut_transformed(
    frames: Tensor,
    regions: Tensor | None,
    size: int,
    antialias: bool = False,
    beyond: Literal["black", "edge"] = "black",
) -> Tensor:
    """Resample each frame by its transform, bilinearly.

    Args:
        frames: uint8 (t, 3, H, W).
        regions: float (t, 6), the rows of transforms as those of `AlignedFace.regions`.
        size: Side of the result in pixels.
        antialias: Whether what shrinks by two or more is averaged over blocks first.
        beyond: What is beyond the frame: "black", or the pixels of its "edge". A face of which
            nothing lies in the frame is black in any case.

    Returns:
        uint8 (t, 3, size, size), rounded.

    Raises:
        InputError: Frames or transforms are of another type or shape, or a transform is not
            finite or flattens the frame.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
        raise InputError(
            f"crops are cut out of uint8 (t, 3, H, W) frames; "
            f"got {frames.dtype} {tuple(frames.shape)}"
        )
    if regions is None or tuple(regions.shape) != (frames.shape[0], 6):
        found = "None" if regions is None else str(tuple(regions.shape))
        raise InputError(f"{frames.shape[0]} frames need transforms (t, 6); got {found}")
    matrices = regions.detach().double().cpu().numpy().reshape(-1, 2, 3)
    if not np.isfinite(matrices).all() or (np.linalg.det(matrices[:, :, :2]) == 0).any():
        raise InputError("a face's transform must be finite and must not flatten the frame")
    if len(frames) == 0:
        return frames.new_zeros(0, 3, size, size)
    pairs = zip(frames, matrices, strict=True)
    return torch.stack([_warped(f, m, size, antialias, beyond == "edge") for f, m in pairs])


def _warped(frame: Tensor, matrix: np.ndarray, size: int, antialias: bool, edge: bool) -> Tensor:
    """Resample uint8 (3, H, W) to uint8 (3, size, size) by a transform (2, 3)."""
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    block = max(1, int(np.hypot(back[0, 0], back[1, 0]) + 1e-6)) if antialias else 1
    ends = back @ np.array([[0, size - 1, 0, size - 1], [0, 0, size - 1, size - 1], [1] * 4])
    limits = np.array(frame.shape[:0:-1])
    # Only the face and the blocks around it are made float.
    low = np.clip(np.floor(ends.min(axis=1)) - block, 0, limits).astype(int)
    high = np.clip(np.ceil(ends.max(axis=1)) + 2 * block, 0, limits).astype(int)
    if (high <= low).any():
        return frame.new_zeros(3, size, size)
    x = frame[None, :, low[1] : high[1], low[0] : high[0]].float()
    # grid_sample cannot tell where pixels lie in a picture that is one pixel wide.
    more = [max(-extent % block, 2 * block - extent) for extent in (high - low)]
    x = F.pad(x, (0, more[0], 0, more[1]), "replicate" if edge else "constant")
    if block > 1:
        x = F.avg_pool2d(x, block)
    steps = torch.arange(size, dtype=torch.float64)
    x_out, y_out = steps.repeat(size), steps.repeat_interleave(size)
    places = torch.stack([x_out, y_out, torch.ones_like(x_out)], 1) @ torch.from_numpy(back.T)
    places = (places - torch.from_numpy(low) - (block - 1) / 2) / block
    grid = places * 2 / torch.tensor([x.shape[3] - 1, x.shape[2] - 1]) - 1
    grid = grid.reshape(1, size, size, 2).to(x.device, torch.float32)
    padding = "border" if edge else "zeros"
    warped = F.grid_sample(x, grid, "bilinear", padding, align_corners=True)[0]
    return warped.round_().clamp_(0, 255).to(torch.uint8)


def _check_size(size: int) -> None:
    if size < 1:
        raise ConfigError(f"a crop's size is at least 1 pixel; got {size}")


def _tracked(tracking: TrackSettings) -> str:
    """List the settings that differ from those of other crops of faces."""
    changes = [
        f".{SHORT_NAMES[f.name]}{getattr(tracking, f.name):g}"
        for f in fields(tracking)
        if getattr(tracking, f.name) != getattr(ANY_FACE, f.name)
    ]
    return "".join(changes)
