"""How much each pixel of each face counts in training; none of it is in the papers.

A small network that is trained for minutes learns first what moves the loss most, and that are
neither mouths nor dark faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["dimmed", "draw_gains", "evened", "mouth_weights", "unlike"]

GAINS = (0.35, 1.15)
"""Least and largest factor of faces that are made darker or lighter."""
SPOT = 7
"""Side of the squares in which structure is compared, pixels."""
C1, C2 = 0.01**2, 0.03**2
DARKEST = 0.05
"""Around a mouth; what is darker counts no more."""


def mouth_weights(side: int, height: float, extra: float) -> Tensor:
    """Make the weight of each pixel of a face, float32 (side, side): 1, and more at the mouth.

    The mouth takes about one pixel in twenty. Where faces move most was found on the crops of
    `puppets`.

    Args:
        side: Of the face, pixels.
        height: Of the mouth's middle below the upper edge, as a share of the side.
        extra: Added in the middle of the mouth; falls off as a bell 0.16 wide and 0.09 high.
    """
    at = (torch.arange(side) + 0.5) / side
    across = ((at - 0.5) / 0.16).square()
    down = ((at - height) / 0.09).square()
    return 1 + extra * torch.exp(-down[:, None] - across[None])


def evened(real: Tensor, height: float) -> Tensor:
    """Make the weight of each face, which is the larger the darker the face is around its mouth.

    Absolute differences of dark faces are small.

    Args:
        real: float (..., 3, S, S), 0 to 1.
        height: As of `mouth_weights`.

    Returns:
        (...), of mean 1.
    """
    around = mouth_weights(real.shape[-1], height, 1.0).to(real.device) - 1
    bright = (real * (around / around.mean())).mean((-3, -2, -1)).clamp(min=DARKEST)
    weights = bright.reciprocal()
    return weights / weights.mean()


def unlike(drawn: Tensor, real: Tensor) -> Tensor:
    """Compute how far the structural similarity of small squares is from 1.

    Wang et al. 2004, with flat squares. The absolute difference is least where an edge that may
    lie here or there is drawn nowhere; here a square without its contrast is as wrong as can be,
    whether the contrast is that of light or of dark lips (Zhao et al., "Loss functions for image
    restoration with neural networks", 2017).

    Args:
        drawn: float (..., 3, S, S), 0 to 1.
        real: Of the same shape.

    Returns:
        float32 (..., 3, S, S), 0 to 2; at the border over what there is of a square.
    """
    with torch.autocast(drawn.device.type, enabled=False):
        x, y = (faces.float().flatten(0, -4) for faces in (drawn, real))
        means = _around(torch.cat([x, y, x * x, y * y, x * y], 1))
        a, b, aa, bb, ab = means.chunk(5, 1)
        light = (2 * a * b + C1) / (a * a + b * b + C1)
        contrast = (2 * (ab - a * b) + C2) / ((aa - a * a).relu() + (bb - b * b).relu() + C2)
        return (1 - light * contrast).view(drawn.shape)


def _around(x: Tensor) -> Tensor:
    """Means of (n, c, S, S) over squares; a convolution is many times faster than pooling."""
    flat = x.new_ones(x.shape[1], 1, SPOT, SPOT)
    sums = F.conv2d(x, flat, padding=SPOT // 2, groups=x.shape[1])
    return sums / F.conv2d(torch.ones_like(x[:1, :1]), flat[:1], padding=SPOT // 2)


def draw_gains(rng: np.random.Generator, n: int) -> Tensor:
    """Draw what faces are multiplied with, float32 (n,), so that there are dark ones of each."""
    low, high = np.log(GAINS)
    return torch.from_numpy(np.exp(rng.uniform(low, high, n)).astype(np.float32))


def dimmed(faces: Tensor, gains: Tensor) -> Tensor:
    """Multiply faces, uint8 (n, ...), with a factor each, float32 (n,) or (); returns uint8."""
    factor = gains.view(-1, *[1] * (faces.ndim - 1))
    return (factor * faces).round().clamp(max=255).byte()
