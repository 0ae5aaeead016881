"""`tfbench validate` as a user types it, on tiny clips."""

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.evaluation.world import make_clips
from tfbench.cli.validate import validate_command
from tfbench.core.errors import ConfigError, InputError, UnknownName

OWN = """
from tfbench.core.types import Column
from tfbench.faces.crop import WholeFrame
from tfbench.core.views import ViewKey
from tfbench.metrics.base import TalkingFaceMetric

def redness(frames):
    return frames[:, 0].float().mean((1, 2))

class Redness(TalkingFaceMetric):
    name = "redness"
    definitions = {"frame": None}
    columns = (Column("RED", higher_is_better=True),)

    @property
    def needs(self):
        return (ViewKey("red", "pred", WholeFrame(), extract=redness),)

    def measure(self, views):
        (part,) = views.parts(self.needs[0])
        return self.score(views, "clip", {"RED": float(part.values.mean())})

    def update(self, frames):
        pass

    def compute(self):
        pass

class Unfinished(TalkingFaceMetric):
    def measure(self, views):
        return ()

NotAMetric = int
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    program = typer.Typer()
    program.command()(validate_command)

    def call(*words: object) -> str:
        options = ["--accelerator", "cpu", "--evaluators", "offline", "--workers", 1]
        result = CliRunner().invoke(program, [str(word) for word in (*words, *options)])
        if result.exception is not None:
            raise result.exception
        return " ".join(result.output.split())

    return call


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("real") / "clips", n=3)


def test_one_change_and_a_page(run, clips: Path, tmp_path: Path):
    pytest.importorskip("matplotlib")
    data = ("--dataset", "folder", "--root", clips, "--out", tmp_path / "out")
    said = run(*data, "--metrics", "psnr", "--changes", "blur", "--page", tmp_path / "page.md")
    assert "5 runs of 3 clips of folder-clips" in said
    assert "responds" in said
    assert "| PSNR (dB) |" in (tmp_path / "page.md").read_text()
    written = (tmp_path / "page.md").read_bytes()
    (tmp_path / "page.md").unlink()
    said = run("--stored", "--out", tmp_path / "out", "--page", tmp_path / "page.md")
    assert "runs of" not in said
    assert (tmp_path / "page.md").read_bytes() == written


def test_a_metric_of_ones_own_gets_a_table_and_no_verdict(run, clips: Path, tmp_path: Path):
    (tmp_path / "their_redness.py").write_text(OWN)
    data = ("--dataset", "folder", "--root", clips, "--changes", "move", "--limit", 1)
    said = run(*data, "--metric", "their_redness.Redness")
    assert "RED" in said
    assert "PSNR" not in said
    assert "not measured" not in said
    with pytest.raises(ConfigError, match="is not a TalkingFaceMetric"):
        run(*data, "--metric", "their_redness.NotAMetric")
    with pytest.raises(ConfigError, match="lacks columns, compute, needs, update"):
        run(*data, "--metric", "their_redness.Unfinished")
    with pytest.raises(UnknownName, match="has no 'Greenness'"):
        run(*data, "--metric", "their_redness.Greenness")
    with pytest.raises(UnknownName, match="cannot be imported"):
        run(*data, "--metric", "nowhere_at_all.Metric")
    with pytest.raises(UnknownName, match=r"is not package\.module\.Class"):
        run(*data, "--metric", "Redness")


def test_a_network_is_named_or_asked_for(run, clips: Path):
    data = ("--dataset", "folder", "--root", clips, "--changes", "move", "--limit", 1)
    with pytest.raises(ConfigError, match="LSE=NETWORK"):
        run(*data, "--metric", "tfbench.metrics.lse.LSE")


def test_unknown_names_and_empty_folders_are_told(run, clips: Path, tmp_path: Path):
    with pytest.raises(UnknownName, match="did you mean 'jitter'"):
        run("--dataset", "folder", "--root", clips, "--changes", "jiter")
    with pytest.raises(InputError, match="nothing is stored"):
        run("--stored", "--out", tmp_path / "none", "--page", tmp_path / "page.md")


def test_emotions_without_emotional_clips_are_told(run, clips: Path):
    said = run("--dataset", "folder", "--root", clips, "--changes", "other_emotion")
    assert "no change of emotion" in said
