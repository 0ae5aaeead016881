"""Evaluator sets: what they name, what may change in them, what they load."""

import json
from pathlib import Path

import pytest

from tfbench.core.assets import asset
from tfbench.core.errors import ConfigError, MissingAsset, UnknownName
from tfbench.core.registry import parse_name, registry
from tfbench.datasets.demo import Demo, DemoConfig
from tfbench.evaluation.evaluators import (
    build_metric,
    choose,
    evaluator_set,
    evaluator_sets,
    is_here,
    longest_clip,
)
from tfbench.evaluation.protocols.alone import AloneProtocol
from tfbench.evaluation.protocols.self import SelfProtocol
from tfbench.nets.syncnet import SyncNet
from tfbench.training.bundle import write_network


@pytest.mark.parametrize("name", evaluator_sets())
def test_every_set_names_metrics_and_networks_that_exist(name: str):
    for metric, network in evaluator_set(name).items():
        stem, _, keyword = metric.partition(".")
        plugin = registry("metrics").load(stem)
        if keyword == "definition":
            assert network in plugin.definitions
            continue
        assert keyword in {"", *plugin.optional_networks}
        parsed = parse_name(network)
        assert parsed.variant in registry("networks").load(parsed.stem).VARIANTS


def test_a_set_may_be_changed_by_name():
    assert evaluator_set("offline+efd=onet.mtcnn")["efd"] == "onet.mtcnn"
    assert evaluator_set("offline+efd=onet.mtcnn")["frechet"] == "onet.mtcnn"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "oflfine",
            UnknownName,
            "no evaluator set 'oflfine'; there are auto, grid, official, offline, puppets",
        ),
        ("offline+lse=runs/nowhere/bundle", MissingAsset, "runs/nowhere/bundle/bundle.json is not"),
        ("offline+efd", ConfigError, r"'efd' in 'offline\+efd' is not metric=network"),
        ("offline+edf=onet.mtcnn", UnknownName, "edf"),
        ("offline+efd=emotion_fna.ferplus", UnknownName, "emotion_fan"),
        ("offline+efd=emotion_fan.affwild", UnknownName, "no network 'emotion_fan.affwild'"),
    ],
)
def test_a_set_that_cannot_be_is_refused(name: str, error: type, message: str):
    with pytest.raises(error, match=message):
        evaluator_set(name)


def test_a_network_that_does_not_exist_is_named():
    with pytest.raises(UnknownName, match=r"onet\.mtcnn"):
        build_metric("frechet", {"frechet": "onet.mtccn"})


def test_a_metric_that_the_set_does_not_know_says_how_to_name_a_network():
    with pytest.raises(ConfigError, match=r"--evaluators SET\+frechet=NETWORK"):
        build_metric("frechet", {})


def test_the_longest_clip_decides_only_where_nobody_has_named_a_definition():
    assert longest_clip(Demo(DemoConfig(30))) == 30
    assert build_metric("psnr", {}, 30).definition == "frame"
    assert build_metric("psnr.face", {}, 30).definition == "face"


def test_auto_takes_the_official_network_only_where_it_is_here(tmp_path, monkeypatch):
    file = tmp_path / "inception.pth"
    assert evaluator_set("auto")["frechet"] == evaluator_set("offline")["frechet"]
    assert evaluator_set("auto")["lse"] == "syncnet.v2"
    assert not is_here("inception.clean")
    with file.open("wb") as sink:
        sink.truncate(asset("inception-fid").size)
    monkeypatch.setenv("TFBENCH_ASSET_INCEPTION_FID", str(file))
    assert is_here("inception.clean")
    assert evaluator_set("auto")["frechet"] == "inception.clean"


def test_the_network_that_trained_a_method_does_not_judge_it():
    protocol = SelfProtocol()
    judge = build_metric("frechet", evaluator_set("offline")).info.evaluator_sha256
    with pytest.raises(ConfigError, match=r"onet\.mtcnn has trained this method and cannot judge"):
        choose(["frechet"], "offline", protocol, supervisors=(judge,))
    chosen = choose(None, "offline", protocol, supervisors=(judge,))
    assert "has trained this method" in chosen.left_out["frechet"]
    assert choose(["frechet"], "offline", protocol, supervisors=("0" * 64,)).metrics


def test_a_set_may_name_the_definition_that_suits_its_network():
    networks = evaluator_set("offline+lmd.definition=vico")
    assert build_metric("lmd", networks).definition == "vico"
    assert build_metric("lmd.eat", networks).definition == "eat"


def test_a_bundle_can_judge(tmp_path: Path):
    folder = tmp_path / "run" / "bundle"
    net = SyncNet(16, (8,) * 6, (8,) * 6, 8, 64, (0, 64, 0, 64), False, 1)
    part = write_network(folder / "net.safetensors", net)
    record = {"name": "syncnet", "parts": {"net": part}}
    (folder / "bundle.json").write_text(json.dumps(record))
    metric = build_metric("lse.any_face", evaluator_set(f"offline+lse={folder}"))
    assert metric.info.evaluator == "syncnet.run"
    assert metric.info.evaluator_sha256 == part["sha256"]
    assert metric.info.crop == "syncnet.min25.face0.size64"


@pytest.mark.parametrize("names", [None, ["wer"]])
def test_a_network_that_is_named_for_a_metric_it_cannot_judge_is_an_error(names: list[str] | None):
    with pytest.raises(ConfigError, match=r"syncnet\.puppets cannot judge wer: it has no crop"):
        choose(names, "offline+wer=syncnet.puppets", AloneProtocol())


def test_a_judge_that_is_named_but_has_nothing_to_compare_with_is_left_out():
    chosen = choose(None, "offline+csim=identity.puppets", AloneProtocol())
    assert "compares with" in chosen.left_out["csim"]
