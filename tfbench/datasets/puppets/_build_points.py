"""The 68 points of iBUG on the puppets' head, found while it is built (`_build_head`).

Every point is a vertex. Rules, in the canonical head (the jaw's in the neutral one); each is
applied to the person's left side and mirrored:

- jaw: rays from the middle of the face, evenly spaced from the height of the eyes down to the chin;
  on each the outermost point that still faces the viewer and is not of the neck;
- brows: along the line that the textures paint them on, nearest vertex in the frontal view;
- nose: down the middle from the height of the eyes to the tip; below it the deepest place in the
  middle over the lip, the wing that widening the nostrils moves most, and a place between;
- eyes: the corners, and a third and two thirds of the way between, of the lids' edges (the rim that
  a blink closes);
- lips: the inner points lie on the rim where the lips touch, above and below partners, so that
  their distance is 0 where the mouth is closed; the outer ones on the border of the red.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets._build_mesh import EYES, MIDDLE, SKIN, Mesh
from tfbench.datasets.puppets._build_repairs import Rim, lids, lips
from tfbench.datasets.puppets.texture import brow_height

__all__ = ["find"]

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

BELOW_EYES = 0.28
"""How far below the eyes the rays of the jaw start, decimetres."""
FIRST_RAY = 22.0
"""Degrees above the horizontal of the jaw's ends."""
EDGE = 0.15
"""Cosine between the skin's normal and the view at which the face ends."""
JAW_HEIGHT, JAW_FRONT, JAW_SLOPE = 6.15, 1.45, 0.33
"""The neck is what lies below this plane through the chin and the angles of the jaw, canonical."""
BROW = (0.10, 0.20, 0.31, 0.42, 0.52)
"""Distances of the brow's points from the middle."""


def find(mesh: Mesh) -> Integers:
    """Return (68,) the vertex of each point, in iBUG's order: from the person's right to the left.

    The head must have its eye cavities marked.
    """
    front = _Front(mesh)
    jaw = [front.edge(angle) for angle in np.linspace(FIRST_RAY, -90, 9)]
    brow = [front.nearest(x, _brow_line(x)) for x in BROW]
    ridge, base = _nose(mesh, front)
    eye = _eye(mesh)
    outer, inner = _mouth(mesh)
    other = mesh.mirror
    right_eye = [int(other[v]) for v in (eye[3], eye[2], eye[1], eye[0], eye[5], eye[4])]
    points = [
        *(int(other[v]) for v in jaw[:8]),
        *jaw[::-1],
        *(int(other[v]) for v in brow[::-1]),
        *brow,
        *ridge,
        *(int(other[v]) for v in base[:0:-1]),
        *base,
        *right_eye,
        *eye,
        *outer,
        *inner,
    ]
    return np.array(points)


class _Front:
    """The visible skin as a viewer in front of the head sees it."""

    def __init__(self, mesh: Mesh) -> None:
        self.place, self.rest = mesh.canonical, mesh.neutral
        self.turned = mesh.normals(mesh.neutral)[:, 2]
        eyes = np.isin(mesh.vertex_part(), EYES)
        self.middle = mesh.neutral[eyes, 1].mean() - BELOW_EYES
        self.facing = mesh.normals(mesh.canonical)[:, 2]
        ears = mesh.masks["ears"] > 0.1
        self.skin = (mesh.vertex_part() == SKIN) & ~ears & (self.place[:, 0] > -MIDDLE)

    def nearest(self, x: float, y: float) -> int:
        """Return the skin's vertex in front that looks nearest to a place."""
        far = np.hypot(self.place[:, 0] - x, self.place[:, 1] - y)
        seen = self.skin & (self.facing > EDGE) & (self.place[:, 2] > 0.4)
        return int(np.where(seen, far, np.inf).argmin())

    def edge(self, degrees: float) -> int:
        """Return the vertex where the face ends in a direction from its middle."""
        angle = np.radians(degrees)
        x, y = self.rest[:, 0], self.rest[:, 1] - self.middle
        along = x * np.cos(angle) + y * np.sin(angle)
        across = np.abs(x * np.sin(angle) - y * np.cos(angle))
        jaw = self.place[:, 1] > JAW_HEIGHT + JAW_SLOPE * (JAW_FRONT - self.place[:, 2])
        near = self.skin & jaw & (self.turned > EDGE) & (across < 0.07) & (self.rest[:, 2] > 0.2)
        if degrees == -90:
            near &= np.abs(x) < MIDDLE
        return int(np.where(near, along - across, -np.inf).argmax())


