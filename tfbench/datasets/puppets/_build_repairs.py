"""What the puppets' head needs before it can talk (`_build_head`).

The source's lips touch only roughly, its lids leave slits, its tongue fills the mouth and its teeth
stay behind when a mouth moves. All repairs change the stored arrays, so the head stays linear and
its coefficients exact:

- at rest, and for every identity, the rims of the lips coincide;
- `jawOpen` and `mouthClose` at equal weights leave them coinciding; the expressions that do not
  part lips keep them level;
- `eyeBlink` brings the lids' edges together, and a little past each other (`OVERLAP`), so that
  identities with larger eyes close them too; the eyes' opening differs less (`NARROWER`);
- teeth and tongue follow the lips of the identity, and the tongue lies low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets._build_mesh import (
    EYE_CAVITY,
    EYES,
    LOWER_TEETH,
    MIDDLE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
    Mesh,
    smooth,
)

__all__ = ["Rim", "lids", "lips", "repair"]

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVEL = 0.5
"""Where lips meet that are brought level: halfway between the upper and the lower one's ways."""
SIDES = ("Left", "Right")
CLOSED = {
    **dict.fromkeys(("jawForward", "jawLeft", "jawRight", "mouthPucker", "cheekPuff"), LEVEL),
    **dict.fromkeys(("mouthLeft", "mouthRight", "mouthRollLower", "mouthRollUpper"), LEVEL),
    **{f"mouth{n}{side}": LEVEL for n in ("Smile", "Frown", "Dimple") for side in SIDES},
    **{f"mouth{n}{side}": LEVEL for n in ("Stretch", "Press") for side in SIDES},
    **{f"noseSneer{side}": LEVEL for side in SIDES},
    "mouthShrugLower": 1.0,
    "mouthShrugUpper": 0.0,
}
"""Expressions that leave closed lips closed, each with the share of the lower lip's way."""
PARTED = ("mouthFunnel", *(f"mouth{n}{side}" for n in ("UpperUp", "LowerDown") for side in SIDES))
"""Expressions that open the lips, and must cross them nowhere."""
SLIPPING = ("chin-prognathism",)
"""Identity directions whose lips may lie one before the other."""
OVERLAP = 0.012
"""How far a blink moves the upper lid past the lower one, decimetres."""
NARROWER = 0.5
"""How much of an identity's difference in the height of the eyes' opening is taken away; a blink
is the same for every identity and must close them all."""
LIP_REACH, LID_REACH = 9, 7
SEATS = {UPPER_TEETH: (-0.055, -0.08), LOWER_TEETH: (-0.012, -0.135), TONGUE: None}
"""Where the front teeth's edges stand, above and before the rim of the lips, decimetres."""


@dataclass(frozen=True, eq=False)
class Rim:
    """The edges of two lips, or of two lids, that can touch.

    Attributes:
        upper: (n,) vertices of the upper edge without its corners, from smaller to larger x.
        lower: (m,) vertices of the lower edge.
        partner: (m,) for each vertex of the lower edge the vertex of the upper one that it meets.
        free: (n - m,) vertices of the upper edge that are nobody's partner.
        between: (n - m, 2) for each of them its neighbours among partners and corners.
        share: (n - m,) how far it lies from the first to the second.
    """

    upper: Integers
    lower: Integers
    partner: Integers
    free: Integers
    between: Integers
    share: Doubles

    def gap(self, moved: Doubles) -> Doubles:
        """Return (m, 3), how much farther the upper edge moves than the lower one."""
        return moved[self.partner] - moved[self.lower]

    def closing(self, moved: Doubles, share: float) -> tuple[Integers, Doubles]:
        """Return vertices, and what to add to a displacement (V, 3), so that the edges meet.

        Args:
            moved: The displacement, or positions.
            share: Where they meet: 0 on the upper edge's way, 1 on the lower edge's.
        """
        meet = moved.copy()
        contact = (1 - share) * moved[self.partner] + share * moved[self.lower]
        meet[self.partner] = meet[self.lower] = contact
        a, b = meet[self.between[:, 0]], meet[self.between[:, 1]]
        meet[self.free] = a + self.share[:, None] * (b - a)
        rows = np.concatenate([self.upper, self.lower])
        return rows, meet[rows] - moved[rows]


