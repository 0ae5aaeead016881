import math
import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.evaluation.world import Means
from tfbench.core.types import Column, Score
from tfbench.metrics.base import TalkingFaceMetric
from tfbench.metrics.frechet import FrechetDistance
from tfbench.nets.frozen import Frozen
from tfbench.validation.change import Change, Claim
from tfbench.validation.response import Scored, respond, spearman
from tfbench.validation.verdict import settle


class Steps(Change):
    name = "steps"
    title, unit, about = "Steps", "steps", "Steps."
    levels = (1, 2, 4)


class Shifts(Steps):
    levels = (-2, 2, -4, 4)

    def strength(self, level: float) -> float:
        return abs(level)


class Toy(TalkingFaceMetric):
    name = "toy"
    definitions: ClassVar = {"plain": None}
    columns = (Column("TOY", higher_is_better=False),)
    needs = ()

    def measure(self, views):
        raise NotImplementedError

    update = compute = measure


class Rate(Toy):
    name = "rate"
    reduction = "ratio"


WORSE, MUST, MUST_NOT = Column("TOY", higher_is_better=False), "responds", "ignores"
CLAIM = Claim("toy", "it is so")


def rows(values: dict[str, float | None], under: float | None = None) -> Scored:
    """One row a clip; "a1" is a clip of the person "a"."""
    return Scored(
        [
            Score(case, "clip", "TOY", case[0], reason="gone")
            if value is None
            else Score(
                case,
                "clip",
                "TOY",
                case[0],
                value=value,
                numerator=None if under is None else value * under,
                denominator=under,
            )
            for case, value in values.items()
        ]
    )


def table(**levels: list[float | None]) -> dict[float, Scored]:
    people = ["a1", "b1", "c1", "d1"]
    return {
        float(level[1:].replace("m", "-")): rows(dict(zip(people, values, strict=True)))
        for level, values in levels.items()
    }


def answer(scored, kind=MUST, column=WORSE, change=None, claim=CLAIM, metric=None):
    return respond(metric or Toy(), column, change or Steps(), scored, (kind, claim))


GROWING = table(
    l0=[1.0, 2.0, 3.0, 4.0],
    l1=[1.1, 2.2, 3.3, 4.1],
    l2=[1.5, 2.5, 3.5, 4.6],
    l4=[2.0, 3.0, 4.1, 5.0],
)


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_that_of_scipy_with_ties(seed: int):
    draws = np.random.default_rng(seed)
    x, y = draws.integers(0, 4, 9), draws.integers(0, 4, 9)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_what_never_changes_has_no_correlation_and_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert spearman([0, 1, 2], [5, 5, 5]) == 0
        assert spearman([0, 1, 2], [math.inf, 3, 2]) == -1


def test_figures_of_a_metric_that_responds_are_those_worked_by_hand():
    found = answer(GROWING)
    assert found.rho == 1
    assert (found.rho_low, found.rho_high) == (1, 1)
    assert found.rho_total == 1
    assert [p.value for p in found.points] == pytest.approx([2.5, 2.675, 3.025, 3.525])
    assert [p.difference for p in found.points[1:]] == pytest.approx([0.175, 0.525, 1.025])
    # The differences at level 1 are 0.1, 0.2, 0.3 and 0.1; a mean of four draws lies between.
    assert 0.0999 < found.points[1].low < 0.175 < found.points[1].high < 0.3001
    assert found.detected == 1
    assert found.spread == pytest.approx(math.sqrt(5 / 3))
    assert found.largest == pytest.approx(1.025 / math.sqrt(5 / 3))
    assert found.verdict == "responds"
    assert not found.failed


def test_the_mean_is_over_clips_of_each_clips_own_correlation():
    mixed = table(l0=[1, 1, 1, 1], l1=[2, 2, 2, 0.5], l2=[3, 3, 1, 0.2], l4=[4, 4, 1, 0.1])
    by_hand = [1, 1, spearmanr([0, 1, 2, 3], [1, 2, 1, 1]).statistic, -1]
    assert answer(mixed).rho == pytest.approx(np.mean(by_hand))


