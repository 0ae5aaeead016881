"""How a metric responds to a change: rank correlation, smallest detected level, verdict.

All comparisons are paired: a clip at one level is compared with itself untouched.

- Rank correlation within clips: for each clip, Spearman's coefficient (ties take the mean of
  their ranks; 0 where the metric or the strength never changes) between the strengths, the
  untouched clip being 0, and the metric's values; then the mean over clips, with the percentile
  interval of a bootstrap over people.
- Rank correlation of the totals: the same coefficient between the strengths and the number over
  all clips. It is the one that counts for rates, whose value for a single clip of a few words is
  coarse, and for distances between sets, which have none for a single clip.
- Detected at 95 %: the interval of the mean paired difference from the untouched clips does not
  hold 0 (people resampled; a jackknife over people for distances between sets). A level is the
  smallest that is detected if all stronger ones are as well.
- Size of a change: mean paired difference divided by the standard deviation of the untouched
  clips' values, so that 1 is as much as clips differ anyway.

Where fewer than three people are in the clips, clips take the place of people; then nothing is
said about other people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from tfbench.evaluation.statistics import MIN_CLUSTERS, bootstrap, jackknife
from tfbench.validation.verdict import Point, Response, in_spreads, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from tfbench.core.types import Column, Score
    from tfbench.metrics.base import TalkingFaceMetric
    from tfbench.validation.change import Change, Claim

__all__ = ["Scored", "respond", "spearman"]


@dataclass(frozen=True)
class Scored:
    """The rows of one metric at one level.

    Attributes:
        scores: Sorted by case.
        load: Finds the features that rows of a set metric point to.
    """

    scores: Sequence[Score]
    load: Callable[[str], Tensor] | None = None


@dataclass(frozen=True)
class _Value:
    """What one clip contributes: numerator over denominator, and who is seen."""

    cluster: str
    over: float
    under: float

    @property
    def ratio(self) -> float:
        return self.over / self.under if self.under else math.nan


Table = dict[float, dict[str, _Value]]


def respond(
    metric: TalkingFaceMetric,
    column: Column,
    change: Change,
    scored: Mapping[float, Scored],
    claim: tuple[str, Claim | None] = ("", None),
) -> Response:
    """Measure how one column responds to one change.

    Args:
        metric: Reduces rows.
        column: One of its columns.
        change: What was done.
        scored: Level -> rows, the untouched level among them.
        claim: "responds" or "ignores" and the claim, or ("", None).
    """
    kind, claimed = claim
    follows = claimed is not None and claimed.follows
    table = {level: _values(one.scores, column.name) for level, one in scored.items()}
    clusters = _clusters(table)
    points = tuple(
        _point(metric, column.name, change, level, scored, table, clusters)
        for level in sorted(scored)
    )
    strengths = {p.level: p.level if follows else p.strength for p in points}
    rho, low, high = _within_clips(table, strengths, clusters)
    spread = _spread(table[change.untouched])
    whole = [p for p in points if p.value is not None]
    rho_total = None
    if len(whole) > 2:
        rho_total = spearman([strengths[p.level] for p in whole], [p.value or 0.0 for p in whole])
    correlation = rho if metric.reduction == "mean" else rho_total
    return Response(
        change=change.name,
        metric=metric.name,
        definition=metric.info.definition,
        column=column.name,
        unit=column.unit,
        higher_is_better=column.higher_is_better,
        reduction=metric.reduction,
        points=points,
        spread=spread,
        rho=rho,
        rho_low=low,
        rho_high=high,
        rho_total=rho_total,
        detected=_smallest(points),
        largest=_largest(points, spread),
        share=None,
        recovered=_recovered(table, change.untouched) if follows else None,
        claim=kind,
        follows=follows,
        why=claimed.why if claimed else "",
        verdict=verdict_of(kind, follows, column, points, correlation, spread),
        reasons=_reasons(scored, column.name),
    )


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation; ties take mean ranks, and 0 where one side is constant.

    Args:
        x: Numbers.
        y: As many.
    """
    ranks = [rankdata(side) for side in (x, y)]
    a, b = (side - side.mean() for side in ranks)
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0


def _values(scores: Sequence[Score], column: str) -> dict[str, _Value]:
    """Reduce rows to one value a clip; clips without a number are left out."""
    rows: dict[str, list[Score]] = {}
    for score in scores:
        if score.column == column and score.reason is None and score.value is not None:
            rows.setdefault(score.case, []).append(score)
    found = {}
    for case, own in sorted(rows.items()):
        if own[0].denominator is not None:
            over = math.fsum(s.numerator or 0.0 for s in own)
            under = math.fsum(s.denominator or 0.0 for s in own)
        else:
            over, under = math.fsum(s.value or 0.0 for s in own) / len(own), 1.0
        found[case] = _Value(own[0].cluster, over, under)
    return found


def _clusters(table: Table) -> Callable[[str, str], str]:
    """Return what is resampled: people, or clips where there are fewer than three people."""
    people = {value.cluster for values in table.values() for value in values.values()}
    if len(people) >= MIN_CLUSTERS:
        return lambda _case, person: person
    return lambda case, _person: case


