"""Skin: noise, the cylinder that it is laid out on, and what is painted where."""

import numpy as np
import pytest

from tfbench.datasets.puppets.head import head
from tfbench.datasets.puppets.identity import LAYERS, draw_identity
from tfbench.datasets.puppets.texture import (
    AXIS,
    HIGH,
    LOW,
    layer_masks,
    noise,
    paint,
    smooth,
    turn_of,
    unrolled,
)

ROWS = 128


def test_noise_is_smooth_and_fills_its_range():
    rng = np.random.default_rng(0)
    points = rng.uniform(-40, 40, (20000, 3)).astype(np.float32)
    values = noise(points)
    assert 0 <= values.min() < 0.1
    assert 0.9 < values.max() <= 1
    assert values.mean() == pytest.approx(0.5, abs=0.02)
    assert np.abs(noise(points + np.float32(1e-3)) - values).max() < 0.01
    assert noise(points.reshape(100, 200, 3)).shape == (100, 200)
    assert noise(points).tobytes() == values.tobytes()


def test_a_turn_grows_once_around_the_head():
    angles = np.linspace(-np.pi + 0.01, np.pi - 0.01, 200)
    turns = [turn_of(np.sin(a), np.cos(a)) for a in angles]
    assert (np.diff(turns) > 0).all()
    assert [turn_of(0, 1), turn_of(1, 0), turn_of(-1, 0)] == [0, 1, -1]
    assert turn_of(0.0, 0.0) == 0


def test_a_texel_holds_the_place_that_is_looked_up_there():
    points, masks = unrolled(ROWS)
    assert points.shape == (ROWS, 2 * ROWS, 3)
    assert masks.shape == (ROWS, 2 * ROWS, 4)
    row, column = np.mgrid[20:100:3, 60:200:3]
    places = points[row, column]
    up = (HIGH - places[..., 1]) / (HIGH - LOW) * ROWS - row - 0.5
    turns = np.vectorize(turn_of)(places[..., 0], places[..., 2] - AXIS)
    around = (turns / 4 + 0.5) * 2 * ROWS - column - 0.5
    assert (np.abs(up) < 0.6).mean() > 0.97  # the rest lies on no skin, such as between the lids
    assert (np.abs(around) < 2).mean() > 0.97


def test_layers_lie_where_they_belong():
    h = head()
    masks = np.stack([h.masks[name] for name in ("lips", "eyelids", "ears", "scalp")], 1)
    layers = layer_masks(h.canonical, masks)
    assert (layers[:, 0] == 1).all()
    assert 0 <= layers.min() <= layers.max() <= 1
    brow = layers[:, LAYERS.index("brow")]
    eyes_up = h.canonical[h.landmarks[17:27], 1]
    assert (brow[h.landmarks[18:21]] > 0.2).any()
    assert h.canonical[brow > 0.5, 1].mean() == pytest.approx(eyes_up.mean(), abs=0.12)
    assert layers[h.landmarks[51], LAYERS.index("lip")] > 0.5
    assert layers[h.landmarks[27], LAYERS.index("lip")] == 0


def test_paint_is_a_picture_of_the_identity():
    scalp = np.zeros((ROWS, 2 * ROWS), np.float32)
    dark, light = sorted((draw_identity(k) for k in range(20)), key=lambda who: who.skin[1])[::19]
    painted = [paint(who, scalp, ROWS) for who in (dark, light)]
    assert painted[0].shape == (ROWS, 2 * ROWS, 4)
    assert painted[0].dtype == np.float32
    assert painted[0][..., :3].min() > 0
    assert painted[0][..., :3].max() <= 1
    for who, picture in zip((dark, light), painted, strict=True):
        forehead = picture[30:40, 120:136, :3].mean((0, 1))
        assert forehead == pytest.approx(who.skin, rel=0.4)


def test_roots_take_the_colour_of_the_hair():
    who = draw_identity(3)
    bald, hairy = (paint(who, np.full((ROWS, 2 * ROWS), v, np.float32), ROWS) for v in (0, 1))
    assert np.abs(bald - hairy).max() > 0.1
    assert hairy[..., :3].mean((0, 1)) == pytest.approx(who.hair * 0.8, rel=0.3, abs=0.015)


def test_smooth_steps_up_and_down():
    x = np.float32([-1, 0, 0.5, 1, 2])
    assert smooth(0, 1, x).tolist() == [0, 0, 0.5, 1, 1]
    assert smooth(1, 0, x).tolist() == [1, 1, 0.5, 0, 0]
