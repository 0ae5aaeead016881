"""What hair, beards and glasses are made of: strands combed over a head, ribbons, tubes and balls.

Hair is drawn as a few hundred flat ribbons, each standing for a lock. Their middle lines grow step
by step from places on the skin, bend to a wanted direction and to gravity, and are pushed out of
the head by the distance to its nearest vertices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tfbench.datasets.puppets.hairline import Line, field
from tfbench.datasets.puppets.head import SKIN, Head
from tfbench.datasets.puppets.texture import smooth
from tfbench.faces.render import vertex_normals

__all__ = [
    "Comb",
    "Mesh",
    "Surface",
    "calm",
    "comb",
    "cut",
    "empty",
    "floats",
    "join",
    "pool",
    "resample",
    "ribbons",
    "tube",
    "unit",
]

Floats = NDArray[np.float32]
Reals = NDArray[np.floating]
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles that are worn on a head, seen from both sides.

    Attributes:
        vertices: float32 (N, 3), decimetres, at rest on the identity they were made for.
        triangles: int32 (M, 3).
        uv: float32 (N, 2), how far along the strand (0 root to 1 tip), and across (-1 to 1).
        tangent: float32 (N, 3), unit vectors along the strands; 0 where there are none.
        shade: float32 (N,), brightness of the strand, 0.6 to 1.2.
        turn: float32 (N,), how much of the head's rotation a vertex follows.
        anchor: int32 (N,), the head's vertex whose displacement it follows; -1 for none.
    """

    vertices: Floats
    triangles: Ints
    uv: Floats
    tangent: Floats
    shade: Floats
    turn: Floats
    anchor: Ints


class Surface:
    """The skin of an identity at rest, as something to grow hair on and to keep it out of.

    Args:
        vertices: float32 (V, 3), the head's vertices.
        head: The head.

    Attributes:
        canonical: float32 (S, 3), of the skin's vertices.
        index: int32 (S,), their rows among the head's vertices.
    """

    def __init__(self, vertices: Floats, head: Head) -> None:
        corners = head.triangles[head.part == SKIN]
        used = np.unique(corners)
        normals = vertex_normals(
            np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(corners, np.int32)
        )[used]
        # Ears are thin and folded: nothing gets between them and the head, so they push sideways.
        ears = head.masks["ears"][used] > 0.3
        side = np.sign(vertices[used, 0])[:, None] * floats([1, 0, 0])
        normals[ears] = side[ears]
        self.index = used.astype(np.int32)
        self.vertices = np.asarray(vertices, np.float32)[used]
        self.canonical = np.asarray(head.canonical, np.float32)[used]
        self.normals = normals
        self._tree = cKDTree(self.vertices)

    def at(self, points: Reals) -> tuple[Ints, Floats, Floats]:
        """Return the nearest skin vertex, the normal and the height above the skin of points.

        Args:
            points: float32 (..., 3).

        Returns:
            int (...) rows of `canonical` and `index`, float32 (..., 3) unit normals, float32
            (...) heights in decimetres, negative inside.
        """
        found = self._tree.query(points, 4)
        distance, near = np.asarray(found[0]), np.asarray(found[1], np.int32)
        weight = 1 / (distance**2 + 1e-4)
        weight = (weight / weight.sum(-1, keepdims=True)).astype(np.float32)
        normal = unit((weight[..., None] * self.normals[near]).sum(-2))
        base = (weight[..., None] * self.vertices[near]).sum(-2)
        return near[..., 0], normal, ((points - base) * normal).sum(-1)

    def to_canonical(self, points: Floats, near: Ints) -> Floats:
        """Return where points would be over the head's canonical shape."""
        return self.canonical[near] + (points - self.vertices[near])


def floats(values: Sequence[float] | Sequence[Sequence[float]]) -> Floats:
    """Return a float32 array of numbers."""
    return np.array(values, np.float32)


def unit(vectors: Reals) -> Floats:
    """Return vectors (..., 3) at length 1; those of no length stay 0."""
    length = np.sqrt((vectors**2).sum(-1, keepdims=True))
    return (vectors / np.maximum(length, 1e-9)).astype(np.float32)


