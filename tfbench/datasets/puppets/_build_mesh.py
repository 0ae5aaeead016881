"""The puppets' head while it is built: its mesh, its symmetry and its rings of edges."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tfbench.core.errors import InputError

__all__ = ["Mesh", "smooth"]

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

SKIN, UPPER_TEETH, LOWER_TEETH, TONGUE, LASHES, MOUTH_CAVITY, EYE_CAVITY = 0, 3, 4, 5, 6, 7, 8
EYES = (1, 2)
MIDDLE = 0.004
"""A vertex this near to the plane x = 0 lies in the middle, decimetres."""


def smooth(low: float, high: float, x: Doubles) -> Doubles:
    """Return 0 below `low`, 1 above `high` and a smooth step between; low > high steps down."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


@dataclass(eq=False)
class Mesh:
    """The head while it is built; double precision, decimetres.

    Attributes:
        canonical: (V, 3), the base mesh.
        quads: (Q, 4).
        triangles: (F, 3).
        part: (F,), the part of each triangle.
        masks: (V,) each.
        neutral: (V, 3).
        identity: Directions (V, 3) by name.
        expression: Directions (V, 3) by name.
        turn: (V,), how much of the head's rotation a vertex follows.
        pivot: What the head turns about.
    """

    canonical: Doubles
    quads: Integers
    triangles: Integers
    part: Integers
    masks: dict[str, Doubles]
    neutral: Doubles = field(init=False)
    identity: dict[str, Doubles] = field(default_factory=dict)
    expression: dict[str, Doubles] = field(default_factory=dict)
    turn: Doubles = field(init=False)
    pivot: tuple[float, float, float] = (0.0, -1.0, 0.1)

    def __post_init__(self) -> None:
        self.neutral = np.zeros_like(self.canonical)
        self.turn = np.ones(len(self.canonical))

    def vertex_part(self) -> Integers:
        """Return (V,) the part of each vertex; a cavity's rim belongs to the skin."""
        found = np.full(len(self.canonical), 99)
        np.minimum.at(found, self.triangles.ravel(), np.repeat(self.part, 3))
        return found

    @cached_property
    def mirror(self) -> Integers:
        """(V,) the vertex on the other side of the face; itself in the middle."""
        keys = np.round(self.canonical * 1e4).astype(np.int64)
        keys[np.abs(self.canonical[:, 0]) < MIDDLE, 0] = 0
        part = self.vertex_part()
        side = np.where(part == 2, 1, part)
        pairs = list(zip(keys, side, strict=True))
        own = {(*map(int, key), int(p)): n for n, (key, p) in enumerate(pairs)}
        try:
            found = [own[(-int(x), int(y), int(z), int(p))] for (x, y, z), p in pairs]
        except KeyError as error:
            raise InputError(f"the base mesh is not symmetric: nothing mirrors {error}") from None
        return np.array(found)

    def mirrored(self, moved: Doubles) -> Doubles:
        """Return a displacement (V, 3) of the other side of the face."""
        return moved[self.mirror] * np.array([-1, 1, 1])

    @cached_property
    def sides(self) -> dict[int, dict[int, set[int]]]:
        """The quads at each edge: `sides[a][b]` are those that a-b bounds."""
        found: dict[int, dict[int, set[int]]] = {}
        for n, quad in enumerate(self.quads.tolist()):
            for a, b in zip(quad, quad[1:] + quad[:1], strict=True):
                found.setdefault(a, {}).setdefault(b, set()).add(n)
                found.setdefault(b, {}).setdefault(a, set()).add(n)
        return found

    def ring(self, first: int, second: int, longest: int = 80) -> list[int]:
        """Follow edges straight on until they come back to the first vertex.

        Returns:
            The vertices of the ring, or nothing where the path meets a vertex that has not four
            edges, or does not come back.
        """
        path = [first, second]
        while len(path) < longest:
            around = self.sides[path[-1]]
            if len(around) != 4:
                return []
            last = path[-2]
            onward = [n for n in around if n != last and not around[n] & around[last]]
            if len(onward) != 1:
                return []
            if onward[0] == first:
                return path
            path.append(onward[0])
        return []

    @cached_property
    def edges(self) -> Integers:
        """(E, 2), each edge of the mesh once."""
        pairs = np.concatenate([self.triangles[:, [0, 1]], self.triangles[:, [1, 2]]])
        pairs = np.sort(np.concatenate([pairs, self.triangles[:, [2, 0]]]), axis=1)
        return np.unique(pairs, axis=0)

    def spread(self, rows: Integers, values: Doubles, reach: int) -> Doubles:
        """Continue displacements of some vertices smoothly into the mesh around them.

        Args:
            rows: (n,), the vertices whose displacement is given.
            values: (n, 3).
            reach: After how many edges nothing moves any more.

        Returns:
            (V, 3): each vertex within reach moves as the mean of its neighbours do.
        """
        a, b = self.edges.T
        count = len(self.canonical)
        distance = np.full(count, reach)
        distance[rows] = 0
        for step in range(1, reach):
            near = np.zeros(count, bool)
            near[b[distance[a] == step - 1]] = near[a[distance[b] == step - 1]] = True
            distance[near] = np.minimum(distance[near], step)
        free = (distance > 0) & (distance < reach)
        touching = free[a] | free[b]
        a, b = a[touching], b[touching]
        degree = np.maximum(np.bincount(a, minlength=count) + np.bincount(b, minlength=count), 1)
        moved = np.zeros((count, 3))
        moved[rows] = values
        for _ in range(200):
            for k in range(3):
                total = np.bincount(a, moved[b, k], count) + np.bincount(b, moved[a, k], count)
                moved[free, k] = (total / degree)[free]
        return moved

    def normals(self, vertices: Doubles) -> Doubles:
        """Return (V, 3) unit normals."""
        a, b, c = (vertices[self.triangles[:, k]] for k in range(3))
        faces = np.cross(b - a, c - a)
        rows = self.triangles.T.ravel()
        total = [np.bincount(rows, np.tile(faces[:, k], 3), len(vertices)) for k in range(3)]
        summed = np.stack(total, 1)
        length = np.sqrt((summed**2).sum(1, keepdims=True))
        return np.asarray(summed / np.maximum(length, 1e-12))
