"""Hair that is gathered: pulled over the head to a tie, and what hangs or is wound from there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets.hairline import Line, field
from tfbench.datasets.puppets.head import Head
from tfbench.datasets.puppets.locks import in_face, turns
from tfbench.datasets.puppets.strands import (
    Comb,
    Mesh,
    Surface,
    calm,
    comb,
    cut,
    floats,
    join,
    pool,
    resample,
    ribbons,
    tube,
    unit,
)
from tfbench.datasets.puppets.texture import smooth

__all__ = [
    "bun",
    "gathered",
    "low_bun",
    "one_tail",
    "pigtails",
    "plait",
    "ponytail",
    "top_knot",
    "two_braids",
]

Floats = NDArray[np.float32]


def gathered(
    line: Line,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    ties: Floats,
    count: int = 300,
    height: float = 0.06,
    body: float = 0.02,
) -> Mesh:
    """Pull the hair smoothly over the head, each lock to the nearest tie.

    Args:
        line: The hairline.
        surface: Skin of the identity.
        head: The head.
        rng: For the differences between strands.
        ties: float32 (k, 3), canonical.
        count: Ribbons.
        height: Over the skin.
        body: Thickness of the shell below.

    Returns:
        The mesh.
    """
    corners, weights, places = pool(head)
    fits = field(places, line) > rng.uniform(0.0, 0.03, len(places))
    rows = np.flatnonzero(fits & (rng.random(len(places)) > 0.15))[:count]
    corners, weights, places = corners[rows], weights[rows], places[rows]
    start = (weights[..., None] * surface.vertices[np.searchsorted(surface.index, corners)]).sum(1)
    sides = ((places[:, None] - ties) ** 2).sum(-1).argmin(1)
    goal = ties[sides]
    away = np.linalg.norm(places - goal, axis=1)
    long = (1.4 * away + 0.1).astype(np.float32)
    inside = field(places, line)
    edge = smooth(0.0, 0.2, inside)
    rise = body * smooth(0.0, 0.32, inside)
    start = start + rise[:, None] * surface.at(start)[1]
    high = 0.008 + (height - body) * rng.random(len(start)) * (0.3 + 0.7 * edge)

    # What grows in front of an ear passes above it.
    detour = np.stack([np.sign(places[:, 0]) * 0.72, 0 * away + 7.55, 0 * away + 0.20], 1)

    def flow(p: Floats) -> Floats:
        around = (p[:, 2] > 0.30) & (p[:, 1] < 7.75) & (goal[:, 1] < 7.4)
        return unit(np.where(around[:, None], detour, goal) - p)

    how = Comb(flow, lift=0.12, inertia=0.35, hold=0.8, wander=0.03)
    lines = comb(surface, start, long, high.astype(np.float32), how, rng, rise)
    near, _, _ = surface.at(lines)
    canonical = surface.to_canonical(lines, near)
    beyond = np.linalg.norm(canonical - goal[:, None], axis=-1) < 0.13
    beyond |= in_face(canonical, 7.75)
    lines = resample(calm(lines), np.maximum(cut(lines, beyond), 0.6), 6)
    normal = surface.at(lines)[1]
    across = np.cross(np.gradient(lines, axis=1), normal)
    wide = 0.13 * rng.uniform(0.7, 1.2, len(start)) * (0.5 + 0.5 * edge)
    shade = rng.normal(0.88, 0.09, len(start))
    anchor = corners[np.arange(len(corners)), weights.argmax(1)]
    return ribbons(
        lines, across, wide.astype(np.float32), shade.astype(np.float32), anchor, tip=0.7,
        root=0.2 + 0.5 * edge,
    )  # fmt: skip


def seat(surface: Surface, tie: Floats, height: float = 0.08) -> tuple[Floats, Floats, int]:
    """Return where a canonical tie is on an identity, the normal there, and the head's vertex."""
    row = int(((surface.canonical - tie) ** 2).sum(1).argmin())
    _, normal, _ = surface.at(surface.vertices[row])
    return surface.vertices[row] + height * normal, normal, int(surface.index[row])


