"""Videos that were made elsewhere, scored as they are.

A folder in which the video of each case lies under the case's id: `<folder>/<id>.mp4`, or any
other video ending. This is what `tfbench score` evaluates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tfbench.core.errors import GenerationError
from tfbench.core.types import Request
from tfbench.datasets.folder import video_files
from tfbench.media.video import open_clip
from tfbench.methods.base import Generator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from torch import Tensor

__all__ = ["Files", "FilesConfig"]


@dataclass(frozen=True)
class FilesConfig:
    """Settings of the generator `files`.

    Attributes:
        root: The folder, or the one file of an evaluation of one case.
        label: The name that results carry; None is the folder's name.
    """

    root: Path
    label: str | None = None


class Files(Generator):
    """Look the video of each case up in a folder.

    Args:
        config: Where the videos are.
    """

    name = "files"
    needs = frozenset()
    Config = FilesConfig

    @property
    def label(self) -> str:
        """The name that results carry."""
        return self.config.label or self.config.root.resolve().stem

    def provenance(self) -> dict[str, Any]:
        """Return the name alone: where the files lie on this machine changes no number."""
        return {"name": self.label, "version": self.version, "config": {}}

    def existing(self, request: Request) -> Path:
        """Return the file of this case."""
        if self.config.root.is_file():
            return Path(self.config.root)
        if request.id not in self._files:
            raise GenerationError(f"no video '{request.id}' in {self.config.root}")
        return self._files[request.id]

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the file's frames."""
        yield from open_clip(self.existing(request)).video.frames()

    def ids(self) -> set[str]:
        """Return the ids of all files in the folder."""
        return set(self._files)

    @cached_property
    def _files(self) -> dict[str, Path]:
        return video_files(self.config.root)
