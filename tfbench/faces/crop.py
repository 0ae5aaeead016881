"""Ways to cut a region out of every frame; see `tfbench.core.views.Crop`.

A crop's `regions` smooths a track once; `cut` then serves chunk after chunk. All crops are frozen
dataclasses, so equal crops are one crop, and a name tells every setting that changes pixels: it
is short for the defaults ("syncnet") and lists what differs ("syncnet.min25").
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view

from tfbench.core.errors import ConfigError, InputError
from tfbench.core.types import TrackSettings

if TYPE_CHECKING:
    from torch import Tensor

    from tfbench.core.types import FaceTrack

__all__ = ["ANY_FACE", "FaceBox", "FaceInFrame", "SyncNetCrop", "WholeFrame"]

SMOOTHING = 13
"""Frames in the median filters, as in SyncNet's `run_pipeline.py`."""

SHORT_NAMES = {
    "min_score": "score",
    "min_iou": "iou",
    "max_gap": "gap",
    "min_frames": "min",
    "min_face": "face",
    "shot_threshold": "cut",
    "min_shot": "shot",
    "pad_value": "pad",
}
"""Of settings, in the names of crops; others appear as they are."""

ANY_FACE = TrackSettings(min_frames=25, min_face=0)


@dataclass(frozen=True)
class WholeFrame:
    """The frame as it is, or resized to a square.

    Attributes:
        size: Side in pixels that frames are resized to, without keeping their aspect and without
            antialiasing, as `cv2.resize` does and Wav2Lip's `calculate_scores_LRS.py` expects;
            None leaves them as they are.
    """

    size: int | None = None

    def __post_init__(self) -> None:
        _check_size(self.size)

    @property
    def name(self) -> str:
        """Either "frame" or such as "frame-224"."""
        return _sized("frame", self.size)

    @property
    def tracking(self) -> None:
        """None: no face is looked for."""
        return

    def regions(self, track: FaceTrack) -> Tensor:  # noqa: ARG002
        """Raise InputError: a whole frame has no regions."""
        raise InputError("the crop 'frame' reads whole frames and has no regions; pass None to cut")

    def cut(self, frames: Tensor, regions: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return uint8 (t, 3, H, W) frames as they are, or as (t, 3, size, size)."""
        _check_frames(frames)
        if self.size is None:
            return frames
        return _stacked([_resized(frame, self.size) for frame in frames], self.size, frames)


@dataclass(frozen=True)
class SyncNetCrop:
    """The face as SyncNet's `run_pipeline.py` cuts it (joonson/syncnet_python, `crop_video`).

    Half the longer box side, and the box's centre, pass a median filter over 13 frames that takes
    zeros beyond the ends of the track, so near the ends all three shrink towards the smallest of
    the last values. With half side b and centre (x, y), the region reaches from x - b(1 + scale)
    to x + b(1 + scale) and from y - b to y + b(1 + 2 scale), each truncated to whole pixels. It
    is padded with gray where it leaves the frame and resized bilinearly without antialiasing,
    as `cv2.resize` does, to within one gray level.

    The reference pads each frame only as far as its region can reach while the face's centre is
    in the frame; here padding goes on, so no region shrinks.

    Attributes:
        tracking: How faces are tracked.
        scale: Share of the half side by which the region is wider.
        size: Side of the result in pixels.
        pad_value: Gray level beyond the frame, 0 to 255.
    """

    tracking: TrackSettings = field(default_factory=TrackSettings)
    scale: float = 0.40
    size: int = 224
    pad_value: int = 110

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.scale < 0 or not 0 <= self.pad_value <= 255:
            raise ConfigError(
                "scale is not negative and pad_value lies in 0..255; "
                f"got {self.scale} and {self.pad_value}"
            )
        if self.tracking.min_frames < SMOOTHING // 2:
            raise ConfigError(
                f"the SyncNet crop's median filter needs tracks of more than {SMOOTHING // 2} "
                f"frames; got min_frames {self.tracking.min_frames}"
            )

    @property
    def name(self) -> str:
        """Starts with "syncnet", followed by what differs from the defaults."""
        return _named("syncnet", self, SyncNetCrop())

    def regions(self, track: FaceTrack) -> Tensor:
        """Turn a track into regions.

        Args:
            track: More than 6 frames.

        Returns:
            float32 (n, 4), x1 y1 x2 y2 in whole pixels; may reach out of the frame.

        Raises:
            InputError: The track is too short for the median filter.
        """
        if len(track) <= SMOOTHING // 2:
            raise InputError(
                f"the SyncNet crop needs more than {SMOOTHING // 2} frames of a face; "
                f"this track has {len(track)}"
            )
        boxes = track.boxes.double().numpy()
        half = _median((boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2, "constant")
        x = _median((boxes[:, 0] + boxes[:, 2]) / 2, "constant")
        y = _median((boxes[:, 1] + boxes[:, 3]) / 2, "constant")
        # Truncation happens in the padded frame, where coordinates are positive.
        pad = np.trunc(half * (1 + 2 * self.scale))
        reach = half * (1 + self.scale)
        edges = (
            x + pad - reach,
            y + pad - half,
            x + pad + reach,
            y + pad + half * (1 + 2 * self.scale),
        )
        return torch.from_numpy(np.stack([np.trunc(e) - pad for e in edges], axis=1)).float()

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Cut uint8 (t, 3, H, W) frames to uint8 (t, 3, size, size); see `Crop.cut`."""
        rows = _rows(frames, regions)
        crops = [
            _resized(_padded(frame, row, self.pad_value), self.size)
            for frame, row in zip(frames, rows, strict=True)
        ]
        return _stacked(crops, self.size, frames)


@dataclass(frozen=True)
class FaceBox:
    """The tracked face's box, inside the frame.

    Boxes pass a median filter over 13 frames; beyond the ends of the track the end values are
    repeated.

    With a `size`, each frame's box is clipped to the frame and resized with antialiasing, without
    keeping its aspect, as identity networks are fed. Without one, pixels are left as they are: a
    window of one size, the largest box of the track, follows the face and is moved inside the
    frame where it would leave it. It holds the whole face in every frame with less background
    than a fixed window, and no resampling touches the pixels that PSNR and SSIM compare.

    Attributes:
        tracking: How faces are tracked.
        margin: Added at each edge, as a share of the box's side.
        size: Side of the result in pixels; None keeps the pixels.
    """

    tracking: TrackSettings = ANY_FACE
    margin: float = 0.0
    size: int | None = None

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.margin <= -0.5:
            raise ConfigError(f"a margin is above -0.5, or nothing is left; got {self.margin}")

    @property
    def name(self) -> str:
        """Starts with "face" or such as "face-160", followed by what differs from the defaults."""
        return _named(_sized("face", self.size), self, FaceBox(size=self.size))

    def regions(self, track: FaceTrack) -> Tensor:
        """Turn a track into float32 (n, 4) regions, x1 y1 x2 y2; all of one size without `size`."""
        boxes = track.boxes.double().numpy()
        centre = _median((boxes[:, :2] + boxes[:, 2:]) / 2, "edge")
        sides = _median(boxes[:, 2:] - boxes[:, :2], "edge") * (1 + 2 * self.margin)
        if self.size is None:
            sides = np.ceil(sides.max(axis=0, keepdims=True))
        low = np.round(centre - sides / 2)
        high = low + sides if self.size is None else np.round(centre + sides / 2)
        return torch.from_numpy(np.concatenate([low, high], axis=1)).float()

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Cut uint8 (t, 3, H, W) frames to uint8 (t, 3, h, w); see `Crop.cut`."""
        rows = _rows(frames, regions)
        size = self.size
        if size is None:
            return torch.stack([_window(f, row) for f, row in zip(frames, rows, strict=True)])
        crops = [
            _resized(_clipped(frame, row), size, antialias=True)
            for frame, row in zip(frames, rows, strict=True)
        ]
        return _stacked(crops, size, frames)


@dataclass(frozen=True)
class FaceInFrame:
    """The whole frame, with the place of the face in it.

    For extractors that find landmarks or align faces themselves: with `ViewKey.located` they are
    given the boxes beside the frames, and answer in coordinates of the frame. Boxes pass the same
    median filter as those of `FaceBox`.

    Attributes:
        tracking: How faces are tracked.
    """

    tracking: TrackSettings = ANY_FACE

    @property
    def name(self) -> str:
        """Starts with "located", followed by what differs from the defaults."""
        return _named("located", self, FaceInFrame())

    def regions(self, track: FaceTrack) -> Tensor:
        """Turn a track into float32 (n, 4) boxes, x1 y1 x2 y2, in pixels and not rounded."""
        return torch.from_numpy(_median(track.boxes.double().numpy(), "edge")).float()

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Return uint8 (t, 3, H, W) frames as they are; see `Crop.cut`."""
        _rows(frames, regions)
        return frames


Tracked = SyncNetCrop | FaceBox | FaceInFrame


def _median(values: np.ndarray, beyond: str) -> np.ndarray:
    """Median filter along the first axis; `beyond` is the padding mode of `np.pad`."""
    reach = SMOOTHING // 2
    padding = [(reach, reach)] + [(0, 0)] * (values.ndim - 1)
    padded = np.pad(values, padding, mode=beyond)  # type: ignore[call-overload]
    smooth: np.ndarray = np.median(sliding_window_view(padded, SMOOTHING, axis=0), axis=-1)
    return smooth


def _padded(frame: Tensor, row: list[int], value: int) -> Tensor:
    """Cut (3, y2 - y1, x2 - x1) out of a frame, gray where the region leaves it."""
    x1, y1, x2, y2 = row
    height, width = frame.shape[1:]
    left, top = min(max(x1, 0), width), min(max(y1, 0), height)
    right, bottom = max(min(x2, width), left), max(min(y2, height), top)
    inside = frame[:, top:bottom, left:right]
    if inside.shape[1:] == (y2 - y1, x2 - x1):
        return inside
    whole = frame.new_full((3, y2 - y1, x2 - x1), value)
    if inside.numel():
        whole[:, top - y1 : bottom - y1, left - x1 : right - x1] = inside
    return whole


def _clipped(frame: Tensor, row: list[int]) -> Tensor:
    """Cut the part of a region that lies in the frame, at least one pixel."""
    x1, y1, x2, y2 = row
    height, width = frame.shape[1:]
    left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return frame[:, top : max(min(y2, height), top + 1), left : max(min(x2, width), left + 1)]


def _window(frame: Tensor, row: list[int]) -> Tensor:
    """Cut a region of its full size, moved into the frame; clipped only where it is larger."""
    x1, y1, x2, y2 = row
    height, width = frame.shape[1:]
    h, w = min(y2 - y1, height), min(x2 - x1, width)
    left, top = min(max(x1, 0), width - w), min(max(y1, 0), height - h)
    return frame[:, top : top + h, left : left + w]


def _resized(image: Tensor, size: int, antialias: bool = False) -> Tensor:
    """Resize uint8 (3, h, w) bilinearly to uint8 (3, size, size)."""
    pixels = image[None].to(torch.float32, memory_format=torch.contiguous_format)
    scaled = F.interpolate(pixels, (size, size), mode="bilinear", antialias=antialias)
    return scaled[0].round_().clamp_(0, 255).to(torch.uint8)


def _stacked(crops: list[Tensor], size: int, frames: Tensor) -> Tensor:
    return torch.stack(crops) if crops else frames.new_zeros(0, 3, size, size)


def _rows(frames: Tensor, regions: Tensor | None) -> list[list[int]]:
    """Check regions against frames and return them in whole pixels."""
    _check_frames(frames)
    if regions is None or tuple(regions.shape) != (frames.shape[0], 4):
        found = "None" if regions is None else str(tuple(regions.shape))
        raise InputError(f"{frames.shape[0]} frames need regions (t, 4); got {found}")
    rows: list[list[int]] = regions.round().long().tolist()
    empty = [row for row in rows if row[2] <= row[0] or row[3] <= row[1]]
    if empty:
        raise InputError(f"a region must be at least one pixel wide and high; got {empty[0]}")
    return rows


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
        raise InputError(
            f"crops are cut out of uint8 (t, 3, H, W) frames; "
            f"got {frames.dtype} {tuple(frames.shape)}"
        )


def _check_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise ConfigError(f"a crop's size is at least 1 pixel; got {size}")


def _sized(name: str, size: int | None) -> str:
    return name if size is None else f"{name}-{size}"


def _named(name: str, crop: Tracked, default: Tracked) -> str:
    """Append each setting in which a crop, or its tracking, differs from its default."""
    for one, other in ((crop.tracking, default.tracking), (crop, default)):
        for f in fields(one):
            value = getattr(one, f.name)
            if f.name != "tracking" and value != getattr(other, f.name):
                name += f".{SHORT_NAMES.get(f.name, f.name)}{value:g}"
    return name