def ponytail(
    surface: Surface, tie: Floats, rng: np.random.Generator, length: float, volume: float
) -> Mesh:
    """Let a tail of ribbons hang from a tie, with the band around it."""
    at, normal, vertex = seat(surface, tie)
    count = 56
    spread = np.clip(rng.normal(size=(count, 3)), -1.5, 1.5) * 0.05
    start = (at + spread).astype(np.float32)
    out = unit(normal * 0.8 + floats([0, 0.35, 0]))

    def flow(p: Floats) -> Floats:
        return unit(out + spread.astype(np.float32) * 1.5) + 0 * p

    long = (length * rng.uniform(0.75, 1.05, count)).astype(np.float32)
    high = (0.04 + 0.12 * volume * rng.random(count)).astype(np.float32)
    how = Comb(flow, lift=0.1, inertia=0.86, gravity=0.42, hold=0.0, wander=0.03, cling=0.0)
    lines = resample(comb(surface, start, long, high, how, rng), np.full(count, 20, np.float32), 9)
    near, normals, _ = surface.at(lines)
    across = np.cross(np.gradient(lines, axis=1), normals) + rng.normal(size=(count, 1, 3)) * 0.04
    shade = rng.normal(0.88, 0.10, count).astype(np.float32)
    wide = rng.uniform(0.12, 0.20, count).astype(np.float32)
    anchor = np.full(count, vertex, np.int32)
    tail = ribbons(
        lines, across.astype(np.float32), wide, shade, anchor,
        turns(surface.to_canonical(lines, near)), 0.15,
    )  # fmt: skip
    ends = np.stack([at - 0.05 * out, at + 0.03 * out, at + 0.12 * out]).astype(np.float32)
    band = tube(ends, floats([0.11, 0.13, 0.11]), 8, 0.6, vertex, up=(1, 0, 0.1))
    return join([tail, band])


def bun(
    surface: Surface, tie: Floats, rng: np.random.Generator, radius: float, untidy: float = 0.3
) -> Mesh:
    """Wind a ball of hair over a tie."""
    at, normal, vertex = seat(surface, tie, 0.45 * radius)
    first = unit(np.cross(normal, floats([0.3, 0.2, 1])))
    second = np.cross(normal, first)
    frame = np.stack([first, second, normal])
    count, points = 90, 11
    turn = rng.uniform(0, 2 * np.pi, (count, 1))
    lean = rng.uniform(-1.0, 1.1, (count, 1))
    slope = rng.normal(0, 0.35, (count, 1))
    angle = turn + np.linspace(0, 1, points) * rng.uniform(1.2, 2.6, (count, 1))
    level = np.clip(lean + slope * np.sin(angle), -1.3, 1.45)
    out = radius * (1 + 0.08 * untidy * rng.normal(size=(count, 1)))
    ball = np.stack(
        [out * np.cos(level) * np.cos(angle), out * np.cos(level) * np.sin(angle),
         0.82 * out * np.sin(level)], -1,
    )  # fmt: skip
    lines = at + (ball[..., None] * frame).sum(-2)
    outward = unit(lines - at)
    across = np.cross(np.gradient(lines, axis=1), outward)
    shade = rng.normal(0.88, 0.12, count)
    wound = ribbons(
        lines.astype(np.float32), across.astype(np.float32),
        np.full(count, 0.34 * radius, np.float32), shade.astype(np.float32),
        np.full(count, vertex, np.int32), tip=0.6,
    )  # fmt: skip
    core = np.linspace(-0.85, 0.85, 7)[:, None] * normal * radius * 0.80 + at
    sizes = 0.93 * radius * np.sqrt(1 - np.linspace(-0.97, 0.97, 7) ** 2)
    body = tube(
        core.astype(np.float32), sizes.astype(np.float32), 12, 0.68, vertex, up=tuple(first)
    )
    return join([body, wound])