def repair(mesh: Mesh) -> None:
    """Change the head in place."""
    _symmetrise(mesh)
    mouth, eyes = lips(mesh), [lids(mesh, eye) for eye in EYES]
    _mark_eye_cavity(mesh, eyes)
    _close_lips(mesh, mouth)
    _close_lids(mesh, eyes)
    _seat_teeth(mesh, mouth)
    _lower_tongue(mesh)
    place = mesh.canonical
    skin = mesh.vertex_part() == SKIN
    mesh.masks["scalp"] = _scalp(place) * skin * (1 - np.clip(2 * mesh.masks["ears"], 0, 1))
    mesh.turn = np.where(mesh.vertex_part() > 0, 1, _turn(place))


def _turn(place: Doubles) -> Doubles:
    """Return how much each place follows the head: it twists along the neck, shoulders stay."""
    x, y, z = place.T
    neck = smooth(5.55, 6.40, y + 0.25 * np.clip(z, 0, 1.5))
    return neck * np.maximum(smooth(6.15, 6.45, y), smooth(0.95, 0.5, np.abs(x)))


def _symmetrise(mesh: Mesh) -> None:
    """Make left and right exact mirrors; the source rounds them apart."""
    mesh.neutral = (mesh.neutral + mesh.mirrored(mesh.neutral)) / 2
    for name, moved in mesh.identity.items():
        mesh.identity[name] = (moved + mesh.mirrored(moved)) / 2
    for name, moved in list(mesh.expression.items()):
        if name.endswith("Right"):
            continue
        other = name.removesuffix("Left") + "Right" if name.endswith("Left") else name
        both = (moved + mesh.mirrored(mesh.expression[other])) / 2
        mesh.expression[name], mesh.expression[other] = both, mesh.mirrored(both)


def lips(mesh: Mesh) -> Rim:
    """Find the rim where the lips touch: of the rings in the red of the lips, the lowest above."""
    place, red = mesh.canonical, mesh.masks["lips"]
    found = []
    for start in np.nonzero((np.abs(place[:, 0]) < MIDDLE) & (red > 0.9))[0].tolist():
        for onward in mesh.sides[start]:
            ring = mesh.ring(start, onward) if place[onward, 0] > MIDDLE else []
            middle = [v for v in ring if abs(place[v, 0]) < MIDDLE]
            if len(middle) == 2 and red[ring].mean() > 0.95 and middle[0] == start:
                found.append((max(place[middle, 1]), min(middle, key=lambda v: place[v, 1]), ring))
    ring = min(found)[2]
    return _cut_at_corners(mesh, ring)


def lids(mesh: Mesh, eye: int) -> Rim:
    """Find the edge of the lids: the narrowest ring around an eyeball that is outside of it."""
    ball = mesh.canonical[np.unique(mesh.triangles[mesh.part == eye])]
    centre, radius = (ball.min(0) + ball.max(0)) / 2, np.ptp(ball[:, 0]) / 2
    away = np.sqrt(((mesh.canonical - centre) ** 2).sum(1)) / radius
    skin = (mesh.vertex_part() == SKIN) & (away < 1.6) & (mesh.canonical[:, 2] > centre[2])
    found: dict[tuple[int, ...], tuple[float, list[int]]] = {}
    for start in np.nonzero(skin)[0].tolist():
        for onward in mesh.sides[start]:
            ring = mesh.ring(start, onward)
            if ring and away[ring].min() > 1.05:
                x, y = (mesh.canonical[ring] - centre)[:, :2].T
                area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
                found[tuple(sorted(ring))] = (float(area), ring)
    return _cut_in_pairs(mesh, min(found.values())[1])


