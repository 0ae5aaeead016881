"""How the mouth forms phones: targets, coarticulation, and contacts that are always reached.

Every phone has a target for each channel of the mouth and a dominance that falls off with the
distance in time; a channel is the mean of the targets, weighted by dominance (Cohen and Massaro
1993, "Modeling coarticulation in synthetic visual speech", equations 1 to 5). Vowels dominate the
jaw, rounded phones the lips from far away, while K, G and HH leave both to their neighbours.
Different from the paper: dominance is flat over the middle of a phone, so that a long vowel is
held; and lips that must touch (P B M) or lie at the teeth (F V) do so entirely in at least one
frame of each such phone, since a mean of targets misses contacts and 25 frames a second miss
short ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tfbench.core.errors import InputError
from tfbench.core.types import FPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.datasets.puppets.phones import Phone

__all__ = ["CHANNELS", "VISEMES", "VOWELS", "Mouth", "articulate"]

Array = NDArray[np.floating]

CHANNELS = ("jaw", "spread", "pucker", "funnel", "upper", "lower", "tuck", "tongue")
"""Of the mouth: jaw open; lips spread, pursed, funnelled; upper lip raised, lower lip lowered;
lower lip drawn in to the teeth; tip of the tongue between the teeth. Each from 0 to 1."""

VISEMES: dict[str, tuple[float, ...]] = {
    # jaw spread pucker funnel upper lower tuck tongue | dominance on jaw, on lips
    "AA": (0.66, 0.00, 0.00, 0.05, 0.35, 0.25, 0, 0.00, 1.0, 0.8),
    "AE": (0.62, 0.35, 0.00, 0.00, 0.55, 0.30, 0, 0.00, 1.0, 0.8),
    "AH": (0.56, 0.05, 0.00, 0.00, 0.35, 0.20, 0, 0.00, 0.8, 0.5),
    "AO": (0.54, 0.00, 0.25, 0.30, 0.15, 0.15, 0, 0.00, 1.0, 1.0),
    "EH": (0.40, 0.35, 0.00, 0.00, 0.45, 0.25, 0, 0.00, 0.9, 0.8),
    "ER": (0.24, 0.00, 0.30, 0.25, 0.20, 0.15, 0, 0.00, 0.8, 0.8),
    "IH": (0.17, 0.40, 0.00, 0.00, 0.40, 0.20, 0, 0.00, 0.8, 0.7),
    "IY": (0.11, 0.80, 0.00, 0.00, 0.45, 0.25, 0, 0.00, 0.9, 1.0),
    "OH": (0.34, 0.00, 0.60, 0.35, 0.05, 0.05, 0, 0.00, 1.0, 1.2),
    "UH": (0.16, 0.00, 0.35, 0.25, 0.10, 0.10, 0, 0.00, 0.8, 0.9),
    "UW": (0.07, 0.00, 1.00, 0.32, 0.00, 0.00, 0, 0.00, 0.9, 1.4),
    "B": (0.10, 0.00, 0.00, 0.00, 0.00, 0.00, 0, 0.00, 0.5, 0.5),
    "P": (0.10, 0.00, 0.00, 0.00, 0.00, 0.00, 0, 0.00, 0.5, 0.5),
    "M": (0.08, 0.00, 0.00, 0.00, 0.00, 0.00, 0, 0.00, 0.5, 0.5),
    "F": (0.08, 0.05, 0.00, 0.00, 0.45, 0.00, 1, 0.00, 0.9, 0.9),
    "V": (0.08, 0.05, 0.00, 0.00, 0.40, 0.00, 1, 0.00, 0.9, 0.9),
    "W": (0.05, 0.00, 1.00, 0.30, 0.00, 0.00, 0, 0.00, 0.8, 1.6),
    "R": (0.15, 0.00, 0.45, 0.30, 0.10, 0.10, 0, 0.00, 0.5, 0.8),
    "Y": (0.12, 0.50, 0.00, 0.00, 0.30, 0.20, 0, 0.00, 0.5, 0.6),
    "L": (0.22, 0.10, 0.00, 0.00, 0.30, 0.20, 0, 0.35, 0.4, 0.3),
    "TH": (0.18, 0.10, 0.00, 0.00, 0.35, 0.20, 0, 0.75, 0.8, 0.5),
    "DH": (0.18, 0.10, 0.00, 0.00, 0.35, 0.20, 0, 0.65, 0.7, 0.4),
    "S": (0.05, 0.35, 0.00, 0.00, 0.40, 0.30, 0, 0.00, 0.9, 0.5),
    "Z": (0.05, 0.30, 0.00, 0.00, 0.40, 0.30, 0, 0.00, 0.9, 0.5),
    "SH": (0.07, 0.00, 0.45, 0.50, 0.25, 0.20, 0, 0.00, 0.9, 1.2),
    "T": (0.12, 0.15, 0.00, 0.00, 0.35, 0.20, 0, 0.05, 0.4, 0.2),
    "D": (0.13, 0.15, 0.00, 0.00, 0.35, 0.20, 0, 0.05, 0.4, 0.2),
    "N": (0.14, 0.12, 0.00, 0.00, 0.30, 0.20, 0, 0.05, 0.35, 0.2),
    "K": (0.20, 0.05, 0.00, 0.00, 0.25, 0.15, 0, 0.00, 0.15, 0.1),
    "HH": (0.24, 0.05, 0.00, 0.00, 0.25, 0.15, 0, 0.00, 0.08, 0.05),
    "SIL": (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0, 0.00, 1.2, 1.0),
}  # fmt: skip
"""Target and dominance of each shape. OH is the first part of OW. Targets are wider than what is
reached: the neighbours take their part, the more the shorter a phone is."""

VOWELS = frozenset(
    ["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"]
)
_SAME = {"ZH": "SH", "CH": "SH", "JH": "SH", "G": "K", "NG": "K"}
_GLIDES = {
    "AY": ("AA", "IH"), "AW": ("AA", "UH"), "OY": ("AO", "IH"), "EY": ("EH", "IY"),
    "OW": ("OH", "UW"),
}  # fmt: skip
_FIRST = 0.6  # of a diphthong's time belongs to its first vowel
_LIPS, _TEETH = ("P", "B", "M"), ("F", "V")

_FLAT = 0.25  # of a phone's length on either side of its middle, over which it dominates fully ...
_EDGE = 0.06  # ... and in a long one up to so many seconds before its end
_REACH = np.array([0.055, 0.070, 0.100, 0.090, 0.060, 0.060, 0.045, 0.035])
"""Seconds in which dominance falls by e, for each channel."""
_RAMP = 0.075  # seconds from a free mouth to a contact
_SHORT_PAUSE = 0.25  # seconds; a shorter silence closes the mouth less
_N = len(CHANNELS)


@dataclass(frozen=True, eq=False)
class Mouth:
    """The speaking mouth in each frame.

    Attributes:
        channels: float64 (T, 8) in [0, 1], of `CHANNELS`.
        seal: float64 (T,), 1 where the lips must touch along their whole width, 0 where they are
            free.
        talk: float64 (T,), 1 in speech and 0 in silence, with soft edges.
    """

    channels: Array
    seal: Array
    talk: Array


def articulate(phones: Sequence[Phone], n_frames: int, effort: Array) -> Mouth:
    """Move the mouth through phones.

    Args:
        phones: In the order of time, without gaps; seconds.
        n_frames: At 25 fps; each shows its middle.
        effort: float (N,), how widely each phone is articulated; 1 is usual.

    Returns:
        The mouth's motion.

    Raises:
        InputError: A phone's symbol is not known, or there are no phones.
    """
    if not phones:
        raise InputError("a mouth moves through phones and there are none; give at least one 'SIL'")
    centres = (np.arange(n_frames) + 0.5) / float(FPS)
    channels = _blend(_shapes(phones, effort), centres)
    teeth = _contact(phones, centres, _TEETH)
    seal = _contact(phones, centres, _LIPS)
    # Lips on their way to a /b/ wait for the teeth of a /v/ before it.
    seal[(teeth == 1) & (seal < 1)] = 0
    channels = _at_teeth(channels, teeth * (1 - seal))
    # What parts the lips without the jaw gives way; the jaw is left to the seal.
    channels[:, [3, 4, 5]] *= 1 - seal[:, None]
    return Mouth(np.clip(channels, 0, 1), seal, _talk(phones, centres))


@dataclass(frozen=True, eq=False)
class _Shapes:
    """Targets with their time: (N,) start and end, (N, 8) targets, (N, 8) dominances."""

    start: Array
    end: Array
    target: Array
    dominance: Array


def _shapes(phones: Sequence[Phone], effort: Array) -> _Shapes:
    rows, times = [], []
    for phone, strength in zip(phones, effort, strict=True):
        names = _GLIDES.get(phone.symbol, (_SAME.get(phone.symbol, phone.symbol),))
        edges = [phone.start, phone.end]
        if len(names) > 1:
            edges.insert(1, phone.start + _FIRST * (phone.end - phone.start))
        for name, (start, end) in zip(names, pairwise(edges), strict=True):
            rows.append(_row(name, phone, float(strength)))
            times.append((start, end))
    table, spans = np.array(rows), np.array(times)
    dominance = np.repeat(table[:, _N:], [1, _N - 1], axis=1)
    return _Shapes(spans[:, 0], spans[:, 1], table[:, :_N], dominance)


def _row(name: str, phone: Phone, effort: float) -> Array:
    if name not in VISEMES:
        known = ", ".join([*VISEMES, *_SAME, *_GLIDES])
        raise InputError(f"no mouth shape for the phone '{name}'; there are {known}")
    row = np.array(VISEMES[name])
    if phone.symbol in VOWELS:
        row[:_N] *= effort
        row[_N:] *= 1.25 if phone.stress else 1.0
    if name == "SIL":
        row[_N:] *= min(1.0, (phone.end - phone.start) / _SHORT_PAUSE)
    return row


def _blend(shapes: _Shapes, centres: Array) -> Array:
    """Return (T, 8), the mean of the targets weighted by their dominance."""
    middle = (shapes.start + shapes.end) / 2
    length = shapes.end - shapes.start
    flat = np.maximum(_FLAT * length, length / 2 - _EDGE)
    apart = np.maximum(np.abs(centres[:, None] - middle) - flat, 0)
    weight = np.exp(-apart[..., None] / _REACH) * shapes.dominance
    return (weight * shapes.target).sum(1) / weight.sum(1)


def _contact(phones: Sequence[Phone], centres: Array, symbols: tuple[str, ...]) -> Array:
    """Return (T,) 1 in the contacts of these phones, falling to 0 before and after them."""
    contact = np.zeros(len(centres))
    for n, phone in enumerate(phones):
        if phone.symbol not in symbols:
            continue
        start, end = _held(phone, centres)
        if n and phones[n - 1].symbol == "SIL":  # a mouth that is closed waits for the burst
            start -= 0.1
        before = _ramp(phones[n - 1]) if n else _RAMP
        after = _ramp(phones[n + 1]) if n + 1 < len(phones) else _RAMP
        apart = np.maximum((start - centres) / before, (centres - end) / after).clip(0, 1)
        contact = np.maximum(contact, 0.5 + 0.5 * np.cos(np.pi * apart))
    return contact


def _held(phone: Phone, centres: Array) -> tuple[float, float]:
    """Return when a contact begins and ends: there is a frame's centre in between."""
    start, end = phone.start, phone.end
    if phone.symbol in ("P", "B"):  # then comes the burst
        end = start + 0.7 * (end - start)
    apart = np.abs(centres - (start + end) / 2)
    outside = (centres < phone.start) | (centres > phone.end)
    nearest = float(centres[np.argmin(apart + 10.0 * outside)])
    return min(start, nearest), max(end, nearest)


