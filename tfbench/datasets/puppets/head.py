"""The puppets' head: a linear model of shape and expression, with parts, masks and points.

Built by `_build_head` from CC0 data of MakeHuman (HEAD_LICENCE.md). Right-handed coordinates in
decimetres: x to the person's left (the picture's right), y up, z toward the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EYE_CAVITY",
    "LASHES",
    "LEFT_EYE",
    "LOWER_TEETH",
    "MOUTH_CAVITY",
    "RIGHT_EYE",
    "SKIN",
    "TONGUE",
    "UPPER_TEETH",
    "Head",
    "head",
]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH = range(5)
TONGUE, LASHES, MOUTH_CAVITY, EYE_CAVITY = range(5, 9)
MASKS = ("lips", "eyelids", "inside_mouth", "ears", "face", "scalp")


@dataclass(frozen=True, eq=False)
class Head:
    """A head whose vertices are `neutral + identity · a + expression · b`.

    Attributes:
        neutral: float32 (V, 3), the mean head at rest; its origin is the head's centre.
        canonical: float32 (V, 3), the base mesh of MakeHuman: the same for every identity, so that
            masks and textures are functions of it. The head lies between y = 5.5 and 8.5.
        identity: float32 (I, V, 3), a direction for each of `identity_names`; useful weights lie
            within ±1, those of ancestry, age and shape of the head between 0 and 1.
        identity_names: Names of the identity directions.
        expression: float32 (52, V, 3), ARKit's directions in Apple's order; weights 0 to 1.
        expression_names: Names of the expression directions.
        triangles: int32 (F, 3), counter-clockwise as seen from outside.
        uv: float32 (U, 2) in [0, 1], v up; apart from the vertices, since the layout has seams.
        uv_triangles: int32 (F, 3), rows of `uv`.
        part: uint8 (F,), SKIN and so on, of each triangle.
        vertex_part: uint8 (V,), of each vertex; the rim of a cavity belongs to the skin.
        masks: float32 (V,) each in [0, 1]: lips, eyelids, inside_mouth, ears, face, scalp.
        turn: float32 (V,), how much of the head's rotation a vertex follows: 1 head, 0 bust.
        landmarks: int32 (68,), the vertex of each iBUG point.
        pivot: float32 (3,), the head turns about it.
    """

    neutral: Floats
    canonical: Floats
    identity: Floats
    identity_names: tuple[str, ...]
    expression: Floats
    expression_names: tuple[str, ...]
    triangles: Ints
    uv: Floats
    uv_triangles: Ints
    part: NDArray[np.uint8]
    vertex_part: NDArray[np.uint8]
    masks: Mapping[str, Floats]
    turn: Floats
    landmarks: Ints
    pivot: Floats

    def vertices(self, identity: Floats, expression: Floats) -> Floats:
        """Return float32 (V, 3) the head of an identity (I,) with an expression (52,)."""
        moved = np.tensordot(identity, self.identity, 1)
        moved += np.tensordot(expression, self.expression, 1)
        return (self.neutral + moved).astype(np.float32)


@cache
def head() -> Head:
    """Load the packaged head; every caller gets the same one, whose arrays cannot be written."""
    with np.load(Path(__file__).with_name("head.npz"), allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    ready = {name: _frozen(array, np.float32) for name, array in _floats(stored).items()}
    ints = {n: _frozen(stored[n], np.int32) for n in ("triangles", "uv_triangles", "landmarks")}
    return Head(
        **ready,
        **ints,
        identity_names=tuple(map(str, stored["identity_names"])),
        expression_names=tuple(map(str, stored["expression_names"])),
        part=_frozen(stored["part"], np.uint8),
        vertex_part=_frozen(stored["vertex_part"], np.uint8),
        masks=MappingProxyType(
            {n: _frozen(stored[f"mask_{n}"] / np.float32(255), np.float32) for n in MASKS}
        ),
    )


def _floats(stored: dict[str, NDArray]) -> dict[str, NDArray]:
    """Undo the fixed point of positions, and give still vertices their zeros in directions."""
    found = {"pivot": stored["pivot"]}
    for name in ("neutral", "canonical"):
        low, step = stored[f"{name}_range"]
        found[name] = low + step * stored[name]
    for name in ("identity", "expression"):
        count = len(stored["neutral"])
        moved = np.unpackbits(stored[f"{name}_moved"], axis=1, count=count).astype(bool)
        found[name] = np.zeros((*moved.shape, 3), np.float32)
        found[name][moved] = stored[name]
    found["uv"] = stored["uv"] / np.float32(65535)
    found["turn"] = stored["turn"] / np.float32(255)
    return found


def _frozen(array: NDArray, kind: type) -> NDArray:
    array = np.ascontiguousarray(array, kind)
    array.setflags(write=False)
    return array