@lru_cache(maxsize=4)
def pool(head: Head, size: int = 2000, place: str = "scalp") -> tuple[Ints, Floats, Floats]:
    """Return places on the skin of the head, so ordered that any first ones are evenly spread.

    Args:
        head: The head.
        size: How many.
        place: "scalp", "jaw" or "lip" (the upper one).

    Returns:
        int32 (size, 3) corners, float32 (size, 3) their weights and float32 (size, 3) canonical
        positions.
    """
    corners = head.triangles[head.part == SKIN]
    points = head.canonical[corners].astype(np.float64)
    middle = points.mean(1).astype(np.float32)
    hairy = _hairy(middle, place)
    corners, points = corners[hairy], points[hairy]
    area = np.linalg.norm(
        np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1
    )
    rng = np.random.default_rng(5)
    chosen = np.searchsorted(np.cumsum(area), rng.random(3 * size) * area.sum())
    chosen = np.minimum(chosen, len(area) - 1)
    weights = rng.dirichlet([1, 1, 1], len(chosen))
    places = (weights[..., None] * points[chosen]).sum(1)
    order = _spread(places, size)
    return (
        corners[chosen[order]].astype(np.int32),
        weights[order].astype(np.float32),
        places[order].astype(np.float32),
    )


def _hairy(points: Floats, place: str) -> NDArray[np.bool_]:
    """Return which canonical points are where hair may grow."""
    x, y, z = points.T
    if place == "lip":
        return (np.abs(x) < 0.40) & (y > 6.55) & (y < 6.92) & (z > 1.1)
    if place == "jaw":
        return (y > 5.85) & (y < 7.25) & (z > 0.55)
    return field(points, Line(front=-0.1, sideburns=0.1, nape=-0.1)) > -0.1


def _spread(places: NDArray[np.float64], size: int) -> Ints:
    """Take the place farthest from all that were taken before, again and again."""
    gap = np.full(len(places), np.inf)
    order = np.zeros(size, np.int32)
    for k in range(1, size):
        gap = np.minimum(gap, ((places - places[order[k - 1]]) ** 2).sum(1))
        order[k] = gap.argmax()
    return order


@dataclass(frozen=True, eq=False)
class Comb:
    """How strands grow.

    Attributes:
        flow: Gives the wanted direction, float32 (n, 3), at canonical positions (n, 3).
        lift: How upright the first step is, 0 flat to 1.
        inertia: How much a step keeps the direction of the one before.
        gravity: Weight of straight down, from the second third of the strand on.
        hold: How strongly a strand is drawn back to its height over the skin, 0 to 1.
        wander: How much a strand leaves the flow by chance.
        cling: How much of a wish to leave the skin is ignored, 0 to 1.
    """

    flow: Callable[[Floats], Floats]
    lift: float = 0.3
    inertia: float = 0.8
    gravity: float = 0.0
    hold: float = 0.5
    wander: float = 0.12
    cling: float = 1.0


def comb(
    surface: Surface,
    start: Reals,
    length: Reals,
    height: Reals,
    how: Comb,
    rng: np.random.Generator,
    base: Reals | float = 0.0,
    steps: int = 20,
) -> Floats:
    """Grow the middle lines of strands.

    Args:
        surface: What they grow on and stay out of.
        start: float32 (n, 3), on the skin or on what lies on it.
        length: float32 (n,), decimetres.
        height: float32 (n,), how far above its base a strand lies once it has risen.
        how: The way they are combed.
        rng: For their differences.
        base: float32 (n,) or one number, height over the skin of what they start on.
        steps: Of equal length.

    Returns:
        float32 (n, steps + 1, 3).
    """
    near, normal, _ = surface.at(start)
    own = (rng.normal(size=start.shape) * how.wander).astype(np.float32)
    wish = _along_skin(how.flow(surface.to_canonical(start, near)) + own, normal, how.cling)
    direction = unit(wish * (1 - how.lift) + normal * how.lift)
    stride = (length / steps)[:, None].astype(np.float32)
    points = [start.astype(np.float32)]
    risen = np.minimum(0.35 * length, 0.3)
    down = floats([0, -1, 0])
    for k in range(steps):
        along = (k + 1) / steps
        weight = how.gravity * min(1.0, 0.5 + 1.2 * along)
        direction = unit(how.inertia * direction + (1 - how.inertia) * wish + weight * down)
        here = points[-1] + direction * stride
        near, normal, over = surface.at(here)
        wanted = base + height * np.minimum(1, (k + 1) * stride[:, 0] / risen)
        push = np.where(over < wanted, wanted - over, how.hold * (wanted - over))
        push = np.where(over > base + 3 * height + 0.35, 0, push)
        here = here + normal * np.clip(push, -0.6 * stride[:, 0], 0.3)[:, None]
        direction = unit(here - points[-1])
        wish = _along_skin(how.flow(surface.to_canonical(here, near)) + own, normal, how.cling)
        points.append(here.astype(np.float32))
    return np.stack(points, 1)


