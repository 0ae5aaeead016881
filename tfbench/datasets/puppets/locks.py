"""Locks of hair: strands from roots all over a hairy place, by the numbers of a style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets.hairline import Line, field
from tfbench.datasets.puppets.head import SKIN, Head
from tfbench.datasets.puppets.strands import (
    Comb,
    Mesh,
    Surface,
    calm,
    comb,
    cut,
    floats,
    pool,
    resample,
    ribbons,
    unit,
)
from tfbench.datasets.puppets.texture import noise, smooth

__all__ = ["FLOWS", "Locks", "grow_locks", "in_face", "matted", "shell", "turns"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Locks:
    """The numbers of a style; lengths in decimetres.

    Attributes:
        flow: A name of `FLOWS`.
        count: Ribbons.
        length: On top, at the sides and behind.
        width: Of a ribbon.
        height: Of the outermost ribbons over the skin.
        lift: As of `Comb`, and so the next four.
        inertia: See `Comb`.
        gravity: See `Comb`.
        hold: See `Comb`.
        wander: See `Comb`.
        trim: Canonical height of the tips in front and behind.
        curl: How far a ribbon winds to both sides.
        turns: Windings of a ribbon.
        segments: Of a ribbon.
        part: Where the parting is, in x.
        brow: Canonical height that nothing on the forehead goes below.
        twist: How far ribbons turn out of the surface, radians.
        tip: Width of the tips, share of the width.
        cling: See `Comb`.
        root: How far along the strand the roots are said to be, for their darkness.
        sides: Height at the sides and behind as a share of that on top.
        matte: Whether the hair is frizzy and has no common gleam.
        zone: Which roots are used: "all", "fringe", "top" or "low".
    """

    flow: str
    count: int = 360
    length: tuple[float, float, float] = (1.0, 1.0, 1.0)
    width: float = 0.13
    height: float = 0.10
    lift: float = 0.25
    inertia: float = 0.75
    gravity: float = 0.0
    hold: float = 0.5
    wander: float = 0.12
    trim: tuple[float, float] = (0.0, 0.0)
    curl: float = 0.0
    turns: float = 0.0
    segments: int = 7
    part: float = 0.25
    brow: float = 7.72
    twist: float = 0.45
    tip: float = 0.2
    cling: float = 1.0
    root: float = 0.0
    sides: float = 1.0
    matte: bool = False
    zone: str = "all"


def grow_locks(
    locks: Locks,
    line: Line,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    length: float = 1.0,
    volume: float = 1.0,
    body: float = 0.0,
) -> Mesh:
    """Grow the ribbons of a style.

    Args:
        locks: The style.
        line: Its hairline.
        surface: Skin of the identity.
        head: The head.
        rng: For the differences between strands.
        length: Factor on the lengths.
        volume: Factor on the heights.
        body: Thickness of the shell under the ribbons.

    Returns:
        The mesh.
    """
    corners, weights, places = _roots(locks, line, head, rng)
    inside = field(places, line)
    start = (weights[..., None] * _vertices(surface, corners)).sum(1)
    layer = rng.random(len(start)).astype(np.float32)
    edge = smooth(0.0, 0.22, inside)
    rise = body * smooth(0.0, 0.32, inside)
    above = locks.sides + (1 - locks.sides) * smooth(7.6, 8.15, places[:, 1])
    above = np.maximum(locks.height * volume * above - body, 0.02) * (0.25 + 0.75 * edge)
    height = above * layer + 0.008
    start = start + rise[:, None] * surface.at(start)[1]
    long = _length(locks, places) * length * rng.uniform(0.84, 1.1, len(start))
    long = (long * (0.7 + 0.3 * edge)).astype(np.float32)
    how = Comb(
        FLOWS[locks.flow](locks.part), locks.lift, locks.inertia, locks.gravity, locks.hold,
        locks.wander, locks.cling,
    )  # fmt: skip
    lines = comb(surface, start, long, height.astype(np.float32), how, rng, rise)
    lines, normal, canonical = _trimmed(lines, locks, surface, rng)
    lines, across = _wind(lines, normal, locks, places, rng)
    wide = locks.width * rng.uniform(0.7, 1.25, len(start)) * (0.55 + 0.45 * edge)
    shade = 0.74 + 0.24 * layer + rng.normal(0, 0.09, len(start))
    anchor = corners[np.arange(len(corners)), weights.argmax(1)]
    made = ribbons(
        lines, across, wide.astype(np.float32), shade.astype(np.float32), anchor,
        turns(canonical), locks.tip, locks.root,
        0.2 + 0.5 * edge,
    )  # fmt: skip
    return matted(made, surface) if locks.matte else made


def matted(mesh: Mesh, surface: Surface) -> Mesh:
    """Return a mesh of strands that point out of the head, where a light makes no streak."""
    return replace(mesh, tangent=surface.at(mesh.vertices)[1])


def _roots(
    locks: Locks, line: Line, head: Head, rng: np.random.Generator
) -> tuple[Ints, Floats, Floats]:
    """Choose roots, evenly spread over where the style grows."""
    corners, weights, places = pool(head)
    fits = field(places, line) > rng.uniform(0.0, 0.05, len(places))
    fits &= _zone(locks.zone, places)
    rows = np.flatnonzero(fits & (rng.random(len(places)) > 0.15))[: locks.count]
    return corners[rows], weights[rows], places[rows]


def _zone(zone: str, places: Floats) -> NDArray[np.bool_]:
    x, y, z = places.T
    if zone == "fringe":
        return (np.abs(x) < 0.62) & (y > 7.85) & (z > 0.55)
    if zone == "top":
        return y > 7.75
    if zone == "low":
        return y <= 7.85
    return np.ones(len(places), bool)


def _vertices(surface: Surface, corners: Ints) -> Floats:
    """Return the vertices (n, 3, 3) of corners given as rows of the head."""
    rows = np.searchsorted(surface.index, corners)
    return surface.vertices[rows]


def _length(locks: Locks, places: Floats) -> Floats:
    top = smooth(7.75, 8.15, places[:, 1])
    back = smooth(0.45, -0.1, places[:, 2])
    low = locks.length[1] * (1 - back) + locks.length[2] * back
    return (locks.length[0] * top + low * (1 - top)).astype(np.float32)


def in_face(canonical: Floats, brow: float) -> NDArray[np.bool_]:
    """Return which canonical positions (..., 3) are before the face or on the bare forehead."""
    x, y, z = np.moveaxis(canonical, -1, 0)
    wide = 0.60 + 0.10 * smooth(7.0, 7.5, y)
    return (np.abs(x) < wide) & (y < brow) & (y > 6.0) & (z > 0.72)


def _trimmed(
    lines: Floats, locks: Locks, surface: Surface, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """End the strands at the style's heights and before the face."""
    near, _, _ = surface.at(lines)
    canonical = surface.to_canonical(lines, near)
    beyond = in_face(canonical, locks.brow)
    if locks.trim != (0.0, 0.0):
        front = smooth(0.0, 0.8, canonical[..., 2])
        limit = locks.trim[0] * front + locks.trim[1] * (1 - front)
        limit = limit + rng.normal(0, 0.035, len(lines))[:, None]
        beyond |= canonical[..., 1] < limit
    lines = resample(calm(lines), np.maximum(cut(lines, beyond), 0.6), locks.segments)
    near, normal, _ = surface.at(lines)
    return lines, normal, surface.to_canonical(lines, near)


