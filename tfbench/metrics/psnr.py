"""Peak signal-to-noise ratio between a generated frame and the true frame at the same time.

Per frame 10 log10(255² / MSE) in decibels over all pixels and channels, in float64; the mean
over frames, then over clips. Higher is better. Identical frames have none, and are left out of a
clip's mean: a single one, such as a blank frame at a recording's beginning, would make that and
the data set's mean infinite. A clip of identical frames alone has infinity. Frames are checked
against `skimage.metrics.peak_signal_noise_ratio`. TalkLip's published evaluation subtracts in
uint8, which wraps around and can raise or lower its numbers; this one does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfbench.core.errors import InputError
from tfbench.core.types import Column
from tfbench.metrics._frames import FrameComparison

__all__ = ["PSNR", "psnr"]


def psnr(pred: Tensor, ref: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame.

    Args:
        pred: uint8 (T, 3, H, W).
        ref: uint8, same shape.

    Returns:
        float64 (T,), decibels; inf where the frames are identical.

    Raises:
        InputError: The shapes differ or the frames are not uint8.
    """
    if pred.shape != ref.shape or pred.dtype != torch.uint8 or ref.dtype != torch.uint8:
        raise InputError(
            f"PSNR compares uint8 frames of one shape; got {pred.dtype} {tuple(pred.shape)} "
            f"and {ref.dtype} {tuple(ref.shape)}"
        )
    mse = torch.stack([_mse(*frames) for frames in zip(pred, ref, strict=True)])
    return 10.0 * torch.log10(255.0**2 / mse)


def _mse(pred: Tensor, ref: Tensor) -> Tensor:
    """Mean squared error of one frame; a frame at a time keeps the memory of 1080p small."""
    difference = pred.to(torch.int32) - ref.to(torch.int32)
    return difference.square_().sum(dtype=torch.int64).to(torch.float64) / pred.numel()


class PSNR(FrameComparison):
    """PSNR in decibels.

    Definitions: `frame`, over the whole frame; `face`, over the true face's box on both sides.

    Example:
        >>> metric = PSNR()
        >>> frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> metric.update(frames, frames + 255)
        >>> metric.compute()
        tensor(0., dtype=torch.float64)
    """

    name = "psnr"
    version = 2
    higher_is_better = True
    columns = (Column("PSNR", "dB", higher_is_better=True),)

    def compare(self, pred: Tensor, ref: Tensor) -> Tensor:
        """See `psnr`."""
        return psnr(pred, ref)

    def over_frames(self, values: Tensor) -> Tensor:
        """Leave identical frames out where others differ."""
        finite = values[values.isfinite()]
        return (finite if len(finite) else values).mean()
