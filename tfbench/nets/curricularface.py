"""CurricularFace: 512 numbers of a face that tell who it is, on an improved ResNet of 101 layers.

Huang et al., "CurricularFace: adaptive curriculum learning loss for deep face recognition", CVPR
2020; structure and names of the parameters after HuangYG123/CurricularFace
(`backbone/model_irse.py`, `IR_101`), so that its `CurricularFace_Backbone.pth` loads. 65,128,768
parameters. It reads RGB (Pillow in `dataset/datasets.py`, mean and deviation 0.5 in `config.py`)
of faces aligned to ArcFace's places in 112 pixels, as its training and validation sets come.
The reference's validation adds the embedding of the mirrored face; here, as in papers on talking
faces, one picture gives one embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from tfbench.core.errors import AssetError
from tfbench.faces.align import AlignedFace
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets._crops import draw_weights, in_pieces
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIANTS", "CurricularFace", "load", "load_state", "seeded"]

VARIANTS = {"ir101": "curricularface-ir101"}
SIZE = 112
DIMENSIONS = 512
STAGES = ((64, 3), (128, 13), (256, 30), (512, 3))
"""Channels and units of each stage; its first unit halves height and width."""

PREFIX = "module."
"""Before every name where a network was saved inside of its parallel wrapper."""


class CurricularFace(nn.Module):
    """512-d identity embeddings.

    Attributes:
        crop: What `embed` must be fed.
    """

    crop = AlignedFace(SIZE)

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, DIMENSIONS),
            nn.BatchNorm1d(DIMENSIONS, affine=False),
        )
        units: list[_Unit] = []
        channels = 64
        for width, depth in STAGES:
            units.append(_Unit(channels, width, 2))
            units.extend(_Unit(width, width, 1) for _ in range(depth - 1))
            channels = width
        self.body = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        """Embed float32 (t, 3, 112, 112), -1 to 1, as (t, 512)."""
        embedded: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return embedded

    def embed(self, frames: Tensor) -> Tensor:
        """Compute embeddings.

        Args:
            frames: uint8 (t, 3, 112, 112) RGB, cut by `crop`.

        Returns:
            float32 (t, 512), not of unit length.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(lambda x: self(x / 127.5 - 1), frames, SIZE, DIMENSIONS)


class _Unit(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if n_in == n_out:
            # A window of one pixel: every second pixel where the stride is 2.
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(n_in),
            nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False),
            nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return changed


def load(variant: str) -> Frozen[CurricularFace]:
    """Load published weights.

    Args:
        variant: "ir101".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    return Frozen(load_state(locate(VARIANTS[variant])), f"curricularface.{variant}")


def load_state(path: Path) -> CurricularFace:
    """Load a state dict in the reference's names; all, or none, may begin with "module.".

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    state = read_state(path)
    wrapped = [name for name in state if name.startswith(PREFIX)]
    if 0 < len(wrapped) < len(state):
        raise AssetError(
            f"{path} is not CurricularFace's backbone: {len(wrapped)} of {len(state)} names "
            f"begin with '{PREFIX}'; all or none should"
        )
    net = CurricularFace()
    used = {name.removeprefix(PREFIX): value for name, value in state.items()}
    fill(net, used, f"{path} is not CurricularFace's backbone")
    return net.eval()


def seeded(seed: int = 0) -> CurricularFace:
    """Make weights for tests that are the same with every version of torch."""
    net = CurricularFace()
    # Values grow with each of 49 shortcuts unless the units add little.
    draw_weights(net, seed, gain=0.2)
    return net.eval()
