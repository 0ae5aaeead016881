"""What a data set is: an index that decodes nothing, and samples that are decoded one by one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tfbench.core.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tfbench.core.types import Sample

__all__ = ["Dataset", "Prepared", "Row"]


@dataclass(frozen=True, order=True)
class Row:
    """One clip in the index of a data set.

    Attributes:
        id: Unique in the data set; forward slashes, no file ending.
        identity: Who is seen.
        stamp: What tells this clip from another version of it without decoding it, such as
            the file's size; enters the checksum.
    """

    id: str
    identity: str
    stamp: str = ""


@dataclass(frozen=True)
class Prepared:
    """What a data set that makes its clips has made.

    Attributes:
        folder: Where the clips lie.
        n_clips: How many were asked for and are there now.
        n_frames: Their frames together, at 25 fps.
        n_refused: Attempts that were refused and drawn anew.
        sha256: Of what all of them show and sound like.
    """

    folder: Path
    n_clips: int
    n_frames: int
    n_refused: int
    sha256: str


class Dataset(ABC):
    """Base of all data sets.

    A subclass builds its sorted rows in `index()` without decoding anything, and decodes one
    `Sample` in `sample(row)`.
    """

    name: ClassVar[str]
    """The registry's name: the file's stem."""
    version: ClassVar[int] = 1
    """Raised when what a split holds changes."""
    evaluators: ClassVar[str | None] = None
    """The set of evaluators that was made for this data, if there is one."""
    Config: ClassVar[type]
    """Frozen dataclass of the settings; the constructor takes one."""

    @property
    def label(self) -> str:
        """The name that results and leaderboards carry."""
        return self.name

    @abstractmethod
    def index(self) -> tuple[Row, ...]:
        """Return all rows, sorted by id; cached by the subclass if it is not cheap.

        Raises:
            InputError: The data are not where they should be; names the path and what
                belongs there.
        """

    @abstractmethod
    def sample(self, row: Row) -> Sample:
        """Decode one clip.

        Raises:
            InputError: The clip cannot be decoded.
        """

    def prepare(
        self,
        rows: Sequence[Row] | None = None,  # noqa: ARG002
        *,
        workers: int | None = None,  # noqa: ARG002
        verify: bool = False,  # noqa: ARG002
        progress: Callable[[int, int], None] | None = None,  # noqa: ARG002
    ) -> Prepared | None:
        """Make clips that are not there yet, in parallel; does nothing unless clips are made.

        Args:
            rows: Which ones; None makes all.
            workers: How many processes; None takes one for each core.
            verify: Look into the clips that are there, and make damaged ones again.
            progress: Called with (clips that are there, all) at the start and after each one.

        Returns:
            What is there now; None where this data set has nothing to make.
        """
        return None

    def __len__(self) -> int:
        return len(self.index())

    def __getitem__(self, key: int | str) -> Sample:
        """Return a sample by its position in the index or by its id."""
        rows = self.index()
        if isinstance(key, int):
            return self.sample(rows[key])
        for row in rows:
            if row.id == key:
                return self.sample(row)
        raise UnknownName(f"data set {self.label} has no clip '{key}'")

    def checksum(self) -> str:
        """Return the sha256 of the split: its version and its rows."""
        digest = hashlib.sha256(f"{self.name} {self.version}\n".encode())
        for row in self.index():
            digest.update(f"{row.id}\t{row.identity}\t{row.stamp}\n".encode())
        return digest.hexdigest()
