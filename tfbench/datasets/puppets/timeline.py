# ruff: noqa: RUF001 - the letters of the IPA are meant.
"""When eSpeak's words and phones are heard.

eSpeak's events are exact to a few samples where a sound begins, but a stop's closure is silence
that it counts to the sound before. Lips are shut in a closure, so that silence is given to the stop
that follows it; before the first sound, or after a pause, a stop gets the last 60 ms of it. A gap
between words that is too short for a pause is the closure of a stop after it, or else is given to
the phone before.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tfbench.datasets.puppets.phones import SILENCE, Phone, arpabet, divide, is_stressed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.datasets.puppets.espeak import Event, Sound

__all__ = ["Clock", "Timed", "loud_level", "phones_of", "timeline", "words_of"]

_GAP = 0.1  # seconds; a shorter stretch without a phone is no pause
_CLOSURE = 0.06  # seconds, of a stop after silence
_STOPS = {"p", "b", "t", "d", "k", "ɡ", "tʃ", "dʒ"}
_SILENT_DB = -35.0  # below the louder frames; the faintest fricatives are 25 dB below
_STEP = 55  # samples, 2.5 ms
_FRAME = 882  # samples, 1/25 s


@dataclass(frozen=True)
class Clock:
    """Turns eSpeak's samples into seconds of the utterance.

    Attributes:
        lead: Seconds before the first sample.
        period: Seconds that a sample takes.
    """

    lead: float
    period: float

    def seconds(self, sample: float) -> float:
        """When a sample is heard, in microseconds' steps."""
        return round(self.lead + sample * self.period, 6)


@dataclass(frozen=True)
class Timed:
    """One of eSpeak's phones with its time.

    Attributes:
        place: Index of the text's character at which the phone's word begins.
        ipa: As eSpeak writes it; "" for a pause.
        start: Seconds.
        end: Seconds.
    """

    place: int
    ipa: str
    start: float
    end: float


def timeline(sound: Sound, clock: Clock) -> list[Timed]:
    """Give each phone of a sound its start and end; they follow each other without a gap."""
    events = _without_gaps(sound, round(_GAP / clock.period))
    starts = _starts(sound, events, round(_CLOSURE / clock.period))
    ends = [*starts[1:], len(sound.samples)]
    return [
        Timed(event.place, event.ipa, clock.seconds(start), clock.seconds(end))
        for event, start, end in zip(events, starts, ends, strict=True)
        if end > start
    ]


def phones_of(events: Sequence[Timed], duration: float) -> tuple[Phone, ...]:
    """Write a timeline in ARPAbet, with the silence around it.

    Args:
        events: Of `timeline`.
        duration: Seconds of the whole utterance.

    Returns:
        They tile [0, duration]; pauses that touch are one.
    """
    phones = [Phone(SILENCE, 0.0, events[0].start, stress=False)]
    for event in events:
        start = event.start
        for symbol, share in arpabet(event.ipa):
            end = round(start + share * (event.end - event.start), 6)
            phones.append(Phone(symbol, start, end, is_stressed(event.ipa)))
            start = end
    phones.append(Phone(SILENCE, events[-1].end, duration, stress=False))
    merged = phones[:1]
    for phone in phones[1:]:
        if phone.symbol == SILENCE == merged[-1].symbol:
            merged[-1] = replace(merged[-1], end=phone.end)
        else:
            # Shares are rounded; a phone begins where the one before it ends.
            merged.append(replace(phone, start=merged[-1].end))
    return tuple(merged)


def words_of(
    tokens: Sequence[str],
    places: Sequence[int],
    events: Sequence[Timed],
    alone: Sequence[Sequence[str]],
) -> tuple[tuple[str, float, float], ...]:
    """Find each word's start and end.

    Args:
        tokens: The words, with punctuation.
        places: Of each one's first character in the text that eSpeak was given.
        events: Of `timeline`.
        alone: IPA of each one said alone; for those that eSpeak joins, such as "of the".

    Returns:
        (word without punctuation, start, end), in seconds.
    """
    of_token: dict[int, list[Timed]] = {}
    for event in events:
        if event.ipa:
            token = max(int(np.searchsorted(places, event.place, side="right")) - 1, 0)
            of_token.setdefault(token, []).append(event)
    heard = sorted(of_token)
    words = []
    for token, following in zip(heard, [*heard[1:], len(tokens)], strict=True):
        spoken = of_token[token]
        counts = divide([event.ipa for event in spoken], alone[token:following])
        own = iter(spoken)
        for k, count in zip(range(token, following), counts, strict=True):
            part = [next(own) for _ in range(count)]
            if part:
                words.append((tokens[k].strip(string.punctuation), part[0].start, part[-1].end))
    return tuple(words)


def loud_level(samples: np.ndarray, frame: int) -> float:
    """Root mean square over the frames within 25 dB of the loudest; 0 where all is silent."""
    whole = len(samples) // frame * frame
    power = np.square(samples[:whole].reshape(-1, frame).astype(np.float64)).mean(axis=1)
    loud = power[power > power.max(initial=0) * 10**-2.5]
    return float(np.sqrt(loud.mean())) if len(loud) else 0.0


def _without_gaps(sound: Sound, shortest: int) -> list[Event]:
    """Give a gap that is shorter than a pause to a stop after it, or else to the phone before."""
    events: list[Event] = []
    gap = None  # where a gap began that is not known to be a pause yet
    for event in sound.events:
        if not event.ipa:
            gap = event if gap is None else gap
            continue
        if gap is not None and event.sample - gap.sample >= shortest:
            events.append(gap)
        elif gap is not None and event.ipa in _STOPS:
            event = replace(event, sample=gap.sample)  # noqa: PLW2901
        events.append(event)
        gap = None
    return events if gap is None else [*events, gap]


def _starts(sound: Sound, events: Sequence[Event], closure: int) -> list[int]:
    """First sample of each event, its closure included."""
    threshold = loud_level(sound.samples, _FRAME) * 10 ** (_SILENT_DB / 20)
    starts: list[int] = []
    for k, event in enumerate(events):
        earliest = starts[-1] if starts else 0
        start = max(earliest, event.sample)
        if event.ipa in _STOPS and k > 0 and events[k - 1].ipa:
            start = _end_of_sound(sound.samples, earliest, start, threshold)
        elif event.ipa in _STOPS:
            start = max(earliest, event.sample - closure)
        starts.append(start)
    return starts


def _end_of_sound(samples: np.ndarray, first: int, last: int, threshold: float) -> int:
    """Go back from `last` over silence, at most half of the way to `first`."""
    start, earliest = last, (first + last) // 2
    while start - _STEP >= earliest:
        piece = samples[start - _STEP : start].astype(np.float64)
        if np.sqrt(np.square(piece).mean()) > threshold:
            break
        start -= _STEP
    return start
