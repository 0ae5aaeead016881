from pathlib import Path

import pytest
import torch
from torchvision import models

from tfbench.core import assets
from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.nets.frozen import state_sha256
from tfbench.nets.lpips import VARIANTS, LPIPSNet, load, seeded

lpips = pytest.importorskip("lpips", reason="the package lpips is not installed")
BUILDERS = {"alex": models.alexnet, "vgg": models.vgg16, "squeeze": models.squeezenet1_1}


def torchvision_state(variant: str) -> dict[str, torch.Tensor]:
    """Random weights under torchvision's names; those of the classifier have no values."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in BUILDERS[variant]().state_dict().items()}
    return {
        name: torch.randn(shape, generator=generator) * (2 / max(shape[1:].numel(), 9)) ** 0.5
        if name.startswith("features.")
        else torch.zeros(0)
        for name, shape in shapes.items()
    }


def frames(seed: int, n: int = 3, height: int = 64, width: int = 80) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def net() -> LPIPSNet:
    return seeded(0, "squeeze")


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_distances_are_the_packages(variant: str):
    state = torchvision_state(variant)
    net = LPIPSNet(variant)
    net.load_backbone(state)
    reference = lpips.LPIPS(net=variant, pnet_rand=True, verbose=False)
    # By position, not by name: both list the same layers in the same order.
    values = [value for name, value in state.items() if name.startswith("features.")]
    for parameter, value in zip(reference.net.parameters(), values, strict=True):
        parameter.data.copy_(value)
    pred, ref = frames(0), frames(1)
    with torch.inference_mode():
        wanted = reference(pred / 255, ref / 255, normalize=True).flatten()
        got = net.eval().distance(pred, ref)
    assert got.shape == (3,)
    assert float((got - wanted).abs().max()) < 1e-5 * float(wanted.max())
    assert float(wanted.min()) > 1e-3


def test_a_frame_is_at_no_distance_from_itself_and_noise_is_far(net: LPIPSNet):
    ref = frames(0, 1).clamp(60, 190)
    noise = torch.randn(ref.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        values = [float(net.distance((ref + s * noise).round().byte(), ref)) for s in (0, 4, 20)]
    assert values[0] == 0
    assert values == sorted(values)


def test_large_frames_go_through_one_at_a_time(net: LPIPSNet, monkeypatch: pytest.MonkeyPatch):
    pred, ref = frames(0, 5), frames(1, 5)
    with torch.inference_mode():
        together = net.distance(pred, ref)
        monkeypatch.setattr("tfbench.nets.lpips.PIXELS", 1)
        assert torch.allclose(net.distance(pred, ref), together, rtol=1e-5)


@pytest.mark.parametrize("variant", ["alex", "squeeze"])
def test_the_smallest_frames_pass(variant: str):
    """VGG needs fewer pixels than these two."""
    with torch.inference_mode():
        assert seeded(0, variant).distance(frames(0, 1, 32, 32), frames(1, 1, 32, 32)) > 0


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        (torch.zeros(3, 3, 64, 81, dtype=torch.uint8), "of one shape"),
        (torch.zeros(3, 3, 64, 80), "uint8 frames"),
    ],
)
def test_other_frames_are_refused(net: LPIPSNet, pred: torch.Tensor, message: str):
    with pytest.raises(InputError, match=message):
        net.distance(pred, frames(0))


def test_small_frames_are_refused(net: LPIPSNet):
    small = torch.zeros(1, 3, 64, 31, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"at least 32 pixels in height and width; .* 31x64"):
        net.distance(small, small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.12.squeeze.bias"), "lacks parameter 'slice7.12.squeeze.bias'"),
        (lambda s: s.update({"features.99.bias": torch.zeros(1)}), "unknown parameter 'features.9"),
        (lambda s: s.update({"features.0.bias": torch.zeros(1)}), "misshapen parameter"),
    ],
)
def test_another_backbone_is_named(change, message: str):
    state = torchvision_state("squeeze")
    change(state)
    with pytest.raises(AssetError, match=message):
        LPIPSNet("squeeze").load_backbone(state)


def test_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "squeezenet.pth"
    torch.save(torchvision_state("squeeze"), path)
    monkeypatch.setattr(assets, "locate", lambda name: path)
    frozen = load("squeeze")
    net = LPIPSNet("squeeze")
    net.load_backbone(torchvision_state("squeeze"))
    assert frozen.name == "lpips.squeeze"
    assert frozen.sha256 == state_sha256(net.state_dict())


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_without_the_file_it_says_where_it_belongs(variant: str):
    with pytest.raises(MissingAsset, match=VARIANTS[variant]):
        load(variant)
