"""What a face does besides speaking: blinks, gaze, and the head's motion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfbench.core.types import FPS

__all__ = ["blinks", "gaze", "nods", "wander"]

Array = NDArray[np.floating]

_RATE = float(FPS)


def wander(
    rng: np.random.Generator, n_frames: int, low_hz: float, high_hz: float, waves: int = 4
) -> Array:
    """Return float64 (T,) a slow motion about 0 of standard deviation 1; never beyond about 2.8.

    Args:
        rng: Where chance comes from.
        n_frames: At 25 fps.
        low_hz: Slowest wave.
        high_hz: Fastest wave.
        waves: How many waves of equal strength are added.
    """
    time = (np.arange(n_frames) + 0.5) / _RATE
    speed = 2 * np.pi * rng.uniform(low_hz, high_hz, waves)
    phase = rng.uniform(0, 2 * np.pi, waves)
    return np.sin(time[:, None] * speed + phase).sum(1) * np.sqrt(2 / waves)


def blinks(rng: np.random.Generator, n_frames: int, factor: float = 1.0) -> Array:
    """Blink now and then.

    Gaps are exponential after a refractory time, about 20 blinks a minute, as in conversation
    (Bentivoglio et al. 1997); lids fall faster than they rise (Evinger et al. 1991).

    Args:
        rng: Where chance comes from.
        n_frames: At 25 fps.
        factor: On the number of blinks.

    Returns:
        float64 (T,), how far the lids are closed, 0 to 1.
    """
    time = (np.arange(n_frames) + 0.5) / _RATE
    closed = np.zeros(n_frames)
    start = rng.exponential(2.2 / factor) - 0.3
    while start < n_frames / _RATE:
        fall, hold, rise = rng.uniform(0.08, 0.11), rng.uniform(0.02, 0.05), rng.uniform(0.13, 0.2)
        since = time - start
        down = np.clip(since / fall, 0, 1)
        up = np.clip((since - fall - hold) / rise, 0, 1)
        depth = rng.uniform(0.92, 1.0)
        shape = 0.25 * (1 - np.cos(np.pi * down)) * (1 + np.cos(np.pi * up))
        closed = np.maximum(closed, depth * shape)
        start += 0.6 + rng.exponential(2.2 / factor)
    return closed


def gaze(rng: np.random.Generator, n_frames: int, calm: float = 1.0) -> Array:
    """Look at somebody's face: fixations of about a second, with quick saccades between them.

    One glance in eight goes aside, as people do who think about what they say.

    Args:
        rng: Where chance comes from.
        n_frames: At 25 fps.
        calm: Factor on the lengths of fixations.

    Returns:
        float64 (T, 2), yaw to the person's left and pitch downward of the line of sight, relative
        to what is looked at, radians.
    """
    time = (np.arange(n_frames) + 0.5) / _RATE
    line = np.zeros((n_frames, 2))
    here, start = np.array([0.0, 0.0]), -rng.uniform(0, 1)
    while start < n_frames / _RATE:
        aside = rng.random() < 0.125
        spread = np.array([0.16, 0.07]) if aside else np.array([0.028, 0.018])
        there = np.clip(rng.normal(size=2), -1.6, 1.6) * spread
        taking = 0.06 + 0.2 * float(np.hypot(*(there - here)))  # two frames at least
        gone = np.clip((time - start) / taking, 0, 1)[:, None]
        line += (there - here) * (0.5 - 0.5 * np.cos(np.pi * gone))
        here = there
        start += (0.3 if aside else 0.5) + rng.exponential(0.4 if aside else 0.9 * calm)
    return line


def nods(times: Array, sizes: Array, n_frames: int, width: float = 0.36) -> Array:
    """Return float64 (T,) the sum of bows at `times` (seconds), of `sizes`, `width` seconds long.

    Each is a raised cosine, so that it begins and ends at rest.
    """
    time = (np.arange(n_frames) + 0.5) / _RATE
    apart = np.clip(np.abs(time[:, None] - times) / width, 0, 1)
    return (sizes * (0.5 + 0.5 * np.cos(np.pi * apart))).sum(1)
