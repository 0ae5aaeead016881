"""What a change is: a known damage of graded strength, and what metrics must make of it.

A change's claims stand in its class, so that what is done to a clip and what should follow from
that are read in one place.
"""

from __future__ import annotations

import zlib
from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import Clip, TensorVideo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from tfbench.core.types import Speech

__all__ = ["Change", "Claim", "Partner", "Subject", "Untouched"]

Partner = Literal["none", "sentence", "person", "levels"]
"""Which other clips a change needs: none; one of the same person with another sentence; one of
another person; those of the same person and sentence in an emotion of rising level."""


@dataclass(frozen=True)
class Claim:
    """What a metric must do under a change.

    Attributes:
        metric: The registry's name.
        why: One sentence.
        column: Name of the column; "" means every column that knows a better direction.
        follows: Whether the column moves with the level, sign and all, as an offset does; else
            it has to get worse as the strength rises.
    """

    metric: str
    why: str
    column: str = ""
    follows: bool = False


@dataclass(frozen=True, eq=False)
class Subject:
    """The clip that is changed.

    Attributes:
        id: Of the case; enters the draws.
        clip: As it was recorded.
        seed: Of the draws.
        others: Clips that the change takes something from; see `Partner`.
        points: Finds the five points of the face of a clip, float64 (T, 5, 2), pixels from the
            first one's edge.
    """

    id: str
    clip: Clip
    seed: int = 0
    others: tuple[Clip, ...] = ()
    points: Callable[[Clip], np.ndarray] | None = None

    def draws(self) -> np.random.Generator:
        """Return random numbers that depend on the clip and the seed, not on the level.

        So the same frames are hit at every level, only harder, or some more of them.
        """
        return np.random.default_rng([self.seed, zlib.crc32(self.id.encode())])

    def face(self, clip: Clip) -> np.ndarray:
        """Return the points of a clip's face, float64 (T, 5, 2).

        Raises:
            InputError: Nothing was given that finds them.
        """
        if self.points is None:
            raise InputError("this change needs the places of faces; give the subject `points`")
        return self.points(clip)


class Change(ABC):
    """Base of all changes; a subclass changes the frames, the sound, or both."""

    name: ClassVar[str]
    title: ClassVar[str]
    """What is done, in a few words."""
    unit: ClassVar[str]
    """Of the levels."""
    about: ClassVar[str]
    """How it is done, in one or two sentences."""
    levels: ClassVar[tuple[float, ...]]
    """From weak to strong, without the untouched clip."""
    untouched: ClassVar[float] = 0.0
    """The level at which nothing is done."""
    version: ClassVar[int] = 1
    """Raised whenever the same level gives another clip."""
    partner: ClassVar[Partner] = "none"
    responds: ClassVar[tuple[Claim, ...]] = ()
    """Metrics that must respond."""
    ignores: ClassVar[tuple[Claim, ...]] = ()
    """Metrics that must not react."""

    def strength(self, level: float) -> float:
        """Return how strong a level is; 0 for the untouched clip."""
        return 0.0 if level == self.untouched else 1.0 + self.levels.index(level)

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:  # noqa: ARG002
        """Yield the changed frames, uint8 (t, 3, H, W), at the clip's rate."""
        yield from subject.clip.video.frames()

    def speech(self, subject: Subject, level: float) -> Speech | None:  # noqa: ARG002
        """Return the changed sound."""
        return subject.clip.speech

    def apply(self, subject: Subject, level: float) -> Clip:
        """Return the changed clip, held in memory."""
        frames = torch.cat(list(self.frames(subject, level)))
        return Clip(TensorVideo(frames, subject.clip.video.fps), self.speech(subject, level))


class Untouched(Change):
    """Changes nothing: what all levels are compared with, written by the same writer."""

    name = "untouched"
    title = "Nothing is changed"
    unit = ""
    about = "The clip as the common writer writes it."
    levels = ()
