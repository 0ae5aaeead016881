import numpy as np
import pytest

from tfbench.datasets.puppets.motion import blinks, gaze, nods, wander


def rng(seed=0):
    return np.random.default_rng(seed)


def test_wander_has_variance_one_and_is_slow():
    made = np.stack([wander(rng(k), 2000, 0.1, 0.5) for k in range(20)])
    assert made.std() == pytest.approx(1, abs=0.05)
    assert np.abs(made).max() <= 4 * np.sqrt(0.5) + 1e-9
    assert np.abs(np.diff(made)).max() <= 2 * np.pi * 0.5 / 25 * 4 * np.sqrt(0.5)


def test_a_nod_is_a_raised_cosine():
    made = nods(np.array([1.02]), np.array([0.5]), 50, width=0.4)
    assert made[25] == pytest.approx(0.5)
    assert made[[20, 30]] == pytest.approx(0.25)
    assert made[[14, 36]].max() == 0


def test_no_nods():
    assert nods(np.zeros(0), np.zeros(0), 5).tolist() == [0.0] * 5


def test_a_blink_lasts_a_quarter_to_four_tenths_of_a_second():
    lids = blinks(rng(1), 25_000)
    shut = np.diff(np.concatenate([[0], lids > 0.02, [0]]).astype(int))
    lengths = (np.flatnonzero(shut == -1) - np.flatnonzero(shut == 1)) / 25
    assert lengths.min() >= 0.16
    assert lengths.max() <= 0.4
    assert lids.max() <= 1


def test_more_blinks_with_fear():
    often, seldom = (np.mean(blinks(rng(2), 25_000, factor) > 0.5) for factor in (1.6, 0.6))
    assert often > 1.5 * seldom


def test_gaze_fixates_and_jumps():
    line = gaze(rng(3), 5000)
    steps = np.hypot(*np.diff(line, axis=0).T)
    assert np.mean(steps < 1e-9) > 0.7
    assert np.abs(line).max() < 0.3
    assert np.abs(line.mean(0)).max() < 0.02
