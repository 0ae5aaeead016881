"""SyncNet: one embedding for five frames of lips, one for 0.2 s of sound.

Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV 2016 workshops;
structure and names of the parameters after joonson/syncnet_python (`SyncNetModel.py`), so that
its `syncnet_v2.model` loads. 13,631,616 parameters: sound 5,664,704, lips 7,966,912.

`forward_lip` and `forward_audio` take windows, as the reference does. `embed_lips` and
`embed_audio` take a whole sequence and give the same values faster: only the first lip layer
looks across time and shares its products between windows, all others become 2-D convolutions of
single frames, with batch normalisation folded in. Both compute in float32, without TF32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import InputError
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets._crops import luma
from tfbench.nets.bundle import load_shipped
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["VARIANTS", "SyncNet", "build", "load", "load_state", "seeded"]

VARIANTS = {
    "v2": "syncnet-v2",
    "grid": "",
    "grid_supervisor": "",
    "puppets": "",
    "puppets_supervisor": "",
}
"""Variant -> the asset that it reads, "" for weights that this package ships."""

SIZE = 224
WINDOW = 5
COLUMNS = 20
COLUMNS_PER_FRAME = 4
N_CEPSTRA = 13
CHUNK = 16


class SyncNet(nn.Module):
    """The two towers; the defaults are the published network.

    Args:
        dimensions: Length of the embeddings.
        lips: Channels of the six lip convolutions.
        sound: Channels of the six sound convolutions.
        hidden: Width between the two fully connected layers.
        side: Of the square face crop, in pixels.
        window: What of the crop the lip tower reads: rows from, to, columns from, to, in pixels.
        colour: Whether it reads BGR; else gray, rounded to whole levels.
        stride: Of the second lip convolution.

    Attributes:
        settings: The arguments.
        crop: What `embed_lips` must be fed, without the settings of tracking.
    """

    def __init__(
        self,
        dimensions: int = 1024,
        lips: Sequence[int] = (96, 256, 256, 256, 256, 512),
        sound: Sequence[int] = (64, 192, 384, 256, 256, 512),
        hidden: int = 512,
        side: int = SIZE,
        window: Sequence[int] = (0, SIZE, 0, SIZE),
        colour: bool = True,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "dimensions": dimensions,
            "lips": list(lips),
            "sound": list(sound),
            "hidden": hidden,
            "side": side,
            "window": list(window),
            "colour": colour,
            "stride": stride,
        }
        self.dimensions = dimensions
        self.side = side
        self.window = (int(window[0]), int(window[1]), int(window[2]), int(window[3]))
        self.colour = colour
        self.netcnnaud = _audio_tower(sound)
        self.netfcaud = _head(sound[-1], hidden, dimensions)
        self.netfclip = _head(lips[-1], hidden, dimensions)
        top, bottom, left, right = self.window
        self.netcnnlip = _lip_tower(lips, 3 if colour else 1, (bottom - top, right - left), stride)

    def look(self, frames: Tensor, margin: int = 0) -> Tensor:
        """Cut what the lip tower reads out of face crops.

        Args:
            frames: uint8 (T, 3, side, side) RGB.
            margin: Pixels added on each side.

        Returns:
            uint8 (T, 3, h, w) BGR, or (T, 1, h, w) gray.

        Raises:
            InputError: The frames have another size.
        """
        if frames.ndim != 4 or tuple(frames.shape[1:]) != (3, self.side, self.side):
            raise InputError(
                f"SyncNet reads frames (T, 3, {self.side}, {self.side}); got {tuple(frames.shape)}"
            )
        top, bottom, left, right = self.window
        seen = frames[:, :, top - margin : bottom + margin, left - margin : right + margin]
        if self.colour:
            return seen.flip(1)
        return luma(seen)[:, None].round_().to(torch.uint8)

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
            frames: float32 (N, C, 5, h, w), as `look` cuts them, 0 to 255.

        Returns:
            (N, dimensions), not normalised.
        """
        embedded: Tensor = self.netfclip(_flat(self.netcnnlip, frames).flatten(1))
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
        with full_precision():
            return torch.cat([self.forward_audio(part) for part in windows.split(128)])

    def embed_lips(self, frames: Tensor) -> Tensor:
        """Embed every window of five frames.

        Args:
            frames: uint8 (T, 3, side, side), RGB.

        Returns:
            float32 (T - 4, dimensions).

        Raises:
            InputError: Fewer than five frames, or of another size.
        """
        return self.embed_seen(self.look(frames))

    def embed_seen(self, seen: Tensor) -> Tensor:
        """Embed every window of five frames that `look` has cut.

        Args:
            seen: uint8 (T, C, h, w).

        Returns:
            float32 (T - 4, dimensions).

        Raises:
            InputError: Fewer than five frames.
        """
        if seen.shape[0] < WINDOW:
            raise InputError(f"SyncNet needs {WINDOW} frames; got {seen.shape[0]}")
        if not self.colour:
            # With one channel there is little to share between windows.
            windows = seen.unfold(0, WINDOW, 1).permute(0, 1, 4, 2, 3)
            with full_precision():
                return torch.cat([self.forward_lip(part.float()) for part in windows.split(64)])
        layers = [_FirstLayer(*self.netcnnlip[:4]), *_folded(self.netcnnlip[4:])]
        n = seen.shape[0] - WINDOW + 1
        with full_precision():
            pieces = [
                self.netfclip(_lips(seen[k : min(k + CHUNK, n) + WINDOW - 1], layers))
                for k in range(0, n, CHUNK)
            ]
        return torch.cat(pieces)


