"""Identities: drawn from a seed, varied, and made of parts that exist."""

from collections import Counter

import numpy as np
import pytest

from tfbench.datasets.puppets import glasses, hair
from tfbench.datasets.puppets.head import head
from tfbench.datasets.puppets.identity import (
    BEARDS,
    GLASSES,
    HAIR_ODDS,
    LAYERS,
    STYLES,
    draw_identity,
    linear,
)


@pytest.fixture(scope="module")
def crowd():
    return [draw_identity(seed) for seed in range(300)]


def test_a_seed_is_a_person():
    first = draw_identity(7)
    draw_identity.cache_clear()
    again = draw_identity(7)
    assert first is not again
    assert first.shape.tobytes() == again.shape.tobytes()
    assert first.layers().tobytes() == again.layers().tobytes()
    assert first.hair_style == again.hair_style
    assert first.name == "puppet-7"


def test_every_style_beard_and_pair_of_glasses_exists_and_is_worn(crowd):
    worn = Counter(who.hair_style for who in crowd)
    assert set(worn) >= {*STYLES["female"], *STYLES["male"]}
    assert set(worn) <= set(hair.STYLES)
    assert max(worn.values()) < 0.25 * len(crowd)
    assert {who.beard for who in crowd} == set(BEARDS)
    assert set(BEARDS) - {"none"} <= set(hair.BEARDS)
    assert {who.glasses for who in crowd} - {"none"} == set(GLASSES) == set(glasses.GLASSES)


def test_only_men_grow_beards(crowd):
    women = [who for who in crowd if who.gender == "female"]
    assert 100 < len(women) < 200
    assert all(who.beard == "none" and who.stubble == 0 for who in women)


def test_shapes_and_colours_stay_in_range(crowd):
    shapes = np.stack([who.shape for who in crowd])
    assert shapes.shape == (300, len(head().identity_names))
    assert np.abs(shapes).max() <= 1.1
    assert (shapes.std(0) > 0.05).mean() > 0.9
    layers = np.stack([who.layers() for who in crowd])
    assert layers.shape == (300, len(LAYERS), 3)
    assert layers[:, 0].min() > 0.005
    assert layers[:, 0].max() < 1
    assert (layers[:, 0] + layers[:, LAYERS.index("lip")] > 0).all()


def test_skin_runs_from_dark_to_light(crowd):
    green = np.array([who.skin[1] for who in crowd])
    assert green.min() < 0.05
    assert green.max() > 0.45


def test_odds_are_odds():
    for odds in HAIR_ODDS.values():
        assert sum(odds) == pytest.approx(1)


def test_linear_undoes_the_display_gamma():
    assert linear(255, 0, 128).tolist() == pytest.approx([1, 0, (128 / 255) ** 2.2])
