"""GRID in the layouts in which it is found, and speaker 1's real clips."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.evaluation.world import make_clips
from tfbench.core.errors import InputError
from tfbench.datasets.grid import Grid, GridConfig, read_alignment, split_of
from tfbench.media.grammar import words_of_code

ALIGN = "0 10000 sil\n10000 15000 bin\n15000 19750 blue\n19750 20000 at\n20000 20500 sp\n"
ALIGN += "20500 25000 f\n25000 30000 two\n30000 50000 now\n50000 74500 sil\n"
"""Of the sentence of bbaf2n."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("clip") / "clips"
    make_clips(folder, n=1)
    return next(folder.glob("*.mp4")).read_bytes()


@pytest.fixture
def corpus(tmp_path: Path, video: bytes):
    """Writes files below a root: videos as a real one, alignments as given."""

    def write(*names: str, align: str = ALIGN) -> Path:
        for name in names:
            path = tmp_path / "grid" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(align.encode() if name.endswith(".align") else video)
        return tmp_path / "grid"

    return write


def everything(root: Path, **settings) -> Grid:
    return Grid(GridConfig(root, "all", **settings))


@pytest.mark.parametrize("align", ["align/s1", "alignments/s1", "s1/align"])
@pytest.mark.parametrize(
    "clips", ["s1", "s1/video/mpg_6000", "s1.mpg_6000.part1/s1/video/mpg_6000"]
)
def test_layouts(corpus, clips: str, align: str):
    data = everything(corpus(f"{clips}/bbaf2n.mpg", f"{align}/bbaf2n.align"))
    (row,) = data.index()
    assert (row.id, row.identity) == ("s1/bbaf2n", "s1")
    sample = data.sample(row)
    assert sample.transcript == "bin blue at f two now"
    assert [word for word, _, _ in sample.word_times] == sample.transcript.split()
    assert sample.word_times[0] == ("bin", 0.4, 0.6)
    assert sample.word_times[-1] == ("now", 1.2, 2.0)
    assert sample.split == split_of(words_of_code("bbaf2n"))
    assert sample.clip.video.n_frames == 12


def test_a_flat_folder_knows_no_speakers(corpus):
    data = everything(corpus("bbaf2n.mpg", "lbax4n.mp4", "align/bbaf2n.align"))
    assert [(row.id, row.identity) for row in data.index()] == [("bbaf2n",) * 2, ("lbax4n",) * 2]
    assert data["bbaf2n"].word_times[0][0] == "bin"
    assert data["lbax4n"].word_times is None
    with pytest.raises(InputError, match="in no folder of a speaker"):
        everything(data.config.root, holdout="speaker").index()


def test_a_speakers_own_folder_as_the_root(corpus):
    root = corpus("s3/bbaf2n.mpg", "s3/align/bbaf2n.align") / "s3"
    (sample,) = [everything(root)[k] for k in range(len(everything(root)))]
    assert (sample.id, sample.identity) == ("s3/bbaf2n", "s3")
    assert sample.word_times is not None


def test_hidden_files_are_no_clips(corpus):
    assert len(everything(corpus("s1/bbaf2n.mpg", "__MACOSX/s1/._bbaf2n.mpg"))) == 1


def test_chosen_speakers(corpus):
    root = corpus("s1/bbaf2n.mpg", "s2/bbaf2n.mpg", "s2/lbax4n.mpg", "s34/bbaf2n.mpg")
    assert {row.identity for row in everything(root).index()} == {"s1", "s2", "s34"}
    data = everything(root, speakers=("s2",))
    assert [row.id for row in data.index()] == ["s2/bbaf2n", "s2/lbax4n"]
    assert data.label == "grid-all-s2"
    assert data.checksum() != everything(root).checksum()
    with pytest.raises(InputError, match=r"no clip of s9 .* speakers there: s1, s2, s34"):
        everything(root, speakers=("s9",)).index()


def codes() -> list[str]:
    return [f"{a}{b}{c}{d}2n" for a in "blps" for b in "bgrw" for c in "abiw" for d in "abcde"]


