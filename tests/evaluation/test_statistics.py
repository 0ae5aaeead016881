import numpy as np
import pytest
import torch
from scipy import stats

from tfbench.evaluation.statistics import bootstrap, jackknife
from tfbench.metrics.frechet import Moments, frechet_distance


def test_bootstrap_of_single_clips_is_close_to_the_normal_interval():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = bootstrap([(str(k), v, 1.0) for k, v in enumerate(values)])
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_bootstrap_equals_scipys():
    values = np.random.default_rng(2).exponential(3, 60)
    low, high = bootstrap([(str(k), v, 1.0) for k, v in enumerate(values)], draws=20_000)
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=3
    ).confidence_interval
    assert (low, high) == pytest.approx((found.low, found.high), rel=0.02)


def test_clips_of_one_cluster_are_not_independent():
    draw = np.random.default_rng(3)
    centres = draw.normal(0, 1, 10).repeat(50)
    terms = [(str(k // 50), c + draw.normal(0, 0.1), 1.0) for k, c in enumerate(centres)]
    clustered = np.diff(bootstrap(terms))[0]
    naive = np.diff(bootstrap([(str(k), v, 1.0) for k, (_, v, _) in enumerate(terms)]))[0]
    assert clustered > 4 * naive


def test_a_ratio_is_resampled_as_a_ratio():
    low, high = bootstrap([("a", 1, 10), ("b", 1, 10), ("c", 30, 100), ("d", 2, 10)])
    assert 0.1 <= low < 34 / 130 < high <= 0.3


def test_jackknife_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(4).normal(1, 3, 12)
    left_out = [(values.sum() - v) / 11 for v in values]
    low, high = jackknife(float(values.mean()), left_out, [1] * 12)
    found = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(found)


def test_jackknife_covers_the_true_frechet_distance_and_the_bootstrap_lies_above():
    generator = torch.Generator().manual_seed(0)
    clusters = torch.randn(20, 60, 6, generator=generator, dtype=torch.float64)
    real = Moments([torch.randn(20_000, 6, generator=generator, dtype=torch.float64)])
    value = frechet_distance(Moments([clusters.flatten(0, 1)]), real)
    left_out = [
        frechet_distance(Moments([torch.cat([*clusters[:k], *clusters[k + 1 :]])]), real)
        for k in range(20)
    ]
    low, high = jackknife(value, left_out, [60] * 20)
    draw = np.random.default_rng(0)
    drawn = [
        frechet_distance(Moments([clusters[draw.integers(20, size=20)].flatten(0, 1)]), real)
        for _ in range(200)
    ]
    assert low < value < high
    assert np.quantile(drawn, 0.1) > value
