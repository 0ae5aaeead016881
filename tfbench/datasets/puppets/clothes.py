"""Clothes of a puppet, painted on the bust as seen from the front: it never shows its back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets.texture import noise, smooth

__all__ = ["COLLARS", "PATTERNS", "Clothes", "paint_clothes"]

Floats = NDArray[np.float32]

COLLARS = ("crew", "v", "shirt", "turtleneck", "hood", "scoop")
PATTERNS = ("plain", "plain", "plain", "stripes", "checks", "melange", "dots")
LOW, HIGH, SIDE = 4.3, 6.4, 2.6
"""Canonical heights of the last and the first row, and the |x| of the outer columns."""
ROWS, COLUMNS = 210, 520


@dataclass(frozen=True, eq=False)
class Clothes:
    """What is worn.

    Attributes:
        collar: A name of `COLLARS`.
        pattern: A name of `PATTERNS`.
        colour: Linear RGB (3,).
        second: Linear RGB (3,), of the pattern and of cords.
    """

    collar: str
    pattern: str
    colour: Floats
    second: Floats


def paint_clothes(clothes: Clothes) -> Floats:
    """Paint clothes.

    Returns:
        float32 (ROWS, COLUMNS, 4): linear RGB, and 1 where the skin is covered.
    """
    y = np.linspace(HIGH, LOW, ROWS, dtype=np.float32)[:, None]
    x = np.linspace(-SIDE, SIDE, COLUMNS, dtype=np.float32)[None]
    points = np.stack([*np.broadcast_arrays(x, y), np.zeros_like(x + y)], -1)
    x, y = points[..., 0], points[..., 1]
    line = _neckline(clothes.collar, x)
    below = line - y
    cover = smooth(0.0, 0.02, below)
    fabric = np.broadcast_to(clothes.colour, points.shape).copy()
    fabric += (clothes.second - fabric) * _pattern(clothes.pattern, points)[..., None]
    if clothes.collar in {"crew", "v", "scoop", "turtleneck"}:
        fabric *= (1 - 0.28 * np.exp(-(((below - 0.09) / 0.012) ** 2)))[..., None]
    fabric *= (1 - 0.30 * np.exp(-((below / 0.03) ** 2)))[..., None]
    if clothes.collar == "shirt":
        flap = np.abs(x) - 0.10 - 0.55 * np.clip((6.0 - y) / 0.5, 0, 1)
        edge = np.exp(-((flap / 0.018) ** 2)) * smooth(5.40, 5.44, y)
        fabric *= (1 - 0.5 * edge)[..., None]
        placket = np.exp(-(((np.abs(x) - 0.10) / 0.012) ** 2)) * smooth(5.5, 5.4, y)
        fabric *= (1 - 0.30 * placket)[..., None]
    if clothes.collar == "hood":
        cord = np.exp(-(((np.abs(x) - 0.33) / 0.028) ** 2)) * smooth(5.62, 5.52, y)
        fabric += (clothes.second - fabric) * (0.9 * cord * smooth(4.75, 4.8, y))[..., None]
    folds = noise(points * np.array([3.0, 1.4, 3.0], np.float32))
    grain = noise(points * 38)
    fabric *= (0.80 + 0.26 * folds + 0.10 * grain)[..., None]
    return np.concatenate([np.clip(fabric, 0.004, 1), cover[..., None]], -1).astype(np.float32)


def _neckline(collar: str, x: Floats) -> Floats:
    """Height up to which the bust is covered."""
    side = np.abs(x)
    front = smooth(0.62, 0.30, side)
    back = np.float32(5.98)
    if collar == "turtleneck":
        return 6.14 - 0.10 * front
    if collar == "v":
        return back - front * np.clip(1.00 - 1.15 * side, 0.16, 1.0)
    if collar == "scoop":
        return back - front * (0.22 + 0.55 * smooth(0.85, 0.2, side))
    if collar == "shirt":
        return back + 0.06 - front * np.clip(0.75 - 1.9 * side, 0.06, 0.75)
    return back - front * (0.30 if collar == "crew" else 0.20)


def _pattern(pattern: str, points: Floats) -> Floats:
    """How much of the second colour is seen, 0 to 1."""
    x, y, _ = np.moveaxis(points, -1, 0)
    if pattern == "stripes":
        return smooth(0.50, 0.58, np.abs((y * 3.2) % 1 - 0.5) * 2)
    if pattern == "checks":
        lines = [smooth(0.62, 0.72, np.abs(v % 1 - 0.5) * 2) for v in (y * 3.5, x * 3.5)]
        return 0.5 * (lines[0] + lines[1])
    if pattern == "melange":
        return 0.7 * noise(points * 55) ** 2
    if pattern == "dots":
        row = np.floor(y * 5)
        return smooth(0.28, 0.20, np.hypot((x * 5 + 0.5 * (row % 2)) % 1 - 0.5, (y * 5) % 1 - 0.5))
    return np.zeros_like(y)