def _wind(
    lines: Floats, normal: Floats, locks: Locks, places: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Curl the strands, and return them with the directions of their widths."""
    tangent = unit(np.gradient(lines, axis=1))
    side = unit(np.cross(tangent, normal))
    along = np.linspace(0, 1, lines.shape[1], dtype=np.float32)
    if locks.curl > 0:
        # Locks that grow near each other wave together.
        start = 5 * noise(places * 2.2) + rng.uniform(0, 1.5, len(lines))
        phase = (start[:, None] + 2 * np.pi * locks.turns * along)[..., None]
        size = (locks.curl * np.minimum(1, 3.5 * along))[None, :, None]
        lines = lines + size * (np.cos(phase) * side + 0.6 * (np.sin(phase) + 0.5) * normal)
    turn = rng.normal(0, locks.twist, len(lines))[:, None, None]
    across = np.cos(turn) * side + np.sin(turn) * normal
    return lines.astype(np.float32), across.astype(np.float32)


def turns(canonical: Floats) -> Floats:
    """Return how much of the head's rotation hair follows: less where it lies on the shoulders."""
    return (0.35 + 0.65 * smooth(5.5, 6.35, canonical[..., 1])).astype(np.float32)


def shell(
    line: Line,
    surface: Surface,
    head: Head,
    thickness: float,
    lumps: float = 0.0,
    grain: float = 5.0,
) -> Mesh:
    """Lift the scalp off the skin: a body without gleam under the ribbons.

    Args:
        line: The hairline; the shell goes under the skin outside of it.
        surface: Skin of the identity.
        head: The head.
        thickness: Decimetres.
        lumps: Height of its lumps, decimetres.
        grain: Lumps per decimetre.

    Returns:
        The mesh.
    """
    inside = field(head.canonical, line)
    kept = (head.part == SKIN) & (inside[head.triangles].max(1) > 0)
    kept &= head.masks["ears"][head.triangles].max(1) < 0.3
    used, triangles = np.unique(head.triangles[kept], return_inverse=True)
    rows = np.searchsorted(surface.index, used)
    canonical, normal = surface.canonical[rows], surface.normals[rows]
    rise = smooth(0.0, 0.32, inside[used])
    lift = thickness * rise + lumps * rise * (2 * noise(canonical * grain) - 1)
    lift = np.where(inside[used] < 0, -0.02, lift - 0.012 * (1 - rise))
    return Mesh(
        vertices=(surface.vertices[rows] + lift[:, None] * normal).astype(np.float32),
        triangles=triangles.reshape(-1, 3).astype(np.int32),
        uv=np.tile(floats([0.35, 0]), (len(used), 1)),
        tangent=normal,
        shade=np.full(len(used), 0.8, np.float32),
        turn=head.turn[used].astype(np.float32),
        anchor=used.astype(np.int32),
    )


Flow = Callable[[Floats], Floats]


def _whorl(part: float) -> Flow:
    """Away from a whorl on the crown."""
    return lambda p: unit(p - floats([0.3 * part, 8.62, 0.02]))


def _parted(part: float) -> Flow:
    """From a parting to both sides and back, then down."""

    def flow(p: Floats) -> Floats:
        x, y, z = p.T
        top = smooth(7.85, 8.25, y)
        away = np.tanh((x - part) / 0.06)
        over = np.stack([away, -0.12 + 0 * x, -0.30 - 0.35 * smooth(0.6, 1.1, z)], 1)
        down = np.stack([0 * x, -1 + 0 * x, -0.30 * smooth(0.2, 0.8, z)], 1)
        return unit(over * top[:, None] + down * (1 - top)[:, None])

    return flow


def _back(part: float) -> Flow:
    """Off the forehead to the back of the head, then down."""

    def flow(p: Floats) -> Floats:
        x, y, z = p.T
        top = smooth(7.5, 8.1, y)
        low = smooth(0.1, -0.3, z)
        over = np.stack([0.15 * x - 0.1 * part, 0.05 + 0 * x, -1 + 0 * x], 1)
        side = np.stack([0 * x, -0.45 + 0 * x, -1 + 0 * x], 1)
        behind = np.stack([0 * x, -1 + 0 * x, -0.15 + 0 * x], 1)
        ahead = over * top[:, None] + side * (1 - top)[:, None]
        return unit(ahead * (1 - low)[:, None] + behind * low[:, None])

    return flow


def _fall(part: float) -> Flow:
    """From a parting down both sides of the head, out of the face."""

    def flow(p: Floats) -> Floats:
        x, y, z = p.T
        top = smooth(7.7, 8.2, y)
        front = smooth(0.4, 0.9, z)
        away = np.tanh((x - part) / 0.10)
        over = np.stack([away, 0 * x, -0.55 * front - 0.15 - 0.5 * smooth(0.2, -0.2, z)], 1)
        down = np.stack([0.15 * np.sign(x), -1 + 0 * x, -0.55 * front], 1)
        # On the shoulders it parts again: before them and behind them, not out over the arms.
        low = smooth(6.15, 5.85, y)[:, None]
        ahead = np.where(z > 0.12, 1.0, -1.0)
        lying = np.stack([-0.35 * np.sign(x), -0.8 + 0 * x, ahead], 1)
        return unit((over * top[:, None] + down * (1 - top)[:, None]) * (1 - low) + lying * low)

    return flow


def _forward(part: float) -> Flow:
    """From the crown over the forehead."""
    return lambda p: unit(
        np.stack([0.25 * p[:, 0] - 0.3 * part, 0.1 - 1.1 * smooth(0.7, 1.1, p[:, 2]),
                  1.0 - 0.9 * smooth(0.8, 1.2, p[:, 2])], 1)
    )  # fmt: skip


def _radial(part: float) -> Flow:
    """Straight out of the head."""
    return lambda p: unit(p - floats([0, 7.55, 0.30]) + 0 * part)


FLOWS: dict[str, Callable[[float], Flow]] = {
    "whorl": _whorl,
    "parted": _parted,
    "back": _back,
    "fall": _fall,
    "forward": _forward,
    "radial": _radial,
}
"""Ways of combing; each takes the place of the parting and gives directions at canonical places."""
