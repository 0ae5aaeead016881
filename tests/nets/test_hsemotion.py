"""HSEmotion's EfficientNet-B0 against timm, and against values recorded from it.

Recorded with timm 1.0.31 and torch 2.15 on a CPU: `r = timm.create_model("tf_efficientnet_b0")`,
its classifier an identity, `r.load_state_dict(seeded(0).state_dict())`, then `r.eval()` on
`crops()` over 255 after ImageNet's normalisation; names and shapes from `r.state_dict()`.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tfbench.core.errors import AssetError, InputError
from tfbench.faces.crop import FaceBox
from tfbench.nets.frozen import state_sha256
from tfbench.nets.hsemotion import HSEmotion, load, load_state, seeded

FIRST = [0.12111, -0.00992, 0.0774295, -0.0051044]
NORMS = [3.157548, 3.158536]
NAMES = "43aeb6b5922a29ae4659c895b6f637941192c4d174056bc1d7276807fa47deee"
"""sha256 of the lines "name shape" of all parameters and buffers but the counters of batches."""


@pytest.fixture(scope="module")
def net() -> HSEmotion:
    return seeded(0)


def crops(n: int = 2) -> torch.Tensor:
    pixels = np.random.RandomState(1).randint(0, 256, (n, 3, 224, 224))
    return torch.from_numpy(pixels.astype(np.uint8))


def with_classifier(net: HSEmotion, name: str) -> dict[str, torch.Tensor]:
    state = {key: value.clone() for key, value in net.state_dict().items()}
    return state | {f"{name}.weight": torch.zeros(8, 1280), f"{name}.bias": torch.zeros(8)}


def test_parameters_are_timms(net: HSEmotion):
    assert sum(p.numel() for p in net.parameters()) == 4_007_548
    state = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" not in k}
    lines = "".join(f"{name} {tuple(value.shape)}\n" for name, value in state.items())
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES


def test_features_are_the_recorded_ones(net: HSEmotion):
    with torch.inference_mode():
        got = net.embed(crops())
    assert got.shape == (2, 1280)
    assert got[0, :4].tolist() == pytest.approx(FIRST, abs=1e-5)
    assert got.norm(dim=1).tolist() == pytest.approx(NORMS, rel=1e-5)


def test_features_are_timms(net: HSEmotion):
    timm = pytest.importorskip("timm", reason="timm, the reference, is not installed")
    reference = timm.create_model("tf_efficientnet_b0", pretrained=False)
    reference.classifier = nn.Identity()
    reference.load_state_dict(net.state_dict())
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        wanted = reference.eval()((crops().float() / 255 - mean) / deviation)
        assert float((net.embed(crops()) - wanted).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["classifier", "classifier.0"])
def test_a_converted_file_beside_the_published_one_is_read(
    net: HSEmotion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    path = tmp_path / "enet_b0_8_best_vgaf.pt"
    torch.save(nn.Linear(2, 2), path)
    monkeypatch.setenv("TFBENCH_ASSET_HSEMOTION_ENET_B0", str(path))
    save_file(with_classifier(net, name), tmp_path / "enet_b0_8_best_vgaf.safetensors")
    frozen = load("enet_b0_8")
    assert frozen.name == "hsemotion.enet_b0_8"
    assert frozen.sha256 == state_sha256(net.state_dict())


def test_a_state_dict_in_place_of_the_published_file_is_read(
    net: HSEmotion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "enet_b0_8_best_vgaf.pt"
    torch.save(with_classifier(net, "classifier"), path)
    monkeypatch.setenv("TFBENCH_ASSET_HSEMOTION_ENET_B0", str(path))
    assert load("enet_b0_8").sha256 == state_sha256(net.state_dict())


def test_a_pickled_module_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "enet_b0_8_best_vgaf.pt"
    torch.save(nn.Linear(2, 2), path)
    monkeypatch.setenv("TFBENCH_ASSET_HSEMOTION_ENET_B0", str(path))
    with pytest.raises(AssetError, match=r"convert it once.*weights_only=False.*\.safetensors"):
        load("enet_b0_8")


def test_another_network_is_named(net: HSEmotion, tmp_path: Path):
    path = tmp_path / "other.safetensors"
    save_file(with_classifier(net, "head"), path)
    with pytest.raises(AssetError, match=r"unknown parameter 'head\."):
        load_state(path)


def test_it_reads_boxes_of_224_pixels(net: HSEmotion):
    assert net.crop == FaceBox(size=224)
    assert net.embed(crops()[:0]).shape == (0, 1280)
    for frames in (crops().float(), crops()[:, :, :112, :112]):
        with pytest.raises(InputError, match="224"):
            net.embed(frames)
