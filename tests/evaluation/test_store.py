from pathlib import Path

import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import Clip, Score, Speech, TensorVideo
from tfbench.evaluation.store import Rows, load_rows
from tfbench.preparation.arrays import Arrays, clip_sha256

ROW = Score("a", "clip", "PSNR", "a", value=float("inf"))
REFUSED = Score("b", "clip", "PSNR", "b", reason="no face")


def test_rows_come_back_from_all_ranks(tmp_path: Path):
    for rank, score in enumerate((ROW, REFUSED)):
        rows = Rows(tmp_path, rank)
        rows.path.touch()
        rows.append(score.case, "psnr.frame", "key", [score])
    assert load_rows(tmp_path) == {
        ("a", "psnr.frame", "key"): (ROW,),
        ("b", "psnr.frame", "key"): (REFUSED,),
    }


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_line_is_dropped_and_the_next_one_starts_afresh(tmp_path: Path, cut: int):
    rows = Rows(tmp_path, 0)
    rows.path.touch()
    rows.append("a", "psnr.frame", "key", [ROW])
    rows.append("c", "psnr.frame", "key", [ROW])
    rows.path.write_bytes(rows.path.read_bytes()[:-cut])
    rows.append("b", "psnr.frame", "key", [REFUSED])
    found = load_rows(tmp_path)
    assert found[("a", "psnr.frame", "key")] == (ROW,)
    assert found[("b", "psnr.frame", "key")] == (REFUSED,)
    assert (("c", "psnr.frame", "key") in found) == (cut == 1)


def test_features_are_found_by_content(tmp_path: Path):
    arrays = Arrays(tmp_path / "features")
    values = torch.randn(5, 3)
    sha = arrays.keep(values)
    assert arrays.keep(values.clone()) == sha
    assert arrays.keep(values.double()) != sha
    assert torch.equal(arrays.kept(sha), values)
    assert arrays.get("absent") is None
    with pytest.raises(InputError, match="are gone from"):
        arrays.kept("0" * 64)


def test_a_clip_in_memory_has_a_hash_of_its_content():
    frames = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    clip = Clip(TensorVideo(frames), Speech(torch.zeros(10)))
    assert clip_sha256(clip) == clip_sha256(Clip(TensorVideo(frames.clone()), clip.speech))
    assert clip_sha256(clip) != clip_sha256(Clip(TensorVideo(frames + 1), clip.speech))
    assert clip_sha256(clip) != clip_sha256(Clip(TensorVideo(frames), None))
