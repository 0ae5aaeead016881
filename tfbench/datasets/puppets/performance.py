"""A puppet's performance: how face and head move while it speaks or listens.

Speech (`visemes`), emotion (`emotions`), blinks, gaze and the head (`motion`) are made apart and
blended here: an emotion gives way where lips must meet or round, so that speech stays readable,
and has its full shape in silence. All is a pure function of what is said, how, and a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tfbench.core.errors import InputError
from tfbench.datasets.puppets import motion
from tfbench.datasets.puppets.emotions import face, manner
from tfbench.datasets.puppets.head import head
from tfbench.datasets.puppets.speech import loudness
from tfbench.datasets.puppets.visemes import CHANNELS, VOWELS, Mouth, articulate

if TYPE_CHECKING:
    from tfbench.datasets.puppets.speech import Utterance

__all__ = ["Performance", "listen", "perform"]

Floats = NDArray[np.float32]
Array = NDArray[np.floating]

_USUAL_LOUDNESS = 0.617  # of `speech.loudness`: -23 dB, the louder frames of neutral speech
_FASTEST_JAW = 0.45  # of jawOpen a frame
_EYE_TURN = {"In": 0.26, "Out": 0.25, "Down": 0.195, "Up": 0.17}
"""Radians by which an eye of the head turns at full weight."""


_SWAY = np.array([0.018, 0.032, 0.016])
"""Standard deviation of the head's slow motion in pitch, yaw and roll, radians."""
_HABIT = np.array([0.025, 0.05, 0.02])
"""By how much, at most, a head at rest is off."""


@dataclass(frozen=True, eq=False)
class Performance:
    """How a puppet moves; frame k shows the middle of [k / 25, (k + 1) / 25) seconds.

    Attributes:
        expression: float32 (T, 52) in [0, 1], ARKit weights in the order of
            `Head.expression_names`.
        rotation: float32 (T, 3), pitch, yaw and roll of the head about `Head.pivot`, radians, with
            the signs of `actor.rotation_matrix`.
    """

    expression: Floats
    rotation: Floats

    @property
    def n_frames(self) -> int:
        """Frames at 25 fps."""
        return len(self.expression)


def perform(
    utterance: Utterance,
    emotion: str,
    level: int,
    seed: int,
    facing: tuple[float, float] = (0.0, 0.0),
) -> Performance:
    """Speak.

    Args:
        utterance: What is said.
        emotion: One of `emotions.EMOTIONS`.
        level: Its strength, 1 to 3.
        seed: Of the motion.
        facing: Yaw and pitch, radians, on which head and gaze rest.

    Returns:
        As long as the utterance.

    Raises:
        UnknownName: There is no such emotion.
        InputError: There is no such level, a phone has no mouth shape, the seed is negative, or
            `facing` is beyond a radian.
    """
    n_frames = utterance.n_frames
    effort = _effort(utterance) * _generator(seed, 11).uniform(0.9, 1.1)
    mouth = articulate(utterance.phones, n_frames, effort)
    weights = _blend(face(emotion, level, _generator(seed, 13), n_frames), mouth)
    times, sizes = _accents(utterance, _generator(seed, 14))
    _raise_brows(weights, motion.nods(times, 0.35 * sizes, n_frames))
    bows = motion.nods(times + 0.04, 0.055 * sizes, n_frames)
    return _finish(weights, bows, emotion, level, seed, facing)


def listen(
    n_frames: int, emotion: str, level: int, seed: int, facing: tuple[float, float] = (0.0, 0.0)
) -> Performance:
    """Listen in silence: blinks, glances and a nod now and then.

    Args:
        n_frames: At 25 fps, at least 1.
        emotion: One of `emotions.EMOTIONS`.
        level: Its strength, 1 to 3.
        seed: Of the motion.
        facing: Yaw and pitch, radians, on which head and gaze rest.

    Returns:
        The performance.

    Raises:
        UnknownName: There is no such emotion.
        InputError: There is no such level, no frame, the seed is negative, or `facing` is beyond a
            radian.
    """
    if n_frames < 1:
        raise InputError(f"a listener needs at least one frame, not {n_frames}")
    rng = _generator(seed, 12)
    still = Mouth(np.zeros((n_frames, len(CHANNELS))), np.zeros(n_frames), np.zeros(n_frames))
    weights = _blend(face(emotion, level, _generator(seed, 13), n_frames), still)
    count = 1 + int(rng.poisson(n_frames / 75))
    times = rng.uniform(0, n_frames / 25, count)
    bows = motion.nods(times, rng.uniform(0.03, 0.08, count), n_frames, 0.4)
    return _finish(weights, bows, emotion, level, seed, facing)