def _along_skin(wish: Floats, normal: Floats, cling: float) -> Floats:
    outward = np.maximum((wish * normal).sum(1, keepdims=True), 0)
    return unit(wish - cling * outward * normal)


def cut(lines: Floats, beyond: NDArray[np.bool_]) -> Floats:
    """Return where each strand ends, float32 (n,), in steps: before its first point `beyond`.

    Args:
        lines: float32 (n, K + 1, 3).
        beyond: bool (n, K + 1), points that a strand must not reach.
    """
    last = lines.shape[1] - 1
    found = beyond.any(1)
    return np.where(found, np.maximum(beyond.argmax(1) - 1, 0), last).astype(np.float32)


def calm(lines: Floats, times: int = 2) -> Floats:
    """Return the strands without the small kinks that the head's vertices make."""
    lines = lines.copy()
    for _ in range(times):
        lines[:, 1:-1] = 0.25 * lines[:, :-2] + 0.5 * lines[:, 1:-1] + 0.25 * lines[:, 2:]
    return lines


def resample(lines: Floats, end: Floats, segments: int) -> Floats:
    """Return the strands up to their ends, float32 (n, segments + 1, 3)."""
    at = np.linspace(0, 1, segments + 1, dtype=np.float32)[None] * end[:, None]
    low = np.minimum(at.astype(np.int64), lines.shape[1] - 2)
    part = (at - low)[..., None].astype(np.float32)
    rows = np.arange(len(lines))[:, None]
    return lines[rows, low] * (1 - part) + lines[rows, low + 1] * part


def ribbons(
    lines: Floats,
    across: Floats,
    width: Floats,
    shade: Floats,
    anchor: Ints,
    turn: Floats | None = None,
    tip: float = 0.2,
    first: float = 0.0,
    root: Floats | float = 0.7,
) -> Mesh:
    """Make a flat ribbon along every strand.

    Args:
        lines: float32 (n, S + 1, 3).
        across: float32 (n, S + 1, 3), the direction of the width; made square to the strand.
        width: float32 (n,), at the widest place, decimetres.
        shade: float32 (n,).
        anchor: int32 (n,), of the roots.
        turn: float32 (n, S + 1); 1 where None.
        tip: Width of the tip as a share of the widest place.
        first: How far along the strand the root is said to be: short hair is no darker there.
        root: float32 (n,) or one number, width of the root as a share of the widest place.

    Returns:
        The mesh, of 2 S triangles a ribbon.
    """
    n, points = lines.shape[:2]
    tangent = unit(np.gradient(lines, axis=1)) if n else np.zeros_like(lines)
    side = unit(across - (across * tangent).sum(-1, keepdims=True) * tangent)
    along = np.linspace(0, 1, points, dtype=np.float32)
    roots = np.broadcast_to(np.asarray(root, np.float32), (n,))[:, None]
    profile = (roots + (1 - roots) * smooth(0.0, 0.35, along)) * (1 - (1 - tip) * along**2.5)
    half = (0.5 * width[:, None] * profile)[..., None] * side
    vertices = np.stack([lines - half, lines + half], 2).reshape(-1, 3)
    said = first + (1 - first) * along
    uv = np.stack(np.broadcast_arrays(said[:, None], floats([-1, 1])), -1)
    cell = np.arange(n)[:, None] * points + np.arange(points - 1)
    a, b, c, d = 2 * cell, 2 * cell + 1, 2 * cell + 2, 2 * cell + 3
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], -2).reshape(-1, 3)
    each = 2 * points
    turns = np.ones((n, points), np.float32) if turn is None else turn
    return Mesh(
        vertices=vertices.astype(np.float32),
        triangles=triangles.astype(np.int32),
        uv=np.tile(uv.reshape(-1, 2), (n, 1)).astype(np.float32),
        tangent=np.repeat(tangent, 2, 1).reshape(-1, 3).astype(np.float32),
        shade=np.repeat(np.clip(shade, 0.6, 1.2), each).astype(np.float32),
        turn=np.repeat(turns.reshape(-1), 2).astype(np.float32),
        anchor=np.repeat(anchor, each).astype(np.int32),
    )


