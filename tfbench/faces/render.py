"""Rasterizer of triangle meshes: which triangle is seen in each pixel, and how far it is.

A z-buffer with perspective-correct interpolation, compiled for the CPU. Pixel (row i, column j) is
sampled at its centre, (j + 0.5, i + 0.5) in coordinates whose y points down. A point on the edge of
two triangles belongs to the nearer one, or to the one with the lower index where both are equally
far, so the result does not depend on anything but the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tfbench.core.errors import InputError

__all__ = ["Raster", "interpolate", "rasterize", "rasterize_into", "vertex_normals"]

ONE, HALF = np.float32(1), np.float32(0.5)
EDGE = np.float32(1e-6)
"""How far outside of a triangle, as a weight of a corner, a pixel may lie: edges have no gaps."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Raster:
    """What each pixel shows.

    Attributes:
        index: int32 (H, W), the triangle; -1 where there is none.
        barycentric: float32 (H, W, 3), weights of its corners on the surface itself, that is,
            corrected for perspective; 0 where there is none.
        depth: float32 (H, W), distance along the viewing axis; inf where there is none.
    """

    index: Ints
    barycentric: Floats
    depth: Floats


def rasterize(
    points: Floats, depth: Floats, triangles: Ints, height: int, width: int, cull: bool = True
) -> Raster:
    """Rasterize a mesh.

    Args:
        points: float32 (V, 2), x and y in pixels, y down.
        depth: float32 (V,), positive distance along the viewing axis; a triangle with a corner
            that is not in front of the camera is left out.
        triangles: int32 (F, 3), counter-clockwise as seen from outside, with y up.
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        cull: Whether triangles that are seen from behind are left out.

    Returns:
        The raster, (height, width).

    Raises:
        InputError: A triangle names a vertex that there is not.
    """
    if len(triangles) and not 0 <= triangles.min() <= triangles.max() < len(points):
        named = f"{triangles.min()} to {triangles.max()}"
        raise InputError(f"triangles name vertices {named}; there are {len(points)}")
    index = np.full((height, width), -1, np.int32)
    buffer = np.full((height, width), np.inf, np.float32)
    rasterize_into(points, depth, triangles, index, buffer, 0, cull)
    barycentric = np.zeros((height, width, 3), np.float32)
    _weigh(points, depth, triangles, index, barycentric)
    return Raster(index, barycentric, buffer)


def interpolate(raster: Raster, triangles: Ints, values: Floats) -> Floats:
    """Return a vertex attribute in every pixel.

    Args:
        raster: Of the same triangles.
        triangles: int32 (F, 3), the corners' rows in `values`; may differ from those that were
            rasterized where an attribute has seams.
        values: float32 (V, C).

    Returns:
        float32 (H, W, C); 0 where nothing is seen.
    """
    seen = raster.index >= 0
    out = np.zeros((*raster.index.shape, values.shape[1]), np.float32)
    corners = values[triangles[raster.index[seen]]]
    out[seen] = np.einsum("nk,nkc->nc", raster.barycentric[seen], corners)
    return out


def vertex_normals(vertices: Floats, triangles: Ints) -> Floats:
    """Return float32 (V, 3) unit normals: the mean of a vertex's triangles, weighted by area.

    A vertex of no triangle, or of degenerate ones only, has the normal 0.
    """
    normals = np.zeros_like(vertices)
    _sum_normals(vertices, triangles, normals)
    return normals


