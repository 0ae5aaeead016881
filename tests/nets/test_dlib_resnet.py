import copy
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from tfbench.core.errors import AssetError, InputError, MissingAsset, UnknownName
from tfbench.faces.crop import FaceInFrame
from tfbench.faces.detect import FaceDetector
from tfbench.faces.landmarks import Window, dlib_file
from tfbench.media.video import VideoFile
from tfbench.nets import dlib_resnet
from tfbench.nets._dlib_file import read_weights

dlib = pytest.importorskip("dlib")

BOX = torch.tensor([[178.8, 64.1, 264.7, 171.6]])


@pytest.fixture(scope="module")
def frozen():
    try:
        return dlib_resnet.load("v1")
    except MissingAsset as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def frame() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].contiguous()


def by_dlib(image: np.ndarray, rectangle) -> np.ndarray:
    """The descriptor as dlib's example computes it."""
    predictor = dlib.shape_predictor(str(dlib_file(dlib_resnet.PREDICTOR)))
    network = dlib.face_recognition_model_v1(str(dlib_file(dlib_resnet.NETWORK)))
    return np.array(network.compute_face_descriptor(image, predictor(image, rectangle)))


def test_equals_dlib_on_the_whole_frame(frozen, frame):
    window = Window(frame[0], BOX[0].tolist(), dlib_resnet.REACH)
    left, top = (int(x) for x in window.corner)
    x1, y1, x2, y2 = window.rectangle()
    rectangle = dlib.rectangle(x1 + left, y1 + top, x2 + left, y2 + top)
    wanted = by_dlib(data.astronaut(), rectangle)
    got = frozen.module.embed(frame, BOX)
    assert got.shape == (1, 128)
    assert got.dtype == torch.float32
    assert np.abs(got[0].numpy() - wanted).max() < 1e-3


def test_is_near_the_descriptor_of_dlibs_own_detector(frozen, frame):
    image = data.astronaut()
    wanted = by_dlib(image, dlib.get_frontal_face_detector()(image)[0])
    assert np.linalg.norm(frozen.module.embed(frame, BOX)[0].numpy() - wanted) < 0.1


def test_loads_by_name_with_the_hash_of_the_networks_file(frozen):
    assert frozen.name == "dlib_resnet.v1"
    assert frozen.sha256 == hashlib.sha256(dlib_file(dlib_resnet.NETWORK).read_bytes()).hexdigest()
    assert frozen.module.crop == FaceInFrame()
    assert frozen.module.located
    with pytest.raises(UnknownName, match="there is v1"):
        dlib_resnet.load("v2")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_network_equals_dlibs_on_any_chip(frozen, seed: int):
    draw = np.random.default_rng(seed)
    coarse = torch.from_numpy(draw.uniform(0, 255, (2, 3, 12, 12)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (150, 150), mode="bicubic").clamp(0, 255)
    chips = smooth.byte().permute(0, 2, 3, 1).contiguous().numpy()
    network = dlib.face_recognition_model_v1(str(dlib_file(dlib_resnet.NETWORK)))
    wanted = np.array(network.compute_face_descriptor(list(chips)))
    with torch.inference_mode():
        found = frozen.module.net(torch.from_numpy(chips).permute(0, 3, 1, 2).float())
    assert np.abs(found.numpy() - wanted).max() < 1e-5


def test_the_weights_are_those_of_the_whole_file():
    convolutions, last = read_weights(dlib_file(dlib_resnet.NETWORK))
    assert [len(one.bias) for one in convolutions[::4]] == [32, 32, 64, 64, 128, 128, 256, 256]
    assert last.shape == (128, 256)
    n_read = sum(one.weight.numel() + 3 * len(one.bias) for one in convolutions) + last.numel()
    assert 0 <= dlib_file(dlib_resnet.NETWORK).stat().st_size - 4 * n_read < 32_000


def test_another_file_is_refused(tmp_path: Path):
    (tmp_path / "network.dat").write_bytes(b"something else")
    with pytest.raises(AssetError, match="wanted is 55533b28"):
        read_weights(tmp_path / "network.dat")


def test_survives_pickling_and_copying(frozen, frame):
    wanted = frozen.module.embed(frame, BOX)
    for again in (pickle.loads(pickle.dumps(frozen)), copy.deepcopy(frozen)):
        assert torch.equal(again.module.embed(frame, BOX), wanted)


def test_other_input_is_refused(frozen, frame):
    with pytest.raises(InputError, match="uint8"):
        frozen.module.embed(frame.float(), BOX)
    with pytest.raises(InputError, match="need boxes"):
        frozen.module.embed(frame, BOX[0])
    assert frozen.module.embed(frame[:0], BOX[:0]).shape == (0, 128)


def test_one_person_is_nearer_to_herself_than_to_others(frozen, shared_data: Path):
    detector = FaceDetector()
    descriptors = []
    names = ("Audio_Source_741400104", "Pose_Source_741400163", "Audio_Source_00015")
    for name in names:
        video = VideoFile(shared_data / "voxceleb2" / f"{name}.mp4")
        frames = next(video.frames(20, 21))
        descriptors.append(frozen.module.embed(frames, detector.detect(frames)[0].boxes[:1])[0])
    one, same, other = descriptors
    assert torch.dist(one, same) < 0.6 < torch.dist(one, other)
