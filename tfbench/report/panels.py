"""What the grid and the strip share: videos with captions, fitted into tiles of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from tfbench.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from tfbench.core.types import Video

__all__ = [
    "PAPER",
    "Panel",
    "check_panels",
    "fit",
    "shown",
    "text_font",
    "tile_width",
    "write_text",
]

INK, PAPER = (20, 20, 20), (255, 255, 255)
WIDEST = 2.0
"""A tile is at most this many times as wide as high; a wider picture is made smaller."""
CHUNK = 8


@dataclass(frozen=True, eq=False)
class Panel:
    """One video of a comparison.

    Attributes:
        caption: What it is, such as the method's label.
        video: Its frames, at the rate of the comparison.
        loop: Where it is too short, whether it starts over; else its last frame is held.
    """

    caption: str
    video: Video
    loop: bool = False


def check_panels(panels: Sequence[Panel], n_frames: int) -> None:
    """Refuse a comparison of nothing.

    Raises:
        InputError: There is no panel or no frame.
    """
    if not panels or n_frames < 1:
        raise InputError(
            f"{len(panels)} videos of {n_frames} frames cannot be shown; give at least one of each"
        )


def shown(panel: Panel, n_frames: int) -> Iterator[Tensor]:
    """Yield a panel's frames one by one, for as long as the comparison lasts.

    Args:
        panel: The video.
        n_frames: How many frames are wanted; a longer video is cut.

    Yields:
        uint8 (3, H, W) RGB, `n_frames` times.

    Raises:
        InputError: The video has no frame or is damaged.
    """
    at = 0
    last: Tensor | None = None
    while at < n_frames and (last is None or panel.loop):
        before = at
        for chunk in panel.video.frames(0, n_frames - at, CHUNK):
            yield from chunk
            at += len(chunk)
            last = chunk[-1]
        if last is None or at == before:
            raise InputError(f"the video of '{panel.caption}' has no frame")
    for _ in range(at, n_frames):
        if last is not None:
            yield last


def tile_width(panels: Sequence[Panel], height: int) -> int:
    """Return how wide a tile of a height must be for the widest of these videos, pixels."""
    widest = max(panel.video.width / panel.video.height for panel in panels)
    return max(1, round(height * min(widest, WIDEST)))


def fit(frame: Tensor, height: int, width: int) -> Tensor:
    """Scale a frame as large as it fits into the middle of a white tile.

    Args:
        frame: uint8 (3, h, w).
        height: Of the tile, pixels.
        width: Of the tile, pixels.

    Returns:
        uint8 (3, height, width).
    """
    scale = min(height / frame.shape[1], width / frame.shape[2])
    size = [
        min(limit, max(1, round(side * scale)))
        for side, limit in zip(frame.shape[1:], (height, width), strict=True)
    ]
    if list(frame.shape[1:]) != size:
        frame = F.interpolate(frame[None], size, mode="bilinear", antialias=True)[0]
    left, top = (width - size[1]) // 2, (height - size[0]) // 2
    right, bottom = width - size[1] - left, height - size[0] - top
    return F.pad(frame, (left, right, top, bottom), value=PAPER[0])


def write_text(text: str, height: int, width: int, *, centred: bool = True) -> Tensor:
    """Write one line of text on white; what does not fit is cut and ends with dots.

    Args:
        text: What to write.
        height: Of the line, pixels; letters take about two thirds.
        width: Of the line, pixels.
        centred: Whether it stands in the middle, not at the left.

    Returns:
        uint8 (3, height, width).
    """
    font = text_font(height)
    margin = height // 4
    if font.getlength(text) > width - 2 * margin:
        while text and font.getlength(f"{text}...") > width - 2 * margin:
            text = text[:-1]
        text = f"{text}..."
    page = Image.new("RGB", (width, height), PAPER)
    at, anchor = ((width // 2), "mm") if centred else (margin, "lm")
    ImageDraw.Draw(page).text((at, height // 2), text, INK, font, anchor=anchor)
    return torch.from_numpy(np.array(page)).permute(2, 0, 1).contiguous()


def text_font(height: int) -> Any:
    """Return the font of a line of a height in pixels."""
    return ImageFont.load_default(size=max(6, round(height * 2 / 3)))
