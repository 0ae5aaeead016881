"""Shot cuts in a stream of frames.

The rule is the content detector of PySceneDetect 0.5.1, the version that SyncNet's
`run_pipeline.py` pins (`scenedetect/detectors/content_detector.py`): a frame starts a new shot
where the mean absolute difference to the frame before it, over all pixels and over the three
channels of OpenCV's 8-bit HSV, is at least the threshold. Larger frames are subsampled by the
same factors (`scenedetect/video_manager.py`). Later versions of PySceneDetect reduce frames by
interpolation and merge close cuts, so their cuts may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tfbench.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["ContentChange", "cuts", "hsv"]

SUBSAMPLING = ((3200, 12), (2100, 8), (1700, 6), (1200, 5), (900, 4), (600, 3), (400, 2))
"""(least frame width, step): every step-th row and column of wide frames is compared."""

SHIFT = 12
"""Fraction bits of the fixed-point divisions in OpenCV's 8-bit HSV."""


class ContentChange:
    """Measures how much each frame differs from the one before; one object serves one clip.

    Attributes:
        values: One number a frame, in 8-bit steps; 0 for the first frame.
    """

    def __init__(self) -> None:
        self.values: list[float] = []
        self._last: Tensor | None = None

    def feed(self, frames: Tensor) -> None:
        """Take the next frames.

        Args:
            frames: uint8 (t, 3, H, W) RGB, all chunks of one size.

        Raises:
            InputError: The frames have another shape or dtype, or another size than before.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
            raise InputError(
                "cuts are looked for in uint8 (t, 3, H, W) RGB frames; "
                f"got {frames.dtype} {tuple(frames.shape)}"
            )
        width = frames.shape[3]
        step = next((step for least, step in SUBSAMPLING if width >= least), 1)
        # One frame at a time is faster than a chunk: everything stays in the processor's cache.
        for frame in frames[:, :, ::step, ::step]:
            pixels = hsv(frame)
            before = pixels if self._last is None else self._last
            if before.shape != pixels.shape:
                raise InputError("all frames of a clip have one size; this chunk has another")
            total = (pixels - before).abs().sum()
            self.values.append(float(total) / (3 * pixels.shape[1] * pixels.shape[2]))
            self._last = pixels


def cuts(changes: Sequence[float], threshold: float = 30.0, min_frames: int = 15) -> list[int]:
    """Tell where shots begin.

    Args:
        changes: `ContentChange.values`.
        threshold: Least change that is a cut, in 8-bit steps.
        min_frames: A cut closer than this to the cut before it is ignored; the first cut may be
            anywhere, as in the reference.

    Returns:
        Index of the first frame of every shot but the first.
    """
    if threshold <= 0 or min_frames < 0:
        raise ConfigError(
            "the threshold of a cut is above 0 and the shortest shot not negative; "
            f"got {threshold} and {min_frames}"
        )
    found: list[int] = []
    for index, change in enumerate(changes):
        if change >= threshold and (not found or index - found[-1] >= min_frames):
            found.append(index)
    return found


def hsv(frames: Tensor) -> Tensor:
    """Convert to OpenCV's 8-bit HSV, bit for bit.

    The definition is that of `cv2.cvtColor` with `COLOR_RGB2HSV` (OpenCV,
    `modules/imgproc/src/color_hsv`): fixed-point divisions by tables with 12 fraction bits.

    Args:
        frames: uint8 (..., 3, H, W) RGB.

    Returns:
        int32 (..., 3, H, W): hue 0 to 179, saturation 0 to 255, value 0 to 255.
    """
    red, green, blue = frames.contiguous().to(torch.int32).unbind(dim=-3)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = _divided(spread, 255.0, value)
    sector = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = _divided(sector, 30.0, spread)
    return torch.stack([torch.where(hue < 0, hue + 180, hue), saturation, value], dim=-3)


def _divided(numerator: Tensor, scale: float, denominator: Tensor) -> Tensor:
    """Return scale * numerator / denominator with OpenCV's rounding; 0 where it divides by 0."""
    steps = torch.arange(256, dtype=torch.float64, device=numerator.device)
    table = (scale * 2**SHIFT / steps.clamp(min=1)).round().to(torch.int32)
    table[0] = 0
    return torch.bitwise_right_shift(
        numerator * table.take(denominator.long()) + (1 << (SHIFT - 1)), SHIFT
    )
