"""What holds for everything that is registered; one file adds a plugin, inside or outside."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.core.plugins import copy_tree, make_distribution, run_python
from tfbench.core.registry import registry
from tfbench.core.types import Need, Score
from tfbench.datasets.base import Dataset
from tfbench.evaluation.evaluators import evaluator_set, evaluator_sets
from tfbench.evaluation.protocol import Protocol
from tfbench.methods.base import Generator
from tfbench.metrics.base import TalkingFaceMetric
from tfbench.nets.frozen import Frozen
from tfbench.nets.onet import load as onet

BASES = {
    "metrics": TalkingFaceMetric,
    "methods": Generator,
    "datasets": Dataset,
    "protocols": Protocol,
}
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
    for field in dataclasses.fields(config):
        assert f"{field.name}:" in config.__doc__


@pytest.mark.parametrize("name", registry("metrics").names())
def test_a_metric_keeps_the_contract(name: str):
    metric = registry("metrics").load(name)
    assert metric.reduction in {"mean", "ratio", "set"}
    assert isinstance(metric.version, int)
    for definition in metric.definitions:
        network: Frozen = onet("mtcnn")
        built = metric(definition, network) if metric.needs_network else metric(definition)
        info = built.info
        assert info.definition == f"{name}.{definition}"
        assert info.columns
        assert bool(info.evaluator_sha256) == metric.needs_network
        assert not list(built.parameters())
        assert not built.state_dict()
        rows = built.refuse("case", "cluster", "why")
        assert [row.column for row in rows] == [column.name for column in info.columns]
        assert all(a.value is None and a.n == 0 for a in built.aggregate(rows, None))


def test_crops_that_cut_differently_have_different_names():
    names = {}
    for metric in registry("metrics").names():
        for settings in registry("metrics").load(metric).definitions.values():
            crop = getattr(settings, "crop", settings)
            assert names.setdefault(crop.name, crop) == crop


@pytest.mark.parametrize("name", registry("methods").names())
def test_needs_are_fields_of_a_request(name: str):
    assert all(isinstance(need, Need) for need in registry("methods").load(name).needs)


@pytest.mark.parametrize("name", evaluator_sets())
def test_evaluator_sets_name_what_exists(name: str):
    for metric, network in evaluator_set(name).items():
        assert registry("metrics").load(metric).needs_network
        stem, _, variant = network.partition(".")
        assert variant in registry("networks").load(stem).VARIANTS


def test_a_score_has_a_value_or_a_reason():
    with pytest.raises(ValueError, match="either a value or a reason"):
        Score("case", "clip", "PSNR", "cluster")
    with pytest.raises(ValueError, match="either a value or a reason"):
        Score("case", "clip", "PSNR", "cluster", value=1.0, reason="why")


METRIC = '''"""How red the frames are."""

from tfbench.core.types import Column, ViewKey
from tfbench.faces.crop import WholeFrame
from tfbench.metrics.base import TalkingFaceMetric

ALIASES = ("rouge",)
__all__ = ["Redness"]


def redness(frames):
    return frames[:, 0].float().mean((1, 2))


class Redness(TalkingFaceMetric):
    """Mean of the red channel."""

    name = "redness"
    definitions = {"frame": WholeFrame()}
    columns = (Column("redness", "levels"),)

    @property
    def needs(self):
        return (ViewKey("red", "pred", self.settings, extract=redness),)

    def measure(self, views):
        (part,) = views.parts(self.needs[0])
        return self.score(views, part.name, {"redness": float(part.values.mean())})

    def update(self, frames):
        pass

    def compute(self):
        pass
'''
METHOD = '''"""The source in another colour."""

from tfbench.core.types import Need
from tfbench.methods.base import Generator

__all__ = ["Tinted"]


class Tinted(Generator):
    """Add red to every frame."""

    name = "tinted"
    needs = frozenset({Need.SOURCE})

    def frames(self, request):
        for frames in request.source.video.frames():
            tinted = frames.clone()
            tinted[:, 0] = 200
            yield tinted
'''
DATASET = '''"""One grey clip in memory."""

import torch

from tfbench.core.config import NoConfig
from tfbench.core.types import Clip, Sample, TensorVideo
from tfbench.datasets.base import Dataset, Row

__all__ = ["Grey"]


class Grey(Dataset):
    """One grey clip."""

    name = "grey"
    Config = NoConfig

    def __init__(self, config):
        pass

    def index(self):
        return (Row("only", "nobody"),)

    def sample(self, row):
        frames = torch.full((10, 3, 64, 64), 100, dtype=torch.uint8)
        return Sample(row.id, Clip(TensorVideo(frames)), row.identity)
'''
FILES = {
    "metrics": ("redness", "Redness", METRIC),
    "methods": ("tinted", "Tinted", METHOD),
    "datasets": ("grey", "Grey", DATASET),
}
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
        {f"their_{name}.py": text for name, _, text in FILES.values()},
        {kind: {name: f"their_{name}:{cls}"} for kind, (name, cls, _) in FILES.items()},
    )
    check(tmp_path)


def test_metric_method_and_data_set_inside_by_one_file_each(tmp_path: Path):
    copy_tree(tmp_path)
    for kind, (name, _, text) in FILES.items():
        (tmp_path / "tfbench" / kind / f"{name}.py").write_text(text)
    check(tmp_path)