def test_the_right_way_is_the_columns_worse_way():
    better = Column("TOY", higher_is_better=True)
    assert answer(GROWING, column=better).verdict == "responds the wrong way"
    neither = Column("TOY")
    assert answer(GROWING, column=neither).verdict == "responds"


def test_noise_is_no_response():
    noise = table(l0=[1, 2, 3, 4], l1=[2, 1, 3, 4], l2=[1, 3, 2, 4], l4=[0, 3, 2, 5])
    found = answer(noise)
    assert found.verdict == "does not respond"
    assert found.detected is None
    assert found.failed


def test_a_response_that_is_not_graded_is_weak():
    steps = table(l0=[1, 2, 3, 4], l1=[5, 6, 7, 8], l2=[4, 5, 6, 7], l4=[4.5, 5.5, 6.5, 7.5])
    found = answer(steps)
    assert found.verdict == "responds weakly"
    assert found.detected == 1
    assert found.rho == pytest.approx(spearmanr([0, 1, 2, 3], [1, 5, 4, 4.5]).statistic)


def test_a_level_is_detected_only_with_all_stronger_ones():
    dip = table(l0=[1, 1, 1, 1], l1=[2, 2, 2, 3], l2=[2, 0, 2, 0], l4=[5, 5, 5, 6])
    assert answer(dip).detected == 3


def test_what_must_not_react_may_move_a_little():
    little = table(l0=[1, 2, 3, 4], l1=[1, 2, 3, 4], l2=[1, 2, 3, 4], l4=[1.2, 2.2, 3.2, 4.2])
    found = answer(little, MUST_NOT)
    assert found.points[-1].detected
    assert found.largest == pytest.approx(0.2 / math.sqrt(5 / 3))
    assert found.verdict == "stays"


def test_what_reacts_though_it_must_not_is_told():
    found = answer(GROWING, MUST_NOT)
    assert found.verdict == "reacts though it must not"
    assert found.failed


def test_a_tenth_of_the_proper_response_is_no_reaction():
    same = [1.0, 1.0, 1.0, 1.0]
    proper = answer(table(l0=same, l1=[2] * 4, l2=[5] * 4, l4=[11] * 4))
    small = answer(table(l0=same, l1=same, l2=same, l4=[2] * 4), MUST_NOT)
    more = answer(table(l0=same, l1=same, l2=same, l4=[2.1] * 4), MUST_NOT)
    assert small.verdict == "reacts though it must not"
    assert small.largest == math.inf
    settled = settle([proper, small, more])
    assert [one.share for one in settled] == pytest.approx([1, 0.1, 0.11])
    assert [one.verdict for one in settled] == ["responds", "stays", "reacts though it must not"]


def test_without_a_claim_there_is_no_verdict():
    found = respond(Toy(), WORSE, Steps(), GROWING)
    assert (found.verdict, found.claim, found.rho) == ("", "", 1)
    assert not found.failed


def test_an_offset_is_followed_with_its_sign_and_recovered():
    follows = Claim("toy", "it is the shift", "TOY", follows=True)
    offset = Column("TOY", "frames")
    exact = table(
        l0=[0, 1, 0, 0],
        lm2=[-2, -1, -2, -1],
        l2=[2, 3, 2, 2],
        lm4=[-4, -3, -4, -4],
        l4=[4, 5, 4, 9],
    )
    found = answer(exact, column=offset, change=Shifts(), claim=follows)
    assert found.verdict == "responds"
    assert found.rho == 1
    assert found.recovered == 15 / 16
    assert found.detected == 2
    blind = table(**{name: [0, 1, 0, 0] for name in ("l0", "lm2", "l2", "lm4", "l4")})
    found = answer(blind, column=offset, change=Shifts(), claim=follows)
    assert found.verdict == "does not respond"
    assert found.recovered == 0