def tube(
    line: Floats,
    radius: Floats,
    sides: int,
    shade: float = 1.0,
    anchor: int = -1,
    flat: float = 1.0,
    up: tuple[float, float, float] = (0, 1, 0),
) -> Mesh:
    """Make a closed tube along a curve.

    Args:
        line: float32 (K, 3).
        radius: float32 (K,), decimetres.
        sides: Of the cross-section.
        shade: Brightness.
        anchor: The head's vertex it follows; -1 for none.
        flat: Thickness square to `up` and to the curve, as a share of that along `up`.
        up: Direction of the first axis of the cross-section.

    Returns:
        The mesh, of 2 (K - 1) sides triangles.
    """
    tangent = unit(np.gradient(line, axis=0))
    first = floats(up) - (tangent * floats(up)).sum(1, keepdims=True) * tangent
    first = unit(first)
    second = np.cross(tangent, first)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False, dtype=np.float32)
    ring = (
        np.cos(angle)[None, :, None] * first[:, None]
        + flat * np.sin(angle)[None, :, None] * second[:, None]
    )
    vertices = line[:, None] + radius[:, None, None] * ring
    k, j = np.mgrid[: len(line) - 1, :sides]
    a, b = k * sides + j, k * sides + (j + 1) % sides
    first_half, second_half = (
        np.stack([a, b, a + sides], -1),
        np.stack([b, b + sides, a + sides], -1),
    )
    along = np.linspace(0, 1, len(line), dtype=np.float32)
    count = len(line) * sides
    uv = np.stack(np.broadcast_arrays(along[:, None], np.cos(angle)[None]), -1)
    return Mesh(
        vertices=vertices.reshape(-1, 3).astype(np.float32),
        triangles=np.concatenate([first_half, second_half]).reshape(-1, 3).astype(np.int32),
        uv=uv.reshape(-1, 2).astype(np.float32),
        tangent=np.repeat(tangent, sides, 0).astype(np.float32),
        shade=np.full(count, shade, np.float32),
        turn=np.ones(count, np.float32),
        anchor=np.full(count, anchor, np.int32),
    )


def join(meshes: list[Mesh]) -> Mesh:
    """Return one mesh of several."""
    if not meshes:
        return empty()
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    shifted = [m.triangles + s for m, s in zip(meshes, starts, strict=True)]
    return Mesh(
        vertices=np.concatenate([m.vertices for m in meshes]),
        triangles=np.concatenate(shifted).astype(np.int32),
        uv=np.concatenate([m.uv for m in meshes]),
        tangent=np.concatenate([m.tangent for m in meshes]),
        shade=np.concatenate([m.shade for m in meshes]),
        turn=np.concatenate([m.turn for m in meshes]),
        anchor=np.concatenate([m.anchor for m in meshes]),
    )


def empty() -> Mesh:
    """Return a mesh of nothing."""
    return Mesh(
        vertices=np.zeros((0, 3), np.float32),
        triangles=np.zeros((0, 3), np.int32),
        uv=np.zeros((0, 2), np.float32),
        tangent=np.zeros((0, 3), np.float32),
        shade=np.zeros(0, np.float32),
        turn=np.zeros(0, np.float32),
        anchor=np.zeros(0, np.int32),
    )
