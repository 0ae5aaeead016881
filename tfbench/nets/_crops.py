"""What networks share that read crops of faces of one size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tfbench.core.errors import InputError
from tfbench.nets.frozen import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["draw_weights", "in_pieces", "luma"]

GRAY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma, ITU-R BT.601."""

PIECE = 32
"""Crops that go through a network at once; bounds memory."""


def luma(frames: Tensor) -> Tensor:
    """Turn RGB (t, 3, h, w) of any type into float32 (t, h, w) in the same range."""
    weights = torch.tensor(GRAY, device=frames.device)
    return torch.einsum("tchw,c->thw", frames.float(), weights)


def in_pieces(
    network: Callable[[Tensor], Tensor], frames: Tensor, size: int, dimensions: int
) -> Tensor:
    """Compute features of crops, some at a time and in full float32.

    Args:
        network: float32 (t, 3, size, size), 0 to 255, -> (t, dimensions).
        frames: uint8 (t, 3, size, size) RGB.
        size: Side of the crops in pixels.
        dimensions: Length of a feature.

    Returns:
        float32 (t, dimensions).

    Raises:
        InputError: The frames are of another type or shape.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != (3, size, size):
        raise InputError(
            f"this network reads uint8 crops (t, 3, {size}, {size}); "
            f"got {frames.dtype} {tuple(frames.shape)}"
        )
    if len(frames) == 0:
        return torch.zeros(0, dimensions, device=frames.device)
    with full_precision():
        return torch.cat([network(piece.float()) for piece in frames.split(PIECE)])


def draw_weights(net: nn.Module, seed: int, gain: float = 2.0) -> None:
    """Fill a network for tests with weights that are the same with every version of torch.

    Args:
        net: Is changed in place.
        seed: Of every draw; layers draw in the order in which they are registered.
        gain: Variance of a layer's output over that of its input, before normalisation.
    """
    draw = np.random.RandomState(seed)
    for layer in net.modules():
        normalises = isinstance(layer, nn.modules.batchnorm._BatchNorm)
        own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for name, value in own:
            shape = tuple(value.shape)
            if value.ndim > 1:
                filled = draw.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
            elif isinstance(layer, nn.PReLU):
                filled = draw.uniform(0.1, 0.4, shape)
            elif normalises and name in {"weight", "running_var"}:
                filled = draw.uniform(0.8, 1.2, shape)
            elif value.ndim == 1:
                filled = draw.uniform(-0.1, 0.1, shape)
            else:
                continue
            value.data.copy_(torch.from_numpy(filled))
