"""What an evaluation leaves on disk while it runs, safe against kills.

`rows-<rank>.jsonl` holds one line for each case and metric, appended and synced; a torn last
line is dropped. `features/` and `faces/` hold small arrays, written under a temporary name and
renamed, always before the row that points to them.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save

from tfbench.core.assets import recorded_sha256
from tfbench.core.config import canonical_json
from tfbench.core.errors import InputError
from tfbench.core.files import storage_errors, write_atomically
from tfbench.core.types import Score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from tfbench.core.types import Clip

__all__ = ["Arrays", "Rows", "clip_sha256", "load_rows"]


class Arrays:
    """Small tensors on disk.

    Args:
        folder: Where they lie; made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Store tensors under a name."""
        whole = {key: value.contiguous() for key, value in tensors.items()}
        write_atomically(self._path(name), save(whole))

    def get(self, name: str) -> dict[str, Tensor] | None:
        """Return the tensors of a name; None where there are none."""
        try:
            data = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        return load(data)

    def keep(self, values: Tensor) -> str:
        """Store one tensor under the sha256 of its content and return that."""
        tensor = values.detach().to("cpu").contiguous()
        head = f"{tensor.dtype} {tuple(tensor.shape)}\n".encode()
        sha = hashlib.sha256(head + tensor.numpy().tobytes()).hexdigest()
        if not self._path(sha).exists():
            self.put(sha, {"values": tensor})
        return sha

    def kept(self, sha: str) -> Tensor:
        """Return a tensor that `keep` stored."""
        tensors = self.get(sha)
        if tensors is None:
            raise InputError(
                f"features {sha} are gone from {self.folder}; remove the rows that need them, "
                "or the whole run folder, and run again"
            )
        return tensors["values"]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


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


def clip_sha256(clip: Clip) -> str:
    """Return the sha256 of a clip: of its file, or of its frames and waveform."""
    if clip.path is not None:
        return recorded_sha256(clip.path)
    digest = hashlib.sha256(f"{clip.video.fps}".encode())
    for frames in clip.video.frames():
        digest.update(frames.contiguous().numpy().tobytes())
    if clip.speech is not None:
        digest.update(clip.speech.waveform.to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


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
