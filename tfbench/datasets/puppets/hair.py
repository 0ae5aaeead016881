"""Hair and beards, grown on the head of an identity, and the roots to paint on its skin.

Every strand hangs on the skin under its root, so it follows expressions, and nothing hangs before
the eyes, the nose or the mouth. What the styles look like is in `styles` and `beards`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tfbench.core.errors import UnknownName
from tfbench.datasets.puppets.beards import BEARDS, grow_beard
from tfbench.datasets.puppets.hairline import Line, beard_field, cover, field
from tfbench.datasets.puppets.head import Head
from tfbench.datasets.puppets.locks import grow_locks, shell
from tfbench.datasets.puppets.strands import Mesh, Surface, join
from tfbench.datasets.puppets.styles import STYLES, Style
from tfbench.datasets.puppets.texture import smooth

__all__ = ["BEARDS", "STYLES", "Mesh", "grow", "scalp"]

Floats = NDArray[np.float32]


def grow(
    style: str,
    vertices: Floats,
    head: Head,
    rng: np.random.Generator,
    length: float,
    volume: float,
) -> Mesh:
    """Grow the hair, or the beard, of an identity.

    Args:
        style: A name of `STYLES` or of `BEARDS`.
        vertices: float32 (V, 3), the identity's head at rest.
        head: The head.
        rng: The same state grows the same hair.
        length: Factor on the style's own lengths, about 0.8 to 1.25.
        volume: Factor on its height over the skin, about 0.7 to 1.3.

    Returns:
        The mesh, at most 6,500 triangles; without vertices for a bald head.

    Raises:
        UnknownName: If there is no such style.
    """
    surface = Surface(vertices, head)
    if style in BEARDS:
        return grow_beard(style, surface, head, rng, length, volume)
    made, pieces = _style(style), []
    thickness = made.body * volume
    if thickness > 0:
        pieces.append(shell(made.line, surface, head, thickness, made.lumps, made.grain))
    for locks in made.locks:
        pieces.append(grow_locks(locks, made.line, surface, head, rng, length, volume, thickness))
    if made.tied is not None:
        pieces.append(made.tied(made.line, surface, head, rng, length, volume))
    return join(pieces)


def scalp(style: str, head: Head, points: Floats) -> Floats:
    """Return how much hair covers the skin, for painting roots on it.

    Args:
        style: A name of `STYLES` or of `BEARDS`.
        head: The head.
        points: float32 (N, 3), canonical positions.

    Returns:
        float32 (N,) in [0, 1], with a soft natural hairline.

    Raises:
        UnknownName: If there is no such style.
    """
    if style in BEARDS:
        inside = beard_field(points, style)
        return cover(points, inside, Line(density=0.6, soft=0.06)) * _off_lips(head, points, inside)
    line = _style(style).line
    return cover(points, field(points, line), line)


def _off_lips(head: Head, points: Floats, inside: Floats) -> Floats:
    """Return 0 on the lips and 1 elsewhere, float32 (N,), looked up near a beard only."""
    off = np.ones(len(points), np.float32)
    near = inside > -0.1
    if near.any():
        row = cKDTree(head.canonical).query(points[near])[1]
        off[near] = smooth(0.45, 0.15, head.masks["lips"][row])
    return off


def _style(name: str) -> Style:
    if name not in STYLES:
        known = ", ".join([*STYLES, *BEARDS])
        raise UnknownName(f"no hair style or beard '{name}'; there are {known}")
    return STYLES[name]
