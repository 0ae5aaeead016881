from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1, extract_face, fixed_image_standardization
from PIL import Image
from skimage import data

from tfbench.core.errors import AssetError, InputError
from tfbench.core.types import FaceTrack
from tfbench.nets.facenet import FaceNet, load, load_state, seeded
from tfbench.nets.frozen import state_sha256


@pytest.fixture(scope="module")
def net() -> FaceNet:
    return seeded(0)


def crops(n: int = 2) -> torch.Tensor:
    pixels = np.random.RandomState(1).randint(0, 256, (n, 3, 160, 160))
    return torch.from_numpy(pixels.astype(np.uint8))


def published(net: FaceNet, classes: int = 11) -> dict[str, torch.Tensor]:
    """The state dict as the published files have it, with a (here small) classifier."""
    head = {"logits.weight": torch.zeros(classes, 512), "logits.bias": torch.zeros(classes)}
    return net.state_dict() | head


def test_embeddings_are_facenet_pytorchs(net: FaceNet):
    reference = InceptionResnetV1(pretrained=None, classify=False)
    reference.load_state_dict(net.state_dict())
    with torch.inference_mode():
        wanted = reference.eval()(fixed_image_standardization(crops().float()))
        got = net.embed(crops())
    assert got.shape == (2, 512)
    assert float((got - wanted).abs().max()) < 1e-5
    assert float((wanted[0] - wanted[1]).abs().max()) > 5e-3


def test_its_crop_is_facenet_pytorchs(net: FaceNet):
    """Pillow resizes there, in whole numbers; here torch does, after the same box."""
    box = np.array([178.0, 64.0, 264.0, 171.0])
    wanted = extract_face(Image.fromarray(data.astronaut()), box, image_size=160, margin=0)
    track = FaceTrack(0, torch.from_numpy(box).float()[None], torch.zeros(1, 5, 2), torch.ones(1))
    frames = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None]
    got = net.crop.cut(frames, net.crop.regions(track))[0]
    assert float((got - wanted).abs().max()) <= 1


def test_the_published_layout_loads_without_its_classifier(
    net: FaceNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "casia.pt"
    torch.save(published(net), path)
    monkeypatch.setenv("TFBENCH_ASSET_CASIA_WEBFACE", str(path))
    frozen = load("casia")
    assert frozen.name == "facenet.casia"
    assert frozen.sha256 == state_sha256(net.state_dict())


def test_another_network_is_named(net: FaceNet, tmp_path: Path):
    path = tmp_path / "other.pt"
    torch.save({k: v for k, v in published(net).items() if k != "last_bn.bias"}, path)
    with pytest.raises(AssetError, match=r"lacks parameter 'last_bn\.bias'"):
        load_state(path)
    torch.save(published(net) | {"extra": torch.zeros(1)}, path)
    with pytest.raises(AssetError, match="unknown parameter 'extra'"):
        load_state(path)


def test_other_input_is_refused(net: FaceNet):
    assert net.embed(crops()[:0]).shape == (0, 512)
    for frames in (crops().float(), crops()[:, :, :112, :112], crops()[0]):
        with pytest.raises(InputError, match="160"):
            net.embed(frames)
