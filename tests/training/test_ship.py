"""A run's network becomes a shipped one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tfbench.core.config import to_plain
from tfbench.core.errors import ConfigError
from tfbench.methods import base
from tfbench.methods.speech2vid import Speech2Vid, Speech2VidConfig
from tfbench.nets.bundle import load_shipped, read_record
from tfbench.nets.syncnet import SyncNet, build
from tfbench.training import ship as module
from tfbench.training.assess import Assessment
from tfbench.training.bundle import write_bundle, write_network
from tfbench.training.ship import main, measure, ship

COMMAND = (
    "tfbench train syncnet 'lips=[8, 8]' --dataset grid --root ../data/grid --out runs/a "
    "--workers=2 --data 'speakers=[s1]'"
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = SyncNet(16, (8,) * 6, (8,) * 6, 8, 64, (0, 64, 0, 64), False, 1)
    part = write_network(tmp_path / "run/bundle/net.safetensors", net)
    record = {"name": "syncnet", "parts": {"net": part}, "training": {"command": COMMAND}}
    (tmp_path / "run/bundle/bundle.json").write_text(json.dumps(record))
    return tmp_path / "run"


def test_it_is_rounded_and_its_record_tells_no_path(run: Path, tmp_path: Path):
    assert ship(run, "syncnet.mine", [], tmp_path) == ()
    record = read_record(tmp_path / "syncnet.mine.json")
    assert record["training"]["command"] == (
        "tfbench train syncnet 'lips=[8, 8]' --dataset grid --root grid --data 'speakers=[s1]'"
    )
    frozen = load_shipped("syncnet.mine", build, tmp_path)
    assert frozen.sha256 == record["parts"]["net"]["sha256"]
    weight = frozen.module.netfclip[0].weight
    assert torch.equal(weight, weight.half().float())


def test_one_that_is_too_large_is_refused(run: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(
        ConfigError, match=r"syncnet\.mine\.safetensors would have over 1,000 bytes"
    ):
        ship(run, "syncnet.mine", [], tmp_path)
    assert not list(tmp_path.glob("syncnet*"))


def test_measuring_again_replaces_what_is_known_of_that_data_set_only(
    run: Path, tmp_path: Path, monkeypatch
):
    ship(run, "syncnet.mine", [], tmp_path)
    monkeypatch.setattr(module._Place, "trainee", lambda *_: None)
    for n_clips, tests in ((1, ["puppets", "puppets split=val"]), (2, ["puppets split=val"])):
        seen = lambda _, data, n=n_clips: Assessment(data.label, data.checksum(), n, 0, ())  # noqa: E731
        monkeypatch.setattr(module, "assess", seen)
        measure("syncnet.mine", tests, tmp_path)
    found = read_record(tmp_path / "syncnet.mine.json")["tests"]
    assert [(test["dataset"], test["n_clips"]) for test in found] == [
        ("puppets-test", 1),
        ("puppets-val", 2),
    ]


@pytest.mark.parametrize("words", [["syncnet.mine"], ["run", "syncnet.mine", "--again"]])
def test_a_run_and_again_exclude_each_other(words: list[str], capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main(words)
    assert "either a run or --again" in capsys.readouterr().err


def test_a_run_without_bundle_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main([str(tmp_path), "syncnet.mine"]) == 1
    assert "is not there" in capsys.readouterr().err


def test_a_method_is_shipped_as_a_bundle(tmp_path: Path, monkeypatch):
    small = {
        "size": 32,
        "audio": (4,) * 5,
        "identity": (4,) * 5,
        "decoder": (8, 8, 4, 4),
        "deblur_width": 4,
    }
    config = Speech2VidConfig(**small)
    method = Speech2Vid(config)
    training = {
        "command": "tfbench train speech2vid --out runs/a --resume",
        "config": to_plain(config),
        "began_with": {"command": "tfbench train speech2vid --workers 2 seed=1"},
    }
    write_bundle(tmp_path / "run/bundle", method, training, ())
    ship(tmp_path / "run", "speech2vid.mine", [], tmp_path)
    monkeypatch.setattr(base, "SHIPPED", tmp_path)
    shipped = Speech2Vid(replace(config, weights="speech2vid.mine"))
    record = read_record(tmp_path / "speech2vid.mine/bundle.json")
    assert record["training"]["command"] == "tfbench train speech2vid"
    assert record["training"]["began_with"]["command"] == "tfbench train speech2vid seed=1"
    assert record["precision"] == "float16"
    assert shipped.provenance()["weights"] == {
        name: part["sha256"] for name, part in record["parts"].items()
    }
    for mine, its in zip(shipped.parameters(), method.parameters(), strict=True):
        assert torch.equal(mine, its.half().float())