def test_rates_are_judged_by_their_totals():
    counts = {0.0: [0.0, 0.5, 0.0, 0.25], 1.0: [0.25, 0.5, 0.5, 0.25]}
    counts |= {2.0: [0.5, 0.5, 0.5, 0.5], 4.0: [1.0, 0.5, 1.0, 1.0]}
    people = ["a1", "b1", "c1", "d1"]
    scored = {k: rows(dict(zip(people, v, strict=True)), under=4) for k, v in counts.items()}
    found = answer(scored, metric=Rate())
    assert [p.value for p in found.points] == pytest.approx([0.1875, 0.375, 0.5, 0.875])
    assert found.points[-1].difference == pytest.approx(0.6875)
    assert found.correlation == found.rho_total == 1
    assert found.rho < 1
    assert found.verdict == "responds"


def test_clips_that_cannot_be_scored_are_left_out_and_counted():
    gaps = table(
        l0=[1, 2, 3, None], l1=[1.1, 2.2, 3.3, 4], l2=[1.5, 2.5, 3.5, 4], l4=[2, 3, 4.1, None]
    )
    found = answer(gaps)
    assert [(p.n, p.n_failed) for p in found.points] == [(3, 1), (4, 0), (4, 0), (3, 1)]
    assert found.points[1].difference == pytest.approx(0.2)
    assert found.reasons == {"gone": 2}
    nothing = table(l0=[None] * 4, l1=[None] * 4, l2=[None] * 4, l4=[None] * 4)
    assert answer(nothing).verdict == "not scorable"
    assert not answer(nothing).failed


def test_people_are_resampled_and_clips_where_people_are_few():
    def at(value: float, person: str) -> Scored:
        return rows({f"{person or chr(97 + k)}{k}": value + 0.01 * k for k in range(6)})

    one = {level: at(level, "a") for level in (0.0, 1.0, 2.0, 4.0)}
    assert answer(one).points[-1].low is not None
    two = {level: rows({"a1": level, "b1": level}) for level in (0.0, 1.0, 2.0, 4.0)}
    found = answer(two)
    assert found.points[-1].low is None
    assert found.verdict == "not scorable"


def test_distances_between_sets_are_compared_by_a_jackknife():
    kept: dict[str, torch.Tensor] = {}
    draws = torch.Generator().manual_seed(0)
    pairs = [(person, role) for person in "abcd" for role in ("ref", "pred")]
    noise = {pair: torch.randn(30, 3, generator=draws) * 0.1 for pair in pairs}

    def scored(shift: float) -> Scored:
        found = []
        for person in "abcd":
            features = {}
            for role, by in (("ref", 0.0), ("pred", shift)):
                name = f"{person}{role}{shift}"
                kept[name] = (noise[person, role] + by).double()
                features[role] = name
            column = FrechetDistance("frame", Frozen(Means(), "means.test")).columns[0].name
            found.append(Score(person, "clip", column, person, features=features))
        return Scored(found, kept.__getitem__)

    metric = FrechetDistance("frame", Frozen(Means(), "means.test"))
    levels = {0.0: scored(0.0), 1.0: scored(0.5), 2.0: scored(1.0), 4.0: scored(2.0)}
    found = respond(metric, metric.columns[0], Steps(), levels, (MUST, CLAIM))
    assert found.rho is None
    assert found.rho_total == 1
    # Covariances stay, so that only the squared distance of the means grows.
    sides = [torch.cat([noise[p, role] for p in "abcd"]).mean(0) for role in ("ref", "pred")]
    gap = sides[1] - sides[0]
    grown = ((gap + 2) ** 2).sum() - (gap**2).sum()
    assert found.points[-1].difference == pytest.approx(float(grown), rel=1e-4)
    assert found.points[-1].low < found.points[-1].difference < found.points[-1].high
    assert found.verdict == "responds"
