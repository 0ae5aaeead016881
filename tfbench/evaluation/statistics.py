"""95 % intervals for what a leaderboard prints.

Clips of one identity are not independent, so whole clusters are resampled. Means and ratios get
the percentile interval of a cluster bootstrap (Efron and Tibshirani 1993, chapter 13). Fréchet
distances are biased upwards in the sample size, so that a bootstrap, which repeats samples, lies
far above the estimate; they get a delete-group jackknife over clusters, in at most 20 groups,
with a t interval (Busing et al. 1999, the delete-m_j form for groups of unequal size).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from tfbench.metrics.base import clip_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from tfbench.core.types import Score
    from tfbench.metrics.base import TalkingFaceMetric

__all__ = ["Interval", "bootstrap", "interval", "jackknife"]

DRAWS = 2000
LEVEL = 0.95
MIN_CLUSTERS = 3
MAX_GROUPS = 20


@dataclass(frozen=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low: Lower end; None where there is no interval.
        high: Upper end.
        method: How it was found, or why there is none.
        n_clusters: Clusters that it stands on.
    """

    low: float | None
    high: float | None
    method: str
    n_clusters: int


def interval(
    metric: TalkingFaceMetric,
    column: str,
    scores: Sequence[Score],
    load: Callable[[str], Tensor],
    value: float | None,
) -> Interval:
    """Return the interval of one column.

    Args:
        metric: Reduces the rows.
        column: Name of the column.
        scores: All rows of the metric.
        load: Finds stored features.
        value: The number over all clips.
    """
    clusters = sorted({s.cluster for s in scores if s.reason is None and s.column == column})
    n = len(clusters)
    if value is None or math.isinf(value):
        return Interval(None, None, "none: the value is not finite", n)
    if n < MIN_CLUSTERS:
        return Interval(None, None, f"none: {n} clusters are fewer than {MIN_CLUSTERS}", n)
    if metric.reduction == "set":
        low, high = _jackknife_set(metric, column, scores, load, clusters, value)
        low = None if low is None else max(low, 0.0)
        return Interval(low, high, "delete-group jackknife over clusters, t, 95 %", n)
    pairs = _terms(metric, column, scores)
    low, high = bootstrap(pairs)
    return Interval(low, high, f"cluster bootstrap, {DRAWS} draws, 95 %", n)


def bootstrap(
    terms: Sequence[tuple[str, float, float]], draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a ratio of sums under resampling of clusters.

    Args:
        terms: (cluster, numerator, denominator) of each clip; a mean has denominators 1.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        Lower and upper end of the 95 % interval.
    """
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for cluster, numerator, denominator in terms:
        sums[cluster] += (numerator, denominator)
    table = np.stack([sums[cluster] for cluster in sorted(sums)])
    generator = np.random.default_rng(seed)
    picks = generator.integers(len(table), size=(draws, len(table)))
    totals = table[picks].sum(1)
    ratios = totals[:, 0] / np.where(totals[:, 1] > 0, totals[:, 1], np.nan)
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def jackknife(value: float, left_out: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """T interval of the delete-group jackknife for groups of unequal size.

    Args:
        value: The estimate over everything.
        left_out: The estimate without each group.
        sizes: Clips in each group.

    Returns:
        Lower and upper end of the 95 % interval around the estimate.
    """
    g, n = len(left_out), sum(sizes)
    share = n / np.asarray(sizes, float)
    estimates = np.asarray(left_out, float)
    centre = g * value - ((1 - 1 / share) * estimates).sum()
    pseudo = share * value - (share - 1) * estimates
    variance = ((pseudo - centre) ** 2 / (share - 1)).sum() / g
    half = float(student.ppf(1 - (1 - LEVEL) / 2, g - 1) * math.sqrt(variance))
    return value - half, value + half


def _jackknife_set(
    metric: TalkingFaceMetric,
    column: str,
    scores: Sequence[Score],
    load: Callable[[str], Tensor],
    clusters: Sequence[str],
    value: float,
) -> tuple[float | None, float | None]:
    good = [s for s in scores if s.reason is None and s.column == column]
    left_out, sizes = [], []
    for group in (set(clusters[k::MAX_GROUPS]) for k in range(min(MAX_GROUPS, len(clusters)))):
        rest = [s for s in good if s.cluster not in group]
        (reduced,) = [a for a in metric.aggregate(rest, load) if a.column == column]
        if reduced.value is None:
            return None, None
        left_out.append(reduced.value)
        sizes.append(len(good) - len(rest))
    return jackknife(value, left_out, sizes)


def _terms(
    metric: TalkingFaceMetric, column: str, scores: Sequence[Score]
) -> list[tuple[str, float, float]]:
    if metric.reduction == "mean":
        return [(cluster, value, 1.0) for cluster, value in clip_values(scores, column).values()]
    return [
        (s.cluster, s.numerator, s.denominator)
        for s in scores
        if s.column == column and s.numerator is not None and s.denominator is not None
    ]
