from pathlib import Path

import pytest

from tests.cli.test_commands import PSNR
from tests.datasets.puppets.fakes import Fake, accept
from tests.evaluation.world import make_clips
from tfbench.core.paths import cache_dir
from tfbench.datasets.puppets import Puppets, PuppetsConfig


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let puppets be drawn by a renderer that shows nothing."""
    monkeypatch.setattr(Puppets.__init__, "__defaults__", (None, Fake(), accept))


WORDS = ("--resolution", 64, "--workers", 1)


def test_make_says_what_is_there(run):
    said = run("datasets", "make", "puppets", "--size", 3, *WORDS)
    assert said.code == 0, said.text
    data = Puppets(PuppetsConfig(size=3, resolution=64))
    assert "3 clips of puppets-test-n3-64px, 1 s of video; 3 made now" in said.text
    assert data.checksum() in said.text
    assert data.prepare().sha256 in said.text
    assert str(cache_dir() / "puppets-v1" / "64") in said.text
    again = run("datasets", "make", "Puppets", "--size", 3, *WORDS, "--verify")
    assert "0 made now 0 attempts" in again.text


def test_make_goes_on_and_takes_settings(run):
    run("datasets", "make", "puppets", "--split", "train", "--size", 2, *WORDS)
    said = run("datasets", "make", "puppets", "--split", "train", "--size", 5, *WORDS)
    assert "5 clips of puppets-train-n5-64px, 1 s of video; 3 made now" in said.text
    said = run("datasets", "make", "puppets", *WORDS, "--data", "size=2", "--data", "kind=open")
    assert "2 clips of puppets-test-n2-64px-open" in said.text


def test_show_writes_pictures_and_says_where(run, tmp_path: Path):
    said = run("datasets", "show", "puppets", "--split", "val", "--clips", 2, "--videos", 1, *WORDS)
    assert said.code == 0, said.text
    folder = Path("show/puppets-val-64px")
    assert str(folder / "sheet.png") in said.text
    assert sorted(path.name for path in (tmp_path / folder).iterdir()) == [
        *("sheet.png", "val-000000.mp4"),
    ]
    assert len(list((cache_dir() / "puppets-v1/64").iterdir())) == 2


def test_show_takes_any_data_set(run, tmp_path: Path):
    clips = make_clips(tmp_path / "mine", n=2)
    said = run("datasets", "show", "folder", "--root", clips, "--out", tmp_path / "out")
    assert said.code == 0, said.text
    assert (tmp_path / "out/sheet.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("make", "folder", "--data", "root=."), "'folder' is not generated"),
        (("make", "demo"), "'demo' is not generated: it has nothing to make; 'puppets' has"),
        (("make", "demo", "--split", "test"), "unknown key 'split'"),
        (("make", "pupets"), "puppets"),
        (("make", "puppets", "--split", "trian"), "did you mean 'train'"),
        (("make", "puppets", "--size", 0), "got size 0"),
        (("make", "puppets", "--size", -1), "got size -1"),
        (("make", "puppets", "--resolution", 1024), "64 to 512; got 1024"),
        (("make", "puppets", "--resolution", 65), "even number"),
        (("make", "puppets", "--split", "val", "--data", "split=test"), "given twice"),
        (("show", "folder", "--root", "nowhere"), "does not exist"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(run, words: tuple, said: str):
    answer = run("datasets", *words)
    assert answer.code == 1
    assert said in answer.text.partition("tfbench: ")[2]


def test_eval_makes_only_the_clips_that_it_needs(run):
    words = ("--method", "still", "--dataset", "puppets", "--data", "resolution=64")
    said = run("eval", *words, *PSNR, "--limit", 1)
    assert said.code == 0, said.text
    assert "puppets-test-64px" in said.text
    assert len(list((cache_dir() / "puppets-v1/64").iterdir())) == 1
