"""SyncNet: one embedding for five frames of lips, one for 0.2 s of sound.

Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops;
structure and names of the parameters after joonson/syncnet_python (`SyncNetModel.py`), so that
its `syncnet_v2.model` loads. 13,631,616 parameters: sound 5,664,704, lips 7,966,912.

`forward_lip` and `forward_audio` take windows, as the reference does. `embed_lips` and
`embed_audio` take a whole sequence and give the same values faster: only the first lip layer
looks across time, so it becomes a 2-D convolution over the 15 channels of five frames, all others
2-D convolutions of single frames, with batch normalisation folded in.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import AssetError, InputError
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIANTS", "SyncNet", "load", "load_state", "seeded"]

VARIANTS = {"v2": "syncnet-v2"}
SIZE = 224
WINDOW = 5
COLUMNS = 20
COLUMNS_PER_FRAME = 4
N_CEPSTRA = 13
CHUNK = 16


class SyncNet(nn.Module):
    """The two towers.

    Args:
        dimensions: Length of the embeddings.
    """

    def __init__(self, dimensions: int = 1024) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.netcnnaud = _audio_tower()
        self.netfcaud = _head(dimensions)
        self.netfclip = _head(dimensions)
        self.netcnnlip = _lip_tower()

    def forward_audio(self, mfcc: Tensor) -> Tensor:
        """Embed windows of sound.

        Args:
            mfcc: float32 (N, 1, 13, 20).

        Returns:
            (N, dimensions), not normalised.
        """
        embedded: Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return embedded

    def forward_lip(self, frames: Tensor) -> Tensor:
        """Embed windows of lips.

        Args:
            frames: float32 (N, 3, 5, 224, 224), BGR, 0 to 255.

        Returns:
            (N, dimensions), not normalised.
        """
        embedded: Tensor = self.netfclip(self.netcnnlip(frames).flatten(1))
        return embedded

    def embed_audio(self, mfcc: Tensor) -> Tensor:
        """Embed the window that belongs to each video frame.

        Args:
            mfcc: float32 (T, 13), 100 rows per second.

        Returns:
            (1 + (T - 20) // 4, dimensions); none where T < 20.
        """
        if mfcc.shape[0] < COLUMNS:
            return mfcc.new_zeros(0, self.dimensions)
        windows = mfcc.T.unfold(1, COLUMNS, COLUMNS_PER_FRAME).permute(1, 0, 2)[:, None]
        return torch.cat([self.forward_audio(part) for part in windows.split(128)])

    def embed_lips(self, frames: Tensor) -> Tensor:
        """Embed every window of five frames.

        Args:
            frames: uint8 or float (T, 3, 224, 224), RGB, 0 to 255.

        Returns:
            float32 (T - 4, dimensions).

        Raises:
            InputError: Fewer than five frames, or of another size.
        """
        if frames.ndim != 4 or tuple(frames.shape[1:]) != (3, SIZE, SIZE):
            raise InputError(
                f"SyncNet reads frames (T, 3, {SIZE}, {SIZE}); got {tuple(frames.shape)}"
            )
        if frames.shape[0] < WINDOW:
            raise InputError(f"SyncNet needs {WINDOW} frames; got {frames.shape[0]}")
        layers = _folded(self.netcnnlip)
        n = frames.shape[0] - WINDOW + 1
        pieces = [
            self.netfclip(_lips(frames[k : min(k + CHUNK, n) + WINDOW - 1], layers))
            for k in range(0, n, CHUNK)
        ]
        return torch.cat(pieces)


def load(variant: str) -> Frozen[SyncNet]:
    """Load published weights.

    Args:
        variant: "v2".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    return Frozen(load_state(locate(VARIANTS[variant])), f"syncnet.{variant}")


def load_state(path: Path) -> SyncNet:
    """Load a state dict in the reference's names.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise AssetError(f"{path} is no readable checkpoint (cut off?): {error}") from error
    net = SyncNet()
    _compare(path, state, net.state_dict())
    net.load_state_dict(state)
    return net


def seeded(seed: int = 0) -> SyncNet:
    """Make weights for tests and benchmarks that are the same with every version of torch.

    Each layer keeps the scale of its input, and the last ones are scaled so that distances are
    of the size of a trained network's, about 5 to 15.
    """
    draw = np.random.RandomState(seed)
    net = SyncNet()
    state = {}
    for name, value in net.state_dict().items():
        shape = tuple(value.shape)
        if value.ndim > 1:
            scale = np.sqrt(2.0 / np.prod(shape[1:]))
            filled = draw.randn(*shape) * scale
        elif name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            filled = draw.uniform(0.8, 1.2, shape)
        elif name.endswith("num_batches_tracked"):
            filled = np.zeros(shape)
        else:
            filled = draw.uniform(-0.1, 0.1, shape)
        state[name] = torch.from_numpy(np.asarray(filled)).to(value.dtype)
    state["netcnnlip.0.weight"] /= 100.0
    state["netcnnaud.0.weight"] /= 8.0
    state["netfclip.3.weight"] /= 28.0
    state["netfcaud.3.weight"] /= 28.0
    net.load_state_dict(state)
    return net.eval()


def _audio_tower() -> nn.Sequential:
    return nn.Sequential(
        *_conv2d(1, 64),
        nn.MaxPool2d(1, 1),
        *_conv2d(64, 192),
        nn.MaxPool2d(3, (1, 2)),
        *_conv2d(192, 384),
        *_conv2d(384, 256),
        *_conv2d(256, 256),
        nn.MaxPool2d(3, 2),
        *_conv2d(256, 512, (5, 4), 0),
    )


def _lip_tower() -> nn.Sequential:
    return nn.Sequential(
        *_conv3d(3, 96, (5, 7, 7), 2, 0),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
        *_conv3d(96, 256, (1, 5, 5), 2, 1),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        *_conv3d(256, 256, (1, 3, 3), 1, 1),
        *_conv3d(256, 256, (1, 3, 3), 1, 1),
        *_conv3d(256, 256, (1, 3, 3), 1, 1),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
        *_conv3d(256, 512, (1, 6, 6), 1, 0),
    )


def _conv2d(
    n_in: int, n_out: int, kernel: tuple[int, int] = (3, 3), padding: int = 1
) -> tuple[nn.Module, ...]:
    return nn.Conv2d(n_in, n_out, kernel, 1, padding), nn.BatchNorm2d(n_out), nn.ReLU()


def _conv3d(
    n_in: int, n_out: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> tuple[nn.Module, ...]:
    conv = nn.Conv3d(n_in, n_out, kernel, (1, stride, stride), (0, padding, padding))
    return conv, nn.BatchNorm3d(n_out), nn.ReLU()


def _head(dimensions: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, dimensions)
    )


class _Folded:
    """A lip layer as a 2-D convolution with its batch normalisation folded in."""

    def __init__(self, conv: nn.Conv3d, norm: nn.Module) -> None:
        state = norm.state_dict()
        scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
        shift = state["bias"] - state["running_mean"] * scale
        weight = conv.weight * scale[:, None, None, None, None]
        bias = conv.bias if conv.bias is not None else torch.zeros_like(shift)
        if conv.kernel_size[0] > 1:
            # The reference reads BGR; flipping the weights saves flipping every frame.
            weight = weight.flip(1)
        flat = weight.transpose(1, 2).flatten(1, 2)
        self.weight = flat.contiguous(memory_format=torch.channels_last)
        self.bias = bias * scale + shift
        self.stride = conv.stride[1:]
        self.padding = conv.padding[1:]

    def __call__(self, x: Tensor) -> Tensor:
        return F.relu_(F.conv2d(x, self.weight, self.bias, self.stride, self.padding))


class _Pool:
    """A pooling layer that never looks across time."""

    def __init__(self, pool: nn.MaxPool3d) -> None:
        self.kernel, self.stride, self.padding = (
            value[1:] if isinstance(value, tuple) else (value, value)
            for value in (pool.kernel_size, pool.stride, pool.padding)
        )

    def __call__(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, self.stride, self.padding)


def _folded(tower: nn.Sequential) -> list[_Folded | _Pool]:
    layers: list[_Folded | _Pool] = []
    for k, layer in enumerate(tower):
        if isinstance(layer, nn.Conv3d):
            layers.append(_Folded(layer, tower[k + 1]))
        elif isinstance(layer, nn.MaxPool3d):
            layers.append(_Pool(layer))
    return layers


def _lips(frames: Tensor, layers: list[_Folded | _Pool]) -> Tensor:
    """Features of each window of consecutive frames, (t - 4, 512)."""
    n = frames.shape[0] - WINDOW + 1
    windows = torch.cat([frames[k : k + n] for k in range(WINDOW)], 1)
    x = windows.to(layers[0].weight.dtype)  # type: ignore[union-attr]
    x = x.contiguous(memory_format=torch.channels_last)
    for layer in layers:
        x = layer(x)
    return x.flatten(1)


def _compare(path: Path, state: object, wanted: dict[str, Tensor]) -> None:
    """Refuse a state dict of another architecture, naming the first difference."""
    if not isinstance(state, dict):
        raise AssetError(f"{path} holds a {type(state).__name__}, not SyncNet's state dict")
    missing = [name for name in wanted if name not in state]
    extra = [name for name in state if name not in wanted]
    shapes = [n for n in wanted if n in state and state[n].shape != wanted[n].shape]
    for names, what in (
        (missing, "lacks"),
        (extra, "has the unknown"),
        (shapes, "has a misshapen"),
    ):
        if names:
            raise AssetError(
                f"{path} is not a SyncNet checkpoint: it {what} parameter '{names[0]}' "
                f"({len(names)} such in all)"
            )