def _point(
    metric: TalkingFaceMetric,
    column: str,
    change: Change,
    level: float,
    scored: Mapping[float, Scored],
    table: Table,
    clusters: Callable[[str, str], str],
) -> Point:
    own = [score for score in scored[level].scores if score.column == column]
    good = {score.case for score in own if score.reason is None}
    failed = {score.case for score in own} - good
    value = _total(metric, column, scored[level])
    interval: tuple[float, float, float] | None = None
    if level != change.untouched:
        if metric.reduction == "set":
            interval = _set_difference(metric, column, scored[level], scored[change.untouched])
        else:
            interval = _difference(table[level], table[change.untouched], clusters)
    difference, low, high = interval or (None, None, None)
    clips = tuple(v.ratio for v in table[level].values()) if metric.reduction != "set" else ()
    return Point(
        *(level, change.strength(level), value, len(good), len(failed), difference, low, high),
        clips,
    )


def _total(metric: TalkingFaceMetric, column: str, scored: Scored) -> float | None:
    found = metric.aggregate(scored.scores, scored.load)
    return next(one.value for one in found if one.column == column)


def _difference(
    changed: Mapping[str, _Value],
    untouched: Mapping[str, _Value],
    clusters: Callable[[str, str], str],
) -> tuple[float, float, float] | None:
    """Return the mean paired difference and its interval; for rates, that of the totals."""
    terms = [
        (clusters(case, value.cluster), value.over - untouched[case].over, value.under)
        for case, value in changed.items()
        if case in untouched
    ]
    terms = [term for term in terms if math.isfinite(term[1])]
    weight = math.fsum(under for _, _, under in terms)
    if len({cluster for cluster, _, _ in terms}) < MIN_CLUSTERS or weight <= 0:
        return None
    low, high = bootstrap(terms)
    return math.fsum(over for _, over, _ in terms) / weight, low, high


def _set_difference(
    metric: TalkingFaceMetric, column: str, changed: Scored, untouched: Scored
) -> tuple[float, float, float] | None:
    """Return the difference of two distances and its jackknife interval over people."""
    good = [{s.case for s in one.scores if s.reason is None} for one in (changed, untouched)]
    common = good[0] & good[1]
    sides = [
        Scored([s for s in one.scores if s.case in common], one.load)
        for one in (changed, untouched)
    ]
    owners = {s.case: s.cluster for s in sides[0].scores}
    if len(set(owners.values())) < MIN_CLUSTERS:
        owners = {case: case for case in owners}
    if len(set(owners.values())) < MIN_CLUSTERS:
        return None

    def gap(left_out: str | None) -> float | None:
        rest = [
            Scored([s for s in one.scores if owners[s.case] != left_out], one.load) for one in sides
        ]
        after, before = (_total(metric, column, one) for one in rest)
        return None if after is None or before is None else after - before

    whole = gap(None)
    names = sorted(set(owners.values()))
    parts = [gap(name) for name in names]
    if whole is None or None in parts:
        return None
    sizes = [sum(owner == name for owner in owners.values()) for name in names]
    low, high = jackknife(whole, [part for part in parts if part is not None], sizes)
    return whole, low, high


def _within_clips(
    table: Table, strengths: Mapping[float, float], clusters: Callable[[str, str], str]
) -> tuple[float | None, float | None, float | None]:
    """Return the mean over clips of each clip's rank correlation, and its interval."""
    terms = []
    for case in sorted({case for values in table.values() for case in values}):
        levels = [level for level in table if case in table[level]]
        if len(levels) < 3:
            continue
        values = [table[level][case].ratio for level in levels]
        rho = spearman([strengths[level] for level in levels], values)
        terms.append((clusters(case, table[levels[0]][case].cluster), rho, 1.0))
    if not terms:
        return None, None, None
    mean = math.fsum(rho for _, rho, _ in terms) / len(terms)
    if len({cluster for cluster, _, _ in terms}) < MIN_CLUSTERS:
        return mean, None, None
    return mean, *bootstrap(terms)


def _spread(untouched: Mapping[str, _Value]) -> float | None:
    values = [v.ratio for v in untouched.values() if math.isfinite(v.ratio)]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _smallest(points: Sequence[Point]) -> float | None:
    """Return the smallest strength that is detected with all greater ones, at all its levels."""
    smallest = None
    for strength in sorted({p.strength for p in points if p.strength > 0}, reverse=True):
        if not all(p.detected for p in points if p.strength == strength):
            break
        smallest = strength
    return smallest


def _largest(points: Sequence[Point], spread: float | None) -> float | None:
    sizes = [in_spreads(point, spread) for point in points]
    return max((size for size in sizes if size is not None), default=None)


def _recovered(table: Table, untouched: float) -> float | None:
    """Return the share of changed clips whose value moved by the level, within one."""
    hits = [
        abs(value.ratio - table[untouched][case].ratio - (level - untouched)) <= 1
        for level, values in table.items()
        for case, value in values.items()
        if level != untouched and case in table[untouched]
    ]
    return sum(hits) / len(hits) if hits else None


def _reasons(scored: Mapping[float, Scored], column: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in scored.values():
        for score in one.scores:
            if score.column == column and score.reason is not None:
                counts[score.reason] = counts.get(score.reason, 0) + 1
    return dict(sorted(counts.items()))
