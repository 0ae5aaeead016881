"""AV-HuBERT's front ends: a ResNet-18 with a stem over time for mouths, a projection for sound.

Names of parameters are those of facebookresearch/av_hubert (`avhubert/resnet.py` and `SubModel`
of `avhubert/hubert.py`), so that its files load.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AudioFront", "VideoFront", "scale_gradient"]

PIECE = 50
"""Frames that go through the ResNet at once where nothing is learned; bounds memory."""

REACH = 2
"""Frames on either side that the stem sees."""


class AudioFront(nn.Module):
    """Projects each frame's log filter banks."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(n_in, n_out)

    def forward(self, sound: Tensor) -> Tensor:
        """Compute (B, T, n_out) from (B, T, n_in)."""
        projected: Tensor = self.proj(sound)
        return projected


class VideoFront(nn.Module):
    """Describes the mouth in each frame and projects the description."""

    def __init__(self, widths: Sequence[int], n_out: int, *, prelu: bool = True) -> None:
        super().__init__()
        self.resnet = _ResNet(widths, prelu=prelu)
        self.proj = nn.Linear(widths[-1], n_out)

    def forward(self, mouths: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute (B, T, n_out) from (B, T, h, w); of frames where `padding` is True, anything."""
        if padding is None or not self.training or not bool(padding.any()):
            projected: Tensor = self.proj(self.resnet(mouths))
            return projected
        # Utterances stand in one row with as many black frames between as the stem reaches over:
        # for each the same as black filling, of which nothing is computed and nothing enters the
        # statistics of the batch.
        lengths = (~padding).sum(1).tolist()
        pairs = zip(mouths, lengths, strict=True)
        row = torch.cat([F.pad(one[:n], (0, 0, 0, 0, 0, REACH)) for one, n in pairs])
        seen = self.proj(self.resnet(row[None])[0]).split([n + REACH for n in lengths])
        n_max = mouths.shape[1]
        filled = [F.pad(one, (0, 0, 0, max(n_max - len(one), 0)))[:n_max] for one in seen]
        return torch.stack(filled)


class _ResNet(nn.Module):
    """A convolution over time and space, then four stages of two blocks over space."""

    def __init__(self, widths: Sequence[int], *, prelu: bool) -> None:
        super().__init__()
        # All frames of a batch stand in one row after the convolution, so that what follows is of
        # two dimensions where the reference has three; parameters and statistics are the same.
        self.frontend3D = nn.Sequential(
            _Stem(widths[0]),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]) if prelu else nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.trunk = _Trunk(widths, prelu=prelu)

    def forward(self, mouths: Tensor) -> Tensor:
        """Compute (B, T, widths[-1]) from (B, T, h, w)."""
        n = mouths.shape[1]
        padded = F.pad(mouths, (0, 0, 0, 0, REACH, REACH))
        # Statistics of a batch are of all its frames, so that training cannot go in pieces.
        step = n if self.training or torch.is_grad_enabled() else PIECE
        pieces = [
            self.trunk(self._stem(padded[:, start : min(start + step, n) + 2 * REACH]))
            for start in range(0, n, step)
        ]
        return torch.cat([piece.unflatten(0, (len(mouths), -1)) for piece in pieces], 1)

    def _stem(self, padded: Tensor) -> Tensor:
        stem: Any
        stem, norm, active, pool = self.frontend3D
        maps: Tensor = pool(active(_normalised(stem(padded), stem.weight[:, 0], norm, 2, 3)))
        return maps


class _Stem(nn.Module):
    """A convolution over 5 frames of 7 x 7 pixels, with its stride in space.

    Frames have one channel, so that five of them may be the channels of one picture. This and the
    order of the numbers in memory, channels last, make the whole front end faster.
    """

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, 1, 2 * REACH + 1, 7, 7))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, padded: Tensor) -> Tensor:
        """Lay out what the convolution reads: (B T, 5, h, w) from (B, T + 4, h, w)."""
        frames = padded.unfold(1, 2 * REACH + 1, 1).flatten(0, 1).permute(0, 3, 1, 2)
        # Where something is learned this order is not taken: on the CPU, torch 2.15's gradient of a
        # 1 x 1 convolution with a stride writes beyond its memory for few channels.
        order = torch.contiguous_format if torch.is_grad_enabled() else torch.channels_last
        return frames.contiguous(memory_format=order)


class _Trunk(nn.Module):
    def __init__(self, widths: Sequence[int], *, prelu: bool) -> None:
        super().__init__()
        for number, (n_in, n_out) in enumerate(pairwise(widths), 1):
            stage = nn.Sequential(
                _Block(n_in, n_out, 1 if number == 1 else 2, prelu=prelu),
                _Block(n_out, n_out, 1, prelu=prelu),
            )
            self.add_module(f"layer{number}", stage)

    def forward(self, maps: Tensor) -> Tensor:
        for stage in self.children():
            maps = stage(maps)
        return maps.mean((2, 3))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int, *, prelu: bool) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu1 = nn.PReLU(n_out) if prelu else nn.ReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu2 = nn.PReLU(n_out) if prelu else nn.ReLU()
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False),
                nn.BatchNorm2d(n_out),
            )
            if stride > 1 or n_in != n_out
            else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        kept = maps
        if self.downsample is not None:
            conv: Any
            conv, norm = self.downsample
            kept = _normalised(maps, conv.weight, norm, self.stride, 0)
        maps = self.relu1(_normalised(maps, self.conv1.weight, self.bn1, self.stride, 1))
        added: Tensor = self.relu2(_normalised(maps, self.conv2.weight, self.bn2, 1, 1) + kept)
        return added


def _normalised(maps: Tensor, weight: Tensor, norm: Any, stride: int, padding: int) -> Tensor:
    """Convolve, then normalise; in one pass over the maps where nothing is learned."""
    if norm.training or torch.is_grad_enabled():
        normed: Tensor = norm(F.conv2d(maps, weight, None, stride, padding))
        return normed
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    return F.conv2d(maps, weight * scale[:, None, None, None], shift, stride, padding)


def scale_gradient(values: Tensor, factor: float) -> Tensor:
    """Return the values with their gradient multiplied; a factor of 0 stops it."""
    if factor == 1:
        return values
    stopped = values.detach()
    # The difference is exactly zero, so that the values keep every bit.
    return stopped + factor * (values - stopped) if factor else stopped
