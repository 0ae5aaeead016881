"""Reads the weights of dlib's face ResNet out of its file.

dlib (`dlib/serialize.h`, `dlib/dnn/layers.h`) writes every layer behind its name, input first. An
integer is a byte that holds its length, with the highest bit for the sign, and that many bytes; a
tensor is a version, four dimensions and 32-bit floats. Only what is needed is read, so the file
must be the one that is known: its sha256 is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from tfbench.core.assets import recorded_sha256
from tfbench.core.errors import AssetError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["SHA256", "Convolution", "read_weights"]

SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
GAP = 400
"""Most bytes between two layers' tensors: settings and empty tensors."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """One convolution with the scale and shift that follow it.

    Attributes:
        weight: float32 (out, in, height, width), scaled.
        bias: float32 (out,), scaled and shifted.
        stride: Of both directions.
        padding: On every side.
    """

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int


def read_weights(path: Path) -> tuple[tuple[Convolution, ...], Tensor]:
    """Read all convolutions, from the input on, and the last layer's weights.

    Args:
        path: `dlib_face_recognition_resnet_model_v1.dat`.

    Returns:
        29 convolutions and float32 (128, 256).

    Raises:
        AssetError: The file is another one.
    """
    found = recorded_sha256(path)
    if found != SHA256:
        raise AssetError(
            f"{path} has sha256 {found}; wanted is {SHA256}, the file of the package "
            "face-recognition-models 0.3.0: install that again"
        )
    reader = _Reader(path.read_bytes())
    reader.seek("input_rgb_image_sized")
    convolutions = []
    channels = 3
    while reader.seek("con_4", optional=True):
        convolutions.append(_convolution(reader, channels))
        channels = len(convolutions[-1].bias)
    reader.seek("fc_2")
    n_out, n_in = reader.integer(), reader.integer()
    return tuple(convolutions), reader.tensor().reshape(n_in, n_out).T.contiguous()


def _convolution(reader: _Reader, channels: int) -> Convolution:
    values = reader.tensor()
    n, height, width, stride, _, padding, _ = (reader.integer() for _ in range(7))
    reader.seek("affine_")
    scale, shift = reader.tensor().reshape(2, n)
    weight, bias = values[:-n].reshape(n, channels, height, width), values[-n:]
    return Convolution(weight * scale.reshape(n, 1, 1, 1), bias * scale + shift, stride, padding)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def seek(self, name: str, *, optional: bool = False) -> bool:
        """Go behind the next layer of a name; an optional one may be absent."""
        tag = name.encode()
        near = self.at + GAP if self.at else len(self.data)
        found = self.data.find(tag, self.at, near)
        if found < 0 and not optional:
            raise AssetError(f"dlib's network file has no layer '{name}' where one must be")
        self.at = self.at if found < 0 else found + len(tag)
        return found >= 0

    def integer(self) -> int:
        """Read an integer, which is never negative here."""
        length = self.data[self.at] & 15
        self.at += 1 + length
        return int.from_bytes(self.data[self.at - length : self.at], "little")

    def tensor(self) -> Tensor:
        """Read a tensor, float32 (n,)."""
        self.integer()
        n = int(np.prod([self.integer() for _ in range(4)]))
        values = np.frombuffer(self.data, "<f4", n, self.at)
        self.at += 4 * n
        return torch.from_numpy(values.astype(np.float32))
