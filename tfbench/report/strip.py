"""A picture of methods and frames, as papers print it: a row for each video."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfbench.core.files import write_atomically
from tfbench.media.video import MARK
from tfbench.report.panels import (
    PAPER,
    check_panels,
    fit,
    shown,
    text_font,
    tile_width,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction
    from pathlib import Path

    from torch import Tensor

    from tfbench.report.panels import Panel

__all__ = ["draw_strip", "write_strip"]

TILE, LINE, GAP = 160, 22, 2
WIDEST_CAPTION = 240


def write_strip(
    path: Path, panels: Sequence[Panel], n_frames: int, fps: Fraction, n_columns: int = 8
) -> None:
    """Write the picture as PNG, marked as synthetic.

    Args:
        path: Where to; its folder is made.
        panels: The videos, one a row, all at `fps`.
        n_frames: Length; a shorter video holds its last frame or starts over.
        fps: Frames per second.
        n_columns: How many frames are shown, evenly spaced from the first to the last.

    Raises:
        InputError: There is nothing to show, or a video is damaged.
        StorageError: The folder cannot be written.
    """
    page = draw_strip(panels, n_frames, fps, n_columns)
    marks = PngInfo()
    marks.add_text("Comment", f"{MARK}; " + ", ".join(panel.caption for panel in panels))
    data = io.BytesIO()
    Image.fromarray(page.permute(1, 2, 0).numpy()).save(data, "PNG", pnginfo=marks)
    write_atomically(path, data.getvalue())


def draw_strip(panels: Sequence[Panel], n_frames: int, fps: Fraction, n_columns: int = 8) -> Tensor:
    """Draw the picture; see `write_strip`.

    Returns:
        uint8 (3, H, W): captions at the left, times in seconds at the top.
    """
    check_panels(panels, n_frames)
    n_columns = max(1, min(n_columns, n_frames))
    wanted = np.linspace(0, n_frames - 1, n_columns).round().astype(int).tolist()
    width = tile_width(panels, TILE)
    longest = max(text_font(LINE).getlength(panel.caption) for panel in panels)
    side = min(round(longest) + LINE, WIDEST_CAPTION)
    times = [write_text(f"{float(k / fps):.2f} s", LINE, width) for k in wanted]
    rows = [_row(write_text("", LINE, side), times)]
    for panel in panels:
        caption = write_text(panel.caption, LINE, side, centred=False)
        rows.append(_row(fit(caption, TILE, side), _tiles(panel, wanted, n_frames, width)))
    return torch.cat(rows, 1)


def _tiles(panel: Panel, wanted: Sequence[int], n_frames: int, width: int) -> list[Tensor]:
    frames = enumerate(shown(panel, n_frames))
    return [fit(frame, TILE, width) for k, frame in frames if k in wanted]


def _row(caption: Tensor, tiles: Sequence[Tensor]) -> Tensor:
    """Put tiles behind a caption, with a thin gap between them and below."""
    gap = torch.full((3, caption.shape[1], GAP), PAPER[0], dtype=torch.uint8)
    line = torch.cat([caption, *(part for tile in tiles for part in (tile, gap))], 2)
    return torch.nn.functional.pad(line, (0, 0, 0, GAP), value=PAPER[0])
