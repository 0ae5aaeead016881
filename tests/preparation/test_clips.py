"""What is kept of a data set: once, on one process or two, with reasons for what is left out."""

from pathlib import Path

import pytest
import torch

from tests.training.small import Grey, GreyConfig, Line
from tfbench.core.errors import InputError
from tfbench.preparation.clips import keep_clips


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def kept(**how):
    grey = Grey(GreyConfig())
    return keep_clips(grey, Line(), grey.index(), **how)


def test_clips_are_kept_once_with_reasons(monkeypatch: pytest.MonkeyPatch):
    told: list[tuple[int, int]] = []
    found = kept(workers=1, progress=lambda *now: told.append(now))
    assert [clip.id for clip in found.clips] == [f"train-{k}" for k in range(5)]
    assert found.clips[2].identity == "p2"
    assert found.clips[2].shapes == {"level": (5, 1)}
    assert torch.allclose(found.clips[2].array("level", 1, 3), torch.full((2, 1), 85 / 255))
    assert found.refused == {"train-5": "the clip is black"}
    assert told == [(k, 6) for k in range(7)]
    monkeypatch.setattr(Line, "keep", lambda *_: pytest.fail("was kept before"))
    assert kept(workers=1).refused == found.refused


def test_another_version_is_kept_anew(monkeypatch: pytest.MonkeyPatch):
    first = kept(workers=1)
    monkeypatch.setattr(Line, "kept_version", 2)
    assert not {c.path for c in first.clips} & {c.path for c in kept(workers=1).clips}


def test_two_processes_keep_the_same(home: Path):
    alone = [clip.array("level") for clip in kept(workers=1).clips]
    for path in home.rglob("*.safetensors"):
        path.unlink()
    together = [clip.array("level") for clip in kept(workers=2).clips]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_nothing_left_says_why(monkeypatch: pytest.MonkeyPatch):
    grey = Grey(GreyConfig())
    black = [row for row in grey.index() if row.id == "train-5"]
    with pytest.raises(InputError, match="none of the 1 clips of grey-train can serve: the clip"):
        keep_clips(grey, Line(), black, workers=1)
