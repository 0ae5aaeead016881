"""What an evaluation is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfbench.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from tfbench.datasets.base import Dataset
    from tfbench.evaluation.protocol import Pair, Protocol
    from tfbench.methods.base import Generator
    from tfbench.metrics.base import TalkingFaceMetric

__all__ = ["Evaluation"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that an evaluation is made of.

    Attributes:
        generator: What makes the videos.
        dataset: Where the clips come from.
        protocol: How they are paired.
        metrics: What is measured.
        evaluators: Name of the evaluator set that the metrics' networks come from.
        folder: The run's folder: rows, features and generated videos; continued if it exists.
        seed: Of the generator.
        limit: At most this many cases, the first by id; None takes all.
    """

    generator: Generator
    dataset: Dataset
    protocol: Protocol
    metrics: tuple[TalkingFaceMetric, ...]
    evaluators: str
    folder: Path
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        for label in (self.generator.label, self.dataset.label):
            if not label or label.startswith(".") or "/" in label or "\\" in label:
                raise InputError(
                    f"'{label}' cannot name a method or data set: results lie in folders of that "
                    "name; leave out slashes and a leading dot"
                )

    def pairs(self) -> tuple[Pair, ...]:
        """Return the cases, sorted by id."""
        return self.protocol.pairs(self.dataset)[: self.limit]
