"""What a protocol is: which speech drives which face, and what the truth is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from tfbench.core.config import NoConfig
from tfbench.core.errors import InputError
from tfbench.core.types import Case, Request, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from tfbench.datasets.base import Dataset, Row

__all__ = ["Pair", "Protocol", "first_frame", "request_for", "unique"]


@dataclass(frozen=True, order=True)
class Pair:
    """One case before anything is decoded.

    Attributes:
        id: The case's id; forward slashes, no file ending.
        driving: Row whose speech is used.
        appearance: Row whose face is used.
    """

    id: str
    driving: Row
    appearance: Row


class Protocol(ABC):
    """Base of all protocols.

    Args:
        config: An instance of the class's `Config`.
    """

    name: ClassVar[str]
    """The registry's name; one that ends in `.oracle` may give methods the truth."""
    version: ClassVar[int] = 1
    """Raised when the same data set gives other cases."""
    has_reference: ClassVar[bool]
    """Whether its cases have a true clip to compare with, frame by frame."""
    has_appearance: ClassVar[bool] = True
    """Whether its cases have a real clip of the person, other than the scored one."""
    Config: ClassVar[type] = NoConfig

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def settings(self) -> dict[str, str]:
        """Return what tells this pairing from another one of the same name, for tables."""
        return {"version": str(self.version)}

    @abstractmethod
    def pairs(self, dataset: Dataset) -> tuple[Pair, ...]:
        """Return all cases, sorted by id, without decoding.

        Raises:
            InputError: The data set does not serve this protocol.
        """

    @abstractmethod
    def case(self, dataset: Dataset, pair: Pair, seed: int) -> Case:
        """Decode what one case needs.

        Raises:
            InputError: A clip cannot be decoded.
        """


def request_for(pair: Pair, driving: Sample, appearance: Sample, seed: int) -> Request:
    """Make the request that both speech-driven protocols make.

    The identity is the first frame of the appearance; its whole clip is there to be edited and
    gives the pose.
    """
    clip = appearance.clip
    return Request(
        id=pair.id,
        seed=seed,
        speech=driving.clip.speech,
        identity=first_frame(appearance),
        fps=_rate(appearance),
        source=clip,
        pose=clip.video,
    )


def first_frame(sample: Sample) -> Any:
    """Return the first frame of a sample, uint8 (1, 3, H, W)."""
    for frames in sample.clip.video.frames(0, 1):
        return frames[:1]
    raise InputError(f"the clip '{sample.id}' has no frame")


def unique(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Sort pairs by id and refuse two of one id."""
    ordered = tuple(sorted(pairs))
    for one, other in pairwise(ordered):
        if one.id == other.id:
            raise InputError(f"two cases would have the id '{one.id}'; name each pair once")
    return ordered


def _rate(sample: Sample) -> Fraction:
    return sample.clip.video.fps
