"""Landmark detectors as networks that an evaluator set can name.

`landmarks.dlib68` needs the packages dlib-bin and face-recognition-models, which bring the
predictor; `landmarks.mediapipe478` needs the package ai-edge-litert and the asset face-landmarker.
Both run on the CPU and answer on the device of the frames. See `tfbench.faces.landmarks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from tfbench.core.assets import locate, recorded_sha256
from tfbench.core.errors import UnknownName
from tfbench.core.views import ViewKey
from tfbench.faces.crop import FaceInFrame
from tfbench.faces.landmarks import (
    REVISION,
    DlibLandmarks,
    MediaPipeLandmarks,
    mediapipe_to_68,
)
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from tfbench.core.views import Side
    from tfbench.faces.landmarks import LandmarkDetector

__all__ = ["VARIANTS", "Landmarks", "landmark_view", "load"]

VARIANTS = {"dlib68": "", "mediapipe478": "face-landmarker"}
"""Variant -> the asset that it reads, "" where an installed package brings the file."""


class Landmarks(nn.Module):
    """A detector without trainable parameters.

    Args:
        detector: Finds the points.

    Attributes:
        crop: Whole frames with the face's boxes.
        located: True: `extract` takes boxes beside frames.
        n_points: How many points `extract` gives for a face.
        mouth: Rows of the mouth in what `as_68` returns: 12 of the outer and 8 of the inner lips.
        eyes: Rows of the right and the left eye in what `as_68` returns.
    """

    crop = FaceInFrame()
    located = True
    mouth = tuple(range(48, 68))
    eyes = (tuple(range(36, 42)), tuple(range(42, 48)))

    def __init__(self, detector: LandmarkDetector) -> None:
        super().__init__()
        self.detector = detector
        self.n_points = detector.n_points

    def extract(self, frames: Tensor, regions: Tensor) -> Tensor:
        """Find the landmarks of one face in every frame.

        Args:
            frames: uint8 (t, 3, H, W) RGB.
            regions: float (t, 4), x1 y1 x2 y2 in pixels, of `crop`.

        Returns:
            float32 (t, n_points, 2), x y in pixels of the frame.

        Raises:
            InputError: Frames or boxes are of another type or shape, or a box lies outside.
        """
        return self.detector.points(frames, regions)

    def as_68(self, points: Tensor) -> Tensor:
        """Turn points (..., n_points, 2) into the 68-point convention (..., 68, 2)."""
        return points if self.n_points == 68 else mediapipe_to_68(points)


def landmark_view(detector: Frozen[Landmarks], side: Side) -> ViewKey:
    """Return the view of a detector's landmarks, one key for all who want them.

    Args:
        detector: See `load`.
        side: Which clip is read.
    """
    return ViewKey(
        f"landmarks.{detector.name}",
        side,
        detector.module.crop,
        detector.sha256,
        extract=detector.module.extract,
        located=True,
        kept=REVISION,
    )


def load(variant: str) -> Frozen[Landmarks]:
    """Load a detector.

    Args:
        variant: "dlib68" or "mediapipe478".

    Raises:
        UnknownName: There is no such variant.
        MissingAsset: A package or the asset is not on this machine.
    """
    if variant not in VARIANTS:
        raise UnknownName(f"no landmark detector '{variant}'; there are {', '.join(VARIANTS)}")
    detector: DlibLandmarks | MediaPipeLandmarks
    if variant == "dlib68":
        detector = DlibLandmarks()
    else:
        detector = MediaPipeLandmarks(locate(VARIANTS[variant]))
    sha256 = recorded_sha256(detector.path)
    return Frozen(Landmarks(detector), f"landmarks.{variant}", sha256=sha256)
