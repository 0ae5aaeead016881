"""HSEmotion: 1280 numbers of a face that tell its emotion, on EfficientNet-B0.

Savchenko, "Facial expression and attributes recognition based on multi-task learning of
lightweight neural networks", 2021; HSE-asavchenko/face-emotion-recognition
(`src/train_emotions-pytorch.ipynb`): timm's `tf_efficientnet_b0_ns`, trained on VGGFace2, then on
AffectNet's eight emotions. Names of the parameters are timm's; the network is written here, so
that timm is not needed. 4,007,548 parameters without the classifier, which is left out.

It reads faces in MTCNN's box without margin, resized to 224 pixels without keeping their aspect,
with ImageNet's means and deviations.

The published file is a pickled module: reading it runs code that it names, so it is refused. Who
trusts it converts it once, see `CONVERSION`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import AssetError
from tfbench.faces.crop import FaceBox
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets._crops import draw_weights, in_pieces
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CONVERSION", "VARIANTS", "HSEmotion", "load", "load_state", "seeded"]

VARIANTS = {"enet_b0_8": "hsemotion-enet-b0"}
SIZE = 224
DIMENSIONS = 1280
EPSILON = 1e-3
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""Of each stage: kernel, stride of the first unit, expansion, channels, units."""

CONVERSION = (
    'python -c "import sys, torch, safetensors.torch as s; '
    "m = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    's.save_file(m.state_dict(), sys.argv[2])" {source} {target}'
)
"""Needs timm in the version that saved the file: 0.9.7 or, for files of before 2023, 0.6.13."""


class HSEmotion(nn.Module):
    """1280-d emotion features.

    Attributes:
        crop: What `embed` must be fed.
    """

    crop = FaceBox(size=SIZE)

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _Conv(3, 32, 3, 2)
        self.bn1 = _norm(32)
        channels, stages = 32, []
        for kernel, stride, expansion, width, depth in STAGES:
            first = _unit(channels, width, kernel, stride, expansion)
            others = (_unit(width, width, kernel, 1, expansion) for _ in range(depth - 1))
            stages.append(nn.Sequential(first, *others))
            channels = width
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _Conv(channels, DIMENSIONS, 1)
        self.bn2 = _norm(DIMENSIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (t, 1280) from float32 (t, 3, 224, 224) after ImageNet's normalisation."""
        x = F.silu(self.bn1(self.conv_stem(x)))
        x = F.silu(self.bn2(self.conv_head(self.blocks(x))))
        return x.mean(dim=(2, 3))

    def embed(self, frames: Tensor) -> Tensor:
        """Compute features.

        Args:
            frames: uint8 (t, 3, 224, 224) RGB, cut by `crop`.

        Returns:
            float32 (t, 1280), not of unit length.

        Raises:
            InputError: The frames are of another type or shape.
        """
        mean, deviation = (
            torch.tensor(values, device=frames.device)[:, None, None]
            for values in (MEAN, DEVIATION)
        )
        return in_pieces(lambda x: self((x / 255 - mean) / deviation), frames, SIZE, DIMENSIONS)


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow does, with the odd pixel after the picture."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(n_in, n_out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


class _Squeeze(nn.Module):
    """Weights for channels from their means."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * self.conv_expand(F.silu(self.conv_reduce(means))).sigmoid()


class _Separable(nn.Module):
    """The unit of the first stage, which does not expand."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _Conv(n_in, n_in, kernel, stride, groups=n_in)
        self.bn1 = _norm(n_in)
        self.se = _Squeeze(n_in, n_in // 4)
        self.conv_pw = _Conv(n_in, n_out, 1)
        self.bn2 = _norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.se(F.silu(self.bn1(self.conv_dw(x))))
        narrow: Tensor = self.bn2(self.conv_pw(x))
        return narrow


class _Inverted(nn.Module):
    """A unit that expands, filters each channel, weighs channels and narrows again."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        self.conv_pw = _Conv(n_in, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = _Conv(wide, wide, kernel, stride, groups=wide)
        self.bn2 = _norm(wide)
        self.se = _Squeeze(wide, n_in // 4)
        self.conv_pwl = _Conv(wide, n_out, 1)
        self.bn3 = _norm(n_out)
        self.adds = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        wide = F.silu(self.bn1(self.conv_pw(x)))
        wide = self.se(F.silu(self.bn2(self.conv_dw(wide))))
        narrow: Tensor = self.bn3(self.conv_pwl(wide))
        return narrow + x if self.adds else narrow


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, EPSILON)


def _unit(n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> nn.Module:
    if expansion == 1:
        return _Separable(n_in, n_out, kernel, stride)
    return _Inverted(n_in, n_out, kernel, stride, expansion)


def load(variant: str) -> Frozen[HSEmotion]:
    """Load published weights, converted beforehand to a safetensors file beside the original.

    Args:
        variant: "enet_b0_8".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be, or was not converted; the message says how to.
    """
    from tfbench.core.assets import locate

    source = locate(VARIANTS[variant])
    converted = source.with_suffix(".safetensors")
    if converted.is_file():
        return Frozen(load_state(converted), f"hsemotion.{variant}")
    try:
        return Frozen(load_state(source), f"hsemotion.{variant}")
    except AssetError as error:
        command = CONVERSION.format(source=source, target=converted)
        raise AssetError(
            f"{error}. The published file is a pickled module, which is not read because that "
            f"runs code. If you trust it, convert it once, with timm 0.9.7 (for older files "
            f"0.6.13) installed: {command}"
        ) from error


def load_state(path: Path) -> HSEmotion:
    """Load a state dict in timm's names; its classifier is left out.

    Args:
        path: A safetensors file, or a state dict that `torch.save` wrote.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    state = read_state(path)
    net = HSEmotion()
    used = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    fill(net, used, f"{path} is not HSEmotion's EfficientNet-B0")
    return net.eval()


def seeded(seed: int = 0) -> HSEmotion:
    """Make weights for tests that are the same with every version of torch."""
    net = HSEmotion()
    draw_weights(net, seed)
    return net.eval()
