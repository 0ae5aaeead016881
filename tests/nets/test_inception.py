from pathlib import Path

import numpy as np
import pytest
import torch

from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.media.video import VideoFile
from tfbench.metrics.frechet import FrechetDistance
from tfbench.nets.frozen import Frozen, state_sha256
from tfbench.nets.inception import Inception, clean, legacy, load, load_state, seeded


@pytest.fixture(scope="module")
def net() -> Inception:
    return seeded(0)


def random_frames(n: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)


def published(net: Inception) -> dict[str, torch.Tensor]:
    """The state dict as the published file has it: with a classifier, without counters."""
    state = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" not in k}
    return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


@pytest.fixture(scope="module")
def reference(net: Inception) -> torch.nn.Module:
    """clean-fid's copy of pytorch-fid's network, with our weights."""
    cleanfid = pytest.importorskip(
        "cleanfid.inception_pytorch", reason="the reference, clean-fid, is not installed"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleanfid, "load_state_dict_from_url", lambda *_, **__: published(net))
        return cleanfid.InceptionV3(output_blocks=[3], resize_input=False).eval()


def resizer(mode: str):
    module = pytest.importorskip(
        "cleanfid.resize", reason="the reference, clean-fid, is not installed"
    )
    return module.build_resizer(mode)


def resized(mode: str, frame: torch.Tensor) -> torch.Tensor:
    """clean-fid's resizing of uint8 (3, h, w) to float (3, 299, 299), 0 to 255."""
    pixels = resizer(mode)(frame.permute(1, 2, 0).numpy())
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def test_parameters_are_those_of_inception_without_a_classifier(net: Inception):
    assert sum(p.numel() for p in net.parameters()) == 21_785_568
    assert not [name for name in net.state_dict() if name.startswith(("fc.", "AuxLogits."))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [(120, 97), (299, 299), (512, 512), (299, 640), (31, 700)])
def test_clean_resizing_is_clean_fids(size: tuple[int, int]):
    (frame,) = random_frames(1, *size)
    wanted = resized("clean", frame)
    assert float((clean(frame) * 128 + 128 - wanted).abs().max()) < 1e-4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [(120, 97), (299, 299), (512, 640)])
def test_legacy_resizing_is_clean_fids(size: tuple[int, int]):
    (frame,) = random_frames(1, *size)
    wanted = 2 * resized("legacy_pytorch", frame) / 255 - 1
    assert float((legacy(frame) - wanted).abs().max()) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_features_of_random_frames_are_the_references(net: Inception, reference: torch.nn.Module):
    frames = random_frames(2, 180, 240)
    images = torch.stack([resized("clean", frame) for frame in frames])
    with torch.inference_mode():
        # The reference scales by 2 x / 255 - 1; clean-fid's own mode divides by 128.
        wanted = reference(((images - 128) / 128 + 1) / 2)[0].flatten(1)
        got = net.embed(frames)
    assert got.shape == (2, 2048)
    assert got.dtype == torch.float32
    assert float((got - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())
    assert float((wanted[0] - wanted[1]).abs().max()) > 1e-2


@pytest.mark.filterwarnings("ignore")
def test_legacy_features_of_a_real_clip_are_the_references(
    net: Inception, reference: torch.nn.Module, shared_data: Path
):
    frames = next(VideoFile(shared_data / "hdtf" / "unnamed_25fps.mp4").frames(stop=2))
    images = torch.stack([resized("legacy_pytorch", frame) for frame in frames])
    legacy_net = Inception("legacy")
    legacy_net.load_state_dict(net.state_dict())
    with torch.inference_mode():
        wanted = reference(images / 255)[0].flatten(1)
        got = legacy_net.eval().embed(frames)
    assert float((got - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


def test_it_serves_the_frechet_distance_and_is_called_fid(net: Inception):
    metric = FrechetDistance("frame", network=Frozen(net, "inception.clean"))
    assert metric.columns[0].name == "FID"
    with torch.inference_mode():
        metric.update(random_frames(2, 64, 64), real=True)
        metric.update(random_frames(2, 64, 64).flip(0), real=False)
    assert metric.compute().item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(2, 3, 64, 64),
        torch.zeros(3, 64, 64, dtype=torch.uint8),
        torch.zeros(2, 1, 64, 64, dtype=torch.uint8),
        torch.zeros(0, 3, 64, 64, dtype=torch.uint8),
    ],
)
def test_other_frames_are_refused(net: Inception, frames: torch.Tensor):
    with pytest.raises(InputError, match=r"reads uint8 \(t, 3, h, w\)"):
        net.embed(frames)


def test_the_published_form_of_a_checkpoint_loads(net: Inception, tmp_path: Path):
    path = tmp_path / "inception.pth"
    torch.save(published(net), path)
    assert state_sha256(load_state(path).state_dict()) == state_sha256(net.state_dict())
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(AssetError, match="no readable checkpoint"):
        load_state(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("Mixed_7c.branch_pool.bn.bias"), "lacks parameter 'Mixed_7c.branch_pool"),
        (lambda s: s.update({"AuxLogits.fc.bias": torch.zeros(1)}), "unknown parameter 'AuxLogits"),
        (lambda s: s.update({"Conv2d_1a_3x3.bn.bias": torch.zeros(9)}), "misshapen parameter"),
    ],
)
def test_a_checkpoint_of_another_network_is_named(net, tmp_path: Path, change, message: str):
    state = published(net)
    change(state)
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(AssetError, match=message):
        load_state(path)


def test_what_is_no_state_dict_is_refused(tmp_path: Path):
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(AssetError, match="holds a list, not a state dict"):
        load_state(path)


@pytest.mark.parametrize("variant", ["clean", "legacy"])
def test_without_the_file_it_says_where_it_belongs(variant: str):
    with pytest.raises(MissingAsset, match="inception-fid"):
        load(variant)
