from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.puppets.fakes import Fake, accept
from tests.evaluation.world import make_clips
from tfbench.core.errors import InputError, StorageError
from tfbench.core.types import Clip, Sample, TensorVideo
from tfbench.datasets._sheet import LINE, TILE, choose_rows, show
from tfbench.datasets.base import Dataset, Row
from tfbench.datasets.folder import Folder, FolderConfig
from tfbench.datasets.puppets import Puppets, PuppetsConfig
from tfbench.media.video import open_clip


def test_a_folder_is_shown(tmp_path: Path):
    clips = make_clips(tmp_path / "clips", n=3)
    shown = show(Folder(FolderConfig(clips)), tmp_path / "out", n_columns=4, n_videos=2)
    image = np.asarray(Image.open(shown.sheet))
    assert image.shape == (3 * (TILE + LINE), 4 * TILE, 3)
    tiles = image[LINE:TILE, :, :].reshape(TILE - LINE, 4, TILE, 3).mean((0, 2))
    assert len(np.unique(tiles.round(3), axis=0)) == 4
    assert [path.name for path in shown.videos] == ["clip 0 é.mp4", "clip 1 é.mp4"]
    assert shown.videos[0].read_bytes() == (clips / "clip 0 é.mp4").read_bytes()


def test_puppets_are_shown_by_people(tmp_path: Path):
    data = Puppets(PuppetsConfig(size=8, resolution=64), Fake(), accept)
    shown = show(data, tmp_path, n_rows=3, n_columns=2, n_videos=1)
    assert Image.open(shown.sheet).size == (2 * TILE, 3 * (TILE + LINE))


def test_every_person_comes_with_another_clip():
    rows = Puppets(PuppetsConfig(size=40)).index()
    chosen = choose_rows(rows, 10)
    assert len({row.identity for row in chosen}) == 10
    assert {rows.index(row) % 4 for row in chosen} == {0, 1, 2, 3}
    assert choose_rows(rows, 12) == tuple(sorted(set(choose_rows(rows, 12))))
    assert len(choose_rows(rows, 12)) == 12
    assert len(choose_rows(rows, 100)) == 40
    assert choose_rows([], 3) == ()


class Tensors(Dataset):
    name = "tensors"

    def __init__(self, n: int) -> None:
        self.n = n

    def index(self):
        return tuple(Row(f"a/{k}", "one") for k in range(self.n))

    def sample(self, row):
        import torch

        frames = torch.full((5, 3, 300, 100), 200, dtype=torch.uint8)
        return Sample(row.id, Clip(TensorVideo(frames)), row.identity)


def test_clips_without_a_file_are_written(tmp_path: Path):
    shown = show(Tensors(2), tmp_path)
    assert [path.name for path in shown.videos] == ["a_0.mp4", "a_1.mp4"]
    assert open_clip(shown.videos[0]).video.n_frames == 5
    tile = np.asarray(Image.open(shown.sheet))[LINE : LINE + TILE, :TILE]
    assert (tile[:, 44:84] == 200).all()
    assert (tile[:, :40] == 255).all()


def test_nothing_to_show_and_nowhere_to_write(tmp_path: Path):
    with pytest.raises(InputError, match="has no clip to show"):
        show(Tensors(0), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write to"):
        show(Tensors(1), tmp_path / "file")
