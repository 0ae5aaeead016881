"""dlib's face descriptor: 128 numbers of a ResNet, an identity network that pip installs.

King 2017, `dlib_face_recognition_resnet_model_v1`, from the package face-recognition-models. As
in dlib's `examples/dnn_face_recognition_ex.cpp`, faces are aligned by the five-point predictor to
chips of 150 pixels with a padding of 0.25. dlib's rectangle is drawn from MTCNN's box instead of
by dlib's detector, which moves the descriptor by 0.04 (mean of 233 frames of 25 real clips).

It was trained for Euclidean distance with a threshold of 0.6. On those clips, 95 % of the frame
pairs of one person in two recordings lie 0.41 to 0.56 apart (cosine 0.93 to 0.96; one person, 100
pairs) and those of different persons 0.66 to 1.00 (cosine 0.77 to 0.90): the cosines of strangers
lie close to 1. It runs on the CPU, about 0.1 s a face whatever the batch.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tfbench.core.assets import recorded_sha256
from tfbench.core.errors import UnknownName
from tfbench.faces.crop import FaceInFrame
from tfbench.faces.landmarks import Window, check_located, dlib_file, import_dlib
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["VARIANTS", "DlibResNet", "load"]

VARIANTS = {"v1": ""}
"""Variant -> asset; an installed package brings the files."""

NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
PREDICTOR = "shape_predictor_5_face_landmarks.dat"
CHIP = 150
PADDING = 0.25
REACH = 1.5
"""How far around the centre a chip may reach, in sides of dlib's rectangle."""


class DlibResNet(nn.Module):
    """128-d descriptors of faces whose boxes are known; can be pickled and copied.

    Attributes:
        crop: Whole frames with the face's boxes.
        located: True: `embed` takes boxes beside frames.

    Raises:
        MissingAsset: dlib or its models are not installed.
    """

    crop = FaceInFrame()
    located = True

    def __init__(self) -> None:
        super().__init__()
        import_dlib()
        self.models = _Models(dlib_file(NETWORK), dlib_file(PREDICTOR))

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
        chips = [self.models.chip(f, b) for f, b in zip(frames, regions.tolist(), strict=True)]
        found = np.array(self.models.network.compute_face_descriptor(chips))
        return torch.from_numpy(found).float().to(frames.device)


class _Models:
    """dlib's objects, loaded at the first use and left behind when pickled."""

    def __init__(self, network: Path, predictor: Path) -> None:
        self.paths = (network, predictor)

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}

    @cached_property
    def network(self) -> Any:
        return import_dlib().face_recognition_model_v1(str(self.paths[0]))

    @cached_property
    def predictor(self) -> Any:
        return import_dlib().shape_predictor(str(self.paths[1]))

    def chip(self, frame: Tensor, box: Sequence[float]) -> np.ndarray:
        """Align one face to uint8 (150, 150, 3)."""
        dlib = import_dlib()
        window = Window(frame, box, REACH)
        shape = self.predictor(window.pixels, dlib.rectangle(*window.rectangle()))
        chip: np.ndarray = dlib.get_face_chip(window.pixels, shape, CHIP, PADDING)
        return chip


def load(variant: str) -> Frozen[DlibResNet]:
    """Load the network.

    Args:
        variant: "v1".

    Raises:
        UnknownName: There is no such variant.
        MissingAsset: dlib or its models are not installed.
    """
    if variant not in VARIANTS:
        raise UnknownName(f"no variant '{variant}' of dlib_resnet; there is v1")
    sha256 = recorded_sha256(dlib_file(NETWORK))
    return Frozen(DlibResNet(), f"dlib_resnet.{variant}", sha256=sha256)