def plait(
    surface: Surface, tie: Floats, path: Floats, rng: np.random.Generator, radius: float
) -> Mesh:
    """Braid three strands along a path.

    Args:
        surface: Skin of the identity.
        tie: float32 (3,), canonical, where it begins.
        path: float32 (k, 3), offsets from the tie in decimetres that it passes.
        rng: For small differences.
        radius: Of one strand.

    Returns:
        The mesh, with a loose end.
    """
    at, _, vertex = seat(surface, tie, 0.05)
    points = 36
    k = np.linspace(0, len(path) - 1, points)
    line = np.stack([np.interp(k, np.arange(len(path)), path[:, c]) for c in range(3)], 1)
    for _ in range(6):
        line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
    line = (line + at).astype(np.float32)
    _, normal, over = surface.at(line)
    line = line + normal * np.clip(1.7 * radius - over, 0, 0.5)[:, None]
    tangent = unit(np.gradient(line, axis=0))
    side = unit(np.cross(tangent, normal))
    out = np.cross(side, tangent)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    taper = smooth(-0.15, 0.12, along / along[-1]) * (1 - 0.35 * along / along[-1])
    near, _, _ = surface.at(line)
    follows = turns(surface.to_canonical(line, near))
    strands = []
    for strand in range(3):
        phase = 2 * np.pi * (along / (6.2 * radius) + strand / 3)
        swing = 1.05 * radius * taper * np.sin(phase)
        depth = 0.62 * radius * taper * np.sin(2 * phase)
        middle = line + swing[:, None] * side + depth[:, None] * out
        shade = float(rng.uniform(0.84, 1.0))
        made = tube(
            middle.astype(np.float32), (radius * taper).astype(np.float32), 5, shade, vertex
        )
        made.turn[:] = np.repeat(follows, 5)
        strands.append(made)
    return join([*strands, _tassel(line[-1], tangent[-1], float(follows[-1]), vertex, radius, rng)])


def _tassel(
    at: Floats,
    tangent: Floats,
    follows: float,
    vertex: int,
    radius: float,
    rng: np.random.Generator,
) -> Mesh:
    """Make the loose end of a braid."""
    count = 14
    spread = rng.normal(size=(count, 1, 3)) * radius
    along = np.linspace(0, 1, 5)[None, :, None]
    lines = at + along * (tangent * 4.0 * radius + spread) + 0.3 * spread
    across = np.broadcast_to(rng.normal(size=(count, 1, 3)), lines.shape)
    return ribbons(
        lines.astype(np.float32), across.astype(np.float32), np.full(count, radius, np.float32),
        rng.normal(0.9, 0.1, count).astype(np.float32), np.full(count, vertex, np.int32),
        np.full((count, 5), follows, np.float32), 0.2,
    )  # fmt: skip


def one_tail(
    line: Line,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    length: float,
    volume: float,
) -> Mesh:
    """Tie the hair behind the crown and let it hang."""
    tie = floats([0, 7.85, -0.36])
    pulled = gathered(line, surface, head, rng, tie[None], height=0.05 * volume)
    return join([pulled, ponytail(surface, tie, rng, 1.9 * length, volume)])


def top_knot(
    line: Line,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    length: float,
    volume: float,
) -> Mesh:
    """Wind the hair to a small ball on the crown."""
    tie = floats([0, 8.46, 0.18])
    pulled = gathered(line, surface, head, rng, tie[None], height=0.05 * volume)
    return join([pulled, bun(surface, tie, rng, 0.27 * (0.5 * length + 0.5 * volume))])


def low_bun(
    line: Line,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    length: float,
    volume: float,
) -> Mesh:
    """Wind the hair to a ball over the nape."""
    tie = floats([0, 7.15, -0.30])
    pulled = gathered(line, surface, head, rng, tie[None], height=0.06 * volume)
    return join([pulled, bun(surface, tie, rng, 0.32 * (0.5 * length + 0.5 * volume))])


def two_braids(
    line: Line,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    length: float,
    volume: float,
) -> Mesh:
    """Braid the hair behind both ears and lay the braids before the shoulders."""
    ties = floats([[0.62, 6.95, 0.12], [-0.62, 6.95, 0.12]])
    pieces = [gathered(line, surface, head, rng, ties, 270, 0.06 * volume)]
    for tie in ties:
        side = float(np.sign(tie[0]))
        offsets: list[list[float]] = [
            [0, 0, 0], [0.10, -0.15, 0.05], [0.16, -0.5, 0.18], [0.12, -0.95, 0.45],
            [0.06, -1.5 * length, 0.75],
        ]  # fmt: skip
        path = floats(offsets)
        path[:, 0] *= side
        pieces.append(plait(surface, tie, path, rng, 0.10 * (0.6 + 0.4 * volume)))
    return join(pieces)


def pigtails(
    line: Line,
    surface: Surface,
    head: Head,
    rng: np.random.Generator,
    length: float,
    volume: float,
) -> Mesh:
    """Tie the hair above both ears."""
    ties = floats([[0.70, 7.85, 0.10], [-0.70, 7.85, 0.10]])
    pieces = [gathered(line, surface, head, rng, ties, height=0.05 * volume)]
    pieces += [ponytail(surface, tie, rng, 1.3 * length, 0.7 * volume) for tie in ties]
    return join(pieces)
