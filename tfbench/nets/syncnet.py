"""SyncNet: embeddings of mouth movement and speech that lie close where the two are in sync.

Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops.
Layers and state-dict names are those of joonson/syncnet_python (SyncNetModel.py), so the
official `syncnet_v2.model` loads as it is: 13,631,616 parameters, 5,664,704 of them for audio.

`forward_lip` and `forward_audio` take windows, as the reference does, and can be trained.
`embed_lips` and `embed_audio` take a whole sequence and give the same embeddings faster.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tfbench.core.errors import AssetError, InputError, UnknownName
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIANTS", "SyncNet", "load", "load_state", "seeded"]

VARIANTS: dict[str, str] = {"v2": "syncnet-v2"}
"""Variant -> asset."""

EMBEDDING = 1024
WINDOW = 5
"""Frames of one lip window."""
SIZE = 224
"""Height and width of a frame, in pixels."""
COLUMNS = 20
"""MFCC columns of one audio window: 0.2 s, the time of five frames."""
COLUMNS_PER_FRAME = 4
COEFFICIENTS = 13


class SyncNet(nn.Module):
    """Two towers that map 0.2 s of lips and of speech to unnormalised 1024-d embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, 3, padding=1),
            nn.Identity(),
            *_conv2d(64, 192, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(192, 384, 3, padding=1),
            *_conv2d(384, 256, 3, padding=1),
            *_conv2d(256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, 512, (5, 4)),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (WINDOW, 7, 7), stride=2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 0, 0)),
            *_conv3d(96, 256, (1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 0, 0)),
            *_conv3d(256, 512, (1, 6, 6)),
        )

    def forward_audio(self, mfcc: Tensor) -> Tensor:
        """Embed audio windows.

        Args:
            mfcc: float32 (N, 1, 13, 20), see `tfbench.media.spectral.mfcc`; not normalised.

        Returns:
            float32 (N, 1024).
        """
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def forward_lip(self, windows: Tensor) -> Tensor:
        """Embed lip windows.

        Args:
            windows: float32 (N, 3, 5, 224, 224), BGR, 0 to 255.

        Returns:
            float32 (N, 1024).
        """
        return self.netfclip(self.netcnnlip(windows).flatten(1))

    @torch.no_grad()
    def embed_lips(self, frames: Tensor) -> Tensor:
        """Embed every window of five consecutive frames, whatever the module's mode in eval form.

        Args:
            frames: (T, 3, 224, 224), RGB, 0 to 255, uint8 or float32.

        Returns:
            float32 (max(T - 4, 0), 1024); row i belongs to frames i to i + 4.

        Raises:
            InputError: The frames have another shape.
        """
        if frames.ndim != 4 or tuple(frames.shape[1:]) != (3, SIZE, SIZE):
            raise InputError(
                f"SyncNet reads frames (T, 3, {SIZE}, {SIZE}); got {tuple(frames.shape)}"
            )
        n = frames.shape[0] - WINDOW + 1
        device = self.netfclip[0].weight.device
        if n <= 0:
            return torch.zeros(0, EMBEDDING, device=device)
        with full_precision():
            features = _LipStream(self.netcnnlip)(frames.to(device))
            return _run_head(self.netfclip, features)

    @torch.no_grad()
    def embed_audio(self, mfcc: Tensor) -> Tensor:
        """Embed the audio window of every frame, whatever the module's mode in eval form.

        Args:
            mfcc: float32 (C, 13), one row every 10 ms; not normalised.

        Returns:
            float32 (n, 1024), n = (C - 20) // 4 + 1 or 0; row i belongs to columns 4i to 4i + 19.

        Raises:
            InputError: The coefficients have another shape.
        """
        if mfcc.ndim != 2 or mfcc.shape[1] != COEFFICIENTS:
            raise InputError(f"SyncNet reads MFCC (C, {COEFFICIENTS}); got {tuple(mfcc.shape)}")
        weight = self.netfcaud[0].weight
        if mfcc.shape[0] < COLUMNS:
            return torch.zeros(0, EMBEDDING, device=weight.device)
        mfcc = mfcc.to(weight.device, weight.dtype)
        windows = mfcc.unfold(0, COLUMNS, COLUMNS_PER_FRAME)[:, None]
        with full_precision():
            features = [_run_audio(self.netcnnaud, part) for part in windows.split(64)]
            return _run_head(self.netfcaud, torch.cat(features))


def _conv2d(
    channels: int, out: int, kernel: int | tuple[int, int], padding: int = 0
) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels, out, kernel, padding=padding)
    return conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)


def _conv3d(
    channels: int, out: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    conv = nn.Conv3d(channels, out, kernel, (1, stride, stride), (0, padding, padding))
    return conv, nn.BatchNorm3d(out), nn.ReLU(inplace=True)


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING)
    )


