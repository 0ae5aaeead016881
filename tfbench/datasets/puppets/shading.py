"""What light does to a puppet: per vertex the light that falls on it, per sample its paint.

Light is nine spherical harmonics on vertex normals times baked openness, and a highlight of the
main light; physical in kind only. Everything is linear RGB.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tfbench.datasets.puppets import clothes
from tfbench.datasets.puppets.body import FRAME, HAIR
from tfbench.datasets.puppets.head import (
    EYE_CAVITY,
    LEFT_EYE,
    LOWER_TEETH,
    MOUTH_CAVITY,
    RIGHT_EYE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
)
from tfbench.datasets.puppets.texture import AXIS, HIGH, LOW, turn_of
from tfbench.faces.render import corner_weights

__all__ = ["SAMPLES", "light_vertices", "shade"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Kinds = NDArray[np.uint8]

SAMPLES = 2
"""Samples a pixel, across and down."""
CLOTH_LOW, CLOTH_HIGH, CLOTH_SIDE = clothes.LOW, clothes.HIGH, clothes.SIDE


@njit(cache=True)
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@njit(cache=True, inline="always")
def _sixteenth(x: float) -> float:
    """Return x to the power of sixteen."""
    x = x * x
    x = x * x
    x = x * x
    return x * x


@njit(cache=True, inline="always")
def _texel(texture: Floats, row: np.float32, column: np.float32, out: Floats) -> None:
    """Look a colour up between four texels; the picture's edges go on for ever."""
    rows, columns = texture.shape[:2]
    row = min(max(row - np.float32(0.5), np.float32(0)), np.float32(rows - 1.001))
    column = min(max(column - np.float32(0.5), np.float32(0)), np.float32(columns - 1.001))
    i, j = np.uint32(row), np.uint32(column)
    v, u = row - np.float32(i), column - np.float32(j)
    for c in range(4):
        above = texture[i, j, c] + (texture[i, j + 1, c] - texture[i, j, c]) * u
        below = texture[i + 1, j, c] + (texture[i + 1, j + 1, c] - texture[i + 1, j, c]) * u
        out[c] = above + (below - above) * v


@njit(cache=True, inline="always")
def _skin_paint(place: Floats, skin: Floats, cloth: Floats, out: Floats, under: Floats) -> None:
    """Colour and gloss of the skin, or of the clothes on it; `under` is scratch."""
    around = turn_of(place[0], place[2] - AXIS) / 4 + 0.5
    row = (HIGH - place[1]) / (HIGH - LOW) * skin.shape[0]
    _texel(skin, row, around * skin.shape[1], out)
    if place[1] < CLOTH_HIGH:
        row = (CLOTH_HIGH - place[1]) / (CLOTH_HIGH - CLOTH_LOW) * cloth.shape[0]
        _texel(cloth, row, (place[0] / CLOTH_SIDE + 1) * cloth.shape[1] / 2, under)
        for c in range(3):
            out[c] += (under[c] - out[c]) * under[3]
        out[3] *= 1 - under[3]


@njit(cache=True)
def _eye_paint(place: Floats, eye: Floats, iris: Floats, out: Floats) -> None:
    """Sclera, iris with a dark rim, pupil."""
    radius = eye[2]
    across, up = (place[0] - eye[0]) / radius, (place[1] - eye[1]) / radius
    r = np.sqrt(across * across + up * up)
    veins = 0.05 * _step(0.55, 1.0, r)
    out[0], out[1], out[2] = 0.72 - veins, 0.70 - 2.5 * veins, 0.68 - 2.5 * veins
    angle = np.arctan2(up, across)
    fibre = 0.85 + 0.18 * np.sin(angle * 17) * np.sin(angle * 7 + 1) + 0.25 * _step(0.2, 0.5, r)
    rim = 1 - 0.75 * _step(0.41, 0.53, r)
    white = _step(0.50, 0.56, r)
    dark = _step(0.26, 0.20, r)
    for c in range(3):
        coloured = iris[c] * fibre * rim
        coloured = coloured * (1 - dark) + 0.002 * dark
        out[c] = out[c] * white + coloured * (1 - white)


@njit(cache=True)
def _tooth_paint(place: Floats, upper: bool, gum: Floats, out: Floats) -> None:
    angle = np.arctan2(place[0], place[2] - 0.9)
    gap = 1 - 0.3 * _step(0.80, 1.0, abs(np.sin(angle * 9.5)))
    out[0], out[1], out[2] = 0.66 * gap, 0.62 * gap, 0.54 * gap
    pink = _step(6.74, 6.79, place[1]) if upper else _step(6.55, 6.50, place[1])
    deep = 0.25 + 0.60 * _step(0.75, 1.40, place[2])
    for c in range(3):
        out[c] = deep * (out[c] + (gum[c] * 1.25 - out[c]) * pink)


@njit(cache=True)
def _hair_paint(place: Floats, colour: Floats, out: Floats) -> None:
    """Strands: dark at the roots and between, lighter at the tips."""
    along, across, shade = place[0], place[1], place[2]
    streak = 0.86 + 0.14 * np.sin(across * 9.0 + shade * 40.0)
    light = shade * streak * (0.62 + 0.48 * _step(0.0, 0.5, along))
    for c in range(3):
        out[c] = colour[c] * light + 0.002


