"""Beards: short ribbons on the jaw, the chin and the upper lip, that move with the skin below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets.hairline import beard_field
from tfbench.datasets.puppets.head import Head
from tfbench.datasets.puppets.locks import matted
from tfbench.datasets.puppets.strands import (
    Comb,
    Mesh,
    Surface,
    comb,
    cut,
    pool,
    resample,
    ribbons,
    unit,
)
from tfbench.datasets.puppets.texture import smooth

__all__ = ["BEARDS", "grow_beard"]

Floats = NDArray[np.float32]
SEGMENTS = 4


@dataclass(frozen=True)
class Beard:
    """The numbers of a beard; lengths in decimetres.

    Attributes:
        count: Ribbons on jaw and chin.
        lip_count: Ribbons on the upper lip.
        cheek: Length on the cheeks.
        chin: Length on the chin.
        lip: Length on the upper lip.
        width: Of a ribbon.
        height: Of the outermost ribbons over the skin.
    """

    count: int
    lip_count: int
    cheek: float
    chin: float
    lip: float
    width: float = 0.06
    height: float = 0.05


BEARDS: dict[str, Beard] = {
    "short": Beard(600, 170, 0.11, 0.13, 0.10, 0.055, 0.025),
    "full": Beard(600, 150, 0.19, 0.30, 0.15, 0.065, 0.07),
    "long": Beard(600, 150, 0.25, 0.95, 0.19, 0.075, 0.10),
    "goatee": Beard(240, 150, 0.13, 0.24, 0.12, 0.05, 0.045),
    "moustache": Beard(0, 220, 0.15, 0.15, 0.16, 0.048, 0.05),
}
"""Each beard by its name."""


def grow_beard(
    name: str,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    length: float,
    volume: float,
) -> Mesh:
    """Grow a beard.

    Args:
        name: A name of `BEARDS`.
        surface: Skin of the identity.
        head: The head.
        rng: For the differences between strands.
        length: Factor on the lengths.
        volume: Factor on the heights.

    Returns:
        The mesh, anchored to the skin under the roots.
    """
    beard = BEARDS[name]
    corners, weights, places = _roots(name, head, rng)
    rows = np.searchsorted(surface.index, corners)
    start = (weights[..., None] * surface.vertices[rows]).sum(1)
    lip = smooth(6.58, 6.66, places[:, 1]) * smooth(0.36, 0.30, np.abs(places[:, 0]))
    chin = smooth(6.45, 6.30, places[:, 1]) * smooth(0.55, 0.15, np.abs(places[:, 0]))
    chin = chin * smooth(0.7, 1.1, places[:, 2])
    long = beard.cheek + (beard.chin - beard.cheek) * chin
    long = (long + (beard.lip - long) * lip) * length * rng.uniform(0.75, 1.1, len(start))
    layer = rng.random(len(start))
    edge = smooth(0.0, 0.08, beard_field(places, name))
    height = beard.height * volume * (0.15 + 0.85 * layer) * (0.4 + 0.6 * edge)
    how = Comb(_down, lift=0.3, inertia=0.6, gravity=0.35, hold=0.1, wander=0.22)
    lines = comb(
        surface, start, long.astype(np.float32), height.astype(np.float32), how, rng, steps=10
    )
    lines = resample(lines, np.maximum(cut(lines, _on_lips(lines, surface, head)), 1.2), SEGMENTS)
    normal = surface.at(lines)[1]
    side = unit(np.cross(unit(np.gradient(lines, axis=1)), normal))
    turn = rng.normal(0, 0.5, len(lines))[:, None, None]
    across = (np.cos(turn) * side + np.sin(turn) * normal).astype(np.float32)
    wide = beard.width * rng.uniform(0.7, 1.2, len(lines)) * (0.5 + 0.5 * edge)
    shade = 0.80 + 0.22 * layer + rng.normal(0, 0.09, len(lines))
    anchor = corners[np.arange(len(corners)), weights.argmax(1)]
    made = ribbons(
        lines, across, wide.astype(np.float32), shade.astype(np.float32), anchor, tip=0.1,
        first=0.3,
    )  # fmt: skip
    return matted(made, surface)


def _roots(
    name: str, head: Head, rng: np.random.Generator
) -> tuple[NDArray[np.int32], Floats, Floats]:
    beard, found = BEARDS[name], []
    for place, size, count in (("jaw", 1600, beard.count), ("lip", 1200, beard.lip_count)):
        corners, weights, places = pool(head, size, place)
        fits = beard_field(places, name) > rng.uniform(0, 0.03, len(places))
        fits &= head.masks["lips"][corners].max(1) < 0.35
        fits &= (beard_field(places, "moustache") > 0) == (place == "lip")
        rows = np.flatnonzero(fits & (rng.random(len(places)) > 0.1))[:count]
        found.append((corners[rows], weights[rows], places[rows]))
    corners, weights, places = (np.concatenate(part) for part in zip(*found, strict=True))
    return corners, weights, places


def _down(p: Floats) -> Floats:
    """Down; on the upper lip from the middle to both sides."""
    x, y, _ = p.T
    lip = smooth(6.58, 6.66, y) * smooth(0.42, 0.34, np.abs(x))
    side = np.tanh(x / 0.05) * (0.15 + 0.75 * lip)
    return unit(np.stack([side, -1 + 0.35 * lip, 0.25 * (1 - lip)], 1))


def _on_lips(lines: Floats, surface: Surface, head: Head) -> NDArray[np.bool_]:
    near = surface.at(lines)[0]
    return head.masks["lips"][surface.index[near]] > 0.25
