"""Inception v3 as the Fréchet inception distance uses it: 2048 features of its last pooling.

Szegedy et al. 2016, with the weights that Heusel et al. 2017 took from TensorFlow and
mseitzer/pytorch-fid converted (`src/pytorch_fid/inception.py`). torchvision's network has the
same layers and names; three things differ, and are changed here: mean pooling leaves padded zeros
out of its mean (blocks A, C and the first E), the last block pools maxima, and the classifier,
with 1008 classes, is not needed.

How a frame comes to 299x299 changes the distance (Parmar et al. 2022), so it is in the name:

- `clean`: as clean-fid's mode `clean` (`cleanfid/resize.py`, `inception_torchscript.py`): bicubic
  with antialiasing on each channel in floating point, cut off to 0 to 255, not rounded; then
  (x - 128) / 128. clean-fid runs another conversion of the same TensorFlow weights.
- `legacy`: as pytorch-fid and clean-fid's mode `legacy_pytorch`: bilinear without antialiasing,
  not rounded; then 2 x / 255 - 1.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import inception as tv

from tfbench.core.errors import InputError
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["VARIANTS", "Inception", "clean", "legacy", "load", "load_state", "seeded"]

VARIANTS = {"clean": "inception-fid", "legacy": "inception-fid"}
SIZE = 299
CHUNK = 16


def clean(frame: Tensor) -> Tensor:
    """Prepare a frame as clean-fid does.

    Args:
        frame: uint8 (3, h, w).

    Returns:
        float32 (3, 299, 299), -1 to 127/128.
    """
    # In float32 torch places the taps only to about 1e-5 of a pixel; Pillow does it in float64.
    resized = F.interpolate(frame[None].double(), (SIZE, SIZE), mode="bicubic", antialias=True)
    return (resized[0].float().clamp(0, 255) - 128) / 128


def legacy(frame: Tensor) -> Tensor:
    """Prepare a frame as pytorch-fid does.

    Args:
        frame: uint8 (3, h, w).

    Returns:
        float32 (3, 299, 299), -1 to 1.
    """
    pixels = frame[None].float() / 255
    return 2 * F.interpolate(pixels, (SIZE, SIZE), mode="bilinear")[0] - 1


PREPARE: dict[str, Callable[[Tensor], Tensor]] = {"clean": clean, "legacy": legacy}


class Inception(tv.Inception3):
    """2048 features of a picture.

    Args:
        prepare: How a frame comes to 299x299: a key of `VARIANTS`.
    """

    def __init__(self, prepare: str = "clean") -> None:
        # The auxiliary classifier's place in this list is not used.
        blocks = [tv.BasicConv2d, _A, tv.InceptionB, _C, tv.InceptionD, _E, tv.InceptionAux]
        super().__init__(aux_logits=False, inception_blocks=blocks, init_weights=False, dropout=0.0)
        self.Mixed_7c = _E(2048, partial(F.max_pool2d, kernel_size=3, stride=1, padding=1))
        self.fc = nn.Identity()
        self.prepare = PREPARE[prepare]

    def embed(self, frames: Tensor) -> Tensor:
        """Compute features.

        Args:
            frames: uint8 (t, 3, h, w) RGB of any size.

        Returns:
            float32 (t, 2048), not negative.

        Raises:
            InputError: The frames are of another type or shape.
        """
        shape = tuple(frames.shape)
        if frames.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or 0 in shape:
            raise InputError(f"Inception reads uint8 (t, 3, h, w); got {frames.dtype} {shape}")
        # A frame at a time keeps the memory of resizing 1080p small.
        inputs = torch.stack([self.prepare(frame) for frame in frames])
        with full_precision():
            return torch.cat([self(part) for part in inputs.split(CHUNK)])


class _A(tv.InceptionA):
    """Block A whose mean pooling does not count padding."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        return [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
            self.branch_pool(_mean(x)),
        ]


class _C(tv.InceptionC):
    """Block C whose mean pooling does not count padding."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
            self.branch_pool(_mean(x)),
        ]


class _E(tv.InceptionE):
    """Block E with the pooling of its place in the network."""

    def __init__(
        self,
        in_channels: int,
        pool: Callable[[Tensor], Tensor] | None = None,
        conv_block: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__(in_channels, conv_block)
        self.pool = pool or _mean

    def _forward(self, x: Tensor) -> list[Tensor]:
        one = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            self.branch3x3_2a(one),
            self.branch3x3_2b(one),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        ]


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def load(variant: str) -> Frozen[Inception]:
    """Load pytorch-fid's conversion of the published weights.

    Args:
        variant: "clean" or "legacy".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    return Frozen(load_state(locate(VARIANTS[variant]), variant), f"inception.{variant}")


def load_state(path: Path, variant: str = "clean") -> Inception:
    """Load a state dict in pytorch-fid's names; its classifier is left out.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    state = read_state(path)
    net = Inception(variant)
    used = {name: value for name, value in state.items() if not name.startswith("fc.")}
    fill(net, used, f"{path} is not FID's Inception")
    return net.eval()


def seeded(seed: int = 0, variant: str = "clean") -> Inception:
    """Make weights for tests that are the same with every version of torch.

    Each layer keeps the scale of its input.
    """
    draw = np.random.RandomState(seed)
    net = Inception(variant)
    for name, value in net.state_dict().items():
        shape = tuple(value.shape)
        if value.ndim == 4:
            filled = draw.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
        elif name.endswith(("running_var", "weight")):
            filled = draw.uniform(0.8, 1.2, shape)
        elif value.ndim == 1:
            filled = draw.uniform(-0.1, 0.1, shape)
        else:
            continue
        value.copy_(torch.from_numpy(filled))
    return net.eval()
