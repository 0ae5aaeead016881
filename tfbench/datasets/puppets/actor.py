"""A puppet in front of the camera: posed, projected, lit and drawn.

A frame is drawn at `shading.SAMPLES` x `shading.SAMPLES` samples a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets.body import Body, body
from tfbench.datasets.puppets.clothes import paint_clothes
from tfbench.datasets.puppets.head import LEFT_EYE, RIGHT_EYE, head
from tfbench.datasets.puppets.setting import Setting
from tfbench.datasets.puppets.shading import SAMPLES, light_vertices, shade
from tfbench.faces.morphable import BASE_LIGHT, NORM, REACH
from tfbench.faces.render import rasterize_into, vertex_normals

__all__ = ["Actor", "Posed", "Truth", "draw", "look", "rotation_matrix"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

DISTANCE = 11.0
"""From the camera to the origin, decimetres."""
FOCAL = 7.2
"""Focal length in half heights of the picture."""
HEIGHT = 0.02
"""How far the head's middle stands above the optical axis, decimetres."""


@dataclass(frozen=True, eq=False)
class Posed:
    """A puppet in one frame.

    Attributes:
        actor: Who it is.
        vertices: float32 (V, 3), decimetres in the camera's frame, z toward the camera.
        normals: float32 (V, 3).
        tangents: float32 (V, 3), along the strands of hair; 0 elsewhere.
    """

    actor: Actor
    vertices: Floats
    normals: Floats
    tangents: Floats


@dataclass(frozen=True, eq=False)
class Truth:
    """What the camera sees in each pixel, at the pixel's centre.

    Attributes:
        depth: float32 (H, W), distance along the optical axis, decimetres; inf for background.
        normals: float32 (H, W, 3), unit vectors, z toward the camera; 0 for background.
        parts: uint8 (H, W), `head.Part`s, 9 hair, 10 glasses, 255 background.
        actors: int8 (H, W), which actor; -1 background.
        heads: bool (H, W), True on a head with its hair, its glasses and the top of its neck.
    """

    depth: Floats
    normals: Floats
    parts: NDArray[np.uint8]
    actors: NDArray[np.int8]
    heads: NDArray[np.bool_]


class Actor:
    """An identity in a setting.

    Args:
        identity: Seed of the identity.
        setting: Clothes and light; the translation, if another place is wanted, comes with `at`.
        height: Of the pictures, pixels; decides how fine the paint is.
        at: float32 (3,), where it stands, decimetres; the setting's own where None.
    """

    def __init__(
        self, identity: int, setting: Setting, height: int, at: Floats | None = None
    ) -> None:
        self.body: Body = body(identity, 256 if height <= 160 else 512)
        self.setting = setting
        self.at = (setting.translation if at is None else at) + np.array([0, HEIGHT, 0], np.float32)
        self.cloth = paint_clothes(setting.clothes)
        self.light = _polynomial(setting.gamma)

    def points(self, which: Ints, expression: Floats, rotation: Floats) -> Floats:
        """Return some vertices of the posed head.

        Args:
            which: int (N,), which vertices of the head.
            expression: float32 (52,), as in `pose`.
            rotation: float32 (3,), as in `pose`.

        Returns:
            float32 (N, 3), as in `Posed`.
        """
        b, h = self.body, head()
        places = b.rest[which] + np.tensordot(expression, h.expression[:, which], 1)
        turned = (places - h.pivot) @ rotation_matrix(rotation).T + h.pivot
        return (places + b.turn[which, None] * (turned - places) + self.at).astype(np.float32)

    def pose(self, expression: Floats, rotation: Floats) -> Posed:
        """Pose the puppet.

        Args:
            expression: float32 (52,), ARKit weights in the order of the head.
            rotation: float32 (3,), pitch, yaw and roll in radians.

        Returns:
            The posed puppet.
        """
        b, h = self.body, head()
        used = np.flatnonzero(expression)
        moved = np.tensordot(expression[used], h.expression[used], 1).astype(np.float32)
        vertices = b.rest.copy()
        vertices[: b.n_head] += moved
        hangs = b.anchor >= 0
        vertices[b.n_head :][hangs] += moved[b.anchor[hangs]]
        matrix = rotation_matrix(rotation)
        turned = (vertices - h.pivot) @ matrix.T + h.pivot
        vertices += b.turn[:, None] * (turned - vertices)
        vertices += self.at
        normals = np.empty_like(vertices)
        head_triangles = b.triangles[: b.n_closed]
        normals[: b.n_head] = vertex_normals(vertices[: b.n_head], head_triangles)
        normals[b.n_head :] = b.normals @ matrix.T
        tangents = np.zeros_like(vertices)
        tangents[b.n_head :] = b.tangents @ matrix.T
        return Posed(self, vertices, normals, tangents)


def rotation_matrix(rotation: Floats) -> Floats:
    """Return R, float32 (3, 3), that turns column vectors by roll · yaw · pitch.

    Positive pitch nods down, positive yaw turns to the person's left (to the right in the picture),
    positive roll tilts the head to its right shoulder (anticlockwise in the picture).
    """
    pitch, yaw, roll = (float(a) for a in rotation)
    cx, sx, cy, sy = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    cz, sz = np.cos(roll), np.sin(roll)
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return (z @ y @ x).astype(np.float32)