def _fold(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Merge a batch norm in eval form into the layer before it: weight, bias."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight * scale.view(-1, *[1] * (conv.weight.ndim - 1))
    return weight, (conv.bias - norm.running_mean) * scale + norm.bias


def _run_head(head: nn.Sequential, features: Tensor) -> Tensor:
    return head[3](F.relu(F.linear(features, *_fold(head[0], head[1]))))


def _run_audio(tower: nn.Sequential, windows: Tensor) -> Tensor:
    """(n, 1, 13, 20) -> (n, 512)."""
    x = windows.contiguous(memory_format=torch.channels_last)
    for index, layer in enumerate(tower):
        if isinstance(layer, nn.Conv2d):
            weight, bias = _fold(layer, tower[index + 1])
            x = F.relu_(F.conv2d(x, weight, bias, layer.stride, layer.padding))
        elif isinstance(layer, nn.MaxPool2d):
            x = layer(x)
    return x.flatten(1)


def _fast_correlation(outputs: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of the Toom-Cook (Winograd) algorithm for a 1-D correlation.

    y_j = sum over t of w_t x_(j+t) is `merge @ ((kernel @ w) * (split @ x))` with
    outputs + taps - 1 products in place of outputs * taps: evaluate polynomials at as many
    points, infinity included, and transpose the interpolation.

    Returns:
        split (p, p), kernel (p, taps), merge (outputs, p), float64, p = outputs + taps - 1.
    """
    products = outputs + taps - 1
    points = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0])[: products - 1]

    def evaluate(terms: int) -> np.ndarray:
        infinity = np.eye(terms)[-1:]
        return np.concatenate([points[:, None] ** np.arange(terms), infinity])

    split = np.linalg.inv(evaluate(products)).T
    kernel = evaluate(taps)
    # Moves each point's size from the frames' side to the kernel's, which costs no accuracy.
    size = np.abs(split).max(1, keepdims=True)
    matrices = split / size, kernel * size, evaluate(outputs).T
    return tuple(torch.from_numpy(np.ascontiguousarray(m)) for m in matrices)  # type: ignore[return-value]


class _LipStream:
    """The lip tower over consecutive windows, in eval form.

    All layers but the first look at one time step, so they are 2-D convolutions. The first one
    slides five taps along time: four windows share eight frames and, by `_fast_correlation`,
    eight 2-D convolutions of three channels take the place of four of fifteen.

    Args:
        tower: `SyncNet.netcnnlip`; its parameters are read when this object is made.
    """

    STEP = 4
    """Windows that share one transform of eight frames."""

    def __init__(self, tower: nn.Sequential) -> None:
        weight, bias = _fold(tower[0], tower[1])
        split, kernel, merge = _fast_correlation(self.STEP, WINDOW)
        self.split, self.merge = split.to(weight), merge.to(weight)
        # The network knows BGR: the kernels are turned once, so that frames need not be.
        kernels = torch.einsum("pt,octhw->pochw", kernel.to(weight), weight.flip(1))
        self.kernels = [k.contiguous(memory_format=torch.channels_last) for k in kernels]
        self.bias = bias[:, None, None]
        self.layers = tower[3:-3]
        self.folded = [
            _fold(layer, norm)
            for layer, norm in zip(tower[3:], tower[4:], strict=False)
            if isinstance(layer, nn.Conv3d)
        ]

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, 224, 224) -> (T - 4, 512)."""
        n = frames.shape[0] - WINDOW + 1
        # One step at a time stays near a CPU's cache; a GPU wants more work at once.
        stride = self.STEP * (1 if frames.device.type == "cpu" else 16)
        maps = [self._maps(frames[i : i + stride + WINDOW - 1]) for i in range(0, n, stride)]
        weight, bias = self.folded[-1]
        return F.relu_(F.linear(torch.cat(maps)[:n], weight.flatten(1), bias))

    def _maps(self, frames: Tensor) -> Tensor:
        """Everything before the last convolution, which is left to one product for all."""
        x = self._first(frames)
        folded = iter(self.folded)
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool3d):
                x = F.max_pool2d(x, layer.kernel_size[1:], layer.stride[1:], layer.padding[1:])
            elif isinstance(layer, nn.Conv3d):
                weight, bias = next(folded)
                x = F.conv2d(x, weight[:, :, 0], bias, layer.stride[1:], layer.padding[1:])
                x = F.relu_(x)
        return x.flatten(1)

    def _first(self, frames: Tensor) -> Tensor:
        """First convolution and ReLU, (t, 3, 224, 224) -> (t - 4 rounded up to 4, 96, 109, 109)."""
        missing = (WINDOW - 1 - frames.shape[0]) % self.STEP
        frames = torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)])
        pixels = frames.permute(0, 2, 3, 1).to(self.split.dtype).contiguous()
        steps = pixels.flatten(1).unfold(0, self.split.shape[0], self.STEP)
        points = torch.einsum("pk,sxk->psx", self.split, steps)
        points = points.unflatten(2, pixels.shape[1:]).movedim(-1, 2)
        products = [F.conv2d(x, k, stride=2) for x, k in zip(points, self.kernels, strict=True)]
        sizes = products[0].shape[1:]
        products = torch.stack([x.movedim(1, -1).flatten(1) for x in products])
        x = torch.einsum("wp,psx->swx", self.merge, products)
        x = x.view(-1, *sizes[1:], sizes[0]).movedim(-1, 1)
        return F.relu_(x.add_(self.bias))
