"""Any folder of clips, with an optional table of what is known about them.

Every video file below the folder is a clip; its id is its path without the ending. A file
`clips.csv` in the folder, or one named in the settings, may add columns: `file` (path below the
folder, required), `identity`, `transcript`, `emotion`, `level`, `split`. Where the table is
given, only its clips are used. Without an `identity` column every clip counts as a person of
its own. The split is everything, or the rows whose `split` is the one asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tfbench.core.errors import InputError
from tfbench.core.types import Sample
from tfbench.datasets.base import Dataset, Row
from tfbench.media.video import open_clip

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Folder", "FolderConfig", "video_files"]

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v")
COLUMNS = ("file", "identity", "transcript", "emotion", "level", "split")


@dataclass(frozen=True)
class FolderConfig:
    """Settings of the data set `folder`.

    Attributes:
        root: The folder, or one video file.
        table: A CSV file; None looks for `clips.csv` in the folder.
        split: Only rows of this split; None takes all.
        label: The name that results carry; None is "folder-" and the folder's name.
    """

    root: Path
    table: Path | None = None
    split: str | None = None
    label: str | None = None


class Folder(Dataset):
    """A folder of clips.

    Args:
        config: Where the clips are.
    """

    name = "folder"
    Config = FolderConfig

    def __init__(self, config: FolderConfig) -> None:
        self.config = config

    @property
    def label(self) -> str:
        """The folder's name, so that two folders never share a leaderboard by accident."""
        return self.config.label or f"folder-{self.config.root.resolve().stem}"

    def index(self) -> tuple[Row, ...]:
        """Return one row for every video file."""
        return tuple(row for row, _ in self._files.values())

    def sample(self, row: Row) -> Sample:
        """Decode one clip."""
        _, path = self._files[row.id]
        known = self._table.get(row.id, {})
        level = known.get("level")
        return Sample(
            id=row.id,
            clip=open_clip(path),
            identity=row.identity,
            split=known.get("split") or "test",
            transcript=known.get("transcript"),
            emotion=known.get("emotion"),
            level=int(level) if level else None,
        )

    @cached_property
    def _files(self) -> Mapping[str, tuple[Row, Path]]:
        files = video_files(self.config.root)
        if self._table:
            files = self._chosen(files)
        rows = (
            (Row(key, self._table.get(key, {}).get("identity") or key, _stamp(path)), path)
            for key, path in sorted(files.items())
        )
        return {row.id: (row, path) for row, path in rows}

    def _chosen(self, files: Mapping[str, Path]) -> dict[str, Path]:
        absent = sorted(set(self._table) - set(files))
        if absent:
            raise InputError(
                f"the table of {self.config.root} names {len(absent)} clips that are not there, "
                f"the first '{absent[0]}'; remove the rows or add the files"
            )
        split = self.config.split
        chosen = {k: files[k] for k, v in self._table.items() if split in (None, v.get("split"))}
        if not chosen:
            raise InputError(f"no row of the table of {self.config.root} has split '{split}'")
        return chosen

    @cached_property
    def _table(self) -> Mapping[str, dict[str, str]]:
        path = self.config.table or self.config.root / "clips.csv"
        if not path.exists() and self.config.table is None:
            if self.config.split is not None:
                raise InputError(
                    f"split '{self.config.split}' needs a table: {path} is not there; write one "
                    "with the columns file and split (train, val or test)"
                )
            return {}
        return _read_table(path)


def video_files(root: Path) -> dict[str, Path]:
    """Find the video files below a folder.

    Args:
        root: A folder, or one file, whose id is its name without the ending.

    Returns:
        Path below the folder without its ending, with forward slashes -> the file.

    Raises:
        InputError: Not a folder, not readable, no video in it, or two files of one id.
    """
    if root.is_file():
        return {root.stem: root}
    if not root.is_dir():
        raise InputError(f"{root} does not exist; give a folder of video files")
    found: dict[str, Path] = {}
    try:
        next(root.iterdir(), None)
        paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS)
    except OSError as error:
        raise InputError(f"the folder {root} cannot be read: {error.strerror}") from error
    for path in paths:
        key = path.relative_to(root).with_suffix("").as_posix()
        if key in found:
            raise InputError(f"{found[key]} and {path} would have the same id; rename one")
        found[key] = path
    if not found:
        raise InputError(f"no video in {root}; looked for {', '.join(VIDEO_ENDINGS)}")
    return found


def _stamp(path: Path) -> str:
    return str(path.stat().st_size)


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"the table {path} cannot be read: {error}") from error
    unknown = sorted(set(table.columns) - set(COLUMNS))
    if unknown or "file" not in table.columns:
        raise InputError(
            f"the table {path} has the columns {', '.join(table.columns)}; "
            f"it needs 'file' and may have {', '.join(COLUMNS[1:])}"
        )
    rows: dict[str, dict[str, str]] = {}
    for record in table.to_dict("records"):
        key = Path(record["file"]).with_suffix("").as_posix()
        if key in rows:
            raise InputError(f"the table {path} names '{record['file']}' twice")
        rows[key] = {str(name): value for name, value in record.items() if value != ""}
    return rows