def _generator(seed: int, part: int) -> np.random.Generator:
    """Return a generator of one part of the motion, so that no part depends on another's draws."""
    if seed < 0:
        raise InputError(f"a performance's seed is 0 or more, not {seed}")
    return np.random.default_rng([seed, part])


def _effort(utterance: Utterance) -> Array:
    """Return (N,), how widely each phone is articulated: louder and stressed ones more."""
    loud = loudness(utterance)
    middles = np.array([(p.start + p.end) / 2 for p in utterance.phones])
    near = loud[np.clip((middles * 25).astype(int), 0, len(loud) - 1)]
    strength = np.clip(1 + 1.0 * (near - _USUAL_LOUDNESS), 0.88, 1.15)
    stress = np.array([1.08 if p.stress else 0.96 for p in utterance.phones])
    return strength * stress


def _accents(utterance: Utterance, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return times (A,) of the stressed vowels in seconds and sizes (A,), 0 to about 1.

    Head and brows move with prominent syllables (Munhall et al. 2004; Cavé et al. 1996).
    """
    stressed = [p for p in utterance.phones if p.stress and p.symbol in VOWELS]
    times = np.array([(p.start + p.end) / 2 for p in stressed])
    loud = loudness(utterance)
    near = loud[np.clip((times * 25).astype(int), 0, len(loud) - 1)]
    order = near.argsort().argsort() / max(len(near) - 1, 1)
    return times, (0.15 + 0.55 * order) * rng.uniform(0.4, 1.4, len(times))


@cache
def _columns(name: str) -> tuple[int, ...]:
    """Return the columns of an ARKit weight; of both sides where it has two."""
    names = head().expression_names
    return tuple(k for k, n in enumerate(names) if n in (name, f"{name}Left", f"{name}Right"))


def _scale(weights: Array, name: str, factor: Array) -> None:
    for column in _columns(name):
        weights[:, column] *= factor


def _add(weights: Array, name: str, values: Array) -> None:
    for column in _columns(name):
        weights[:, column] += values


_KEPT = {
    "jawOpen": 0.3, "mouthSmile": 0.8, "mouthDimple": 0.8, "mouthFrown": 0.85, "mouthStretch": 0.7,
    "mouthShrugLower": 0.6, "mouthRollUpper": 0.5, "mouthRollLower": 0.5, "mouthUpperUp": 0.45,
    "mouthLowerDown": 0.45,
}  # fmt: skip
"""Share of an emotion's mouth that is left while speaking."""


def _blend(shown: Array, mouth: Mouth) -> Array:
    """Return (T, 52), an emotion's weights with those of speech."""
    weights = shown.copy()
    jaw, spread, pucker, funnel, upper, lower, tuck, tongue = mouth.channels.T
    _give_way(weights, mouth)
    unsmiling = 1 - weights[:, _columns("mouthSmile")].mean(1)
    _add(weights, "jawOpen", jaw)
    _add(weights, "mouthStretch", 0.55 * spread * unsmiling)
    _add(weights, "mouthDimple", 0.45 * spread * unsmiling)
    _add(weights, "mouthPucker", pucker)
    _add(weights, "mouthFunnel", funnel)
    _add(weights, "mouthRollLower", 0.75 * tuck + 0.18 * mouth.seal)
    _add(weights, "mouthRollUpper", 0.12 * mouth.seal)
    _add(weights, "mouthPress", 0.15 * mouth.seal)
    _add(weights, "tongueOut", tongue)
    for name, values in (("mouthUpperUp", upper), ("mouthLowerDown", lower)):
        for column in _columns(name):
            weights[:, column] = np.maximum(weights[:, column], values)
    np.clip(weights, 0, 1, out=weights)
    for column in _columns("jawOpen"):
        _bound(weights[:, column], _FASTEST_JAW)
    # The head's mouthClose undoes what an equal jawOpen does to the lips.
    (jaw_open,) = _columns("jawOpen")
    _add(weights, "mouthClose", weights[:, jaw_open] * mouth.seal)
    return weights


def _bound(values: Array, step: float) -> None:
    """Lower values (T,) in place until no two neighbours differ by more than a step."""
    for k in range(1, len(values)):
        values[k] = min(values[k], values[k - 1] + step)
    for k in range(len(values) - 2, -1, -1):
        values[k] = min(values[k], values[k + 1] + step)


def _give_way(weights: Array, mouth: Mouth) -> None:
    """Take back an emotion's mouth where speech needs it: in speech, rounding and contacts."""
    pucker, funnel, tuck = mouth.channels[:, [2, 3, 6]].T
    round_ = 0.4 * np.clip(pucker + funnel, 0, 1)
    for name, kept in _KEPT.items():
        _scale(weights, name, (1 - mouth.talk * (1 - kept)) * (1 - round_))
    _scale(weights, "jawOpen", 1 - tuck)
    # A rolled lip over an open mouth would bare nothing but the canines.
    _scale(weights, "mouthRollUpper", 1 - np.clip(5 * mouth.channels[:, 0], 0, 1))
    for name in ("mouthUpperUp", "mouthLowerDown"):
        _scale(weights, name, (1 - mouth.seal) * (1 - 0.7 * tuck))


def _raise_brows(weights: Array, accents: Array) -> None:
    lifted = np.clip(accents, 0, 0.35)
    for name, share in (("browInnerUp", 0.8), ("browOuterUp", 1.0)):
        for column in _columns(name):
            weights[:, column] += share * lifted * (1 - weights[:, column])


def _finish(
    weights: Array,
    bows: Array,
    emotion: str,
    level: int,
    seed: int,
    facing: tuple[float, float],
) -> Performance:
    """Add what the head, the eyes and the lids do."""
    if not max(map(abs, facing)) <= 1.0:
        raise InputError(f"a puppet faces at most 1 radian aside (yaw, pitch), not {facing}")
    how, share = manner(emotion, level)
    n_frames = len(weights)
    alive = 1 + share * (how.liveliness - 1)
    rng = _generator(seed, 15)
    sway = np.stack([motion.wander(rng, n_frames, 0.08, 0.4) for _ in range(3)], 1)
    sway *= alive * _SWAY
    sway[:, 0] += alive * bows
    side = 1 if rng.random() < 0.5 else -1
    posture = share * np.array(how.posture) * [1, side, side]
    yaw, pitch = facing
    rest = posture + 0.85 * np.array([pitch, yaw, 0]) + _HABIT * rng.uniform(-1, 1, 3)
    rotation = sway + rest
    line = np.array([yaw, pitch]) + motion.gaze(_generator(seed, 16), n_frames)
    _look(weights, line - rotation[:, [1, 0]])
    _blink(weights, motion.blinks(_generator(seed, 17), n_frames, 1 + share * (how.blinks - 1)))
    expression = np.clip(weights, 0, 1).astype(np.float32)
    return Performance(expression, rotation.astype(np.float32))


def _look(weights: Array, turn: Array) -> None:
    """Turn the eyes in the head by (T, 2) yaw to the person's left and pitch downward."""
    names = head().expression_names
    yaw, pitch = turn.T
    for name, value in (("OutLeft", yaw), ("InRight", yaw), ("InLeft", -yaw), ("OutRight", -yaw),
                        ("DownLeft", pitch), ("DownRight", pitch), ("UpLeft", -pitch),
                        ("UpRight", -pitch)):  # fmt: skip
        full = _EYE_TURN[name.removesuffix("Left").removesuffix("Right")]
        weights[:, names.index(f"eyeLook{name}")] = np.clip(value / full, 0, 1)


def _blink(weights: Array, closed: Array) -> None:
    """Close the lids over what they show."""
    for name in ("eyeWide", "eyeSquint", "eyeLookUp", "eyeLookDown"):
        _scale(weights, name, 1 - closed)
    for column in _columns("eyeBlink"):
        weights[:, column] += (1 - weights[:, column]) * closed
