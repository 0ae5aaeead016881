"""Light and paint of single samples, worked out by hand."""

import numpy as np
import pytest

from tfbench.datasets.puppets.body import HAIR
from tfbench.datasets.puppets.head import LEFT_EYE, SKIN, TONGUE
from tfbench.datasets.puppets.shading import SAMPLES, light_vertices, shade

KEY = np.array([0, 0, 1], np.float32)


def _lit(kind: int, air: float, normal=(0, 0, 1), light=None, tangent=(0, 0, 0)) -> np.ndarray:
    polynomial = np.zeros((9, 3), np.float32)
    polynomial[0] = 1
    out = np.zeros((1, 4), np.float32)
    light_vertices(
        np.array([normal], np.float32),
        np.array([tangent], np.float32),
        np.array([air], np.float32),
        np.array([kind], np.uint8),
        polynomial if light is None else light,
        KEY,
        out,
    )
    return out[0]


def test_light_is_its_harmonics_on_the_normal():
    light = np.zeros((9, 3), np.float32)
    light[0], light[1], light[2], light[3] = 0.5, 0.1, 0.2, 0.4
    assert _lit(SKIN, 1, (0, 0, 1), light)[:3] == pytest.approx([0.7] * 3)
    assert _lit(SKIN, 1, (0, 1, 0), light)[:3] == pytest.approx([0.6] * 3)
    assert _lit(SKIN, 1, (1, 0, 0), light)[:3] == pytest.approx([0.9] * 3)


def test_what_is_covered_is_darker_and_redder():
    red, green, _, _ = _lit(SKIN, 0.5)
    assert red < 0.5
    assert green < red
    assert _lit(SKIN, 0)[:3].max() == 0
    assert _lit(TONGUE, 0)[:3].min() == 1  # inside the mouth the paint darkens by depth


def test_a_highlight_shows_where_light_is_mirrored():
    assert _lit(SKIN, 1)[3] == pytest.approx(0.55)
    assert _lit(SKIN, 1, (1, 0, 0))[3] == 0
    assert _lit(LEFT_EYE, 1)[3] == pytest.approx(1)
    across, along = _lit(HAIR, 1, tangent=(1, 0, 0))[3], _lit(HAIR, 1, tangent=(0, 0, 1))[3]
    assert across == pytest.approx(0.35, rel=1e-4)
    assert along == pytest.approx(0, abs=1e-6)


def test_a_pixel_is_the_mean_of_its_samples():
    points = np.array([[0, 0], [0, 2], [2, 0]], np.float32)
    index = np.full((SAMPLES, 2 * SAMPLES), -1, np.int32)
    index[0, 0] = 7
    colour, cover = np.zeros((1, 2, 3), np.float32), np.zeros((1, 2), np.float32)
    palette = np.full((4, 3), 0.4, np.float32)
    lit = np.tile(np.array([1, 1, 1, 0], np.float32), (3, 1))
    place = np.tile(np.array([0, 6.6, 1.4], np.float32), (3, 1))
    blank = np.zeros((4, 4, 4), np.float32)
    shade(
        index,
        7,
        points,
        np.ones(3, np.float32),
        np.array([[0, 1, 2]], np.int32),
        np.array([TONGUE], np.uint8),
        place,
        lit,
        blank,
        blank,
        palette,
        np.ones((2, 3), np.float32),
        np.float32(1),
        colour,
        cover,
    )
    part = 1 / SAMPLES**2
    assert cover[0].tolist() == pytest.approx([part, 0])
    assert colour[0, 0] == pytest.approx([part * (0.4 * 0.77 + 0.004)] * 3, rel=1e-4)
