import copy
import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from skimage import data

from tfbench.core.assets import asset
from tfbench.core.errors import MissingAsset, UnknownName
from tfbench.faces.crop import FaceInFrame
from tfbench.nets.landmarks import VARIANTS, Landmarks, load

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "mediapipe"
BOX = torch.tensor([[178.8, 64.1, 264.7, 171.6]])


@pytest.fixture(scope="module")
def frame() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].contiguous()


class Still:
    """Finds the same points everywhere."""

    def __init__(self, n_points: int) -> None:
        self.n_points = n_points

    def points(self, frames: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return torch.arange(2.0 * self.n_points).view(-1, 2).repeat(len(frames), 1, 1)


def test_dlib_is_loaded_by_name(frame):
    pytest.importorskip("dlib")
    frozen = load("dlib68")
    assert frozen.name == "landmarks.dlib68"
    path = frozen.module.detector.path
    assert frozen.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    points = frozen.module.extract(frame, BOX)
    assert points.shape == (1, 68, 2)
    assert torch.equal(frozen.module.as_68(points), points)
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert torch.equal(other.module.extract(frame, BOX), points)


def test_mediapipe_is_loaded_by_name(frame, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ai_edge_litert")
    path = WEIGHTS / "face_landmarker_v2_with_blendshapes.task"
    if not path.is_file():
        pytest.skip(f"MediaPipe's task file is not here: {path} does not exist")
    with pytest.raises(MissingAsset):
        load("mediapipe478")
    monkeypatch.setenv("TFBENCH_ASSET_FACE_LANDMARKER", str(path))
    frozen = load("mediapipe478")
    assert frozen.sha256 == asset("face-landmarker").sha256
    points = frozen.module.extract(frame, BOX)
    assert points.shape == (1, 478, 2)
    assert frozen.module.as_68(points).shape == (1, 68, 2)


@pytest.mark.parametrize("n_points", [68, 478])
def test_modules_say_what_they_give(n_points: int):
    module = Landmarks(Still(n_points))
    assert module.crop == FaceInFrame()
    assert module.located
    assert module.n_points == n_points
    assert not module.state_dict()
    points = module.extract(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 4))
    mouth = module.as_68(points)[:, list(module.mouth)]
    assert mouth.shape == (2, 20, 2)
    if n_points == 478:
        assert mouth[0, :2].tolist() == [[122, 123], [79, 80]]


def test_unknown_variants_are_named():
    with pytest.raises(UnknownName, match="there are dlib68, mediapipe478"):
        load("dlib5")
    assert set(VARIANTS) == {"dlib68", "mediapipe478"}