def _ramp(neighbour: Phone) -> float:
    return float(np.clip((neighbour.end - neighbour.start) / 2, 0.6 * _RAMP, _RAMP))


def _at_teeth(channels: Array, contact: Array) -> Array:
    """Bring the lower lip to the upper teeth; the upper lip shows them."""
    at_teeth = channels.copy()
    at_teeth[:, 0] = np.minimum(channels[:, 0], 0.09)
    at_teeth[:, 2:4] *= 0.4
    at_teeth[:, 4] = np.maximum(channels[:, 4], 0.4)
    at_teeth[:, 5], at_teeth[:, 6], at_teeth[:, 7] = 0, 1, 0
    channels = channels + contact[:, None] * (at_teeth - channels)
    channels[:, 6] = contact
    return channels


def _talk(phones: Sequence[Phone], centres: Array) -> Array:
    """Return (T,), 1 in speech and in short pauses."""
    talk = np.ones(len(centres))
    for n, phone in enumerate(phones):
        if phone.symbol != "SIL" or phone.end - phone.start < 0.15:
            continue
        before = np.inf if n == 0 else (centres - phone.start) / 0.24
        after = np.inf if n + 1 == len(phones) else (phone.end - centres) / 0.24
        inside = np.clip(np.minimum(before, after), 0, 1)
        talk = np.minimum(talk, 0.5 + 0.5 * np.cos(np.pi * inside))
    return talk
