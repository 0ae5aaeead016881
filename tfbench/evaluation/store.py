"""What an evaluation leaves on disk while it runs, safe against kills.

`rows-<rank>.jsonl` holds one line for each case and metric, appended and synced; a torn last
line is dropped. The arrays that a row points to are written before it
(`tfbench.preparation.arrays`).
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tfbench.core.config import canonical_json
from tfbench.core.files import storage_errors
from tfbench.core.types import Score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Rows", "load_rows"]


class Rows:
    """Appends the rows of one rank.

    Args:
        folder: The run's folder.
        rank: Which process writes.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.path = folder / f"rows-{rank}.jsonl"

    def append(self, case: str, metric: str, key: str, scores: Sequence[Score]) -> None:
        """Add the rows of one case and metric, and wait until they are on disk."""
        record = {"case": case, "metric": metric, "key": key, "scores": [_plain(s) for s in scores]}
        with storage_errors(self.path.parent), self.path.open("ab") as sink:
            sink.write(self._separator() + canonical_json(record).encode() + b"\n")
            sink.flush()
            os.fsync(sink.fileno())

    def _separator(self) -> bytes:
        """Close a line that a kill left torn, so that the next one starts afresh."""
        size = self.path.stat().st_size
        if size == 0:
            return b""
        with self.path.open("rb") as source:
            source.seek(size - 1)
            return b"" if source.read(1) == b"\n" else b"\n"


def load_rows(folder: Path) -> dict[tuple[str, str, str], tuple[Score, ...]]:
    """Read the rows of all ranks.

    Returns:
        (case, metric definition, key) -> its rows. Torn lines are dropped.
    """
    found = {}
    for path in sorted(folder.glob("rows-*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            record = _parse(line)
            if record is not None:
                place = (record["case"], record["metric"], record["key"])
                found[place] = tuple(_score(entry) for entry in record["scores"])
    return found


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return record if isinstance(record, dict) else None


def _plain(score: Score) -> dict[str, Any]:
    fields = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    return {name: value for name, value in fields.items() if value is not None}


def _score(entry: dict[str, Any]) -> Score:
    for name in ("value", "numerator", "denominator"):
        if name in entry:
            entry[name] = float(entry[name])
    return Score(**entry)
