"""dlib's face descriptor: 128 numbers of a ResNet, an identity network that pip installs.

King 2017, `dlib_face_recognition_resnet_model_v1`, from the package face-recognition-models. As
in dlib's `examples/dnn_face_recognition_ex.cpp`, faces are aligned by the five-point predictor to
chips of 150 pixels with a padding of 0.25. dlib's rectangle is drawn from MTCNN's box instead of
by dlib's detector, which moves the descriptor by 0.04 (mean of 233 frames of 25 real clips).

It was trained for Euclidean distance with a threshold of 0.6. On those clips, 95 % of the frame
pairs of one person in two recordings lie 0.41 to 0.56 apart (cosine 0.93 to 0.96; one person, 100
pairs) and those of different persons 0.66 to 1.00 (cosine 0.77 to 0.90): the cosines of strangers
lie close to 1.

dlib aligns the faces, on the CPU; its network runs in PyTorch, on the weights of dlib's own file.
On 40 real chips and two CPU cores it took 4.7 ms a face where dlib-bin took 89; the largest
difference was 5e-7, of values up to 0.5 (`benchmarks/dlib_resnet.py`). Where dlib halves a map of
odd size, the shortcut and the main path of a block differ by a row and a column, which dlib fills
up with zeros.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import UnknownName
from tfbench.faces.crop import FaceInFrame
from tfbench.faces.landmarks import Window, check_located, dlib_file, import_dlib
from tfbench.nets._dlib_file import SHA256, Convolution, read_weights
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

__all__ = ["VARIANTS", "DlibFaces", "DlibResNet", "load"]

VARIANTS = {"v1": ""}
"""Variant -> asset; an installed package brings the files."""

NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
PREDICTOR = "shape_predictor_5_face_landmarks.dat"
CHIP = 150
PADDING = 0.25
PIECE = 32
"""Chips that go through the network at once; bounds memory."""
MEAN = (122.782, 117.001, 104.298)
REACH = 1.5
"""How far around the centre a chip may reach, in sides of dlib's rectangle."""


class DlibResNet(nn.Module):
    """dlib's network for chips of 150 pixels.

    Args:
        convolutions: 29, from the input on.
        last: float32 (128, 256), weights of the last layer.
    """

    def __init__(self, convolutions: Sequence[Convolution], last: Tensor) -> None:
        super().__init__()
        first, *others = (_layer(one) for one in convolutions)
        self.first = first
        self.blocks = nn.Sequential(
            *(_Block(*pair) for pair in zip(others[::2], others[1::2], strict=True))
        )
        self.last = nn.Linear(last.shape[1], last.shape[0], bias=False)
        self.last.weight = nn.Parameter(last)
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.mean: Tensor

    def forward(self, chips: Tensor) -> Tensor:
        """Compute descriptors: float32 (t, 3, 150, 150) RGB, 0 to 255, to float32 (t, 128)."""
        x = F.relu(self.first((chips - self.mean) / 256))
        x = self.blocks(F.max_pool2d(x, 3, 2))
        found: Tensor = self.last(x.mean((2, 3)))
        return found


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which halves where the first one does."""

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.halves = first.stride == (2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 (t, c, h, w) of the size of the larger path."""
        y = self.second(F.relu(self.first(x)))
        if self.halves:
            x = F.avg_pool2d(x, 2)
        size = [max(sides) for sides in zip(x.shape[1:], y.shape[1:], strict=True)]
        return F.relu(_filled(x, size) + _filled(y, size))


def _filled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Add channels, rows and columns of zeros at the end."""
    missing = [wanted - n for wanted, n in zip(size, x.shape[1:], strict=True)]
    return F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0])) if any(missing) else x


def _layer(one: Convolution) -> nn.Conv2d:
    n_out, n_in, side, _ = one.weight.shape
    layer = nn.Conv2d(n_in, n_out, side, one.stride, one.padding)
    layer.weight, layer.bias = nn.Parameter(one.weight), nn.Parameter(one.bias)
    return layer


class DlibFaces(nn.Module):
    """128-d descriptors of faces whose boxes are known; can be pickled and copied.

    Attributes:
        crop: Whole frames with the face's boxes.
        located: True: `embed` takes boxes beside frames.

    Raises:
        MissingAsset: dlib or its models are not installed.
        AssetError: The network's file is another one.
    """

    crop = FaceInFrame()
    located = True

    def __init__(self) -> None:
        super().__init__()
        import_dlib()
        self.net = DlibResNet(*read_weights(dlib_file(NETWORK)))
        self.aligner = _Aligner(dlib_file(PREDICTOR))

    def embed(self, frames: Tensor, regions: Tensor) -> Tensor:
        """Compute descriptors.

        Args:
            frames: uint8 (t, 3, H, W) RGB.
            regions: float (t, 4), x1 y1 x2 y2 in pixels, of `crop`.

        Returns:
            float32 (t, 128), not of unit length.

        Raises:
            InputError: Frames or boxes are of another type or shape, or a box lies outside.
        """
        check_located(frames, regions)
        if len(frames) == 0:
            return torch.zeros(0, 128, device=frames.device)
        chips = [self.aligner.chip(f, b) for f, b in zip(frames, regions.tolist(), strict=True)]
        stacked = torch.stack([torch.from_numpy(chip) for chip in chips]).to(self.net.mean.device)
        with full_precision():
            pieces = [self.net(x.permute(0, 3, 1, 2).float()) for x in stacked.split(PIECE)]
        return torch.cat(pieces)


class _Aligner:
    """dlib's five-point predictor, loaded at the first use and left behind when pickled."""

    def __init__(self, predictor: Path) -> None:
        self.path = predictor

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def predictor(self) -> Any:
        return import_dlib().shape_predictor(str(self.path))

    def chip(self, frame: Tensor, box: Sequence[float]) -> np.ndarray:
        """Align one face to uint8 (150, 150, 3)."""
        dlib = import_dlib()
        window = Window(frame, box, REACH)
        shape = self.predictor(window.pixels, dlib.rectangle(*window.rectangle()))
        chip: np.ndarray = dlib.get_face_chip(window.pixels, shape, CHIP, PADDING)
        return chip


def load(variant: str) -> Frozen[DlibFaces]:
    """Load the network.

    Args:
        variant: "v1".

    Raises:
        UnknownName: There is no such variant.
        MissingAsset: dlib or its models are not installed.
    """
    if variant not in VARIANTS:
        raise UnknownName(f"no variant '{variant}' of dlib_resnet; there is v1")
    return Frozen(DlibFaces(), f"dlib_resnet.{variant}", sha256=SHA256)