def build(settings: Mapping[str, Any]) -> SyncNet:
    """Make a network with the settings of a record."""
    return SyncNet(**settings)


def load(variant: str) -> Frozen[SyncNet]:
    """Load published or shipped weights.

    Args:
        variant: One of `VARIANTS`.

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    if not VARIANTS[variant]:
        return load_shipped(f"syncnet.{variant}", build)
    return Frozen(load_state(locate(VARIANTS[variant])), f"syncnet.{variant}")


def load_state(path: Path) -> SyncNet:
    """Load a state dict in the reference's names.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    net = SyncNet()
    fill(net, read_state(path), f"{path} is not a SyncNet checkpoint")
    return net


def seeded(seed: int = 0) -> SyncNet:
    """Make weights for tests and benchmarks that are the same with every version of torch.

    Each layer keeps the scale of its input. Half of the first lip kernels are differences in time,
    so that lip embeddings follow motion. Both towers share a bias, so that the zeros beyond a
    clip's ends are far from both. The last layers are scaled so that distances are of the size of
    a trained network's, about 5 to 15.
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
    kernels = state["netcnnlip.0.weight"]
    kernels[:48] = 8 * (kernels[:48] - kernels[:48].roll(1, 2))
    kernels /= 100.0
    shared = torch.from_numpy(draw.randn(net.dimensions) * 12 / np.sqrt(net.dimensions))
    state["netfclip.3.bias"] = state["netfcaud.3.bias"] = shared.float()
    state["netcnnaud.0.weight"] /= 8.0
    state["netfclip.3.weight"] /= 28.0
    state["netfcaud.3.weight"] /= 28.0
    net.load_state_dict(state)
    return net.eval()


def _audio_tower(widths: Sequence[int]) -> nn.Sequential:
    a, b, c, d, e, f = widths
    return nn.Sequential(
        *_conv2d(1, a),
        nn.MaxPool2d(1, 1),
        *_conv2d(a, b),
        nn.MaxPool2d(3, (1, 2)),
        *_conv2d(b, c),
        *_conv2d(c, d),
        *_conv2d(d, e),
        nn.MaxPool2d(3, 2),
        *_conv2d(e, f, (5, 4), 0),
    )


def _lip_tower(
    widths: Sequence[int], channels: int, size: tuple[int, int], stride: int
) -> nn.Sequential:
    a, b, c, d, e, f = widths
    layers = [
        *_conv3d(channels, a, (5, 7, 7), 2, 0),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
        *_conv3d(a, b, (1, 5, 5), stride, 1),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        *_conv3d(b, c, (1, 3, 3), 1, 1),
        *_conv3d(c, d, (1, 3, 3), 1, 1),
        *_conv3d(d, e, (1, 3, 3), 1, 1),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
    ]
    # The last kernel covers what is left of the picture.
    height, width = (_left(extent, stride) for extent in size)
    return nn.Sequential(*layers, *_conv3d(e, f, (1, height, width), 1, 0))


def _flat(tower: nn.Sequential, windows: Tensor) -> Tensor:
    """Run the lip tower on windows (N, C, 5, h, w) as convolutions of pictures.

    Only the first layer looks across time, and it leaves one time step. Much faster than
    three-dimensional layers on a CPU, also in training.
    """
    x = windows.flatten(1, 2)
    for layer in tower:
        if isinstance(layer, nn.Conv3d):
            x = F.conv2d(x, layer.weight.flatten(1, 2), layer.bias, layer.stride[1:], _hw(layer))
        elif isinstance(layer, nn.MaxPool3d):
            x = _Pool(layer)(x)
        else:
            x = layer(x[:, :, None])[:, :, 0]
    return x


def _hw(layer: nn.Conv3d) -> tuple[int, int]:
    return int(layer.padding[1]), int(layer.padding[2])


def _left(extent: int, stride: int) -> int:
    """Pixels that are left of a side before the last lip convolution."""
    extent = ((extent - 7) // 2 + 1 - 3) // 2 + 1
    extent = ((extent + 2 - 5) // stride + 1 + 2 - 3) // 2 + 1
    return (extent - 3) // 2 + 1


def _conv2d(
    n_in: int, n_out: int, kernel: tuple[int, int] = (3, 3), padding: int = 1
) -> tuple[nn.Module, ...]:
    return nn.Conv2d(n_in, n_out, kernel, 1, padding), nn.BatchNorm2d(n_out), nn.ReLU()


def _conv3d(
    n_in: int, n_out: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> tuple[nn.Module, ...]:
    conv = nn.Conv3d(n_in, n_out, kernel, (1, stride, stride), (0, padding, padding))
    return conv, nn.BatchNorm3d(n_out), nn.ReLU()


def _head(n_in: int, hidden: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dimensions)
    )


def _fold(conv: nn.Conv3d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Merge a batch normalisation in evaluation form into its convolution: weight, bias."""
    state = norm.state_dict()
    scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
    shift = state["bias"] - state["running_mean"] * scale
    bias = conv.bias if conv.bias is not None else torch.zeros_like(shift)
    return conv.weight * scale[:, None, None, None, None], bias * scale + shift