def _cut_at_corners(mesh: Mesh, ring: list[int]) -> Rim:
    """Cut a ring at its two outermost vertices, and say which of its upper half meet the lower."""
    place = mesh.canonical
    start = int(place[ring, 0].argmin())
    ring = ring[start:] + ring[:start]
    end = int(place[ring, 0].argmax())
    upper, lower = _sorted_halves(mesh, ring[1:end], ring[:end:-1])
    partner = np.array([upper[np.abs(place[upper, 0] - place[v, 0]).argmin()] for v in lower])
    nodes = np.array([ring[0], *partner, ring[end]])
    free = ~np.isin(upper, nodes)
    at = np.cumsum(~free)[free]
    a, b = nodes[at], nodes[at + 1]
    share = (place[upper[free], 0] - place[a, 0]) / (place[b, 0] - place[a, 0])
    return Rim(upper, lower, partner, upper[free], np.stack([a, b], 1), share)


def _cut_in_pairs(mesh: Mesh, ring: list[int]) -> Rim:
    """Cut a ring at two opposite edges, such that the vertices above stand over those below."""
    half = len(ring) // 2
    x = mesh.canonical[ring, 0]

    def shear(turn: int) -> float:
        return float(np.abs(x - np.roll(x[::-1], turn)).sum())

    turn = min(range(len(ring)), key=shear)
    opposite = np.roll(np.arange(len(ring))[::-1], turn)
    start = next(n for n in range(len(ring)) if opposite[n] == (n - 1) % len(ring))
    ring = ring[start:] + ring[:start]
    upper, lower = _sorted_halves(mesh, ring[:half], ring[: half - 1 : -1])
    none = np.zeros(0, np.int64)
    return Rim(upper, lower, upper, none, none.reshape(0, 2), np.zeros(0))


def _sorted_halves(mesh: Mesh, one: list[int], other: list[int]) -> tuple[Integers, Integers]:
    """Return the upper and the lower half, both from the person's right to the left."""
    place = mesh.canonical
    halves = [
        half if place[half[0], 0] < place[half[-1], 0] else half[::-1] for half in (one, other)
    ]
    upper, lower = sorted(halves, key=lambda half: -float(place[half, 1].mean()))
    return np.array(upper), np.array(lower)


def _close_lips(mesh: Mesh, mouth: Rim) -> None:
    def add(moved: Doubles, share: float, axes: list[int]) -> None:
        rows, change = mouth.closing(moved, share)
        kept = np.zeros_like(change)
        kept[:, axes] = change[:, axes]
        moved += mesh.spread(rows, kept, LIP_REACH)

    add(mesh.neutral, LEVEL, [0, 1, 2])
    for name, moved in mesh.identity.items():
        add(moved, LEVEL, [1] if name in SLIPPING else [0, 1, 2])
    for name, share in CLOSED.items():
        add(mesh.expression[name], share, [1])
    for name in PARTED:
        moved = mesh.expression[name]
        crossing = mouth.gap(moved)[:, 1].clip(None, 0)
        rows = np.concatenate([mouth.partner, mouth.lower])
        change = np.zeros((len(rows), 3))
        change[:, 1] = np.concatenate([-crossing, crossing]) / 2
        moved += mesh.spread(rows, change, LIP_REACH)
    jaw = mesh.expression["jawOpen"]
    sealed = jaw + mesh.expression["mouthClose"]
    add(sealed, LEVEL, [0, 1, 2])
    mesh.expression["mouthClose"] = sealed - jaw


