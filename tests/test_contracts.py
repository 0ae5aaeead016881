"""What holds for everything that is registered; one file adds a plugin, inside or outside."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.core.plugins import copy_tree, make_distribution, run_python
from tests.docs import blocks
from tfbench.core.registry import registry
from tfbench.core.types import Need, Score
from tfbench.datasets.base import Dataset
from tfbench.evaluation.protocol import Protocol
from tfbench.evaluators.base import Trainee
from tfbench.faces.crop import FaceBox
from tfbench.methods.base import Generator
from tfbench.metrics.base import TalkingFaceMetric
from tfbench.nets.frozen import Frozen

BASES = {
    "metrics": TalkingFaceMetric,
    "methods": Generator,
    "datasets": Dataset,
    "protocols": Protocol,
    "evaluators": Trainee,
}


class Judge(torch.nn.Module):
    """Has what any metric asks of its network before it is run."""

    crop = FaceBox(size=8)
    located = False
    n_points = 68
    side = 8

    def embed(self, frames):
        return frames.float().mean((2, 3))

    extract = prepare = read = distance = transcribe = embed
    as_68 = embed_lips = embed_audio = embed


def build(metric: type[TalkingFaceMetric], definition: str) -> TalkingFaceMetric:
    judge = Frozen(Judge(), "judge.test")
    return metric(definition, judge) if metric.judge_has else metric(definition)


PLUGINS = [(kind, name) for kind in BASES for name in registry(kind).names()]


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_is_of_its_kind_named_and_documented(kind: str, name: str):
    plugin = registry(kind).load(name)
    assert issubclass(plugin, BASES[kind])
    assert plugin.name == name
    assert registry(kind).find(name).summary.endswith(".")
    assert plugin.__doc__


@pytest.mark.parametrize(("kind", "name"), [p for p in PLUGINS if p[0] != "metrics"])
def test_settings_are_frozen_flat_and_documented(kind: str, name: str):
    config = registry(kind).load(name).Config
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen
    # Each class documents the fields that it declares itself.
    for own in filter(dataclasses.is_dataclass, config.__mro__):
        for name in own.__annotations__:
            assert f"{name}:" in own.__doc__ or name in inherited(own)


def inherited(config: type) -> set[str]:
    """Fields that a base has already documented; a subclass may give them another default."""
    bases = filter(dataclasses.is_dataclass, config.__mro__[1:])
    return {field.name for base in bases for field in dataclasses.fields(base)}


@pytest.mark.parametrize("name", registry("metrics").names())
def test_a_metric_keeps_the_contract(name: str):
    metric = registry("metrics").load(name)
    assert metric.reduction in {"mean", "ratio", "set"}
    assert isinstance(metric.version, int)
    for definition in metric.definitions:
        built = build(metric, definition)
        info = built.info
        assert info.definition == f"{name}.{definition}"
        assert info.columns
        assert bool(info.evaluator_sha256) == bool(metric.judge_has)
        assert not list(built.parameters())
        assert not built.state_dict()
        rows = built.refuse("case", "cluster", "why")
        assert [row.column for row in rows] == [column.name for column in info.columns]
        assert all(a.value is None and a.n == 0 for a in built.aggregate(rows, None))


def test_crops_that_cut_differently_have_different_names():
    names = {}
    for name in registry("metrics").names():
        metric = registry("metrics").load(name)
        for definition in metric.definitions:
            for key in build(metric, definition).needs:
                assert names.setdefault(key.crop.name, key.crop) == key.crop


@pytest.mark.parametrize("name", registry("methods").names())
def test_needs_are_fields_of_a_request(name: str):
    assert all(isinstance(need, Need) for need in registry("methods").load(name).needs)


def test_a_score_has_a_value_or_a_reason():
    with pytest.raises(ValueError, match="either a value or a reason"):
        Score("case", "clip", "PSNR", "cluster")
    with pytest.raises(ValueError, match="either a value or a reason"):
        Score("case", "clip", "PSNR", "cluster", value=1.0, reason="why")


CLASSES = {"redness": "Redness", "tinted": "Tinted", "grey": "Grey"}
KINDS = {"redness": "metrics", "tinted": "methods", "grey": "datasets"}
FILES = {Path(name).stem: code for name, code in blocks("extending.md") if name}
"""The files of docs/extending.md, as they stand there."""
EVALUATE = """
from tfbench.cli.app import main
sys.argv = ["tfbench", "eval", "--method", "tinted", "--dataset", "grey", "--metrics", "rouge",
            "--accelerator", "cpu", "--evaluators", "offline"]
main()
"""


def check(folder: Path) -> None:
    run_python(EVALUATE, folder, folder)
    (cell,) = json.loads(
        (folder / "leaderboards/results/grey/tinted/self-offline.json").read_text()
    )["cells"]
    assert cell["definition"] == "redness.frame"
    assert cell["value"] == pytest.approx(200, abs=3)


def test_metric_method_and_data_set_from_outside_by_entry_points(tmp_path: Path):
    make_distribution(
        tmp_path,
        "their-talking-faces",
        {f"their_{name}.py": code for name, code in FILES.items()},
        {KINDS[name]: {name: f"their_{name}:{CLASSES[name]}"} for name in FILES},
    )
    check(tmp_path)


def test_metric_method_and_data_set_inside_by_one_file_each(tmp_path: Path):
    copy_tree(tmp_path)
    for name, code in FILES.items():
        (tmp_path / "tfbench" / KINDS[name] / f"{name}.py").write_text(code)
    check(tmp_path)
