"""Networks that this project trains: written, found again, and refused when something is wrong."""

import json
from pathlib import Path

import pytest
import torch

from tfbench.core.errors import AssetError, MissingAsset
from tfbench.core.registry import registry
from tfbench.nets.bundle import WEIGHTS, load_shipped, read_record
from tfbench.nets.syncnet import SyncNet, build
from tfbench.training.bundle import write_network

SMALL = ((8, 8, 8, 8, 8, 8), (8, 8, 8, 8, 8, 8), 8, 64, (0, 64, 0, 64), False, 1)
SHIPPED = sorted(path.stem for path in WEIGHTS.glob("*.json"))


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = SyncNet(16, *SMALL)
    part = write_network(tmp_path / "syncnet.test.safetensors", net, half=True)
    record = {"name": "syncnet", "parts": {"net": part}}
    (tmp_path / "syncnet.test.json").write_text(json.dumps(record))
    return tmp_path


def test_half_precision_comes_back_rounded_once(shipped: Path):
    torch.manual_seed(0)
    net = SyncNet(16, *SMALL)
    loaded = load_shipped("syncnet.test", build, shipped)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(loaded.module.state_dict()[name], value.half().float())
    assert loaded.name == "syncnet.test"
    assert (shipped / "syncnet.test.safetensors").stat().st_size < 60_000
    assert read_record(shipped / "syncnet.test.json")["parts"]["net"]["parameters"] == sum(
        p.numel() for p in net.parameters()
    )


def test_other_weights_than_the_records_are_refused(shipped: Path):
    torch.manual_seed(1)
    write_network(shipped / "syncnet.test.safetensors", SyncNet(16, *SMALL), half=True)
    with pytest.raises(AssetError, match=r"where its record says .*; one of the two was changed"):
        load_shipped("syncnet.test", build, shipped)


def test_another_architecture_is_refused(shipped: Path):
    write_network(shipped / "syncnet.test.safetensors", SyncNet(32, *SMALL), half=True)
    with pytest.raises(AssetError, match="has a misshapen parameter 'netf"):
        load_shipped("syncnet.test", build, shipped)


def test_what_is_not_there_is_named(shipped: Path):
    with pytest.raises(MissingAsset, match=r"syncnet\.other\.json is not there"):
        load_shipped("syncnet.other", build, shipped)
    (shipped / "syncnet.test.safetensors").unlink()
    with pytest.raises(MissingAsset, match=r"weights of syncnet\.test are not at"):
        load_shipped("syncnet.test", build, shipped)
    (shipped / "syncnet.test.json").write_text("[1]")
    with pytest.raises(AssetError, match="lacks 'name' or 'parts'"):
        load_shipped("syncnet.test", build, shipped)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_are_listed_small_and_measured(name: str):
    stem, _, variant = name.partition(".")
    module = registry("networks").load(stem)
    assert module.VARIANTS[variant] == ""
    frozen = module.load(variant)
    record = read_record(WEIGHTS / f"{name}.json")
    assert frozen.sha256 == record["parts"]["net"]["sha256"]
    assert record["tests"], "a shipped network has figures on held-out clips"
    assert record["training"]["command"].startswith("tfbench train ")
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 8_000_000


def test_all_listed_networks_are_shipped_within_the_plan():
    listed = {
        f"{entry.name}.{variant}"
        for entry in registry("networks").entries()
        for variant, asset in registry("networks").load(entry.name).VARIANTS.items()
        if not asset and (WEIGHTS / f"{entry.name}.{variant}.json").is_file()
    }
    assert listed == set(SHIPPED)
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) < 60_000_000


@pytest.mark.parametrize("name", [n for n in SHIPPED if n.endswith("_supervisor")])
def test_a_supervisor_has_seen_other_clips_than_the_judge(name: str):
    one = read_record(WEIGHTS / f"{name}.json")["training"]
    other = read_record(WEIGHTS / f"{name.removesuffix('_supervisor')}.json")["training"]
    assert one["dataset"] == other["dataset"]
    assert {one["config"]["half"], other["config"]["half"]} == {"a", "b"}
    assert one["config"]["seed"] != other["config"]["seed"]
