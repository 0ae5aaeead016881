import dataclasses
import pickle
from pathlib import Path

import pytest
import torch

from tests.evaluation.world import Means
from tests.validation.small import Noticed, TwoNoises, study
from tfbench.core.errors import ConfigError, InputError
from tfbench.core.views import ViewKey
from tfbench.datasets.base import Row
from tfbench.datasets.puppets import Puppets, PuppetsConfig
from tfbench.metrics.frechet import FrechetDistance
from tfbench.metrics.psnr import PSNR
from tfbench.nets.frozen import Frozen
from tfbench.validation import memory
from tfbench.validation.changes import changes_named
from tfbench.validation.memory import Remembering
from tfbench.validation.select import (
    choose_cases,
    choose_emotional_cases,
    emotional_data,
)
from tfbench.validation.study import FINDINGS, read_findings, validate


def response(findings, change, column):
    (one,) = [r for r in findings.responses if (r.change, r.column) == (change, column)]
    return one


def test_psnr_responds_to_noise_and_not_to_sound(finished):
    _, findings = finished
    noise = response(findings, "noise", "PSNR")
    assert noise.verdict == "responds"
    assert noise.rho == -1
    assert noise.share == 1
    sound = response(findings, "sound_shift", "PSNR")
    assert sound.verdict == "stays"
    assert sound.largest == 0
    assert {p.value for p in sound.points} == {noise.points[0].value}


def test_a_metric_that_reacts_where_it_must_not_is_told(finished):
    _, findings = finished
    loud = response(findings, "sound_shift", "LOUD")
    assert loud.claim == "ignores"
    assert loud.verdict == "reacts though it must not"
    assert loud.failed


def test_findings_are_read_as_they_were_written(finished):
    run, findings = finished
    assert read_findings(run.folder / FINDINGS) == findings
    (run.folder / "torn.json").write_text('{"schema": 1')
    with pytest.raises(InputError, match="holds no findings"):
        read_findings(run.folder / "torn.json")


def test_what_is_done_is_not_done_again(finished):
    run, findings = finished
    before = {p: p.read_bytes() for p in run.folder.rglob("rows-*.jsonl")}
    videos = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*.mp4")}
    assert validate(run, accelerator="cpu") == findings
    assert {p: p.read_bytes() for p in before} == before
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*.mp4")} == videos


@pytest.mark.slow
def test_two_processes_find_the_same(finished, clips: Path, tmp_path: Path):
    _, findings = finished
    said = []
    again = validate(
        study(clips, tmp_path),
        accelerator="cpu",
        workers=2,
        progress=lambda done, total, _: said.append((done, total)),
    )
    assert again == findings
    assert said == [(k, 5) for k in range(1, 6)]


def test_a_metric_of_ones_own_may_bring_claims(clips: Path, tmp_path: Path):
    run = study(clips, tmp_path, (TwoNoises(),), (Noticed(),))
    found = response(validate(run, accelerator="cpu"), "noise", "LOUD")
    assert found.claim == "responds"
    assert found.verdict == "does not respond"
    assert found.why == "it was made for this"


def test_two_metrics_of_one_name_are_refused(clips: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"two metrics are both called psnr\.frame"):
        study(clips, tmp_path, metrics=(PSNR("frame"), PSNR("frame")))


def test_changes_that_need_other_clips_are_refused_with_the_reason(clips: Path, tmp_path: Path):
    run = study(clips, tmp_path, changes_named(["other_lips", "other_emotion"]))
    assert "one clip a person" in run.refused(run.changes[0])
    assert "several emotions" in run.refused(run.changes[1])
    with pytest.raises(InputError, match="no change can be applied"):
        validate(run, accelerator="cpu")


class Calls(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def embed(self, frames: torch.Tensor) -> torch.Tensor:
        self.n += 1
        return Means().embed(frames)


def test_a_network_is_not_asked_twice_about_the_same_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_known", memory.OrderedDict())
    judge = Calls()
    metric = Remembering(FrechetDistance("frame", Frozen(judge, "calls.test")))
    key: ViewKey = metric.needs[0]
    one, other = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    first = key.extract(one)
    assert torch.equal(metric.needs[0].extract(one.clone()), first)
    assert judge.n == 1
    assert not torch.equal(key.extract(other), first)
    assert judge.n == 2
    assert metric.needs[0] == metric.metric.needs[0]
    assert pickle.loads(pickle.dumps(metric)).info == metric.info
    monkeypatch.setattr(memory, "MOST_BYTES", 1)
    key.extract(torch.full((2, 3, 8, 8), 5.0))
    assert len(memory._known) == 1


@dataclasses.dataclass
class Said:
    transcript: str
    emotion: str | None = None
    level: int | None = None


class Listed:
    """A data set that is a list: id -> person, words, emotion, level."""

    label, name = "listed", "listed"

    def __init__(self, **clips: tuple) -> None:
        self.clips = clips

    def index(self):
        return tuple(Row(key, clip[0]) for key, clip in sorted(self.clips.items()))

    def sample(self, row):
        return Said(*self.clips[row.id][1:])

    def prepare(self, rows):
        return None


def test_clips_are_those_of_many_people_with_partners():
    data = Listed(
        a1=("a", "x"), a2=("a", "x"), a3=("a", "y"), b1=("b", "x"), b2=("b", "z"), c1=("c", "w")
    )
    cases = choose_cases(data, 4)
    assert sorted(cases.selection.rows) == ["a1", "a2", "b2", "c1"]
    assert {k: v[0].id for k, v in cases.others["sentence"].items()} == {
        "a1": "a3",
        "a2": "a3",
        "b2": "b1",
    }
    assert {k: v[0].id for k, v in cases.others["person"].items()} == {
        "a1": "b1",
        "a2": "b1",
        "b2": "c1",
        "c1": "a1",
    }


def test_the_other_sentence_has_the_fewest_words_in_common():
    data = Listed(a1=("a", "bin blue at f"), a2=("a", "bin blue at g"), a3=("a", "set red by g"))
    cases = choose_cases(data, 1)
    assert cases.others["sentence"]["a1"][0].id == "a3"


def test_emotional_cases_have_all_levels_and_other_emotions_for_other_people():
    clips = {"a0": ("a", "x", "neutral", 1), "b0": ("b", "y", "neutral", 1)}
    for person, words in (("a", "x"), ("b", "y")):
        for emotion in ("angry", "happy"):
            for level in (1, 2, 3):
                clips[f"{person}{emotion}{level}"] = (person, words, emotion, level)
    clips["asad1"] = ("a", "x", "sad", 1)
    cases = choose_emotional_cases(Listed(**clips), 2)
    assert sorted(cases.selection.rows) == ["a0+angry", "b0+happy"]
    assert [r.id for r in cases.others["levels"]["b0+happy"]] == ["bhappy1", "bhappy2", "bhappy3"]
    assert [row.id for row in cases.selection.index()] == ["a0+angry", "b0+happy"]
    with pytest.raises(ConfigError, match="puppets have"):
        choose_emotional_cases(Listed(a1=("a", "x")), 2)


def test_puppets_have_emotions_in_a_split_of_their_own():
    data = emotional_data(Puppets(PuppetsConfig(resolution=64, size=3)))
    assert data.config == PuppetsConfig(split="test-emotion", resolution=64)
