"""An identity made flesh: one mesh of head, hair, beard and glasses, with its paint and shade.

Everything that does not change with clothes, light or motion is computed here, once per identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets import glasses, hair
from tfbench.datasets.puppets.head import head
from tfbench.datasets.puppets.identity import Identity, draw_identity
from tfbench.datasets.puppets.texture import paint, unrolled
from tfbench.faces.render import rasterize_into, vertex_normals

if TYPE_CHECKING:
    from tfbench.datasets.puppets.hair import Mesh

__all__ = ["FRAME", "HAIR", "Body", "body"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

HAIR, FRAME = 9, 10
"""Materials of triangles beyond the parts of the head."""
DIRECTIONS = 64


@dataclass(frozen=True, eq=False)
class Body:
    """A mesh with everything that is fixed about it; V vertices, the head's first.

    Attributes:
        identity: Whose it is.
        rest: float32 (V, 3), neutral expression, no rotation.
        triangles: int32 (F, 3), the head's first.
        material: uint8 (F,), a part of the head, `HAIR` or `FRAME`.
        kinds: uint8 (V,), the material that a vertex is lit as.
        n_head: Vertices of the head.
        n_closed: Triangles of the head; only these have a back that is never seen.
        anchor: int32 (V - n_head,), the vertex of the head whose displacement each further
            vertex follows; -1 for none.
        turn: float32 (V,), how much of the head's rotation a vertex follows.
        place: float32 (V, 3): the canonical position of the head's vertices; of others, how far
            along the strand (0 to 1), how far across (-1 to 1), and the strand's brightness.
        normals: float32 (V - n_head, 3), of the further vertices at rest.
        tangents: float32 (V - n_head, 3), along the strands.
        open_air: float32 (V,), share of the half space around the normal that is not covered.
        skin: float32 (h, 2h, 4), see `texture.paint`.
    """

    identity: Identity
    rest: Floats
    triangles: Ints
    material: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    n_head: int
    n_closed: int
    anchor: Ints
    turn: Floats
    place: Floats
    normals: Floats
    tangents: Floats
    open_air: Floats
    skin: Floats


@lru_cache(maxsize=8)
def body(seed: int, texture_height: int) -> Body:
    """Build the body of an identity.

    Args:
        seed: Of the identity.
        texture_height: Rows of the skin's texture.

    Returns:
        The body.
    """
    h, identity = head(), draw_identity(seed)
    rest = h.vertices(identity.shape, np.zeros(len(h.expression_names), np.float32))
    pieces = _pieces(identity, rest)
    meshes = [mesh for mesh, _ in pieces]
    starts = np.cumsum([len(rest)] + [len(m.vertices) for m in meshes])
    triangles = [h.triangles] + [m.triangles + s for m, s in zip(meshes, starts[:-1], strict=True)]
    further = [np.full(len(m.triangles), material, np.uint8) for m, material in pieces]
    lit_as = [np.full(len(m.vertices), material, np.uint8) for m, material in pieces]
    vertices = np.concatenate([rest] + [m.vertices for m in meshes]).astype(np.float32)
    joined = np.concatenate(triangles).astype(np.int32)
    normals = [_round_normals(m, material) for m, material in pieces]
    points, _ = unrolled(texture_height)
    grown = [identity.hair_style, *([identity.beard] if identity.beard != "none" else [])]
    roots = np.max([hair.scalp(style, h, points.reshape(-1, 3)) for style in grown], axis=0)
    return Body(
        identity=identity,
        rest=vertices,
        triangles=joined,
        material=np.concatenate([h.part, *further]),
        kinds=np.concatenate([h.vertex_part, *lit_as]).astype(np.uint8),
        n_head=len(rest),
        n_closed=len(h.triangles),
        anchor=_join([m.anchor for m in meshes], (0,), np.int32),
        turn=np.concatenate([h.turn] + [m.turn for m in meshes]).astype(np.float32),
        place=np.concatenate([h.canonical] + [_place(m) for m in meshes]).astype(np.float32),
        normals=_join(normals, (0, 3), np.float32),
        tangents=_join([m.tangent for m in meshes], (0, 3), np.float32),
        open_air=_open_air(vertices, joined),
        skin=paint(identity, roots.reshape(points.shape[:2]).astype(np.float32), texture_height),
    )


def _pieces(identity: Identity, rest: Floats) -> list[tuple[Mesh, int]]:
    h, rng = head(), np.random.default_rng([identity.seed, 4])
    found = [
        (
            hair.grow(
                identity.hair_style, rest, h, rng, identity.hair_length, identity.hair_volume
            ),
            HAIR,
        )
    ]
    if identity.beard != "none":
        found.append((hair.grow(identity.beard, rest, h, rng, 1.0, 1.0), HAIR))
    if identity.glasses != "none":
        found.append((glasses.build(identity.glasses, rest, h), FRAME))
    return [(mesh, material) for mesh, material in found if len(mesh.vertices)]


def _join(arrays: list[NDArray], empty: tuple[int, ...], dtype: type) -> NDArray:
    return np.concatenate([np.zeros(empty, dtype), *arrays]).astype(dtype)


def _place(mesh: Mesh) -> Floats:
    return np.column_stack([mesh.uv, mesh.shade]).astype(np.float32)


def _round_normals(mesh: Mesh, material: int) -> Floats:
    """Normals of hair point away from the head, so that ribbons look like one soft volume."""
    flat = vertex_normals(mesh.vertices.astype(np.float32), mesh.triangles.astype(np.int32))
    if material != HAIR:
        return flat
    away = mesh.vertices - np.array([0, 0.15, 0.1], np.float32)
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    flat *= np.where((flat * away).sum(1, keepdims=True) < 0, -1, 1)
    mixed = away + 0.45 * flat
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def _open_air(vertices: Floats, triangles: Ints) -> Floats:
    """Look at the mesh from many sides and count how often each vertex is seen."""
    size = 160
    rng = np.random.default_rng(11)
    sides = rng.normal(size=(DIRECTIONS, 3))
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)
    normals = vertex_normals(vertices, triangles)
    seen, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    reach = float(np.abs(vertices).max()) * 1.05
    for side in sides.astype(np.float32):
        across = np.cross(side, np.array([0.3, 1, 0.2], np.float32))
        across /= np.linalg.norm(across)
        up = np.cross(side, across)
        points = np.stack([vertices @ across, vertices @ up], 1)
        points = ((points / reach + 1) * size / 2).astype(np.float32)
        depth = (2 * reach - vertices @ side).astype(np.float32)
        buffer = np.full((size, size), np.inf, np.float32)
        index = np.full((size, size), -1, np.int32)
        rasterize_into(points, depth, triangles, index, buffer, 0, False)
        column, row = np.clip(points.astype(np.int64), 0, size - 1).T
        weight = np.clip(normals @ side, 0, None)
        seen += weight * (depth < buffer[row, column] + 0.06)
        possible += weight
    return (seen / possible).astype(np.float32)
