"""mini-Xception against Keras itself and against SciPy.

`KERAS` was recorded with Keras 3.15 and TensorFlow 2.21 from the published file:
`keras.models.load_model(path, compile=False).predict(x)`, where x is the gray picture
0.299 R + 0.587 G + 0.114 B of `crops()`, over 127.5, minus 1; `FEATURES` is the output of its
layer `add_4`, averaged over height and width.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.core.types import FaceTrack
from tfbench.faces.align import SquareFace
from tfbench.faces.detect import FaceDetector
from tfbench.media.video import VideoFile
from tfbench.nets.mini_xception import EMOTIONS, MiniXception, load, load_state, seeded

FILE = "emotion/fer2013_mini_XCEPTION.102-0.66.hdf5"
KERAS = [
    [0.023228, 1e-6, 0.030268, 0.881256, 0.062697, 0.001385, 0.001165],
    [0.035939, 7e-6, 0.058937, 0.32567, 0.556942, 0.013022, 0.009484],
    [0.131425, 2e-6, 0.029652, 0.622367, 0.213291, 0.001267, 0.001997],
    [0.02556, 1e-6, 0.005535, 0.918055, 0.048192, 0.00178, 0.000879],
]
FEATURES = [-0.3760781, -0.7970554, -0.5135846, -0.0311802]
NORM = 5.5434713


def published() -> Path:
    path = Path(__file__).resolve().parents[3] / "shared" / "weights" / FILE
    if not path.is_file():
        pytest.skip(f"the published weights are not here: {path} does not exist")
    pytest.importorskip("h5py", reason="h5py, which reads them, is not installed")
    return path


@pytest.fixture(scope="module")
def net() -> MiniXception:
    return load_state(published())


def crops(n: int = 4) -> torch.Tensor:
    pixels = np.random.RandomState(2).randint(0, 256, (n, 3, 64, 64))
    return torch.from_numpy(pixels.astype(np.uint8))


def test_probabilities_and_features_are_those_of_keras(net: MiniXception):
    with torch.inference_mode():
        probabilities, features = net.probabilities(crops()), net.embed(crops())
    assert probabilities.numpy() == pytest.approx(np.array(KERAS), abs=2e-6)
    assert features.shape == (4, 128)
    assert features[0, :4].tolist() == pytest.approx(FEATURES, abs=1e-5)
    assert float(features[0].norm()) == pytest.approx(NORM, rel=1e-5)


def by_scipy(state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network's features of one gray picture (64, 64), by SciPy in float64."""

    def conv(x: np.ndarray, name: str, mode: str) -> np.ndarray:
        return np.stack(
            [
                sum(signal.correlate2d(c, k, mode) for c, k in zip(x, kernels, strict=True))
                for kernels in state[name]
            ]
        )

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        mean, variance, scale, shift = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + 0.001) * scale + shift

    def separable(x: np.ndarray, name: str) -> np.ndarray:
        kernels = state[f"{name}.0.weight"][:, 0]
        deep = [signal.correlate2d(c, k, "same") for c, k in zip(x, kernels, strict=True)]
        return np.einsum("oi,ihw->ohw", state[f"{name}.1.weight"][:, :, 0, 0], np.stack(deep))

    x = np.maximum(norm(conv(x[None], "conv1.weight", "valid"), "norm1"), 0)
    x = np.maximum(norm(conv(x, "conv2.weight", "valid"), "norm2"), 0)
    for k in range(4):
        block = f"blocks.{k}"
        beside = np.einsum("oi,ihw->ohw", state[f"{block}.shortcut.weight"][:, :, 0, 0], x)
        beside = norm(beside[:, ::2, ::2], f"{block}.shortcut_norm")
        x = np.maximum(norm(separable(x, f"{block}.separable1"), f"{block}.norm1"), 0)
        x = norm(separable(x, f"{block}.separable2"), f"{block}.norm2")
        highest = ndimage.maximum_filter(x, (1, 3, 3), mode="constant", cval=-np.inf)
        # Windows of "same" with stride 2 are centred at 1, 3, ... where the side is even.
        first = 1 if x.shape[1] % 2 == 0 else 0
        x = highest[:, first::2, first::2] + beside
    return x.mean(axis=(1, 2))


def test_arithmetic_is_scipys():
    net = seeded(3)
    state = {name: value.double().numpy() for name, value in net.state_dict().items()}
    gray = np.einsum("chw,c->hw", crops(1)[0].double().numpy(), [0.299, 0.587, 0.114])
    with torch.inference_mode():
        got = net.embed(crops(1))[0].numpy()
    wanted = by_scipy(state, gray / 127.5 - 1)
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_the_published_file_loads_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TFBENCH_ASSET_MINI_XCEPTION", str(published()))
    frozen = load("fer2013")
    assert frozen.name == "mini_xception.fer2013"
    assert frozen.module.crop == SquareFace(64)
    assert sum(v.numel() for k, v in frozen.module.state_dict().items() if "num_" not in k) == 58423


def test_emotions_of_real_faces_are_told(net: MiniXception, shared_data: Path):
    """Three clips of one actress whose emotion the network tells."""
    detector, crop = FaceDetector(), net.crop
    for emotion, wanted in (("happy", "happy"), ("sad", "sad"), ("surprised", "surprise")):
        video = VideoFile(shared_data / "mead_3dmm" / f"W009_front_{emotion}_level3_001.mp4")
        frames = next(video.frames(20, 26))
        found = detector.detect(frames)
        track = FaceTrack(
            0,
            torch.stack([d.boxes[0] for d in found]),
            torch.stack([d.points[0] for d in found]),
            torch.stack([d.scores[0] for d in found]),
        )
        with torch.inference_mode():
            mean = net.probabilities(crop.cut(frames, crop.regions(track))).mean(dim=0)
        assert EMOTIONS[int(mean.argmax())] == wanted


def test_other_files_are_named(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "other.hdf5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(AssetError, match="no readable Keras model"):
        load_state(path)
    with h5py.File(path, "w") as file:
        file["model_weights/conv2d_1/conv2d_1/kernel:0"] = np.zeros((3, 3, 1, 8), np.float32)
    with pytest.raises(AssetError, match="it lacks 'conv2d_2/kernel'"):
        load_state(path)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingAsset, match="pip install h5py"):
        load_state(tmp_path / "file.hdf5")


def test_other_input_is_refused():
    net = seeded()
    assert net.embed(crops()[:0]).shape == (0, 128)
    assert net.probabilities(crops()[:0]).shape == (0, 7)
    for frames in (crops().float(), crops()[:, :, :48, :48]):
        with pytest.raises(InputError, match="64"):
            net.embed(frames)
