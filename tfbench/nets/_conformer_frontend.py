"""The two residual networks that turn mouths into features for the Conformer lip readers.

Both see five frames at once in a first 3-D convolution and each frame alone in an 18-layer
residual network (He et al. 2016), and give 512 values a frame. Names of parameters are those of
the public code, cited at each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.nets.frozen import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MaFrontend", "ShahFrontend"]

WIDTHS = (64, 128, 256, 512)


class MaFrontend(nn.Module):
    """Of Ma et al.: SiLU after every normalisation, and the mean of each map at the end.

    mpc001/Visual_Speech_Recognition_for_Multiple_Languages,
    `espnet/nets/pytorch_backend/backbones/conv3d_extractor.py` and `modules/resnet.py`.

    Args:
        prelu: Whether the residual network has PReLU instead; the first convolution has not.
    """

    def __init__(self, prelu: bool = False) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict()
        n_in = WIDTHS[0]
        for number, width in enumerate(WIDTHS, 1):
            stride = 1 if number == 1 else 2
            units = (_MaUnit(n_in, width, stride, prelu), _MaUnit(width, width, 1, prelu))
            self.trunk[f"layer{number}"] = nn.Sequential(*units)
            n_in = width
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, WIDTHS[0], (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm3d(WIDTHS[0]),
            nn.SiLU(),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )

    def forward(self, mouths: Tensor) -> Tensor:
        """Compute (T, 512) from normalised gray mouths float32 (T, h, w), 88 x 88 for Ma et al."""
        with full_precision():
            x = self.frontend3D(mouths[None, None])[0].transpose(0, 1)
            for layer in self.trunk.values():
                x = layer(x)
        features: Tensor = x.mean((2, 3))
        return features


class _MaUnit(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int, prelu: bool) -> None:
        super().__init__()
        activation: Callable[[], nn.Module] = (lambda: nn.PReLU(n_out)) if prelu else nn.SiLU
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu1 = activation()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu2 = activation()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        changed: Tensor = self.relu2(inner + self.downsample(x))
        return changed


class ShahFrontend(nn.Module):
    """Of Smeet Shah's deep_avsr, after Afouras et al. 2018, which TalkLip's reader has.

    Sums are normalised and pass a ReLU before the next convolution, but the sum itself goes on
    beside it. The first layer has a convolution that nothing uses. Sxjdwang/TalkLip,
    `models/visual_frontend.py`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frontend3D = nn.Sequential(
            nn.Conv3d(1, WIDTHS[0], (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            _norm(WIDTHS[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.resnet = nn.ModuleDict()
        n_in = WIDTHS[0]
        for number, width in enumerate(WIDTHS, 1):
            self.resnet[f"layer{number}"] = _ShahLayer(n_in, width, 1 if number == 1 else 2)
            n_in = width

    def forward(self, mouths: Tensor) -> Tensor:
        """Compute (T, 512) from normalised gray pictures float32 (T, 112, 112)."""
        with full_precision():
            x = self.frontend3D[0](mouths[None, None])[0].transpose(0, 1)
            x = self.frontend3D[1:](x)
            for layer in self.resnet.values():
                x = layer(x)
        features: Tensor = x.mean((2, 3))
        return features


class _ShahLayer(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1a = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1a = _norm(n_out)
        self.conv2a = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.downsample = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
        self.outbna = _norm(n_out)
        self.conv1b = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn1b = _norm(n_out)
        self.conv2b = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.outbnb = _norm(n_out)

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.stride == 1 else self.downsample(x)
        summed = self.conv2a(F.relu(self.bn1a(self.conv1a(x)))) + beside
        x = F.relu(self.outbna(summed))
        summed = self.conv2b(F.relu(self.bn1b(self.conv1b(x)))) + summed
        return F.relu(self.outbnb(summed))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