@njit(cache=True)
def light_vertices(
    normals: Floats,
    tangents: Floats,
    open_air: Floats,
    kinds: Kinds,
    light: Floats,
    key: Floats,
    out: Floats,
) -> None:
    """Write light of three channels and highlight of every vertex into `out` (V, 4)."""
    one = np.float32(1)
    hx, hy, hz = key[0], key[1], key[2] + one
    size = one / np.sqrt(hx * hx + hy * hy + hz * hz)
    hx, hy, hz = hx * size, hy * size, hz * size
    for v in range(normals.shape[0]):
        nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
        air = _air(kinds[v], open_air[v])
        for k in range(3):
            lit = light[0, k] + light[1, k] * ny + light[2, k] * nz + light[3, k] * nx
            lit += light[4, k] * nx * ny + light[5, k] * ny * nz + light[7, k] * nx * nz
            lit += light[6, k] * (3 * nz * nz - 1) + light[8, k] * (nx * nx - ny * ny)
            dim = air * (0.75 + 0.25 * air) if k == 0 else air * (0.55 + 0.45 * air)
            out[v, k] = max(lit, 0.02) * dim
        shiny = max(nx * hx + ny * hy + nz * hz, 0.0)
        if kinds[v] == HAIR:
            tx, ty, tz = tangents[v, 0], tangents[v, 1], tangents[v, 2]
            cosine = tx * hx + ty * hy + tz * hz
            sine = max(1 - cosine * cosine / (tx * tx + ty * ty + tz * tz + 1e-6), 0.0)
            out[v, 3] = 0.35 * _sixteenth(sine) * shiny * air
        elif kinds[v] in (LEFT_EYE, RIGHT_EYE):
            out[v, 3] = shiny
        else:
            out[v, 3] = 0.55 * _sixteenth(shiny) * air


@njit(cache=True)
def _air(kind: int, air: float) -> float:
    """Return how open a vertex is to light: baked for the outside, by kind inside the mouth."""
    if kind == HAIR:
        return 0.25 + 0.75 * air
    if kind in (LEFT_EYE, RIGHT_EYE):
        return 0.30 + 0.55 * air
    if kind in (UPPER_TEETH, LOWER_TEETH, TONGUE, MOUTH_CAVITY):
        return 1.0
    return air


@njit(cache=True)
def shade(
    index: Ints,
    first: int,
    points: Floats,
    depth: Floats,
    triangles: Ints,
    material: Kinds,
    place: Floats,
    lit: Floats,
    skin: Floats,
    cloth: Floats,
    palette: Floats,
    eyes: Floats,
    exposure: np.float32,
    colour: Floats,
    cover: Floats,
) -> None:
    """Add the colour of every sample of one puppet to its pixel, and how much it covers."""
    height, width = index.shape
    paint, under, at = np.zeros(4, np.float32), np.zeros(4, np.float32), np.zeros(3, np.float32)
    share = np.float32(1.0 / (SAMPLES * SAMPLES))
    for y in range(height):
        for x in range(width):
            t = index[y, x] - first
            if t < 0 or t >= triangles.shape[0]:
                continue
            wa, wb, wc = corner_weights(points, depth, triangles[t], x, y)
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            for k in range(3):
                at[k] = wa * place[a, k] + wb * place[b, k] + wc * place[c, k]
            shiny = wa * lit[a, 3] + wb * lit[b, 3] + wc * lit[c, 3]
            gleam = _paint(material[t], at, shiny, skin, cloth, palette, eyes, paint, under)
            i, j = y // SAMPLES, x // SAMPLES
            for k in range(3):
                light = wa * lit[a, k] + wb * lit[b, k] + wc * lit[c, k]
                value = exposure * (paint[k] * light + gleam)
                colour[i, j, k] += share * min(value, np.float32(1))
            cover[i, j] += share


@njit(cache=True, inline="always")
def _paint(
    kind: int,
    at: Floats,
    shiny: float,
    skin: Floats,
    cloth: Floats,
    palette: Floats,
    eyes: Floats,
    paint: Floats,
    under: Floats,
) -> float:
    """Write the colour of a place into `paint`; return its highlight."""
    if kind == SKIN:
        _skin_paint(at, skin, cloth, paint, under)
        return shiny * paint[3]
    if kind == HAIR:
        _hair_paint(at, palette[1], paint)
        return shiny * (0.05 + paint[0] + paint[1] + paint[2])
    if kind in (LEFT_EYE, RIGHT_EYE):
        _eye_paint(at, eyes[kind - LEFT_EYE], palette[0], paint)
        return 1.1 * _sixteenth(_sixteenth(shiny))
    if kind in (UPPER_TEETH, LOWER_TEETH):
        _tooth_paint(at, kind == UPPER_TEETH, palette[3], paint)
        return shiny * 0.3
    strength, gloss, row = 0.0, 0.0, 3
    if kind == TONGUE:
        strength, gloss = 0.22 + 0.55 * _step(0.75, 1.40, at[2]), 0.15
    elif kind == MOUTH_CAVITY:
        strength = 0.35 * (0.10 + 0.45 * _step(0.9, 1.45, at[2]))
    elif kind == EYE_CAVITY:
        strength, gloss = 1.2, 0.1
    elif kind == FRAME:
        row, strength, gloss = 2, 1.0, 0.7
    for c in range(3):
        paint[c] = palette[row, c] * strength + 0.004
    return shiny * gloss
