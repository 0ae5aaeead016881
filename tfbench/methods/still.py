"""The identity's first still, held for as long as the speech lasts.

The floor of every comparison: perfect identity and sharpness, no lip motion. A method that
does not beat it on a metric shows nothing by that metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfbench.core.types import Need, Request
from tfbench.methods.base import Generator, n_frames_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["Still"]

CHUNK = 32


class Still(Generator):
    """Repeat the identity's first still."""

    name = "still"
    needs = frozenset({Need.SPEECH, Need.IDENTITY})

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the same frame until the speech ends."""
        if request.identity is None:
            return
        n = n_frames_for(request)
        for start in range(0, n, CHUNK):
            yield request.identity[:1].expand(min(CHUNK, n - start), -1, -1, -1)
