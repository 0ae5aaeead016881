"""What is found of one metric under one change, and what came of a claim about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.core.types import Column

__all__ = ["Point", "Response", "Verdict", "in_spreads", "settle", "verdict_of"]

ENOUGH = 0.9
"""Rank correlation from which on a metric responds as claimed."""
SMALL = 0.5
"""Change, in standard deviations between clips, that a metric may show without reacting."""
LITTLE = 0.1
"""The same as a share of the metric's largest response to what it must respond to."""

Verdict = Literal[
    "responds",
    "responds weakly",
    "does not respond",
    "responds the wrong way",
    "stays",
    "reacts though it must not",
    "not scorable",
    "",
]


@dataclass(frozen=True)
class Point:
    """A column at one level.

    Attributes:
        level: Of the change.
        strength: 0 for untouched.
        value: Over all clips; None where none could be scored.
        n: Clips that were scored.
        n_failed: Clips that were not.
        difference: Mean paired difference from the untouched clips.
        low: Lower end of its 95 % interval.
        high: Upper end.
        clips: Value of each clip that has one; () for a set metric.
    """

    level: float
    strength: float
    value: float | None
    n: int
    n_failed: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    clips: tuple[float, ...] = ()

    @property
    def detected(self) -> bool:
        """Whether the difference is above or below 0 at 95 %."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True)
class Response:
    """How one column responds to one change.

    Attributes:
        change: Name of the change.
        metric: The registry's name, or that of a metric from elsewhere.
        definition: How it is computed.
        column: As printed.
        unit: Of its values.
        higher_is_better: None where neither direction is.
        reduction: How clips become one number.
        points: One a level, by level.
        spread: Standard deviation of the untouched clips' values.
        rho: Rank correlation within clips, mean.
        rho_low: Lower end of its 95 % interval.
        rho_high: Upper end.
        rho_total: Rank correlation of the totals.
        detected: Smallest strength that is detected, with all greater ones.
        largest: Largest difference, in spreads; infinite where clips do not differ untouched.
        share: Largest difference as a share of the largest one that the column shows where it must
            respond; None where it must nowhere, or has not been settled.
        recovered: For an offset: share of changed clips whose value moved by the level, give or
            take one frame.
        claim: "responds", "ignores", or "" where nothing was claimed.
        follows: Whether the column was claimed to move with the sign of the level.
        why: The claim's reason.
        verdict: What came of it.
        reasons: Reason -> how many clips it kept from being scored, over all levels.
    """

    change: str
    metric: str
    definition: str
    column: str
    unit: str
    higher_is_better: bool | None
    reduction: str
    points: tuple[Point, ...]
    spread: float | None
    rho: float | None
    rho_low: float | None
    rho_high: float | None
    rho_total: float | None
    detected: float | None
    largest: float | None
    share: float | None
    recovered: float | None
    claim: str
    follows: bool
    why: str
    verdict: Verdict
    reasons: dict[str, int]

    @property
    def correlation(self) -> float | None:
        """The rank correlation that counts for this metric."""
        return self.rho if self.reduction == "mean" else self.rho_total

    @property
    def failed(self) -> bool:
        """Whether the metric did not do what was claimed."""
        return bool(self.claim) and self.verdict not in {"responds", "stays", "not scorable"}


def verdict_of(
    kind: str,
    follows: bool,
    column: Column,
    points: Sequence[Point],
    correlation: float | None,
    spread: float | None,
) -> Verdict:
    """Judge one column under one change.

    Args:
        kind: "responds", "ignores", or "" where nothing was claimed.
        follows: Whether the column has to move with the sign of the level.
        column: Knows which direction is worse.
        points: One a level.
        correlation: The rank correlation that counts.
        spread: Standard deviation of the untouched clips' values.
    """
    compared = [point for point in points if point.difference is not None]
    if not kind:
        return ""
    if not compared:
        return "not scorable"
    if kind == "ignores":
        # A distance between sets has no spread over clips: any detected change counts.
        sizes = [math.inf if (s := in_spreads(p, spread)) is None else s for p in compared]
        pairs = zip(compared, sizes, strict=True)
        reacts = any(point.detected and size > SMALL for point, size in pairs)
        return "reacts though it must not" if reacts else "stays"
    if correlation is None:
        return "not scorable"
    return _answer(follows, column, compared, correlation)


def _answer(
    follows: bool, column: Column, compared: Sequence[Point], correlation: float
) -> Verdict:
    """Judge a claimed response by its strongest levels and its rank correlation."""
    strongest = max(point.strength for point in compared)
    ends = [point for point in compared if point.strength == strongest]
    if not all(point.detected for point in ends):
        return "does not respond"
    worse = 1.0 if follows else {True: -1.0, False: 1.0, None: 0.0}[column.higher_is_better]
    signs = [
        np.sign(point.difference or 0.0) * (worse or 1.0) * (np.sign(point.level) if follows else 1)
        for point in ends
    ]
    if worse and min(signs) < 0:
        return "responds the wrong way"
    oriented = correlation * worse if worse else abs(correlation)
    return "responds" if oriented >= ENOUGH else "responds weakly"


def settle(responses: Sequence[Response]) -> tuple[Response, ...]:
    """Compare each column's differences with the largest one where it must respond.

    The clips that are compared with themselves hardly differ in metrics that compare with the
    truth, so that anything is many standard deviations; a column that moves by no more than a
    tenth of its proper response does not react.

    Args:
        responses: Of one study.
    """
    proper: dict[tuple[str, str], float] = {}
    for one in responses:
        if one.claim == "responds" and one.verdict in {"responds", "responds weakly"}:
            place = (one.definition, one.column)
            proper[place] = max(proper.get(place, 0.0), _farthest(one))
    settled = []
    for one in responses:
        most = proper.get((one.definition, one.column), 0.0)
        share = _farthest(one) / most if most and not one.follows else None
        verdict = one.verdict
        if verdict == "reacts though it must not" and share is not None and share <= LITTLE:
            verdict = "stays"
        settled.append(replace(one, share=share, verdict=verdict))
    return tuple(settled)


def in_spreads(point: Point, spread: float | None) -> float | None:
    """Return a point's difference in spreads; None where one of them is not known."""
    if point.difference is None or spread is None:
        return None
    if spread == 0:
        return math.inf if point.difference else 0.0
    return abs(point.difference) / spread


def _farthest(response: Response) -> float:
    gaps = [abs(p.difference) for p in response.points if p.difference is not None]
    return max(gaps, default=0.0)
