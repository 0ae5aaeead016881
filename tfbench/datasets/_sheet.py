"""A contact sheet and some videos of a data set, so that one can look at it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfbench.core.errors import InputError
from tfbench.core.files import storage_errors
from tfbench.media.video import write_video

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tfbench.core.types import Sample, Video
    from tfbench.datasets.base import Dataset, Row

__all__ = ["Shown", "choose_rows", "contact_sheet", "show"]

TILE = 128
LINE = 18
INK, PAPER = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True)
class Shown:
    """What was written.

    Attributes:
        sheet: A PNG: a row for each clip, frames from its start to its end.
        videos: Some of the clips.
    """

    sheet: Path
    videos: tuple[Path, ...]


def choose_rows(rows: Sequence[Row], n: int) -> tuple[Row, ...]:
    """Choose clips that show a data set: as many people as can be, and of each another clip.

    Args:
        rows: The index.
        n: How many at most.

    Returns:
        The chosen rows, sorted.
    """
    people: dict[str, list[Row]] = {}
    for row in rows:
        people.setdefault(row.identity, []).append(row)
    turns = -(-n // max(1, len(people)))
    chosen: list[Row] = []
    for turn in range(turns):
        for place, clips in enumerate(people.values()):
            step = max(1, len(clips) // turns)
            if turn * step < len(clips):
                chosen.append(clips[(place + turn * step) % len(clips)])
    return tuple(sorted(chosen[:n]))


def show(
    dataset: Dataset, folder: Path, *, n_rows: int = 12, n_columns: int = 8, n_videos: int = 4
) -> Shown:
    """Write a contact sheet and some videos of a data set.

    Args:
        dataset: Which one.
        folder: Where to; made if it is not there.
        n_rows: Clips on the sheet, at most.
        n_columns: Frames of each.
        n_videos: How many of these clips are written as videos.

    Returns:
        What was written.

    Raises:
        InputError: The data set has no clip.
        StorageError: The folder cannot be written.
    """
    rows = choose_rows(dataset.index(), n_rows)
    if not rows:
        raise InputError(f"the data set {dataset.label} has no clip to show")
    samples = [dataset.sample(row) for row in rows]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sheet = folder / "sheet.png"
        contact_sheet(samples, n_columns).save(sheet)
        videos = tuple(_copy(sample, folder) for sample in samples[:n_videos])
    return Shown(sheet, videos)


def contact_sheet(samples: Sequence[Sample], n_columns: int) -> Image.Image:
    """Draw one row of frames for each clip, under a line that says what it is.

    Where clips are wider than high, the frames are wider and fewer.
    """
    height = LINE + TILE
    widest = max(sample.clip.video.width / sample.clip.video.height for sample in samples)
    width = round(TILE * min(max(widest, 1.0), 2.0))
    n_columns = max(1, n_columns * TILE // width)
    page = Image.new("RGB", (n_columns * width, len(samples) * height), PAPER)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for k, sample in enumerate(samples):
        pen.text((4, k * height + 1), _caption(sample), INK, font)
        for column, tile in enumerate(_tiles(sample.clip.video, n_columns, width)):
            page.paste(tile, (column * width, k * height + LINE))
    return page


def _caption(sample: Sample) -> str:
    emotion = f"{sample.emotion} {sample.level or ''}".strip() if sample.emotion else ""
    said = f"“{sample.transcript}”" if sample.transcript else ""
    return "   ".join(word for word in (sample.id, sample.identity, emotion, said) if word)


def _tiles(video: Video, n: int, width: int) -> list[Image.Image]:
    """Return n frames from the first to the last, each in the middle of a tile."""
    wanted = np.linspace(0, video.n_frames - 1, n).round().astype(int)
    kept = {}
    at = 0
    for chunk in video.frames():
        for k in set(wanted.tolist()) & set(range(at, at + len(chunk))):
            kept[k] = chunk[k - at].permute(1, 2, 0).numpy()
        at += len(chunk)
    return [_fitted(Image.fromarray(kept[k]), width) for k in wanted.tolist() if k in kept]


def _fitted(image: Image.Image, width: int) -> Image.Image:
    image.thumbnail((width, TILE), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (width, TILE), PAPER)
    tile.paste(image, ((width - image.width) // 2, (TILE - image.height) // 2))
    return tile


def _copy(sample: Sample, folder: Path) -> Path:
    """Copy a clip's file, or write its frames where it has none."""
    source = sample.clip.path
    name = sample.id.replace("/", "_")
    if source is not None:
        path = folder / f"{name}{source.suffix}"
        shutil.copyfile(source, path)
        return path
    path = folder / f"{name}.mp4"
    video = sample.clip.video
    write_video(path, video.frames(), video.fps, sample.clip.speech, comment=sample.id)
    return path
