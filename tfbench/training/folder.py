"""The folder of a run: what it trains, its checkpoint, its logs and its bundle.

`run.json` says what is trained on what; `last.ckpt` is the state at the last measurement;
`bundle/` the best network so far; `logs/` a CSV file and TensorBoard events for every start. One
process at a time trains in a folder, and a run is continued only with the settings it began with.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from typing import TYPE_CHECKING, Any

from tfbench.core.config import canonical_json
from tfbench.core.errors import TrainingError
from tfbench.core.files import storage_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["RunFolder"]


class RunFolder:
    """A run on disk.

    Args:
        path: The folder; made when the run begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "last.ckpt"
        self.bundle = path / "bundle"
        self.logs = path / "logs"
        self._run = path / "run.json"

    @property
    def begun(self) -> bool:
        """Whether there is a run to go on with."""
        return self._run.is_file()

    def refuse_another(self) -> None:
        """Refuse to begin a run where there is one that has been measured.

        One that ended before its first measurement has nothing to lose.

        Raises:
            TrainingError: There is one.
        """
        if self.begun and self.checkpoint.is_file():
            raise TrainingError(
                f"{self.path} holds a run; --resume goes on with it, another --out begins a new one"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training in this folder.

        Raises:
            TrainingError: One does already.
            StorageError: The folder cannot be written.
        """
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TrainingError(
                    f"another process trains in {self.path}; wait for it, or give another --out"
                ) from error
            yield

    def begin(self, run: Mapping[str, Any], *, resume: bool) -> None:
        """Begin a run, or go on with the one that is there.

        Args:
            run: What is trained on what.
            resume: Whether to go on.

        Raises:
            TrainingError: There is a run and it was not asked for; or it was, and there is none, or
                one of other settings, of which the first is named.
        """
        if not resume:
            self.refuse_another()
            write_atomically(self._run, canonical_json(run).encode())
            return
        if not self.begun:
            raise TrainingError(f"there is no run in {self.path} to go on with")
        old = _flat(json.loads(self._run.read_bytes()))
        new = _flat(json.loads(canonical_json(run)))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                raise TrainingError(
                    f"the run in {self.path} began with {key} = {old.get(key)}, now it is "
                    f"{new.get(key)}; repeat the old settings, or give another --out"
                )


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested mappings as one: a.b -> value."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        found |= _flat(item, f"{name}.") if isinstance(item, dict) else {name: item}
    return found
