import os
from pathlib import Path

import pytest

from tests.evaluation.world import make_clips
from tfbench.core.errors import InputError, UnknownName
from tfbench.datasets.folder import Folder, FolderConfig, video_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_clips(tmp_path / "clips", n=3)
    (tmp_path / "clips/sub dir").mkdir()
    (tmp_path / "clips/clip 2 é.mp4").rename(tmp_path / "clips/sub dir/z.MP4")
    (tmp_path / "clips/notes.txt").write_text("not a clip")
    return tmp_path / "clips"


def table(root: Path, text: str) -> Folder:
    (root / "clips.csv").write_text(text, encoding="utf-8")
    return Folder(FolderConfig(root))


def test_ids_are_paths_without_ending_and_sorted(root: Path):
    data = Folder(FolderConfig(root))
    assert [row.id for row in data.index()] == ["clip 0 é", "clip 1 é", "sub dir/z"]
    assert [row.identity for row in data.index()] == [row.id for row in data.index()]
    assert data["sub dir/z"].clip.video.n_frames == data[2].clip.video.n_frames == 12
    assert data.label == "folder-clips"
    with pytest.raises(UnknownName, match="no clip 'x'"):
        data["x"]


def test_a_table_adds_what_is_known(root: Path):
    data = table(
        root,
        "file,identity,transcript,emotion,level\n"
        "clip 1 é.mp4,Ann,hello there,happy,3\n"
        "sub dir/z.MP4,Bob,,,\n",
    )
    first, second = data[0], data[1]
    assert (first.identity, first.transcript, first.emotion, first.level) == (
        "Ann",
        "hello there",
        "happy",
        3,
    )
    assert (second.identity, second.transcript, second.level) == ("Bob", None, None)


def test_a_split_of_the_table(root: Path):
    table(root, "file,split\nclip 0 é.mp4,train\nclip 1 é.mp4,test\n")
    assert len(Folder(FolderConfig(root, split="test"))) == 1
    with pytest.raises(InputError, match="has split 'dev'"):
        Folder(FolderConfig(root, split="dev")).index()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nx.mp4\n", "it needs 'file'"),
        ("file,mood\nx.mp4,good\n", "may have identity"),
        ("file\nx.mp4\n", "names 1 clips that are not there, the first 'x'"),
        ("file\nclip 0 é.mp4\nclip 0 é.mp4\n", "twice"),
        ("", "cannot be read"),
    ],
)
def test_bad_tables_are_named(root: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        table(root, text).index()


def test_the_checksum_follows_the_clips(root: Path):
    before = Folder(FolderConfig(root)).checksum()
    assert Folder(FolderConfig(root)).checksum() == before
    (root / "clip 0 é.mp4").unlink()
    assert Folder(FolderConfig(root)).checksum() != before


def test_two_files_of_one_id_are_refused(root: Path):
    (root / "clip 0 é.avi").write_bytes(b"x")
    with pytest.raises(InputError, match="same id"):
        video_files(root)


def test_one_file_is_a_folder_of_one(root: Path):
    data = Folder(FolderConfig(root / "clip 0 é.mp4"))
    assert [row.id for row in data.index()] == ["clip 0 é"]


def test_folders_that_do_not_serve(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        video_files(tmp_path / "no")
    with pytest.raises(InputError, match="no video in"):
        video_files(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(InputError, match="cannot be read"):
        video_files(closed)
