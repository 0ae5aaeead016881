"""How much each pixel of each face counts in training; none of it is in the papers.

A small network that is trained for minutes learns first what moves the loss most, and that are
neither mouths nor dark faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["dimmed", "draw_gains", "evened", "mouth_weights"]

GAINS = (0.35, 1.15)
"""Least and largest factor of faces that are made darker or lighter."""
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


def draw_gains(rng: np.random.Generator, n: int) -> Tensor:
    """Draw what faces are multiplied with, float32 (n,), so that there are dark ones of each."""
    low, high = np.log(GAINS)
    return torch.from_numpy(np.exp(rng.uniform(low, high, n)).astype(np.float32))


def dimmed(faces: Tensor, gains: Tensor) -> Tensor:
    """Multiply faces, uint8 (n, ...), with a factor each, float32 (n,) or (); returns uint8."""
    factor = gains.view(-1, *[1] * (faces.ndim - 1))
    return (factor * faces).round().clamp(max=255).byte()