def test_one_sentence_is_in_one_split_whoever_says_it(corpus):
    root = corpus(*(f"{speaker}/{code}.mpg" for speaker in ("s1", "s5") for code in codes()))
    splits = {
        split: {row.id.split("/")[1] for row in Grid(GridConfig(root, split)).index()}
        for split in ("train", "val", "test")
    }
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == len(codes())
    assert len(Grid(GridConfig(root, "test"))) == 2 * len(splits["test"])


def test_unseen_speakers_are_those_of_lipnet(corpus):
    speakers = [f"s{n}" for n in range(1, 35) if n != 21]
    root = corpus(*(f"{speaker}/{code}.mpg" for speaker in speakers for code in codes()[:60:2]))
    test, val, train = (
        Grid(GridConfig(root, split, holdout="speaker")) for split in ("test", "val", "train")
    )
    assert test.label == "grid-test-unseen"
    assert {row.identity for row in test.index()} == {"s1", "s2", "s20", "s22"}
    assert len(test) == 4 * 30
    assert len({row.identity for row in train.index()}) == 29
    sentences = [{row.id.split("/")[1] for row in data.index()} for data in (val, train)]
    assert not sentences[0] & sentences[1]
    assert len(train) + len(val) == 29 * 30


@pytest.mark.parametrize(
    ("names", "align", "message"),
    [
        (("s1/holiday.mpg",), "", r"holiday\.mpg: 'holiday' is no GRID code.*Keep only clips"),
        (("s1/bbaf2n.mpg", "s1/video/bbaf2n.mpg"), "", "are one clip; keep one"),
        (("s1/bbaf2n.mpg", "align/s1/lbax4n.align"), ALIGN, "only 0 of 1 clips of s1"),
        (("s1/bbaf2n.mpg", "align/s1/bbaf2n.align"), ALIGN.replace("two", "ten"), "f ten now'"),
        (("s1/bbaf2n.mpg", "align/s1/bbaf2n.align"), "0 10 bin\n5", "a line of .* is '5'"),
        (("s1/bbaf2n.mpg", "align/s1/bbaf2n.align"), "20 10 bin", "is '20 10 bin'"),
        (("s1/notes.txt",), "", "no video in"),
    ],
)
def test_what_is_wrong_is_named(corpus, names: tuple[str, ...], align: str, message: str):
    data = everything(corpus(*names, align=align))
    with pytest.raises(InputError, match=message):
        data["s1/bbaf2n"]


def test_an_empty_split_and_a_missing_root(corpus, tmp_path: Path):
    root = corpus("s3/bbaf2n.mpg")
    with pytest.raises(InputError, match=r"is in 'test' by speaker; there are 1 clips, of s3"):
        Grid(GridConfig(root, "test", holdout="speaker")).index()
    with pytest.raises(InputError, match="does not exist"):
        Grid(GridConfig(tmp_path / "nothing")).index()


def test_real_clips_of_speaker_1(shared_data: Path):
    root = shared_data / "grid"
    sizes = {
        split: len(Grid(GridConfig(root, split, ("s1",)))) for split in ("train", "val", "test")
    }
    assert sizes == {"train": 804, "val": 50, "test": 146}
    data = everything(root, speakers=("s1",))
    for path in sorted((root / "align/s1").iterdir()):
        times = read_alignment(path)
        assert tuple(word for word, _, _ in times) == words_of_code(path.stem)
        assert all(one[2] <= other[1] for one, other in pairwise(times))
    sample = data["s1/bbaf2n"]
    assert sample.clip.video.n_frames == 75
    # Loud where words are said: 10 times the power of the rest of the clip at least.
    waveform, rate = sample.clip.speech.waveform, sample.clip.speech.sample_rate
    start, stop = (int(t * rate) for t in (sample.word_times[0][1], sample.word_times[-1][2]))
    rest = (waveform.square().sum() - waveform[start:stop].square().sum()) / (
        len(waveform) - (stop - start)
    )
    assert waveform[start:stop].square().mean() > 10 * rest


def test_real_clips_of_unknown_speakers(shared_data: Path):
    data = everything(shared_data / "grid/multi")
    assert [row.identity for row in data.index()] == [row.id for row in data.index()]
    assert len(data) == 6
    sample = data["pwij3p"]
    assert sample.transcript == "place white in j three please"
    assert sample.word_times is None
    assert sample.clip.video.n_frames == 75