def _brow_line(x: float) -> float:
    """The line of the middle brow that `texture` paints, canonical."""
    return float(brow_height(np.array(x, np.float32), 0.0, 0.5))


def _nose(mesh: Mesh, front: _Front) -> tuple[list[int], list[int]]:
    """Return the four points down the bridge, and three at the base from the middle to the left."""
    place = mesh.canonical
    middle = np.nonzero((np.abs(place[:, 0]) < MIDDLE) & front.skin & (place[:, 2] > 1.2))[0]
    tip = int(middle[place[middle, 2].argmax()])
    eyes = place[np.unique(mesh.triangles[np.isin(mesh.part, EYES)]), 1].mean()
    heights = np.linspace(eyes, place[tip, 1], 4)
    ridge = [int(middle[np.abs(place[middle, 1] - height).argmin()]) for height in heights]
    lip = middle[(place[middle, 1] < place[tip, 1] - 0.08) & (place[middle, 1] > 6.70)]
    under = int(lip[place[lip, 2].argmin()])
    moved = mesh.identity["nose-flaring"][:, 0]
    low = front.skin & (front.facing > 0) & (place[:, 1] < place[under, 1] + 0.08)
    wing = int(np.where(low, moved, -np.inf).argmax())
    between = front.nearest(place[wing, 0] / 2, (place[under, 1] + place[wing, 1]) / 2)
    return ridge, [under, between, wing]


def _eye(mesh: Mesh) -> list[int]:
    """Return the left eye's six points: inner corner, two above, outer corner, two below."""
    rim = lids(mesh, EYES[0])
    x = mesh.canonical[:, 0]
    inner, outer = x[rim.upper[0]], x[rim.upper[-1]]

    def at(share: float) -> int:
        return int(np.abs(x[rim.upper] - inner - share * (outer - inner)).argmin())

    first, second = at(1 / 3), at(2 / 3)
    above = [int(rim.upper[n]) for n in (0, first, second, -1)]
    return [*above, int(rim.lower[second]), int(rim.lower[first])]


def _mouth(mesh: Mesh) -> tuple[list[int], list[int]]:
    """Return the twelve outer and the eight inner points of the lips."""
    rim = lips(mesh)
    place = mesh.canonical
    ring = _red_border(mesh, rim)
    x, y = place[ring, 0], place[ring, 1]
    corner = place[ring[int(x.argmax())], 1]

    def on(share: float, upper: bool) -> int:
        half = (y > corner) == upper
        return int(ring[np.where(half, np.abs(x - share * x.max()), np.inf).argmin()])

    peak, left = on(0.27, True), int(ring[int(x.argmax())])
    above = [on(0.0, True), peak, on(0.65, True)]
    below = [on(0.72, False), on(0.38, False), on(0.0, False)]
    other = [int(v) for v in mesh.mirror]
    outer = [other[left], other[above[2]], other[above[1]], *above, left, *below]
    outer += [other[below[1]], other[below[0]]]
    return outer, _inner_mouth(mesh, rim)


def _red_border(mesh: Mesh, rim: Rim) -> Integers:
    """Return the ring around the mouth that lies on the border of the red of the lips."""
    place, red = mesh.canonical, mesh.masks["lips"]
    best: tuple[float, list[int]] = (np.inf, [])
    front = place[rim.partner, 2].max() - 0.2
    middle = (np.abs(place[:, 0]) < MIDDLE) & (place[:, 2] > front) & (mesh.vertex_part() == SKIN)
    for start in np.nonzero(middle)[0].tolist():
        for onward in mesh.sides[start]:
            ring = mesh.ring(start, onward) if place[onward, 0] > MIDDLE else []
            if len(ring) == len(rim.upper) + len(rim.lower) + 2:
                best = min(best, (abs(float(red[ring].mean()) - 0.75), ring))
    return np.array(best[1])


def _inner_mouth(mesh: Mesh, rim: Rim) -> list[int]:
    x = mesh.canonical[:, 0]
    ring = mesh.ring(int(rim.upper[0]), int(rim.upper[1]))
    corner = max(ring, key=lambda v: x[v])
    side = int(np.abs(x[rim.partner] - 0.45 * x[corner]).argmin())
    middle = int(np.abs(x[rim.partner]).argmin())
    above = [int(rim.partner[n]) for n in (middle, side)]
    below = [int(rim.lower[n]) for n in (side, middle)]
    other = [int(v) for v in mesh.mirror]
    return [other[corner], other[above[1]], *above, corner, *below, other[below[0]]]
