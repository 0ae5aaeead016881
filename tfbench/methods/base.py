"""What a generator is: it takes a `Request` and yields frames.

`still`, `ground_truth`, `files` and `external` are plain generators; a paper's method is a
generator that is also a LightningModule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from tfbench.core.config import NoConfig, to_plain
from tfbench.core.errors import GenerationError
from tfbench.core.files import storage_errors
from tfbench.core.types import Clip, Need, Request
from tfbench.media.video import open_clip, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

__all__ = ["Generator", "n_frames_for"]


class Generator(ABC):
    """Base of everything that makes talking-face videos.

    Args:
        config: An instance of the class's `Config`.
    """

    name: ClassVar[str]
    """The registry's name: the file's stem."""
    version: ClassVar[str] = "1"
    """Raised whenever the same request can give other frames."""
    needs: ClassVar[frozenset[Need]]
    """What a request must hold; one that lacks it is refused by name."""
    Config: ClassVar[type] = NoConfig
    """Frozen dataclass of the settings."""
    supervisors: tuple[str, ...] = ()
    """sha256 of the networks that have trained this method; none of them may judge it."""
    batch: int | None = None
    """How many frames pass through the networks at once, which changes no pixel beyond rounding;
    None for a method that has no such choice."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = self.Config() if config is None else config

    @abstractmethod
    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the video in chunks.

        Args:
            request: Holds everything in `needs`.

        Yields:
            uint8 (t, 3, H, W) RGB, at `request.fps`.

        Raises:
            GenerationError: With the reason.
        """

    @property
    def label(self) -> str:
        """The name that results and leaderboards carry."""
        return self.name

    def provenance(self) -> dict[str, Any]:
        """Return what makes its frames what they are; enters the fingerprint of every row."""
        return {"name": self.name, "version": self.version, "config": to_plain(self.config)}

    def existing(self, request: Request) -> Path | None:  # noqa: ARG002
        """Return a finished file for this request, which is then scored as it is."""
        return None

    def check(self, request: Request) -> None:
        """Refuse a request that lacks something.

        Raises:
            GenerationError: Names what is missing.
        """
        absent = sorted(need for need in self.needs if getattr(request, need) is None)
        if absent:
            raise GenerationError(
                f"{self.label} needs {', '.join(absent)}, which the request '{request.id}' lacks"
            )

    def generate(self, request: Request, out: Path, comment: str = "") -> Clip:
        """Make the video and write it with the driving speech, marked as synthetic.

        Not to be overridden: what all methods are scored on comes from this one writer.

        Args:
            request: What is wanted.
            out: Path of the mp4 file.
            comment: Goes into the container's metadata beside the mark.

        Raises:
            GenerationError: The request lacks something or the method failed.
            InputError: The frames cannot be written.
            StorageError: The disk is full.
        """
        self.check(request)
        note = f"method={self.label}; {comment}" if comment else f"method={self.label}"
        speech = request.speech or (request.oracle.clip.speech if request.oracle else None)
        with storage_errors(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_video(out, self.frames(request), request.fps, speech, comment=note)
        return open_clip(out, fps=request.fps)


def n_frames_for(request: Request) -> int:
    """Return how many frames cover the speech, at least one."""
    if request.speech is None:
        raise GenerationError(f"the request '{request.id}' has no speech")
    exact = request.speech.waveform.shape[0] * request.fps / request.speech.sample_rate
    return max(1, int(exact))
