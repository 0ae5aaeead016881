"""The skin of a puppet: what is painted on it, and where.

A texture is a cylinder around the head, cut open at the back: column = angle, row = height, so that
a place on the skin is found from its position in the head's canonical shape alone. It is painted
once per identity. Without its grain (noise, freckles, creases) the colour is linear in the colours
of the `LAYERS`, which are the texture coefficients of the head's morphable model.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tfbench.datasets.puppets.head import MOUTH_CAVITY, SKIN, head
from tfbench.datasets.puppets.identity import Identity
from tfbench.faces.render import interpolate, rasterize

__all__ = [
    "AXIS",
    "HIGH",
    "LOW",
    "brow_height",
    "layer_masks",
    "noise",
    "paint",
    "smooth",
    "turn_of",
    "unroll",
    "unrolled",
]

Floats = NDArray[np.float32]

AXIS = 0.25
"""Where the cylinder's axis stands, in z."""
LOW, HIGH = 5.2, 8.6
"""Canonical heights of the lowest and the highest row, in decimetres."""


def smooth(low: float | Floats, high: float | Floats, x: Floats) -> Floats:
    """Return 0 below `low`, 1 above `high` and a smooth step between; low > high steps down."""
    t = np.clip((x - low) / (np.asarray(high) - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def noise(points: Floats) -> Floats:
    """Return value noise in [0, 1] with cells of size 1 at (..., 3) points."""
    out = np.empty(points.shape[:-1], np.float32)
    _noise(np.ascontiguousarray(points, np.float32).reshape(-1, 3), out.reshape(-1))
    return out


@njit(cache=True)
def _lattice(x: int, y: int, z: int) -> np.float32:
    """Hash a lattice point to [0, 1)."""
    h = np.uint32(x) * np.uint32(374761393) + np.uint32(y) * np.uint32(668265263)
    h = np.uint32(h + np.uint32(z) * np.uint32(2147483647 - 5))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(2246822519))
    return np.float32((h ^ (h >> np.uint32(16))) & np.uint32(0xFFFFFF)) / np.float32(16777216.0)


@njit(cache=True)
def _noise(points: Floats, out: Floats) -> None:
    for n in range(points.shape[0]):
        i = int(np.floor(points[n, 0]))
        j = int(np.floor(points[n, 1]))
        k = int(np.floor(points[n, 2]))
        x, y, z = points[n, 0] - i, points[n, 1] - j, points[n, 2] - k
        x, y, z = x * x * (3 - 2 * x), y * y * (3 - 2 * y), z * z * (3 - 2 * z)
        total = 0.0
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    weight = (x if a else 1 - x) * (y if b else 1 - y) * (z if c else 1 - z)
                    total += weight * _lattice(i + a, j + b, k + c)
        out[n] = total


@njit(cache=True)
def turn_of(x: float, z: float) -> float:
    """Return how far around the axis a place lies: -2 and 2 behind, -1 right, 0 front, 1 left.

    The sides of a square take the place of the circle, which spares an arc tangent a sample.
    """
    size = abs(x) + abs(z)
    if size == 0:
        return 0.0
    quarter = x / size
    if z >= 0:
        return quarter
    return 2 - quarter if x >= 0 else -2 - quarter


@njit(cache=True)
def _turns(x: Floats, z: Floats, out: Floats) -> None:
    for k in range(x.shape[0]):
        out[k] = turn_of(x[k], z[k])


def unroll(low: float, high: float, rows: int, columns: int) -> tuple[Floats, Floats]:
    """Lay the skin between two heights flat.

    Args:
        low: Canonical height of the last row's lower edge.
        high: Canonical height of the first row's upper edge.
        rows: Of the picture.
        columns: Of the picture, once around the head, its back at both ends.

    Returns:
        float32 (rows, columns, 3) canonical positions and (rows, columns, 4) masks: lips, eyelids,
        ears and scalp. A texel that no skin covers takes the nearest one's.
    """
    from scipy.ndimage import distance_transform_edt

    h = head()
    x, y, z = h.canonical.T
    turn = np.empty(len(x), np.float32)
    _turns(x, z - np.float32(AXIS), turn)
    points = np.stack([(turn / 2 + 1) * columns / 2, (high - y) / (high - low) * rows], 1)
    corners = h.triangles[(h.part == SKIN) | (h.part == MOUTH_CAVITY)]
    skin = np.ascontiguousarray(corners[np.ptp(turn[corners], axis=1) < 2])
    inward = (6 - np.hypot(x, z - AXIS)).astype(np.float32)
    raster = rasterize(points.astype(np.float32), inward, skin, rows, columns, False)
    masks = np.stack([h.masks[name] for name in ("lips", "eyelids", "ears", "scalp")], 1)
    flat = interpolate(raster, skin, np.concatenate([h.canonical, masks], 1).astype(np.float32))
    nearest = distance_transform_edt(raster.index < 0, return_distances=False, return_indices=True)
    flat = flat[tuple(nearest)]
    return np.ascontiguousarray(flat[..., :3]), np.ascontiguousarray(flat[..., 3:])


@cache
def unrolled(rows: int) -> tuple[Floats, Floats]:
    """Return positions and masks of the texture of the head, (rows, 2 rows, ...); see `unroll`."""
    return unroll(LOW, HIGH, rows, 2 * rows)


def layer_masks(
    points: Floats, masks: Floats, brow: tuple[float, float, float] = (0.0, 1.0, 0.5)
) -> Floats:
    """Return where each layer lies.

    Args:
        points: float32 (..., 3), canonical positions.
        masks: float32 (..., 4): lips, eyelids, ears and scalp.
        brow: Height, thickness and arch of the brows; the default is the morphable model's.

    Returns:
        float32 (..., len(LAYERS)), 0 to 1.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    side = np.abs(x)
    front = smooth(0.6, 0.9, z)
    cheek = np.exp(-(((side - 0.50) / 0.20) ** 2) - ((y - 6.95) / 0.18) ** 2)
    nose = np.exp(-((x / 0.15) ** 2) - ((y - 6.97) / 0.14) ** 2)
    flush = np.maximum(0.6 * cheek, 0.7 * nose) * front + 0.35 * masks[..., 2]
    lid = smooth(0.15, 0.9, masks[..., 1])
    lip = smooth(0.30, 0.75, masks[..., 0])
    hairs = np.clip(_brow(brow, side, y) * front, 0, 0.93)
    return np.stack([np.ones_like(x), flush, lid, lip, hairs], -1).astype(np.float32)


def brow_height(side: Floats, shift: float, bend: float) -> Floats:
    """Return the canonical height of the middle of a brow at a distance from the face's middle."""
    along = np.clip((side - 0.09) / 0.50, 0, 1)
    arch = 0.045 + 0.05 * bend
    height = 7.505 + shift + arch * np.sin(np.pi * (0.12 + 0.75 * along))
    return (height - 0.04 * smooth(0.60, 1.0, along)).astype(np.float32)


def _brow(brow: tuple[float, float, float], side: Floats, y: Floats) -> Floats:
    """How dense the brow is at a distance from the middle and a height."""
    shift, thickness, bend = brow
    along = np.clip((side - 0.09) / 0.50, 0, 1)
    height = brow_height(side, shift, bend)
    thick = 0.050 * thickness * (0.75 + 0.45 * smooth(0, 0.3, along))
    thick = thick * (1 - 0.72 * smooth(0.45, 1.0, along))
    ends = smooth(0.055, 0.15, side) * smooth(0.64, 0.50, side)
    profile = np.exp(-(((y - height) / thick) ** 2) * 1.3)
    hairs = np.stack([side * 34 - y * 16, y * 9 + side * 15, np.zeros_like(y)], -1)
    return (profile * ends * (0.72 + 0.5 * noise(hairs))).astype(np.float32)


def paint(identity: Identity, scalp: Floats, height: int) -> Floats:
    """Paint the skin of an identity.

    Args:
        identity: Whose skin it is.
        scalp: float32 (height, 2 height), how much hair grows at each texel.
        height: Rows of the texture.

    Returns:
        float32 (height, 2 height, 4): linear RGB in [0, 1], and gloss.
    """
    points, masks = unrolled(height)
    brow = (identity.brow_height, identity.brow_thickness, identity.brow_arch)
    layers = layer_masks(points, masks, brow)
    colour = layers @ identity.layers()
    x, y, z = np.moveaxis(points, -1, 0)
    side = np.abs(x)
    seed = np.float32(identity.seed % 997)
    broad, middle, fine = (noise(points * f + seed) for f in (4.0, 17.0, 55.0))
    lips = smooth(0.35, 0.75, masks[..., 0])
    colour *= (0.90 + 0.10 * broad + 0.07 * middle + 0.05 * fine)[..., None]
    spots = smooth(0.72, 0.80, noise(points * 26 + seed)) * identity.freckles
    spots = spots * np.exp(-(((y - 7.05) / 0.28) ** 2)) * smooth(0.7, 1.0, z) * (1 - lips)
    colour *= 1 - spots[..., None] * np.array([0.25, 0.40, 0.45], np.float32)
    colour *= 1 - _creases(identity.age, side, y, z)[..., None] * np.array(
        [0.30, 0.42, 0.45], np.float32
    )
    under = np.exp(-(((side - 0.30) / 0.14) ** 2) - ((y - 7.10) / 0.05) ** 2) * smooth(0.8, 1.0, z)
    colour *= 1 - under[..., None] * identity.tired * np.array([0.25, 0.32, 0.22], np.float32)
    for mx, my, size in identity.moles:
        mole = np.exp(-(((x - mx) ** 2 + (y - my) ** 2) / size**2)) * smooth(0.5, 0.7, z)
        colour *= 1 - 0.75 * smooth(0.3, 0.7, mole)[..., None]
    colour = _shaved(identity, colour, (x, y, z), masks, fine)
    roots = np.clip(scalp, 0, 1)[..., None] * (0.85 + 0.3 * fine[..., None])
    colour += (identity.hair * 0.8 - colour) * np.clip(roots, 0, 1)
    gloss = 0.09 + identity.oily * np.exp(-(((x) / 0.35) ** 2)) * smooth(0.9, 1.2, z) + 0.16 * lips
    gloss *= (1 - np.clip(scalp, 0, 1)) * (1 - layers[..., 4])
    return np.concatenate([np.clip(colour, 0.003, 1), gloss[..., None]], -1).astype(np.float32)


def _creases(age: float, side: Floats, y: Floats, z: Floats) -> Floats:
    """Lines that come with age: beside the nose and mouth, on the forehead, at the eyes."""
    fold = np.clip((6.98 - y) / 0.38, 0, 1)
    lines = np.exp(-(((side - 0.20 - 0.20 * fold) / 0.028) ** 2)) * smooth(6.58, 6.7, y)
    lines = lines * smooth(7.02, 6.92, y)
    waves = y + 0.03 * np.cos(side * 5)
    brow = sum(np.exp(-(((waves - level) / 0.016) ** 2)) for level in (7.72, 7.81, 7.90))
    lines = lines + 0.8 * brow * smooth(0.5, 0.3, side)
    feet = sum(
        np.exp(-(((y - 7.27 - slope * (side - 0.55)) / 0.012) ** 2)) for slope in (-0.4, 0.05, 0.5)
    )
    lines = lines + 0.8 * feet * smooth(0.56, 0.60, side) * smooth(0.76, 0.66, side)
    return (smooth(0.25, 1.0, np.full(1, age, np.float32)) * lines * smooth(0.5, 0.8, z)).astype(
        np.float32
    )


def _shaved(
    identity: Identity,
    colour: Floats,
    place: tuple[Floats, Floats, Floats],
    masks: Floats,
    grain: Floats,
) -> Floats:
    """Darken the skin where a beard grows."""
    x, y, z = place
    side = np.abs(x)
    jaw = smooth(6.92, 6.62, y - 0.30 * smooth(0.35, 0.85, side)) * smooth(5.95, 6.2, y)
    jaw = jaw * smooth(0.25, 0.6, z)
    bare = np.exp(-((side / 0.20) ** 2) - ((y - 6.46) / 0.045) ** 2) * 0.4
    area = jaw * (1 - bare) * (1 - smooth(0.25, 0.6, masks[..., 0]))
    amount = identity.stubble * area * (0.55 + 0.6 * grain)
    amount = np.clip(0.8 * amount, 0, 1)[..., None]
    return (colour + (identity.hair * 0.6 - colour) * amount).astype(np.float32)