class _FirstLayer:
    """The lip layer that looks across time, with its normalisation, ReLU and pooling.

    Four windows share eight frames. As an input-transformed (Winograd) correlation along time
    they cost eight 2-D convolutions of three channels, not four of fifteen.
    """

    STEP = 4
    GROUPS = 2
    """Halves of the output channels, one after the other: smaller memory, kept in cache."""

    def __init__(
        self, conv: nn.Conv3d, norm: nn.Module, _relu: nn.Module, pool: nn.MaxPool3d
    ) -> None:
        weight, bias = _fold(conv, norm)
        split, kernel, merge = (m.to(weight) for m in _fast_correlation(self.STEP, WINDOW))
        self.split, self.merge, self.bias = split, merge, bias[:, None, None]
        kernels = torch.einsum("pt,octhw->pochw", kernel, weight)
        self.kernels = [
            [k.contiguous(memory_format=torch.channels_last) for k in group]
            for group in kernels.chunk(self.GROUPS, 1)
        ]
        self.stride = conv.stride[1:]
        self.pool = _Pool(pool)

    def __call__(self, frames: Tensor) -> Tensor:
        """(t, C, h, w) of 0 to 255 -> (t - 4, channels, h', w')."""
        n = frames.shape[0] - WINDOW + 1
        missing = -n % self.STEP
        frames = torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)])
        # One step at a time stays in a CPU's cache; a GPU wants all of them.
        stride = self.STEP if frames.device.type == "cpu" else n + missing
        parts = [self._windows(frames[k : k + stride + WINDOW - 1]) for k in range(0, n, stride)]
        return torch.cat(parts)[:n]

    def _windows(self, frames: Tensor) -> Tensor:
        pixels = frames.permute(0, 2, 3, 1).to(self.split.dtype).contiguous()
        steps = pixels.flatten(1).unfold(0, self.split.shape[0], self.STEP)
        points = torch.einsum("pk,sxk->psx", self.split, steps)
        points = points.unflatten(2, pixels.shape[1:]).movedim(-1, 2)
        x = torch.cat([self._group(points, kernels) for kernels in self.kernels], 1)
        # Maxima do not mind a shift or a ReLU, so both come after pooling, on fewer values.
        return F.relu_(x + self.bias)

    def _group(self, points: Tensor, kernels: list[Tensor]) -> Tensor:
        products = [
            F.conv2d(x, k, stride=self.stride) for x, k in zip(points, kernels, strict=True)
        ]
        channels, height, width = products[0].shape[1:]
        flat = torch.stack([x.movedim(1, -1).flatten(1) for x in products])
        x = torch.einsum("wp,psx->swx", self.merge, flat)
        return self.pool(x.view(-1, height, width, channels).movedim(-1, 1))


def _fast_correlation(outputs: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of the Toom-Cook algorithm for a correlation along one axis.

    y_j = sum over t of w_t x_(j + t) is `merge @ ((kernel @ w) * (split @ x))`: polynomials are
    evaluated at p = outputs + taps - 1 points, infinity included, and the interpolation is
    transposed (Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016).

    Returns:
        split (p, p), kernel (p, taps), merge (outputs, p), float64.
    """
    count = outputs + taps - 1
    points = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0])[: count - 1]

    def evaluate(terms: int) -> np.ndarray:
        return np.concatenate([points[:, None] ** np.arange(terms), np.eye(terms)[-1:]])

    interpolate = np.linalg.inv(evaluate(count))
    split, kernel, merge = (
        torch.from_numpy(np.ascontiguousarray(matrix))
        for matrix in (interpolate.T, evaluate(taps), evaluate(outputs).T)
    )
    return split, kernel, merge


class _Folded:
    """A lip layer of single frames as a 2-D convolution, its batch normalisation folded in."""

    def __init__(self, conv: nn.Conv3d, norm: nn.Module) -> None:
        weight, self.bias = _fold(conv, norm)
        self.weight = weight[:, :, 0].contiguous(memory_format=torch.channels_last)
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


def _lips(frames: Tensor, layers: list[_FirstLayer | _Folded | _Pool]) -> Tensor:
    """Features of each window of consecutive frames, (t - 4, 512)."""
    x = frames
    for layer in layers:
        x = layer(x)
    return x.flatten(1)
