"""The strip: which frames stand in which column."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from tfbench.core.errors import InputError
from tfbench.core.types import TensorVideo
from tfbench.media.video import MARK
from tfbench.report.panels import Panel
from tfbench.report.strip import GAP, LINE, TILE, draw_strip, write_strip

FPS = Fraction(25)


def counting(n: int, step: int = 1, size: int = 32) -> TensorVideo:
    """Frame k has the grey level step * k."""
    levels = (step * torch.arange(n)).to(torch.uint8).view(-1, 1, 1, 1)
    return TensorVideo(levels.expand(-1, 3, size, size))


def columns(page: torch.Tensor, row: int, n: int) -> list[int]:
    """Grey level in the middle of each tile of a row."""
    y = LINE + GAP + row * (TILE + GAP) + TILE // 2
    side = page.shape[2] - n * (TILE + GAP)
    return [int(page[0, y, side + k * (TILE + GAP) + TILE // 2]) for k in range(n)]


def test_columns_are_evenly_spaced_from_the_first_frame_to_the_last():
    page = draw_strip([Panel("a", counting(22)), Panel("b", counting(11, 2))], 22, FPS, 4)
    assert columns(page, 0, 4) == [0, 7, 14, 21]
    assert columns(page, 1, 4) == [0, 14, 20, 20]
    assert page.shape[1] == LINE + GAP + 2 * (TILE + GAP)


def test_there_are_no_more_columns_than_frames():
    assert columns(draw_strip([Panel("a", counting(3, 5))], 3, FPS, 8), 0, 3) == [0, 5, 10]


def test_it_is_written_and_marked(tmp_path: Path):
    path = tmp_path / "new" / "s.png"
    write_strip(path, [Panel("a", counting(3))], 3, FPS, 1)
    with Image.open(path) as image:
        assert image.text["Comment"] == f"{MARK}; a"
    with pytest.raises(InputError, match="cannot be shown"):
        write_strip(path, [], 3, FPS)
