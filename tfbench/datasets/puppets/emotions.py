"""Eight emotions of three levels as combinations of action units, in ARKit weights.

Action units of each emotion follow EMFACS (Friesen and Ekman 1983) as tabled by Lucey et al. 2010
(CK+, table 2): happy 6+12; sad 1+4+15, 11 or 17; angry 23 and 4, 5, 7, 17; fear 1+2+4+5+20; disgust
9 or 10; surprise 1+2 or 5 with 26; contempt 14 of one side. Where this head shows a unit weakly, a
neighbour that people also show helps (25 in joy, 6 and 7 in disgust). Names and levels are those of
MEAD (Wang et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tfbench.core.errors import InputError, UnknownName
from tfbench.datasets.puppets.head import head

__all__ = ["ACTION_UNITS", "EMOTIONS", "LEVELS", "Manner", "action_weights", "face", "manner"]

Array = NDArray[np.floating]

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgusted", "surprised", "contempt")
LEVELS = {1: 0.42, 2: 0.70, 3: 1.0}
"""Share of the full strength of each level."""

ACTION_UNITS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.0},
    2: {"browOuterUp": 1.0},
    4: {"browDown": 1.0},
    5: {"eyeWide": 1.0},
    6: {"cheekSquint": 1.0, "eyeSquint": 0.35},
    7: {"eyeSquint": 1.0},
    9: {"noseSneer": 1.0, "browDown": 0.25},
    10: {"mouthUpperUp": 1.0},
    12: {"mouthSmile": 1.0},
    11: {"mouthUpperUp": 0.5, "noseSneer": 0.3},
    14: {"mouthDimple": 1.0},
    15: {"mouthFrown": 1.0},
    16: {"mouthLowerDown": 1.0},
    17: {"mouthShrugLower": 1.0},
    20: {"mouthStretch": 1.0},
    23: {"mouthRollUpper": 0.50, "mouthRollLower": 0.65},
    25: {"mouthUpperUp": 0.7, "mouthLowerDown": 0.5},
    26: {"jawOpen": 1.0},
    29: {"jawForward": 1.0},
    43: {"eyeBlink": 1.0},
}
"""ARKit weights of each action unit at full strength; a name without a side means both sides."""


@dataclass(frozen=True)
class Manner:
    """How an emotion at level 3 looks and moves.

    Attributes:
        units: Strength of each action unit.
        posture: Pitch, yaw and roll of the head, radians.
        liveliness: Factor on the motion of the head.
        blinks: Factor on the number of blinks.
        sided: Whether the mouth shows it on one side.
    """

    units: dict[int, float] = field(default_factory=dict)
    posture: tuple[float, float, float] = (0.0, 0.0, 0.0)
    liveliness: float = 1.0
    blinks: float = 1.0
    sided: bool = False


_MANNERS = {
    "neutral": Manner(),
    "happy": Manner({2: 0.2, 6: 1.0, 12: 1.0, 14: 0.3, 25: 0.75}, (-0.03, 0.0, 0.05), 1.35),
    "sad": Manner(
        {1: 1.0, 4: 0.35, 7: 0.25, 11: 0.3, 15: 1.0, 17: 0.7, 43: 0.2},
        (0.13, 0.03, 0.08), 0.6, 0.9,
    ),
    "angry": Manner(
        {4: 1.0, 5: 0.5, 7: 0.6, 9: 0.6, 15: 0.3, 17: 0.3, 23: 1.0, 29: 0.4},
        (0.10, 0.0, 0.0), 1.35, 0.6,
    ),
    "fear": Manner(
        {1: 1.0, 2: 0.35, 4: 0.35, 5: 1.0, 16: 0.6, 20: 1.0, 26: 0.2},
        (-0.05, 0.04, 0.03), 0.9, 1.6,
    ),
    "disgusted": Manner(
        {4: 0.6, 6: 0.5, 7: 0.75, 9: 1.0, 10: 0.9, 15: 0.55, 17: 0.35},
        (-0.04, 0.10, 0.06), 0.9,
    ),
    "surprised": Manner({1: 1.0, 2: 1.0, 5: 1.0, 26: 0.5}, (-0.07, 0.0, 0.0), 1.1, 0.6),
    "contempt": Manner(
        {2: 0.7, 7: 0.25, 9: 0.3, 10: 0.5, 12: 0.7, 14: 1.0, 43: 0.2},
        (-0.10, 0.06, 0.08), 0.75, 0.9, sided=True,
    ),
}  # fmt: skip


def manner(emotion: str, level: int) -> tuple[Manner, float]:
    """Look up an emotion.

    Args:
        emotion: One of `EMOTIONS`.
        level: 1 to 3; of no effect for "neutral".

    Returns:
        The emotion's manner and the share of it that the level shows.

    Raises:
        UnknownName: There is no such emotion.
        InputError: There is no such level.
    """
    if emotion not in _MANNERS:
        raise UnknownName(f"no emotion '{emotion}'; there are {', '.join(EMOTIONS)}")
    if level not in LEVELS:
        raise InputError(f"no level {level!r} of an emotion; there are 1, 2 and 3")
    return _MANNERS[emotion], LEVELS[level]


def action_weights(unit: int, left: float = 1.0, right: float = 1.0) -> Array:
    """Return float64 (52,), the ARKit weights of an action unit with its strength on each side."""
    names = head().expression_names
    weights = np.zeros(len(names))
    for name, weight in ACTION_UNITS[unit].items():
        if name in names:
            weights[names.index(name)] = weight * (left + right) / 2
        else:
            weights[names.index(f"{name}Left")] = weight * left
            weights[names.index(f"{name}Right")] = weight * right
    return weights


_MOUTH_UNITS = (9, 10, 12, 14)


def face(emotion: str, level: int, rng: np.random.Generator, n_frames: int) -> Array:
    """Show an emotion without speech.

    It comes up within half a second, from what is there before the clip, and fluctuates slowly;
    people differ in the strength of each unit and of their sides.

    Args:
        emotion: One of `EMOTIONS`.
        level: 1 to 3.
        rng: Where chance comes from.
        n_frames: At 25 fps.

    Returns:
        float64 (T, 52) in [0, 1].
    """
    from tfbench.datasets.puppets.motion import wander

    how, share = manner(emotion, level)
    own_side = int(rng.integers(2))
    shown = np.zeros((n_frames, len(head().expression_names)))
    onset = 0.85 + 0.15 * np.clip(np.arange(n_frames) / 12.0, 0, 1)
    for unit, strength in how.units.items():
        sides = strength * rng.uniform(0.85, 1.12) * (1 + 0.06 * rng.uniform(-1, 1, 2))
        if how.sided:
            sides[1 - own_side] *= 0.12 if unit in _MOUTH_UNITS else 0.4
        weights = share * action_weights(unit, *sides)
        pulse = onset * (1 + 0.07 * wander(rng, n_frames, 0.2, 0.9))
        shown += pulse[:, None] * weights
    return np.clip(shown, 0, 1)
