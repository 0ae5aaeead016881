"""Wav2Lip's lip-sync expert against the public code, on weights that are drawn."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import AssetError, InputError
from tfbench.nets.color_syncnet import (
    VARIANTS,
    ColorSyncNet,
    build,
    cosine_loss,
    load,
    load_state,
    swap_colours,
)

TINY = ColorSyncNet((4, 4, 4, 4, 4), 48)


def drawn_state(net: nn.Module, gain: float = 0.7, seed: int = 0) -> dict[str, Tensor]:
    """Draw weights in the order of the state dict: the recipe of all numbers recorded below.

    They were recorded with the classes of Rudrabha/Wav2Lip (`models/`), torch 2.15, CPU, loaded
    with these weights and fed with the colours the other way round (BGR).
    """
    draw, state = np.random.RandomState(seed), {}
    # Drawing all numbers of a large network would take seconds.
    normal = draw.randn(100_003).astype(np.float32)
    for name, value in net.state_dict().items():
        shape = tuple(value.shape)
        if value.ndim > 1:
            filled = np.resize(normal, shape) * np.float32(gain / np.sqrt(np.prod(shape[1:])))
            normal = np.roll(normal, 17)
        elif name.endswith("tracked"):
            filled = np.zeros(shape)
        elif name.endswith(("running_var", "1.weight")):
            filled = draw.uniform(0.8, 1.2, shape)
        else:
            filled = draw.uniform(-0.1, 0.1, shape)
        state[name] = torch.from_numpy(np.asarray(filled)).to(value.dtype)
    return state


def drawn_input() -> tuple[Tensor, Tensor, Tensor]:
    """Draw five chunks of sound and twice five faces, RGB."""
    draw = np.random.RandomState(1)
    mel = torch.from_numpy(draw.uniform(-4, 4, (5, 1, 80, 16))).float()
    faces = torch.from_numpy(draw.uniform(0, 1, (5, 3, 96, 96))).float()
    return mel, faces, torch.from_numpy(draw.uniform(0, 1, (5, 3, 96, 96))).float()


def names_and_shapes(net: nn.Module) -> str:
    """Hash of the state dict's names and shapes, in its order."""
    lines = [f"{name} {tuple(value.shape)}" for name, value in net.state_dict().items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_official(path: Path, net: nn.Module, gain: float = 0.7) -> Path:
    """Write a checkpoint as the authors' training does, on several devices."""
    state = {f"module.{name}": value for name, value in drawn_state(net, gain).items()}
    torch.save({"state_dict": state, "optimizer": None, "global_step": 1}, path)
    return path


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> ColorSyncNet:
    path = tmp_path_factory.mktemp("expert") / "lipsync_expert.pth"
    return load_state(write_official(path, ColorSyncNet())).eval()


def test_names_shapes_and_count_are_the_reference_s(expert: ColorSyncNet):
    known = "ee015cff0895adc30a40c5884b72e6b7a3bd66da256a1ae2910000fc5a1794aa"
    assert names_and_shapes(expert) == known
    assert sum(p.numel() for p in expert.parameters()) == 16_435_072


def test_an_official_checkpoint_gives_the_reference_s_embeddings(expert: ColorSyncNet):
    mel, faces, _ = drawn_input()
    with torch.inference_mode():
        heard, seen = expert(mel[:1], expert.look(faces[None])[:, 0])
    # Recorded.
    sound = [0.0, 0.0, 0.01158223, 0.0, 0.03117021, 0.00657669]
    lips = [0.04474471, 0.0, 0.07484962, 0.0, 0.0, 0.07636070]
    assert heard[0, :6].tolist() == pytest.approx(sound, abs=1e-6)
    assert seen[0, :6].tolist() == pytest.approx(lips, abs=1e-6)
    assert float((heard * seen).sum()) == pytest.approx(0.33800119, abs=1e-6)
    assert float(cosine_loss(heard, seen, torch.ones(1))) == pytest.approx(1.0847058, abs=1e-5)
    assert float(cosine_loss(heard, seen, torch.zeros(1))) == pytest.approx(0.4124915, abs=1e-5)


def test_a_clip_is_the_windows_one_by_one():
    net = ColorSyncNet((4, 4, 8, 8, 32), 48).eval()
    net.load_state_dict(drawn_state(net, 2.0))
    faces = torch.randint(0, 256, (9, 3, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        whole = net.embed_clip(faces)
        for k in range(5):
            lower = faces[k : k + 5, :, 24:].flatten(0, 1)[None].float() / 255
            torch.testing.assert_close(whole[k : k + 1], net.embed_faces(lower))
    assert whole.norm(dim=1).tolist() == pytest.approx([1] * 5)
    assert bool((whole >= 0).all())


def test_the_upper_half_is_not_seen():
    faces = torch.rand(1, 5, 3, 48, 48)
    other = faces.clone()
    other[..., :24, :] = 0
    assert torch.equal(TINY.look(faces), TINY.look(other))


@pytest.mark.parametrize("side", [48, 64, 80, 96, 128])
def test_faces_of_other_sides(side: int):
    net = build({"widths": [4, 4, 4, 4, 6], "side": side}).eval()
    assert net.embed_faces(torch.rand(2, 15, side // 2, side)).shape == (2, 6)
    assert net.embed_sound(torch.rand(2, 1, 80, 16)).shape == (2, 6)
    assert build(net.settings).state_dict().keys() == net.state_dict().keys()


def test_the_loss_is_binary_cross_entropy_of_the_cosine():
    draw = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 6, 8, generator=draw)
    together = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    cosine = (F.normalize(a, dim=1) * F.normalize(b, dim=1)).sum(1)
    expected = -(together * cosine.log() + (1 - together) * (1 - cosine).log()).mean()
    torch.testing.assert_close(cosine_loss(a, b, together), expected)
    # What cannot be told is not infinite.
    assert torch.isfinite(cosine_loss(a, a, torch.zeros(6)))
    with torch.autocast("cpu", torch.bfloat16):
        assert cosine_loss(a.bfloat16(), b.bfloat16(), together).dtype == torch.float32


def test_colours_turn_in_each_picture():
    weight = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert swap_colours(weight).flatten().tolist() == [2, 1, 0, 5, 4, 3]
    assert torch.equal(swap_colours(swap_colours(weight)), weight)


def test_variants_name_assets_or_shipped_files():
    from tfbench.core.assets import asset

    assert [asset(name).name for name in VARIANTS.values() if name] == ["wav2lip-expert"]


def test_bad_input_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="even side"):
        ColorSyncNet(side=47)
    with pytest.raises(InputError, match="48, 48"):
        TINY.look(torch.zeros(1, 5, 3, 64, 64))
    with pytest.raises(InputError, match="needs 5 frames"):
        TINY.embed_clip(torch.zeros(4, 3, 48, 48, dtype=torch.uint8))
    path = tmp_path / "x.pth"
    path.write_bytes(b"no")
    with pytest.raises(AssetError, match="no readable checkpoint"):
        load_state(path)
    torch.save(TINY.state_dict(), path)
    with pytest.raises(AssetError, match="'state_dict'"):
        load_state(path)
    torch.save({"state_dict": TINY.state_dict()}, path)
    with pytest.raises(AssetError, match="misshapen"):
        load_state(path)
    with pytest.raises(KeyError):
        load("nothing")