def project(vertices: Floats, height: int, width: int) -> tuple[Floats, Floats]:
    """Return float32 (V, 2) pixels, y down, and float32 (V,) distances along the optical axis."""
    depth = (DISTANCE - vertices[:, 2]).astype(np.float32)
    scale = (FOCAL * height / 2) / depth
    x = width / 2 + vertices[:, 0] * scale
    y = height / 2 - vertices[:, 1] * scale
    return np.stack([x, y], 1).astype(np.float32), depth


def draw(puppets: list[Posed], background: Floats) -> NDArray[np.uint8]:
    """Draw a frame.

    Args:
        puppets: Who is in it.
        background: float32 (H, W, 3), linear RGB.

    Returns:
        uint8 (H, W, 3), RGB with the display gamma of 2.2.
    """
    height, width = background.shape[:2]
    index, firsts = _visible(puppets, height * SAMPLES, width * SAMPLES)[:2]
    colour = np.zeros((height, width, 3), np.float32)
    cover = np.zeros((height, width), np.float32)
    for posed, first in zip(puppets, firsts, strict=True):
        actor, b = posed.actor, posed.actor.body
        points, depth = project(posed.vertices, height * SAMPLES, width * SAMPLES)
        lit = np.empty((len(points), 4), np.float32)
        light_vertices(
            posed.normals, posed.tangents, b.open_air, b.kinds, actor.light, actor.setting.key, lit
        )
        exposure = np.float32(actor.setting.exposure)
        shade(
            index, first, points, depth, b.triangles, b.material, b.place, lit, b.skin,
            actor.cloth, _palette(actor), _eyes(), exposure, colour, cover,
        )  # fmt: skip
    mixed = colour + background * (1 - cover)[..., None]
    return _DISPLAY[np.clip(mixed * 4095 + 0.5, 0, 4095).astype(np.uint16)]


_DISPLAY = np.round(255 * (np.arange(4096) / 4095) ** (1 / 2.2)).astype(np.uint8)


def look(puppets: list[Posed], height: int, width: int) -> Truth:
    """Return what the camera sees in each pixel of a frame, from the rasterizer that draws it."""
    index, firsts, buffer = _visible(puppets, height, width)
    parts = np.full((height, width), 255, np.uint8)
    actors = np.full((height, width), -1, np.int8)
    heads = np.zeros((height, width), bool)
    normals = np.zeros((height, width, 3), np.float32)
    for number, (posed, first) in enumerate(zip(puppets, firsts, strict=True)):
        b = posed.actor.body
        own = (index >= first) & (index < first + len(b.triangles))
        triangle = index[own] - first
        corners = b.triangles[triangle]
        parts[own], actors[own] = b.material[triangle], number
        heads[own] = b.turn[corners].mean(1) > 0.85
        mean = posed.normals[corners].mean(1)
        normals[own] = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)
    return Truth(buffer, normals, parts, actors, heads)


def _visible(puppets: list[Posed], height: int, width: int) -> tuple[Ints, list[int], Floats]:
    index = np.full((height, width), -1, np.int32)
    buffer = np.full((height, width), np.inf, np.float32)
    firsts, first = [], 0
    for posed in puppets:
        b = posed.actor.body
        points, depth = project(posed.vertices, height, width)
        closed, open_ = b.triangles[: b.n_closed], b.triangles[b.n_closed :]
        rasterize_into(points, depth, closed, index, buffer, first, True)
        rasterize_into(points, depth, open_, index, buffer, first + b.n_closed, False)
        firsts.append(first)
        first += len(b.triangles)
    return index, firsts, buffer


def _polynomial(gamma: Floats) -> Floats:
    """Return float32 (9, 3), the light's factors of 1, y, z, x, xy, yz, 3zz - 1, xz, xx - yy."""
    light = gamma.astype(np.float64)
    light[:, 0] += BASE_LIGHT
    flat, first, second = (a * c for a, c in zip(REACH, NORM, strict=True))
    last = (second / (2 * np.sqrt(3)), -second, second / 2)
    constants = np.array([flat, -first, first, -first, second, -second, *last])
    return (light * constants).T.astype(np.float32)


def _palette(actor: Actor) -> Floats:
    """Return float32 (4, 3): iris, hair, frame of the glasses, tongue and gums."""
    who = actor.body.identity
    return np.stack([who.iris, who.hair, who.frame, np.array([0.36, 0.09, 0.09], np.float32)])


@cache
def _eyes() -> Floats:
    """Return float32 (2, 3), canonical x, y and radius of the left and the right eyeball."""
    h = head()
    eyes = []
    for part in (LEFT_EYE, RIGHT_EYE):
        points = h.canonical[h.vertex_part == part]
        low, high = points.min(0), points.max(0)
        eyes.append([*((low + high) / 2)[:2], float(high[1] - low[1]) / 2])
    return np.array(eyes, np.float32)
