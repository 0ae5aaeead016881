from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tfbench.core.errors import AssetError, InputError
from tfbench.nets.frozen import Frozen, state_sha256
from tfbench.nets.onet import ONetFeatures, load
from tfbench.nets.syncnet import SyncNet, _fast_correlation, build, load_state, seeded


@pytest.fixture(scope="module")
def net() -> SyncNet:
    return seeded(0)


def count(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def test_parameters_are_those_of_the_reference(net: SyncNet):
    assert count(net.netcnnaud, net.netfcaud) == 5_664_704
    assert count(net.netcnnlip, net.netfclip) == 7_966_912
    assert count(net) == 13_631_616


def test_seeded_weights_are_the_same_everywhere(net: SyncNet):
    assert net.netcnnaud[0].weight.detach().flatten()[0].item() == pytest.approx(
        np.random.RandomState(0).randn() * np.sqrt(2 / 9) / 8, rel=1e-6
    )
    assert state_sha256(seeded(0).state_dict()) == state_sha256(net.state_dict())
    assert state_sha256(seeded(1).state_dict()) != state_sha256(net.state_dict())


def test_streaming_lips_equal_the_windows_of_3d_convolutions(net: SyncNet):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (22, 3, 224, 224), generator=generator, dtype=torch.uint8)
    bgr = frames.flip(1).float()
    windows = torch.stack([bgr[k : k + 5].transpose(0, 1) for k in range(18)])
    with torch.inference_mode():
        got = net.embed_lips(frames)
        wanted = net.netfclip(net.netcnnlip(windows).flatten(1))
    assert got.shape == (18, 1024)
    assert float((got - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


def test_any_number_of_frames_and_floats_give_the_same(net: SyncNet):
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (9, 3, 224, 224), generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        whole = net.embed_lips(frames.float())
        for n in (5, 6, 8):
            assert torch.allclose(net.embed_lips(frames[:n]), whole[: n - 4], atol=1e-4)


@pytest.mark.parametrize(("outputs", "taps"), [(1, 5), (2, 5), (4, 5), (4, 3)])
def test_fast_correlation_is_a_correlation(outputs: int, taps: int):
    draw = np.random.RandomState(0)
    x, w = draw.randn(outputs + taps - 1), draw.randn(taps)
    split, kernel, merge = (matrix.numpy() for matrix in _fast_correlation(outputs, taps))
    assert merge @ ((kernel @ w) * (split @ x)) == pytest.approx(np.correlate(x, w, "valid"))


def test_streaming_sound_equals_windows(net: SyncNet):
    mfcc = torch.randn(63, 13, generator=torch.Generator().manual_seed(0))
    windows = torch.stack([mfcc[4 * k : 4 * k + 20].T[None] for k in range(11)])
    with torch.inference_mode():
        assert torch.equal(net.embed_audio(mfcc), net.forward_audio(windows))
        assert net.embed_audio(mfcc[:19]).shape == (0, 1024)


@pytest.mark.parametrize("shape", [(4, 3, 224, 224), (9, 3, 96, 96), (9, 1, 224, 224)])
def test_other_frames_are_refused(net: SyncNet, shape: tuple[int, ...]):
    with pytest.raises(InputError):
        net.embed_lips(torch.zeros(shape, dtype=torch.uint8))


def test_a_checkpoint_comes_back(net: SyncNet, tmp_path: Path):
    path = tmp_path / "syncnet.model"
    torch.save(net.state_dict(), path)
    assert state_sha256(load_state(path).state_dict()) == state_sha256(net.state_dict())


def test_a_cut_off_checkpoint_is_refused(net: SyncNet, tmp_path: Path):
    path = tmp_path / "syncnet.model"
    torch.save(net.state_dict(), path)
    path.write_bytes(path.read_bytes()[:824_000])
    with pytest.raises(AssetError, match="no readable checkpoint"):
        load_state(path)


def test_an_old_checkpoint_without_batch_counters_loads(net: SyncNet, tmp_path: Path):
    """The official file is of 2017: the old format, no counters."""
    path = tmp_path / "syncnet.model"
    state = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" not in k}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert state_sha256(load_state(path).state_dict()) == state_sha256(net.state_dict())
    whole = path.read_bytes()
    for size in (0, 1, 3000, 8000, 824_000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(AssetError, match="no readable checkpoint"):
            load_state(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("netfcaud.0.bias"), "lacks parameter 'netfcaud.0.bias'"),
        (lambda s: s.update(extra=torch.zeros(1)), "has the unknown parameter 'extra'"),
        (lambda s: s.update({"netfclip.3.bias": torch.zeros(9)}), "misshapen parameter"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_named(tmp_path: Path, change, message: str):
    state = dict(seeded(0).state_dict())
    change(state)
    path = tmp_path / "other.model"
    torch.save(state, path)
    with pytest.raises(AssetError, match=message):
        load_state(path)


def test_onet_features_are_those_inside_facenets_network():
    frozen = load("mtcnn")
    net = frozen.module.net
    caught = []
    hook = net.prelu5.register_forward_hook(lambda *args: caught.append(args[2]))
    crops = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        net((crops.float() - 127.5) * 0.0078125)
        hook.remove()
        got = frozen.module.embed(crops)
    assert torch.equal(got, caught[0])
    assert got.shape == (5, 256)


def test_frozen_networks_do_not_train_and_know_their_weights():
    frozen = Frozen(ONetFeatures(), "onet.test")
    assert not frozen.module.training
    assert not any(p.requires_grad for p in frozen.module.parameters())
    assert frozen.sha256 == load("mtcnn").sha256


@pytest.mark.parametrize("colour", [True, False])
def test_small_networks_embed_sequences_as_windows(colour: bool):
    torch.manual_seed(0)
    small = (16, (8,) * 6, (8,) * 6, 8, 80, (10, 74, 4, 76), colour, 1)
    net = SyncNet(*small).eval()
    frames = torch.randint(0, 256, (9, 3, 80, 80), dtype=torch.uint8)
    seen = net.look(frames)
    assert seen.shape == (9, 3 if colour else 1, 64, 72)
    windows = seen.float().unfold(0, 5, 1).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        by_layers = net.netfclip(net.netcnnlip(windows).flatten(1))
        torch.testing.assert_close(net.forward_lip(windows), by_layers, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(net.embed_lips(frames), by_layers, rtol=1e-3, atol=1e-3)
    assert torch.equal(net.look(frames, 4)[:, :, 4:-4, 4:-4], seen)
    again = build(net.settings)
    again.load_state_dict(net.state_dict())
    with pytest.raises(InputError, match=r"\(T, 3, 80, 80\)"):
        net.embed_lips(torch.zeros(9, 3, 64, 64, dtype=torch.uint8))
