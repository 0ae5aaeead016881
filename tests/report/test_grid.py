"""The grid as a file: what stands where, how long it is, and that it is marked."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import Speech, TensorVideo
from tfbench.media.video import MARK, open_clip, read_comment
from tfbench.report.grid import write_grid
from tfbench.report.panels import Panel

FPS = Fraction(25)


def plain(level: int, n: int, height: int, width: int) -> TensorVideo:
    return TensorVideo(torch.full((n, 3, height, width), level, dtype=torch.uint8))


def test_two_videos_of_different_sizes_and_lengths(tmp_path: Path):
    speech = Speech(0.1 * torch.sin(torch.arange(6400) / 10))
    panels = [Panel("dark", plain(40, 9, 96, 96)), Panel("grey", plain(160, 10, 160, 320))]
    assert write_grid(tmp_path / "g.mp4", panels, 10, FPS, speech) == 10
    clip = open_clip(tmp_path / "g.mp4", fps=None)
    frames = torch.cat(list(clip.video.frames())).float()
    assert frames.shape == (10, 3, 160 + 20, 160 + 4 + 320)
    assert frames[:, :, 20:, :160].sub(40).abs().mean() < 3
    assert frames[:, :, 20:, 164:].sub(160).abs().mean() < 3
    assert frames[:, :, :20].max() > 240
    assert frames[:, :, :20, :160].min() < 120
    assert clip.speech is not None
    assert abs(clip.speech.seconds - 0.4) < 0.07
    assert read_comment(tmp_path / "g.mp4") == f"{MARK}; beside each other: dark, grey"


def test_many_videos_are_spread_over_rows(tmp_path: Path):
    panels = [Panel(str(k), plain(40 * k, 2, 128, 128)) for k in range(6)]
    write_grid(tmp_path / "g.mp4", panels, 2, FPS, None)
    frame = next(open_clip(tmp_path / "g.mp4").video.frames())[0].float()
    assert frame.shape == (3, 2 * 148, 3 * 128 + 8)
    for k in range(6):
        top, left = (k // 3) * 148 + 20, (k % 3) * 132
        assert (frame[:, top : top + 128, left : left + 128].mean() - 40 * k).abs() < 3


def test_videos_are_read_as_they_are_written(tmp_path: Path):
    """Not all at once: a chunk of eight frames is the most that is asked for."""

    class Watched(TensorVideo):
        asked = 0

        def frames(self, start=0, stop=None, chunk=32):
            for piece in super().frames(start, stop, chunk):
                Watched.asked = max(Watched.asked, len(piece))
                yield piece

    video = Watched(torch.zeros(40, 3, 32, 32, dtype=torch.uint8))
    write_grid(tmp_path / "g.mp4", [Panel("a", video)], 40, FPS, None)
    assert Watched.asked == 8


def test_nothing_to_show_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be shown"):
        write_grid(tmp_path / "g.mp4", [], 3, FPS, None)
    with pytest.raises(InputError, match="cannot be shown"):
        write_grid(tmp_path / "g.mp4", [Panel("a", plain(0, 1, 32, 32))], 0, FPS, None)
    assert not list(tmp_path.iterdir())
