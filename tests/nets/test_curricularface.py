"""CurricularFace against values recorded from the reference.

Recorded with HuangYG123/CurricularFace (`backbone/model_irse.py`), torch 2.15 on a CPU:
`r = IR_101([112, 112]); r.load_state_dict(seeded(0).state_dict()); r.eval()`, then
`r((crops().float() - 127.5) / 127.5)[0]`; names and shapes from `r.state_dict()`.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbench.core.errors import AssetError, InputError
from tfbench.faces.align import AlignedFace
from tfbench.nets.curricularface import CurricularFace, load, load_state, seeded
from tfbench.nets.frozen import state_sha256

FIRST = [0.0618609, -0.0007729, 0.1848038, 0.0671028]
NORMS = [3.807451, 3.80152]
NAMES = "7db7aebd8d6846c0a743c3195c9f87deb9a87106dd96c00e8b4a6c7362541c94"
"""sha256 of the lines "name shape" of all parameters and buffers but the counters of batches."""


@pytest.fixture(scope="module")
def net() -> CurricularFace:
    return seeded(0)


def crops(n: int = 2) -> torch.Tensor:
    pixels = np.random.RandomState(1).randint(0, 256, (n, 3, 112, 112))
    return torch.from_numpy(pixels.astype(np.uint8))


def test_parameters_are_those_of_the_reference(net: CurricularFace):
    assert sum(p.numel() for p in net.parameters()) == 65_128_768
    state = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" not in k}
    lines = "".join(f"{name} {tuple(value.shape)}\n" for name, value in state.items())
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES


def test_embeddings_are_the_references(net: CurricularFace):
    with torch.inference_mode():
        got = net.embed(crops())
    assert got.shape == (2, 512)
    assert got[0, :4].tolist() == pytest.approx(FIRST, abs=1e-5)
    assert got.norm(dim=1).tolist() == pytest.approx(NORMS, rel=1e-5)


def test_it_reads_faces_at_arcfaces_places(net: CurricularFace):
    assert net.crop == AlignedFace(112, "arcface")
    assert net.embed(crops()[:0]).shape == (0, 512)
    for frames in (crops().float(), crops()[:, :, :96, :96]):
        with pytest.raises(InputError, match="112"):
            net.embed(frames)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_published_layout_loads(
    net: CurricularFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
):
    path = tmp_path / "CurricularFace_Backbone.pth"
    torch.save({prefix + name: value for name, value in net.state_dict().items()}, path)
    monkeypatch.setenv("TFBENCH_ASSET_CURRICULARFACE_IR101", str(path))
    frozen = load("ir101")
    assert frozen.name == "curricularface.ir101"
    assert frozen.sha256 == state_sha256(net.state_dict())


def test_another_network_is_named(tmp_path: Path):
    path = tmp_path / "other.pth"
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, path)
    with pytest.raises(AssetError, match=r"1 of 2 names begin with 'module\.'"):
        load_state(path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(AssetError, match=r"lacks parameter 'input_layer\.0\.weight'"):
        load_state(path)
