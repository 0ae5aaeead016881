"""Emotion-FAN's backbone against values recorded from the reference.

Recorded with Open-Debin/Emotion-FAN (`basic_code/networks.py`), torch 2.15 on a CPU:
`r = resnet18_at(at_type="self-attention")`, filled with `seeded(0).state_dict()` beside its own
`alpha`, `beta` and `pred_fc`, then `r.eval()(crops().float() / 255, phrase="eval",
AT_level="first_level")[0]`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.core.types import FaceTrack
from tfbench.faces.detect import FaceDetector
from tfbench.faces.landmarks import dlib_file
from tfbench.nets.emotion_fan import EmotionFAN, load, load_state, seeded
from tfbench.nets.frozen import state_sha256

FIRST = [74.5443268, 42.9604645, 3.037394, 47.8936501]
NORMS = [632.677307, 633.640442]


@pytest.fixture(scope="module")
def net() -> EmotionFAN:
    return seeded(0)


def crops(n: int = 2) -> torch.Tensor:
    pixels = np.random.RandomState(1).randint(0, 256, (n, 3, 224, 224))
    return torch.from_numpy(pixels.astype(np.uint8))


def save(path: Path, net: EmotionFAN, *heads: str) -> None:
    """Write a checkpoint as the reference reads it (`basic_code/load.py`)."""
    state = net.state_dict() | {head: torch.zeros(3) for head in heads}
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "state_dict": wrapped, "prec1": torch.tensor(0.8)}, path)


def test_parameters_are_those_of_the_reference_without_its_heads(net: EmotionFAN):
    assert sum(p.numel() for p in net.parameters()) == 11_176_512


def test_features_are_the_references(net: EmotionFAN):
    with torch.inference_mode():
        got = net.embed(crops())
    assert got.shape == (2, 512)
    assert got[0, :4].tolist() == pytest.approx(FIRST, rel=1e-5)
    assert got.norm(dim=1).tolist() == pytest.approx(NORMS, rel=1e-5)


@pytest.mark.parametrize(
    "heads",
    [("fc.weight", "fc.bias"), ("alpha.0.weight", "beta.0.bias", "pred_fc1.bias", "pred_fc2.bias")],
)
def test_the_published_layout_loads_without_its_heads(
    net: EmotionFAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: tuple[str, ...]
):
    path = tmp_path / "Resnet18_FER+_pytorch.pth.tar"
    save(path, net, *heads)
    monkeypatch.setenv("TFBENCH_ASSET_EMOTION_FAN", str(path))
    frozen = load("ferplus")
    assert frozen.name == "emotion_fan.ferplus"
    assert frozen.sha256 == state_sha256(net.state_dict())


def test_another_file_is_named(net: EmotionFAN, tmp_path: Path):
    path = tmp_path / "other.pth.tar"
    torch.save(net.state_dict(), path)
    with pytest.raises(AssetError, match="no 'state_dict'"):
        load_state(path)
    save(path, net, "layer5.weight")
    with pytest.raises(AssetError, match=r"unknown parameter 'layer5\.weight'"):
        load_state(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(AssetError, match="no readable checkpoint"):
        load_state(path)


def test_other_input_is_refused(net: EmotionFAN):
    assert net.embed(crops()[:0]).shape == (0, 512)
    for frames in (crops().float(), crops()[:, :, :112, :112]):
        with pytest.raises(InputError, match="224"):
            net.embed(frames)


def test_its_crop_is_near_dlibs_face_chip(net: EmotionFAN):
    """The reference's preparation of a picture that had no part in the template: a smile."""
    dlib = pytest.importorskip("dlib", reason="dlib, whose chip is the reference, is not installed")
    try:
        predictor = dlib.shape_predictor(str(dlib_file("shape_predictor_5_face_landmarks.dat")))
    except MissingAsset as error:
        pytest.skip(str(error))
    image = data.astronaut()
    shape = predictor(image, dlib.get_frontal_face_detector()(image)[0])
    chip = dlib.get_face_chip(image, shape, 224, 0.25).astype(float)
    frames = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
    found = FaceDetector().detect(frames)[0]
    track = FaceTrack(0, found.boxes[:1], found.points[:1], found.scores[:1])
    ours = net.crop.cut(frames, net.crop.regions(track))[0].permute(1, 2, 0).numpy()
    # Moved by 4 pixels, the chip has a correlation of 0.94 with itself; by 10, of 0.82.
    assert np.corrcoef(ours.ravel(), chip.ravel())[0, 1] > 0.96