def _close_lids(mesh: Mesh, eyes: list[Rim]) -> None:
    for direction in mesh.identity.values():
        for eye in eyes:
            rows, change = eye.closing(direction, LEVEL)
            direction[:] += mesh.spread(rows, change * NARROWER, LID_REACH)
    for name, eye in zip(("eyeBlinkLeft", "eyeBlinkRight"), eyes, strict=True):
        moved = mesh.expression[name]
        shut = mesh.neutral + moved
        rows, change = eye.closing(shut, LEVEL)
        moved += mesh.spread(rows, change, LID_REACH)
        x = mesh.canonical[eye.upper, 0]
        along = (x - x.min()) / np.ptp(x)
        past = np.zeros((len(eye.upper), 3))
        past[:, 1] = -OVERLAP * np.sin(np.pi * along)
        past[:, 2] = 0.5 * OVERLAP * np.sin(np.pi * along)
        moved += mesh.spread(eye.upper, past, LID_REACH)


def _mark_eye_cavity(mesh: Mesh, eyes: list[Rim]) -> None:
    """Mark the socket: the skin behind the edges of the lids, as far as one can walk."""
    for eye, rim in zip(EYES, eyes, strict=True):
        edge = set(np.concatenate([rim.upper, rim.lower]).tolist())
        ball = mesh.canonical[np.unique(mesh.triangles[mesh.part == eye])]
        centre = (ball.min(0) + ball.max(0)) / 2
        near = ((mesh.canonical - centre) ** 2).sum(1)
        behind = np.where(
            mesh.vertex_part() == SKIN, near + 9 * (mesh.canonical[:, 2] > centre[2]), 99
        )
        todo = [int(behind.argmin())]
        inside = set(todo)
        while todo:
            fresh = [n for n in mesh.sides[todo.pop()] if n not in inside and n not in edge]
            inside.update(fresh)
            todo.extend(fresh)
        here = np.isin(mesh.triangles, sorted(inside)).any(1)
        mesh.part = np.where(here & (mesh.part == SKIN), EYE_CAVITY, mesh.part)


def _seat_teeth(mesh: Mesh, mouth: Rim) -> None:
    """Set the teeth behind the lips, and let them and the tongue follow every identity's lips."""
    part, side = mesh.vertex_part(), np.abs(mesh.canonical[:, 0])
    rim = mouth.partner[side[mouth.partner] < 0.13]
    for kind, seat in SEATS.items():
        rows = part == kind
        front = rows & (side < 0.06) if kind != TONGUE else rows
        for moved in mesh.identity.values():
            moved[rows] += (moved[rim].mean(0) - moved[front].mean(0)) * np.array([0, 1, 1])
        if seat:
            place = mesh.neutral[rows] * np.array([0.92, 1, 1])
            heights = mesh.neutral[front, 1]
            edge = heights.min() if kind == UPPER_TEETH else heights.max()
            lip = mesh.neutral[mouth.partner[side[mouth.partner] < MIDDLE][0]]
            shift = lip[1:] + np.array(seat) - (edge, mesh.neutral[front, 2].max())
            mesh.neutral[rows] = place + np.array([0, *shift])
    mesh.expression["mouthFunnel"][np.isin(part, (UPPER_TEETH, LOWER_TEETH))] = 0


def _lower_tongue(mesh: Mesh) -> None:
    """Make the tongue small and low at rest and tie it to the jaw; `tongueOut` undoes the first."""
    part = mesh.vertex_part()
    tongue = part == TONGUE
    jaw = mesh.expression["jawOpen"]
    jaw[tongue] = jaw[part == LOWER_TEETH].mean(0) * np.array([1, 1.05, 1])
    before = mesh.neutral[tongue]
    centre = before.mean(0)
    after = (before - centre) * np.array([0.92, 0.7, 0.9]) + centre + np.array([0, -0.1, -0.1])
    mesh.neutral[tongue] = after
    mesh.expression["tongueOut"][tongue] += before - after


def _scalp(place: Doubles) -> Doubles:
    """Return where hair can grow: behind a line over the forehead, the temples and the ears."""
    x, y, z = place.T
    front = smooth(7.90, 8.06, y + 0.10 * np.abs(x))
    side = smooth(0.62, 0.50, z) * smooth(6.55, 6.75, y - 0.55 * smooth(-0.1, 0.55, z))
    return np.maximum(front, side)
