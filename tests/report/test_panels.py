"""Tiles, captions and videos that are too short, by hand-worked examples."""

import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import TensorVideo
from tfbench.report.panels import Panel, fit, shown, tile_width, write_text


def video(n: int, height: int = 4, width: int = 6) -> TensorVideo:
    """Frame k has the grey level k."""
    levels = torch.arange(n, dtype=torch.uint8).view(-1, 1, 1, 1)
    return TensorVideo(levels.expand(-1, 3, height, width))


def levels(panel: Panel, n_frames: int) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in shown(panel, n_frames)]


def test_a_short_video_holds_its_last_frame_or_starts_over():
    assert levels(Panel("a", video(3)), 5) == [0, 1, 2, 2, 2]
    assert levels(Panel("a", video(3), loop=True), 8) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert levels(Panel("a", video(20), loop=True), 18) == list(range(18))


def test_a_video_without_frames_is_refused():
    with pytest.raises(InputError, match="'a' has no frame"):
        list(shown(Panel("a", video(0), loop=True), 2))


def test_a_tile_is_as_wide_as_the_widest_video_but_not_wider_than_twice_its_height():
    assert tile_width([Panel("a", video(1, 40, 40)), Panel("b", video(1, 90, 160))], 90) == 160
    assert tile_width([Panel("a", video(1, 10, 100))], 90) == 180


def test_a_frame_of_the_tiles_size_is_not_touched():
    frame = torch.randint(0, 256, (3, 9, 7), dtype=torch.uint8)
    assert torch.equal(fit(frame, 9, 7), frame)


def test_a_frame_is_scaled_into_the_middle_of_white():
    tile = fit(torch.zeros(3, 10, 20, dtype=torch.uint8), 40, 40)
    assert (tile[:, :10] == 255).all()
    assert (tile[:, 10:30] == 0).all()
    assert (tile[:, 30:] == 255).all()


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (3, 3)])
def test_odd_frames_fit_too(size: tuple[int, int]):
    assert fit(torch.zeros(3, *size, dtype=torch.uint8), 32, 48).shape == (3, 32, 48)


def test_text_is_written_and_cut_where_it_does_not_fit():
    short, empty = write_text("still", 24, 200), write_text("", 24, 200)
    assert (empty == 255).all()
    assert (short < 100).any()
    for text in ("a very long caption " * 9, "i" * 400, "é 中文 \U0001f600"):
        line = write_text(text, 24, 100)
        assert line.shape == (3, 24, 100)
        assert (line[:, :, :3] == 255).all()
        assert (line[:, :, -3:] == 255).all()
    assert write_text("wide", 24, 2).shape == (3, 24, 2)
