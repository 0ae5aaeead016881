"""Where hair grows: distances to the lines of scalp and beards on the canonical head.

A line is a height at every angle around a vertical axis through the head: forehead, temples,
sideburns, over and behind the ears, nape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets.texture import noise, smooth

__all__ = ["Line", "beard_field", "cover", "field"]

Floats = NDArray[np.float32]

AXIS = 0.35
"""Where the vertical axis stands, in z."""
ANGLES = (0, 16, 30, 42, 51, 57, 61, 65.5, 68.5, 93, 101, 110, 122, 150, 180)
"""Degrees from the front."""
HEIGHTS = (8.12, 8.10, 8.04, 7.92, 7.66, 7.44, 7.16, 7.13, 7.38, 7.38, 7.18, 6.86, 6.62, 6.5, 6.47)
"""Canonical heights of an even hairline, decimetres."""


@dataclass(frozen=True)
class Line:
    """A hairline; lengths in decimetres.

    Attributes:
        front: How much higher than the usual the forehead's line is.
        temples: How far the hair has gone from both sides of the forehead.
        sideburns: How much lower the sideburns end.
        nape: How much higher the hair ends behind.
        crown: Radius of a bald place on the crown.
        top: Height above which nothing grows.
        density: How much of the skin the roots cover, 0 to 1.
        soft: Width over which the hair gets thinner.
    """

    front: float = 0.0
    temples: float = 0.0
    sideburns: float = 0.0
    nape: float = 0.0
    crown: float = 0.0
    top: float = 9.0
    density: float = 1.0
    soft: float = 0.10


def field(points: Floats, line: Line) -> Floats:
    """Return the distance into the hair, about in decimetres, negative outside.

    Args:
        points: float32 (..., 3), canonical positions.
        line: The hairline.

    Returns:
        float32 (...).
    """
    x, y, z = np.moveaxis(np.asarray(points, np.float32), -1, 0)
    angle = np.degrees(np.arctan2(np.abs(x), z - AXIS))
    angles = np.array(ANGLES, np.float64)
    heights = np.array(HEIGHTS, np.float64)
    heights += line.front * np.interp(angles, [30, 60], [1, 0])
    heights += line.temples * np.interp(angles, [6, 28, 44, 57], [0, 1, 1, 0])
    heights -= line.sideburns * ((angles > 60) & (angles < 67))
    heights += line.nape * np.interp(angles, [104, 122], [0, 1])
    height = np.interp(angle, angles, heights)
    # Steep parts of the line are nearer than they are high.
    slope = (np.interp(angle + 1, angles, heights) - np.interp(angle - 1, angles, heights)) / 2
    radius = np.maximum(np.hypot(x, z - AXIS), 0.2) * np.pi / 180
    inside = (y - height) / np.sqrt(1 + (slope / radius) ** 2)
    inside = np.minimum(inside, line.top - y)
    if line.crown > 0:
        away = np.sqrt(x**2 + ((z - 0.20) * 0.8) ** 2 + (y - 8.49) ** 2)
        inside = np.minimum(inside, away - line.crown)
    return inside.astype(np.float32)


def cover(points: Floats, inside: Floats, line: Line) -> Floats:
    """Return how much hair covers the skin, float32 (...) in [0, 1], with a ragged soft edge.

    Args:
        points: float32 (..., 3), canonical positions.
        inside: float32 (...), from `field` or `beard_field`.
        line: Of the hair.
    """
    fine = noise(points * np.array([34, 16, 34], np.float32)) - 0.5
    broad = noise(points * 9) - 0.5
    edge = inside + 0.07 * fine + 0.05 * broad
    return (line.density * smooth(-0.3 * line.soft, line.soft, edge)).astype(np.float32)


def beard_field(points: Floats, name: str) -> Floats:
    """Return the distance into a beard, about in decimetres, negative outside.

    Args:
        points: float32 (..., 3), canonical positions.
        name: "full", "short", "long", "goatee" or "moustache".

    Returns:
        float32 (...).
    """
    x, y, z = np.moveaxis(np.asarray(points, np.float32), -1, 0)
    side = np.abs(x)
    lip = np.minimum(np.minimum(6.80 - 0.30 * side - y, y - 6.60), np.minimum(0.33 - side, z - 1.1))
    if name == "moustache":
        return lip.astype(np.float32)
    patch = np.minimum(np.minimum(0.07 - side, 6.50 - y), y - 6.3)
    if name == "goatee":
        beside = np.minimum(np.minimum(0.37 - side, side - 0.25), np.minimum(6.75 - y, y - 6.2))
        chin = np.minimum(np.minimum(6.455 - y, 0.33 - side), y - 6.02)
        jaw = np.minimum(np.maximum(beside, chin), z - 0.9)
    else:
        # The cheek's line runs from the sideburn down to the corner of the mouth.
        cheek = 6.62 + 0.55 * smooth(0.38, 0.74, side) - y
        jaw = np.minimum(cheek, y - 5.98 - 0.35 * smooth(0.95, 0.45, z))
        mouth = np.hypot(side / 0.32, (y - 6.56) / 0.17) - 1
        jaw = np.minimum(np.minimum(jaw, z - 0.68), 0.14 * np.where(z > 1.0, mouth, 1.0))
    return np.maximum(np.maximum(lip, jaw), patch).astype(np.float32)