@njit(cache=True)
def rasterize_into(
    points: Floats,
    depth: Floats,
    triangles: Ints,
    index: Ints,
    buffer: Floats,
    first: int,
    cull: bool,
) -> None:
    """Add a mesh to a picture that may already show others.

    Args:
        points: float32 (V, 2), as in `rasterize`.
        depth: float32 (V,).
        triangles: int32 (F, 3).
        index: int32 (H, W), changed: becomes `first` + triangle where the mesh is nearest.
        buffer: float32 (H, W), changed: the distance of what is nearest so far.
        first: Number of the mesh's first triangle.
        cull: Whether triangles that are seen from behind are left out.
    """
    height, width = index.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if depth[a] <= 0 or depth[b] <= 0 or depth[c] <= 0:
            continue
        ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9 or (cull and area > 0):
            continue
        left = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        right = min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1)
        top = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        bottom = min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1)
        if left > right or top > bottom:
            continue
        near_a, near_b, near_c = ONE / depth[a], ONE / depth[b], ONE / depth[c]
        scale = ONE / area
        for y in range(top, bottom + 1):
            py = np.float32(y) + HALF
            ay_, by_, cy_ = (ay - py) * scale, (by - py) * scale, (cy - py) * scale
            start, stop = _span(ax, ay, bx, by, cx, cy, py, left, right)
            for x in range(start, stop + 1):
                px = np.float32(x) + HALF
                wa = (bx - px) * cy_ - by_ * (cx - px)
                wb = (cx - px) * ay_ - cy_ * (ax - px)
                wc = ONE - wa - wb
                if wa < -EDGE or wb < -EDGE or wc < -EDGE:
                    continue
                distance = ONE / (wa * near_a + wb * near_b + wc * near_c)
                if distance < buffer[y, x]:
                    buffer[y, x] = distance
                    index[y, x] = first + t


@njit(cache=True)
def _span(
    ax: np.float32,
    ay: np.float32,
    bx: np.float32,
    by: np.float32,
    cx: np.float32,
    cy: np.float32,
    py: np.float32,
    left: int,
    right: int,
) -> tuple[int, int]:
    """Return first and last column that may lie in a triangle on a row, a pixel more on each side.

    It spares long thin triangles, such as hair, most of their bounding box.
    """
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for edge in range(3):
        if edge == 0:
            x0, y0, x1, y1 = ax, ay, bx, by
        elif edge == 1:
            x0, y0, x1, y1 = bx, by, cx, cy
        else:
            x0, y0, x1, y1 = cx, cy, ax, ay
        if (y0 < py and y1 < py) or (y0 > py and y1 > py) or y0 == y1:
            continue
        x = x0 + (py - y0) / (y1 - y0) * (x1 - x0)
        low = x if x < low else low
        high = x if x > high else high
    if low > high:
        return left, right
    return max(left, int(np.floor(low)) - 1), min(right, int(np.ceil(high)) + 1)


@njit(cache=True)
def _weigh(points: Floats, depth: Floats, triangles: Ints, index: Ints, out: Floats) -> None:
    for y in range(index.shape[0]):
        for x in range(index.shape[1]):
            if index[y, x] >= 0:
                weights = corner_weights(points, depth, triangles[index[y, x]], x, y)
                out[y, x, 0], out[y, x, 1], out[y, x, 2] = weights


@njit(cache=True)
def corner_weights(
    points: Floats, depth: Floats, triangle: Ints, x: int, y: int
) -> tuple[float, float, float]:
    """Return the perspective-correct barycentric weights of a pixel's centre in a triangle."""
    a, b, c = triangle[0], triangle[1], triangle[2]
    px, py = np.float32(x) + HALF, np.float32(y) + HALF
    ax, ay = points[a, 0] - px, points[a, 1] - py
    bx, by = points[b, 0] - px, points[b, 1] - py
    cx, cy = points[c, 0] - px, points[c, 1] - py
    da, db, dc = depth[a], depth[b], depth[c]
    wa = (bx * cy - by * cx) * db * dc
    wb = (cx * ay - cy * ax) * dc * da
    wc = (ax * by - ay * bx) * da * db
    scale = ONE / (wa + wb + wc)
    return wa * scale, wb * scale, wc * scale


@njit(cache=True)
def _sum_normals(vertices: Floats, triangles: Ints, normals: Floats) -> None:
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx = vertices[c, 0] - vertices[a, 0]
        vy = vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for v in range(vertices.shape[0]):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0:
            normals[v] /= length
