"""Decoding of connectionist temporal classification (CTC; Graves et al. 2006).

A network gives each frame a distribution over symbols and a blank. A path takes one symbol a
frame; the text of a path is what is left when repeats are merged and blanks are dropped, and the
probability of a text is the sum over its paths. All arithmetic is in logarithms and float64.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tfbench.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Beam = dict[tuple[int, ...], tuple[float, float]]

__all__ = ["BLANK", "WordLattice", "beam_search"]

BLANK = 0
"""Number of the blank among the symbols."""


def beam_search(log_probs: Floats, width: int) -> list[tuple[tuple[int, ...], float]]:
    """Search for the most probable texts by prefixes (Hannun et al. 2014), without other knowledge.

    Args:
        log_probs: float64 (T, C), of each frame's symbols; the first is the blank.
        width: Prefixes that survive a frame. With as many as there are texts the search is exact.

    Returns:
        Up to `width` texts as numbers of symbols, each with its log probability over the paths
        that survived, the most probable first.
    """
    beam: Beam = {(): (0.0, -math.inf)}
    for frame in np.asarray(log_probs, np.float64).tolist():
        grown = _grow(beam, frame)
        best = sorted(grown, key=lambda prefix: _either(*grown[prefix]), reverse=True)[:width]
        beam = {prefix: grown[prefix] for prefix in best}
    return [(prefix, _either(*ends)) for prefix, ends in beam.items()]


def _grow(beam: Beam, frame: Sequence[float]) -> Beam:
    """Take one more frame; each prefix has two sums, of its paths that end in blank or do not."""
    grown: Beam = {}
    never = (-math.inf, -math.inf)
    for prefix, (blank, symbol) in beam.items():
        either = _either(blank, symbol)
        last = prefix[-1] if prefix else BLANK
        old = grown.get(prefix, never)
        again = symbol + frame[last] if prefix else -math.inf
        grown[prefix] = (_either(old[0], either + frame[BLANK]), _either(old[1], again))
        for number in range(1, len(frame)):
            # The same symbol twice in a row is one, unless a blank was between.
            step = (blank if number == last else either) + frame[number]
            if step == -math.inf:
                continue
            longer = (*prefix, number)
            old = grown.get(longer, never)
            grown[longer] = (old[0], _either(old[1], step))
    return grown


def _either(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b))."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


class WordLattice:
    """All sentences that take one word for each of several places, as one automaton for CTC.

    Every path through it is a path of exactly one sentence, so sums over sentences and over
    alignments are exact (the forward-backward recursion of Graves et al. 2006).

    Args:
        places: For each place its words, each as numbers of symbols.
        gap: Number of the symbol between two words.

    Raises:
        InputError: There is no place, or a place or a word is empty.
    """

    def __init__(self, places: Sequence[Sequence[tuple[int, ...]]], gap: int) -> None:
        if not places or not all(places) or not all(word for words in places for word in words):
            raise InputError("a grammar has one place or more, each of which has words of letters")
        self._labels: list[int] = []
        self._from: list[list[int]] = []
        self._first: list[list[int]] = []
        self._before: list[list[int]] = []
        before = [self._state(BLANK, [])]
        for number, words in enumerate(places):
            if number:
                pause = self._state(BLANK, before)
                space = self._state(gap, [*before, pause])
                before = [space, self._state(BLANK, [space])]
            self._before.append(before)
            before = self._add_words(words, before)
        self._ends = [*before, self._state(BLANK, before)]
        self._starts = [0, *self._first[0]]
        self._into = _table(self._from)
        self._out = _table(_reversed(self._from))

    def posteriors(self, log_probs: Floats) -> list[Floats]:
        """Compute the probability of each word at each place, given that a sentence was said.

        Args:
            log_probs: float64 (T, C), of each frame's symbols; the first is the blank.

        Returns:
            For each place float64 (words,), which sum to 1.

        Raises:
            InputError: No sentence fits into so few frames.
        """
        emitted = np.asarray(log_probs, np.float64)[:, self._labels]
        if not len(emitted):
            raise InputError("a clip without frames says no sentence")
        forward, entering = self._forward(emitted)
        total = _log_sum(forward[-1, self._ends])
        if total == -math.inf:
            raise InputError(
                f"no sentence of the grammar fits into {len(emitted)} frames; give more frames, or "
                "decode freely"
            )
        through = _log_sum(entering + self._backward(emitted), axis=0)
        return [np.exp(through[first] - total) for first in self._first]

    def _state(self, label: int, sources: list[int]) -> int:
        """Add a state that follows `sources` and itself; returns its number."""
        self._labels.append(label)
        self._from.append([*sources, len(self._from)])
        return len(self._from) - 1

    def _add_words(self, words: Sequence[tuple[int, ...]], before: list[int]) -> list[int]:
        """Add the words of a place; returns the states of their last symbols."""
        self._first.append([])
        lasts = []
        for word in words:
            state = self._state(word[0], before)
            self._first[-1].append(state)
            for last, symbol in pairwise(word):
                between = self._state(BLANK, [state])
                sources = [between] if symbol == last else [between, state]
                state = self._state(symbol, sources)
            lasts.append(state)
        return lasts

    def _forward(self, emitted: Floats) -> tuple[Floats, Floats]:
        """Sum the paths that end in each state at each frame, and those that just entered it.

        Only for the first state of a word is the second sum filled: no path returns there, so the
        sum over frames counts each path once.
        """
        forward, entering = np.full((2, *emitted.shape), -math.inf)
        forward[0, self._starts] = emitted[0, self._starts]
        entering[0, self._first[0]] = emitted[0, self._first[0]]
        for t in range(1, len(emitted)):
            padded = np.append(forward[t - 1], -math.inf)
            forward[t] = emitted[t] + _log_sum(padded[self._into])
            for first, before in zip(self._first, self._before, strict=True):
                entering[t, first] = emitted[t, first] + _log_sum(forward[t - 1, before])
        return forward, entering

    def _backward(self, emitted: Floats) -> Floats:
        """Sum the ways from each state at each frame to the end, without the frame's own symbol."""
        backward = np.full(emitted.shape, -math.inf)
        backward[-1, self._ends] = 0
        for t in range(len(emitted) - 2, -1, -1):
            padded = np.append(backward[t + 1] + emitted[t + 1], -math.inf)
            backward[t] = _log_sum(padded[self._out])
        return backward


def _table(lists: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Write lists of states as rows of one length, filled with the number after the last state."""
    table = np.full((len(lists), max(map(len, lists))), len(lists))
    for row, states in zip(table, lists, strict=True):
        row[: len(states)] = states
    return table


def _reversed(sources: Sequence[Sequence[int]]) -> list[list[int]]:
    targets: list[list[int]] = [[] for _ in sources]
    for state, froms in enumerate(sources):
        for source in froms:
            targets[source].append(state)
    return targets


def _log_sum(values: Floats, axis: int = -1) -> Floats:
    """Return the logarithm of the sum of exponentials along an axis; -inf where all are."""
    high = values.max(axis, keepdims=True)
    high = np.where(high == -math.inf, 0.0, high)
    with np.errstate(divide="ignore"):
        summed: Floats = np.log(np.exp(values - high).sum(axis))
    return summed + high.squeeze(axis)
