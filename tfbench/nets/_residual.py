"""A small residual network over a face, on which the networks for identity and emotion stand.

Its units and its end are those of ArcFace's residual networks (Deng et al. 2019, section 3.1, and
deepinsight/insightface, `recognition/arcface_torch/backbones/iresnet.py`): normalisation before
the first convolution, PReLU between the two, no activation after the sum; the last maps are not
pooled but flattened into one linear layer. Unlike there, the first convolution of the network and
the first convolution of each stage have the stride, which takes a quarter of the work, and there
are 7 units of at most 160 channels instead of 24 and more of up to 512.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tfbench.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SIZE", "FaceFeatures"]

SIZE = 64
"""Side of the pictures, in pixels."""


class FaceFeatures(nn.Module):
    """Features of one face.

    Args:
        dimensions: Length of a feature.
        widths: Channels of each stage; the first has half the picture's side, each further one
            half of the side before.
        depths: Units in each stage.
        dropout: Share of the last maps' values that training leaves out.

    Raises:
        ConfigError: The stages are not described by as many depths as widths, or are too many.
    """

    def __init__(
        self, dimensions: int, widths: Sequence[int], depths: Sequence[int], dropout: float = 0.2
    ) -> None:
        super().__init__()
        if len(widths) != len(depths) or not 1 <= len(widths) <= 6:
            raise ConfigError(
                f"1 to 6 stages need a width and a depth each; got {widths} and {depths}"
            )
        units = []
        strides = [1, *(2 for _ in widths[1:])]
        inputs = [n_in for n_in, _ in pairwise([widths[0], *widths])]
        for n_in, width, depth, stride in zip(inputs, widths, depths, strides, strict=True):
            units += [_Unit(n_in, width, stride)]
            units += [_Unit(width, width, 1) for _ in range(depth - 1)]
        self.first = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        )
        self.units = nn.Sequential(*units)
        side = SIZE >> len(widths)
        self.last = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(widths[-1] * side * side, dimensions, bias=False),
            nn.BatchNorm1d(dimensions),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute (t, dimensions), of either sign, from float32 (t, 3, 64, 64) RGB, 0 to 255."""
        features: Tensor = self.last(self.units(self.first(x / 127.5 - 1)))
        return features


class _Unit(nn.Module):
    """Two convolutions of 3 by 3 beside the input, (t, n_in, s, s) -> (t, n_out, s', s')."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.BatchNorm2d(n_in),
            nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.beside: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.beside = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.inner(x) + self.beside(x)
        return changed
