"""A video that shows several methods side by side, with the speech that drove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tfbench.media.video import write_video
from tfbench.report.panels import PAPER, check_panels, fit, shown, tile_width, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction
    from pathlib import Path

    from torch import Tensor

    from tfbench.core.types import Speech
    from tfbench.report.panels import Panel

__all__ = ["write_grid"]

COLUMNS = 4
GAP = 4
LOWEST, HIGHEST = 128, 512
"""Height of a tile, pixels: that of the highest video, within these bounds."""


def write_grid(
    path: Path, panels: Sequence[Panel], n_frames: int, fps: Fraction, speech: Speech | None
) -> int:
    """Write several videos into one, each under its caption.

    All are scaled to one height. Up to four stand in a row; more are spread over rows. Frames
    are read and written one by one, so memory does not grow with the length.

    Args:
        path: An mp4 file; the folder must exist.
        panels: The videos in reading order, all at `fps`.
        n_frames: Length; a shorter video holds its last frame or starts over.
        fps: Frames per second.
        speech: The sound, or None.

    Returns:
        How many frames were written.

    Raises:
        InputError: There is nothing to show, or a video is damaged.
    """
    check_panels(panels, n_frames)
    comment = "beside each other: " + ", ".join(panel.caption for panel in panels)
    return write_video(path, _pages(panels, n_frames), fps, speech, comment=comment)


def _pages(panels: Sequence[Panel], n_frames: int) -> Iterator[Tensor]:
    """Yield the grid's frames, uint8 (1, 3, H, W) with even sides."""
    n_rows = -(-len(panels) // COLUMNS)
    n_columns = -(-len(panels) // n_rows)
    height = min(max(LOWEST, *(panel.video.height for panel in panels)), HIGHEST)
    bar = max(20, height // 12)
    widths = [tile_width(panels[column::n_columns], height) for column in range(n_columns)]
    page = _blank(n_rows * (height + bar), sum(widths) + GAP * (n_columns - 1))
    places = []
    for k, panel in enumerate(panels):
        row, column = divmod(k, n_columns)
        top, left, width = row * (height + bar), sum(widths[:column]), widths[column]
        left += GAP * column
        page[:, top : top + bar, left : left + width] = write_text(panel.caption, bar, width)
        places.append(page[:, top + bar : top + bar + height, left : left + width])
    for frames in zip(*(shown(panel, n_frames) for panel in panels), strict=True):
        for place, frame in zip(places, frames, strict=True):
            place.copy_(fit(frame, *place.shape[1:]))
        yield page.clone()[None]


def _blank(height: int, width: int) -> Tensor:
    # Players read 4:2:0 everywhere, which has even sides.
    size = (3, height + height % 2, width + width % 2)
    return torch.full(size, PAPER[0], dtype=torch.uint8)
