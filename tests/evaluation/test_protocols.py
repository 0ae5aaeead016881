from pathlib import Path

import pytest

from tests.evaluation.world import make_clips
from tfbench.core.errors import InputError
from tfbench.datasets.base import Dataset, Row
from tfbench.datasets.folder import Folder, FolderConfig
from tfbench.evaluation.protocols.alone import AloneProtocol
from tfbench.evaluation.protocols.cross import CrossConfig, CrossProtocol
from tfbench.evaluation.protocols.self import SelfProtocol


class Rows(Dataset):
    """An index without clips."""

    name = "rows"

    def __init__(self, **identities: str) -> None:
        self.rows = tuple(Row(key, who) for key, who in sorted(identities.items()))

    def index(self):
        return self.rows

    def sample(self, row):
        raise NotImplementedError


def test_self_pairs_each_clip_with_itself(tmp_path: Path):
    data = Folder(FolderConfig(make_clips(tmp_path, n=2)))
    pairs = SelfProtocol().pairs(data)
    case = SelfProtocol().case(data, pairs[0], seed=7)
    assert [pair.id for pair in pairs] == ["clip 0 é", "clip 1 é"]
    assert case.reference is case.driving.clip
    assert case.request.identity.shape == (1, 3, 48, 48)
    assert case.request.seed == 7
    assert case.request.oracle is None


def test_cross_takes_another_persons_speech_and_has_no_truth(tmp_path: Path):
    data = Rows(a="Ann", b="Ann", c="Bob", d="Cyd")
    pairs = CrossProtocol().pairs(data)
    assert [pair.appearance.id for pair in sorted(pairs, key=lambda p: p.appearance)] == list(
        "abcd"
    )
    assert all(pair.driving.identity != pair.appearance.identity for pair in pairs)
    assert pairs == CrossProtocol().pairs(data)
    assert pairs != CrossProtocol(CrossConfig(pairing_seed=1)).pairs(data)
    clips = Folder(FolderConfig(make_clips(tmp_path, n=2)))
    case = CrossProtocol().case(clips, CrossProtocol().pairs(clips)[0], seed=0)
    assert case.reference is None
    assert case.cluster == case.appearance.identity


def test_clips_of_one_person_still_get_another_clips_speech():
    pairs = CrossProtocol().pairs(Rows(a="Ann", b="Ann"))
    assert all(pair.driving.id != pair.appearance.id for pair in pairs)


def test_a_list_of_pairs_is_used_as_it_is(tmp_path: Path):
    (tmp_path / "pairs.txt").write_text("a b\n\nc b\n")
    protocol = CrossProtocol(CrossConfig(pairs=tmp_path / "pairs.txt"))
    pairs = protocol.pairs(Rows(a="1", b="2", c="3"))
    assert [pair.id for pair in pairs] == ["a+b", "c+b"]
    assert "list" in protocol.settings()
    assert str(tmp_path) not in str(protocol.settings())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c\n", "line 1 has 3 words"),
        ("a b\na x\n", "line 2 names 'x'"),
        ("", "is empty"),
        ("a b\na b\n", "'a\\+b'; name each pair once"),
    ],
)
def test_bad_lists_are_named(tmp_path: Path, text: str, message: str):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        CrossProtocol(CrossConfig(pairs=tmp_path / "pairs.txt")).pairs(Rows(a="1", b="2"))


def test_cross_needs_two_clips(tmp_path: Path):
    with pytest.raises(InputError, match="at least two"):
        CrossProtocol().pairs(Rows(a="Ann"))
    with pytest.raises(InputError, match="cannot be read"):
        CrossProtocol(CrossConfig(pairs=tmp_path / "no")).pairs(Rows(a="1", b="2"))


def test_alone_has_no_reference(tmp_path: Path):
    data = Folder(FolderConfig(make_clips(tmp_path, n=1)))
    protocol = AloneProtocol()
    assert protocol.case(data, protocol.pairs(data)[0], 0).reference is None
