"""The true clip, written by the same writer as every method's output.

The ceiling of every comparison: what the metrics give when nothing is wrong but compression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfbench.core.types import Need, Request
from tfbench.methods.base import Generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["GroundTruth"]


class GroundTruth(Generator):
    """Return the truth; only for protocols that have one."""

    name = "ground_truth"
    needs = frozenset({Need.ORACLE})

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the true frames."""
        if request.oracle is not None:
            yield from request.oracle.clip.video.frames()
