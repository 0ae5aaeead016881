"""Which decoded frame is shown at each tick of a constant frame rate.

Tick n shows the last frame whose presentation time, rounded to the nearest tick, is not after n:
the rule of FFmpeg's filter `fps=25`. A frame is then never shown more than half a tick from its
time. The output option `-r 25` uses another rule, which lets frames drift by up to two ticks
before it drops or repeats one, and which differs between FFmpeg 5 and FFmpeg 6; for material
that is already at 25 fps all of them are the same.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Ticker"]

T = TypeVar("T")


class Ticker(Generic[T]):
    """Turn frames with presentation times into frames at ticks, one by one.

    Args:
        fps: Ticks per second.
    """

    def __init__(self, fps: Fraction) -> None:
        self.fps = fps
        self._origin: Fraction | None = None
        self._held: list[T] = []
        self._tick = 0
        self._end = Fraction(0)

    def push(self, frame: T, time: Fraction, duration: Fraction) -> Iterator[T]:
        """Take the next frame in presentation order.

        Args:
            frame: Anything.
            time: When it is shown, in seconds from any origin; the first one is tick 0.
            duration: How long it is shown, in seconds.

        Yields:
            The frame before it, once for every tick it is shown at.
        """
        if self._origin is None:
            self._origin = time
        tick = _nearest((time - self._origin) * self.fps)
        for held in self._held:
            for _ in range(self._tick, tick):
                yield held
        self._tick = max(tick, self._tick)
        self._held = [frame]
        self._end = time - self._origin + duration

    def finish(self) -> Iterator[T]:
        """Yield the last frame for the ticks of its duration; at least one tick in all."""
        end = max(_nearest(self._end * self.fps), 1)
        for held in self._held:
            for _ in range(self._tick, end):
                yield held


def _nearest(value: Fraction) -> int:
    """Round half up."""
    return math.floor(value + Fraction(1, 2))
