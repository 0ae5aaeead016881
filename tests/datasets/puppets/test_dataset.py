import json
import pickle
from pathlib import Path

import pytest
import torch

from tests.core.plugins import REPOSITORY, run_python
from tests.datasets.puppets.fakes import N_FRAMES, Fake, RefuseUpTo, accept
from tests.evaluation.world import build
from tfbench.core.config import load_config
from tfbench.core.errors import ConfigError, UnknownName
from tfbench.core.registry import parse_name, registry
from tfbench.datasets.base import Row
from tfbench.datasets.puppets import Puppets, PuppetsConfig
from tfbench.datasets.puppets.plan import SPLITS
from tfbench.evaluation.run import Evaluation, evaluate


def puppets(log: Path | None = None, check=accept, **settings) -> Puppets:
    settings = {"resolution": 64, "size": 5} | settings
    return Puppets(PuppetsConfig(**settings), Fake(log), check)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def test_the_index_makes_nothing_and_tells_settings_apart(log: Path):
    checksums = set()
    others = [{}, {"size": 6}, {"resolution": 66}, {"seed": 1}, {"kind": "open"}]
    others += [{"emotions": ("sad",)}, *({"split": split} for split in SPLITS if split != "test")]
    for settings in others:
        checksums.add(puppets(log, **settings).checksum())
    assert len(checksums) == len(others)
    assert len({puppets(**settings).label for settings in others}) == len(others)
    assert puppets().checksum() in checksums
    assert not list(log.iterdir())


def test_a_longer_split_begins_with_the_shorter_one():
    assert puppets(size=9).index()[:5] == puppets().index()


def test_another_version_has_other_clips_and_another_folder(log: Path):
    class Newer(Puppets):
        version = Puppets.version + 1

    old = puppets(log, size=1)
    new = Newer(old.config, Fake(log), accept)
    assert old.checksum() != new.checksum()
    assert old.index()[0].stamp != new.index()[0].stamp
    assert old[0].clip.path != new[0].clip.path
    assert len(list(log.iterdir())) == 2


def test_labels_say_what_is_unusual():
    assert Puppets().label == "puppets-test"
    config = PuppetsConfig("val", 9, 256, 3, "open", ("sad", "fear"))
    assert Puppets(config).label == "puppets-val-n9-256px-seed3-open-sad+fear"


def test_a_sample_holds_the_truth():
    data = puppets()
    row = data.index()[3]
    sample = data.sample(row)
    spec = data._specs[row.id]
    assert (sample.id, sample.identity, sample.split) == (row.id, "puppet-2000000", "test")
    assert (sample.transcript, sample.emotion, sample.level) == (spec.text, spec.emotion, 3)
    assert sample.word_times == ((spec.text, 0.0, 0.24),)
    assert sample.phone_times == (("SIL", 0.0, 0.24),)
    assert sample.landmarks.shape == (N_FRAMES, 68, 2)
    assert sample.landmarks.dtype == torch.float32
    assert sample.coefficients.shape == (N_FRAMES, 5)
    assert sample.expression.shape == (N_FRAMES, 52)
    assert sample.scene_mask is None
    assert set(data.truth(row)) == {"landmarks", "coefficients", "expression"}
    assert sample.clip.video.n_frames == N_FRAMES
    assert abs(sample.clip.speech.seconds - 0.24) < 0.1


def test_prepare_makes_what_is_asked_for_and_writes_a_manifest(log: Path):
    data = puppets(log, check=RefuseUpTo(1))
    few = data.prepare(data.index()[1:3], workers=1)
    assert (few.n_clips, few.n_refused, few.n_frames) == (2, 2, 2 * N_FRAMES)
    assert not data.manifest.exists()
    done = data.prepare(workers=2)
    assert done.n_clips == 5
    assert len(list(log.iterdir())) == 10
    manifest = json.loads(data.manifest.read_text())
    assert manifest["checksum"] == data.checksum()
    assert manifest["sha256"] == done.sha256 != few.sha256
    assert [clip["id"] for clip in manifest["clips"]] == [row.id for row in data.index()]
    assert {clip["attempt"] for clip in manifest["clips"]} == {1}
    assert data.prepare(verify=True) == done
    assert len(list(log.iterdir())) == 10


def test_a_clip_that_the_split_lacks():
    with pytest.raises(UnknownName, match="puppets-test-n5-64px has no clip 'x'"):
        puppets().sample(Row("x", "y"))


def test_it_travels_to_other_processes():
    data = puppets()
    assert pickle.loads(pickle.dumps(data)).checksum() == data.checksum()
    assert pickle.loads(pickle.dumps(Puppets())).checksum() == Puppets().checksum()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["split=tst"], "no split 'tst'; did you mean 'test'"),
        (["size=0"], "got size 0"),
        (["size=-2"], "got size -2"),
        (["size=some"], 'size: got "some", wanted integer or null'),
        (["resolution=62"], "even number of pixels, 64 to 512; got 62"),
        (["resolution=514"], "64 to 512; got 514"),
        (["resolution=129"], "even number of pixels"),
        (["emotions=[glad]"], "no emotion 'glad'"),
        (["clips=3"], "unknown key 'clips'"),
    ],
)
def test_wrong_settings_are_answered_with_right_ones(words: list[str], said: str):
    with pytest.raises(ConfigError) as caught:
        load_config(PuppetsConfig, "datasets", parse_name("puppets"), words)
    assert said in str(caught.value)


def test_settings_of_the_command_line():
    words = ["split=train", "size=9", "emotions=[sad, fear]", "resolution=512"]
    config = load_config(PuppetsConfig, "datasets", parse_name("puppets"), words)
    assert config == PuppetsConfig("train", 9, 512, emotions=("sad", "fear"))


def test_it_is_registered_and_light(tmp_path: Path):
    assert registry("datasets").load("puppets") is Puppets
    code = """
import sys
from tfbench.datasets.puppets import Puppets
Puppets().checksum()
print(sorted({"torch", "numba", "scipy", "av"} & set(sys.modules)))
"""
    assert run_python(code, REPOSITORY, tmp_path).strip() == "[]"


def test_an_evaluation_makes_the_clips_first(tmp_path: Path, log: Path, monkeypatch):
    data = puppets(log, size=3)
    asked = []
    prepare = data.prepare
    monkeypatch.setattr(data, "prepare", lambda rows: asked.append(rows) or prepare(rows))
    world = build(tmp_path, tmp_path / "run")
    evaluation = Evaluation(
        world.generator, data, world.protocol, world.metrics[:1], "test", tmp_path / "run", limit=2
    )
    result = evaluate(evaluation, accelerator="cpu")
    assert asked == [list(data.index()[:2])]
    assert result.n_cases == 2
    assert result.dataset == "puppets-test-n3-64px"
    assert result.split_checksum == data.checksum()
    assert len(list(log.iterdir())) == 2
