"""Glasses: thin tubes fitted to the eyes, the nose and the ears of an identity.

Lenses are not drawn: clear glass is hardly seen at these sizes, and the eyes stay visible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfbench.core.errors import UnknownName
from tfbench.datasets.puppets.head import LEFT_EYE, RIGHT_EYE, Head
from tfbench.datasets.puppets.strands import Mesh, Surface, floats, join, tube

__all__ = ["GLASSES", "Frame", "build"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """The numbers of a frame; lengths in decimetres.

    Attributes:
        width: Of a lens.
        height: Of a lens.
        square: Exponent of the outline: 2 an ellipse, larger more rectangular.
        wire: Radius of the rim's tube.
        drop: How far the lens's middle is below the eye's.
        flare: How much the outer upper corners rise.
        narrow: How much narrower the lens gets toward the nose's tip, as a share.
        open_below: Whether the rim is on the upper half only.
    """

    width: float
    height: float
    square: float
    wire: float
    drop: float = 0.03
    flare: float = 0.0
    narrow: float = 0.0
    open_below: bool = False


GLASSES: dict[str, Frame] = {
    "round": Frame(0.46, 0.43, 2.0, 0.014),
    "rectangular": Frame(0.52, 0.32, 5.0, 0.018),
    "half_rim": Frame(0.52, 0.33, 4.0, 0.017, open_below=True),
    "thick": Frame(0.52, 0.38, 3.6, 0.034),
    "aviator": Frame(0.54, 0.44, 2.6, 0.012, drop=0.06, narrow=0.22),
    "cat_eye": Frame(0.53, 0.35, 2.8, 0.024, flare=0.07),
}
"""Each frame by its name."""


def build(style: str, vertices: Floats, head: Head) -> Mesh:
    """Fit glasses to an identity.

    Args:
        style: A name of `GLASSES`.
        vertices: float32 (V, 3), the identity's head at rest.
        head: The head.

    Returns:
        Rims, bridge and temples, fewer than 1,500 triangles; they turn with the head and follow
        no expression.

    Raises:
        UnknownName: If there is no such frame.
    """
    if style not in GLASSES:
        raise UnknownName(f"no glasses '{style}'; there are {', '.join(GLASSES)}")
    frame, surface = GLASSES[style], Surface(vertices, head)
    eyes = [_eye(vertices, head, part) for part in (LEFT_EYE, RIGHT_EYE)]
    outlines = [_outline(frame, eye, side) for eye, side in zip(eyes, (1, -1), strict=True)]
    plane = _clear(surface, np.concatenate(outlines))
    pieces = []
    for outline, side in zip(outlines, (1, -1), strict=True):
        rim = _bent(outline, plane)
        if frame.open_below:
            rim = rim[: len(rim) // 2 + 1]
        pieces.append(tube(rim, np.full(len(rim), frame.wire), 6, up=(0, 0, 1)))
        hinge = rim[np.argmax(side * rim[:, 0] + 0.4 * rim[:, 1])]
        pieces.append(_temple(frame, hinge, side, surface, vertices, head))
    pieces.append(_bridge(frame, outlines, plane, surface))
    return join(pieces)


def _eye(vertices: Floats, head: Head, part: int) -> Floats:
    """Return the middle of the front of an eyeball, (3,)."""
    points = vertices[head.vertex_part == part]
    low, high = points.min(0), points.max(0)
    return floats([*((low + high) / 2)[:2], high[2]])


def _outline(frame: Frame, eye: Floats, side: int) -> Floats:
    """Return the rim's curve (K, 3), from the outer corner over the top and back."""
    angle = np.linspace(0, 2 * np.pi, 33)
    c, s = np.cos(angle), np.sin(angle)
    x = np.sign(c) * np.abs(c) ** (2 / frame.square)
    y = np.sign(s) * np.abs(s) ** (2 / frame.square)
    x = x * (1 - frame.narrow * np.clip(-y, 0, 1) * np.where(x < 0, 1.4, 0.6))
    height = 0.5 * frame.height * y + frame.flare * np.clip(x, 0, 1) ** 2 * np.clip(y, 0, 1)
    # Lenses lie a little outward of the pupils, so that the nose fits between.
    middle = side * max(abs(float(eye[0])) + 0.015, 0.5 * frame.width + 0.07)
    points = [middle + side * 0.5 * frame.width * x, eye[1] - frame.drop + height, eye[2] + 0 * x]
    return np.stack(points, 1).astype(np.float32)


def _bent(outline: Floats, plane: float) -> Floats:
    """Lay an outline on the frame's gently curved front, whose middle is at `plane`."""
    bent = outline.copy()
    bent[:, 2] = plane - 0.16 * np.clip(np.abs(outline[:, 0]) - 0.1, 0, None) ** 2
    return bent


def _clear(surface: Surface, points: Floats) -> float:
    """Return the front's depth at which every point of the rims clears the skin."""
    front = surface.canonical[:, 2] > 0.8
    skin = surface.vertices[front]
    away = ((points[:, None, :2] - skin[None, :, :2]) ** 2).sum(-1)
    behind = np.where(away < 0.06**2, skin[None, :, 2], -np.inf).max(1)
    bend = 0.16 * np.clip(np.abs(points[:, 0]) - 0.1, 0, None) ** 2
    return max(float((behind + bend).max()) + 0.045, float(points[:, 2].max()) + 0.10)


def _bridge(frame: Frame, outlines: list[Floats], plane: float, surface: Surface) -> Mesh:
    """Join the rims over the nose."""
    ends = [_bent(o, plane)[np.argmin(np.abs(o[:, 0]) - 0.5 * o[:, 1])] for o in outlines]
    t = np.linspace(0, 1, 9, dtype=np.float32)[:, None]
    line = ends[0] * (1 - t) + ends[1] * t
    line[:, 1] += 0.035 * np.sin(np.pi * t[:, 0])
    _, normal, over = surface.at(line)
    line = line + normal * np.clip(0.03 + frame.wire - over, 0, 0.2)[:, None]
    return tube(line.astype(np.float32), np.full(9, 0.95 * frame.wire), 6, up=(0, 0, 1))


def _temple(
    frame: Frame, hinge: Floats, side: int, surface: Surface, vertices: Floats, head: Head
) -> Mesh:
    """Run from the rim to the ear and bend down behind it."""
    ear = vertices[(head.masks["ears"] > 0.5) & (side * head.canonical[:, 0] > 0)]
    top = ear[ear[:, 1] > ear[:, 1].max() - 0.06].mean(0)
    rest = floats([top[0] - side * 0.05, top[1] + 0.02, top[2]])
    corner = hinge + floats([side * 0.03, 0, -0.03])
    outer = max(side * float(rest[0]), side * float(corner[0]))
    middle = floats([side * outer, 0.5 * (corner[1] + rest[1]), 0.55 * corner[2] + 0.45 * rest[2]])
    tail = rest + floats([-side * 0.04, -0.16, -0.16])
    knots = np.stack([hinge, corner, middle, rest, tail])
    at = np.linspace(0, 4, 13)
    bends = [np.interp(at, np.arange(5), knots[:, c]) for c in range(3)]
    line = np.stack(bends, 1).astype(np.float32)
    _, normal, over = surface.at(line)
    push = np.clip(0.025 - over, 0, 0.15)[:, None] * np.abs(normal * floats([1, 0, 0]))
    line[2:-3] += (push * floats([side, 0, 0]))[2:-3]
    sizes = np.full(13, max(frame.wire, 0.016), np.float32)
    return tube(line, sizes, 5, flat=0.6)
