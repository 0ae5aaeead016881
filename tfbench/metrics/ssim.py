"""Structural similarity between a generated frame and the true frame at the same time.

Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004:
local means, variances and the covariance in a Gaussian window of 11x11 pixels (sigma 1.5), the
window nowhere over the border, K1 = 0.01, K2 = 0.03, range 255; the mean over pixels and over
the three RGB channels, then over frames, then over clips. At most 1, for identical frames; higher
is better. It is `skimage.metrics.structural_similarity` with `gaussian_weights=True, sigma=1.5,
use_sample_covariance=False, data_range=255`; the package's defaults differ (7x7, flat weights).

Sum and difference of the two frames take the place of the frames: all that the formula needs are
the means and mean squares of both, four blurred maps instead of five.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import InputError
from tfbench.core.types import Column
from tfbench.metrics._frames import FrameComparison
from tfbench.nets.frozen import full_precision

__all__ = ["SSIM", "ssim"]

WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
ROWS = 64
"""Of a frame that are compared at once on a CPU: their maps stay in its cache."""


def ssim(pred: Tensor, ref: Tensor) -> Tensor:
    """Structural similarity of each frame.

    Args:
        pred: uint8 (T, 3, H, W), at least 11 pixels high and wide.
        ref: uint8, same shape.

    Returns:
        float64 (T,), -1 to 1.

    Raises:
        InputError: The shapes differ, the frames are not uint8 or smaller than the window.
    """
    shape = tuple(pred.shape)
    whole = len(shape) == 4 and shape[1] == 3 and shape[0] > 0
    if not whole or pred.shape != ref.shape or {pred.dtype, ref.dtype} != {torch.uint8}:
        raise InputError(
            f"SSIM compares uint8 frames (T, 3, H, W) of one shape; got {pred.dtype} {shape} "
            f"and {ref.dtype} {tuple(ref.shape)}"
        )
    if min(shape[2:]) < WINDOW:
        raise InputError(
            f"SSIM has a window of {WINDOW}x{WINDOW} pixels; the frames have {shape[3]}x{shape[2]}"
        )
    with full_precision():
        return torch.stack([_frame(*frames) for frames in zip(pred, ref, strict=True)])


def _frame(pred: Tensor, ref: Tensor) -> Tensor:
    """SSIM of one frame, float64 ()."""
    height = pred.shape[1] - WINDOW + 1
    step = ROWS if pred.device.type == "cpu" else height
    sums = [
        _map(*(frame[:, top : top + step + WINDOW - 1].float() for frame in (pred, ref))).sum(
            dtype=torch.float64
        )
        for top in range(0, height, step)
    ]
    return torch.stack(sums).sum() / (3 * height * (pred.shape[2] - WINDOW + 1))


def _map(pred: Tensor, ref: Tensor) -> Tensor:
    """SSIM at every pixel: float32 (3, h, w) of 0 to 255 -> (3, h - 10, w - 10)."""
    # Around zero, squares keep more digits; variances do not mind the shift.
    total, difference = pred + ref - 255, pred - ref
    maps = torch.cat([total, difference, total.square(), difference.square()])
    mean_t, mean_d, square_t, square_d = _blurred(maps).unflatten(0, (4, 3))
    var_t, mean_d2 = square_t - mean_t.square(), mean_d.square()
    var_d, mean_t2 = square_d - mean_d2, (mean_t + 255).square()
    # With t = x + y and d = x - y: 4 E[x] E[y] = E[t]² - E[d]², 4 cov(x, y) = var(t) - var(d), and
    # the sums of squares and of variances are half of the sums of those of t and d.
    alike = (mean_t2 - mean_d2 + 2 * C1) * (var_t - var_d + 2 * C2)
    return alike / ((mean_t2 + mean_d2 + 2 * C1) * (var_t + var_d + 2 * C2))


def _blurred(maps: Tensor) -> Tensor:
    """Weigh with the Gaussian window where it fits: (c, h, w) -> (c, h - 10, w - 10)."""
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=maps.device) - WINDOW // 2
    taps = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    n = maps.shape[0]
    taps = (taps / taps.sum()).to(maps.dtype).expand(n, 1, WINDOW)
    down = F.conv2d(maps[None], taps[..., None], groups=n)
    return F.conv2d(down, taps[:, :, None], groups=n)[0]


class SSIM(FrameComparison):
    """Structural similarity.

    Definitions: `frame`, over the whole frame; `face`, over the true face's box on both sides.

    Example:
        >>> metric = SSIM()
        >>> frames = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        >>> metric.update(frames, frames)
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    name = "ssim"
    higher_is_better = True
    columns = (Column("SSIM", higher_is_better=True),)

    def compare(self, pred: Tensor, ref: Tensor) -> Tensor:
        """See `ssim`."""
        return ssim(pred, ref)
