"""Clips by themselves: finished videos without any truth to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfbench.core.types import Case
from tfbench.evaluation.protocol import Pair, Protocol, request_for, unique

if TYPE_CHECKING:
    from tfbench.datasets.base import Dataset

__all__ = ["AloneProtocol"]


class AloneProtocol(Protocol):
    """Each clip, with no reference."""

    name = "alone"
    has_reference = False
    has_appearance = False

    def pairs(self, dataset: Dataset) -> tuple[Pair, ...]:
        """Return one case a clip."""
        return unique([Pair(row.id, row, row) for row in dataset.index()])

    def case(self, dataset: Dataset, pair: Pair, seed: int) -> Case:
        """Decode the clip."""
        sample = dataset.sample(pair.driving)
        request = request_for(pair, sample, sample, seed)
        return Case(pair.id, request, sample, sample, None, sample.identity)
