"""Search for a text by a decoder and CTC together, for the Conformer lip readers.

Each text grows by one unit at a time; its score is the decoder's log probability and CTC's log
probability that the frames begin with it, weighted, and a bonus for each unit (Watanabe et al.
2017, "Hybrid CTC/attention architecture for end-to-end speech recognition", section IV.C and
equation 50). Rules and numbers are those of espnet's `BatchBeamSearch`, as
mpc001/Visual_Speech_Recognition_for_Multiple_Languages has it (`espnet/nets/batch_beam_search.py`,
`beam_search.py`, `ctc_prefix_score.py`, `e2e_asr_common.py`), without an external model of
language. One difference: what is impossible has the probability 0 here and a tiny one
there, so that texts which do not fit into the frames, or hold a blank, are dropped where there they
are kept at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Step = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, list[Tensor]]]

__all__ = ["CtcPrefixes", "Search", "Text", "search"]

BLANK = 0
FAR = -10.0
"""Texts are this much worse than the best when those of their length cannot win."""
LENGTHS = 3
"""In how many lengths in a row, before the search ends."""


@dataclass(frozen=True)
class Search:
    """How a text is searched for.

    Attributes:
        beam: Texts that survive a unit.
        ctc_weight: Of CTC's log probability, more than 0; the decoder's has the rest of 1.
        bonus: For each unit.
        considered: Of the decoder's most probable units this times the beam are given to CTC.
    """

    beam: int = 40
    ctc_weight: float = 0.1
    bonus: float = 0.0
    considered: float = 1.5


@dataclass(frozen=True)
class Text:
    """A text that was found.

    Attributes:
        units: Its numbers, without opening and end.
        score: Weighted log probability with bonuses.
    """

    units: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class _Beam:
    """n texts of one length: units (n, L) after the opening one, and what is known of them."""

    units: Tensor
    scores: Tensor
    known: list[Tensor]
    paths: Tensor
    prefixes: Tensor

    def pick(self, rows: Tensor) -> _Beam:
        known = [one[rows] for one in self.known]
        paths, prefixes = self.paths[:, :, rows], self.prefixes[rows]
        return _Beam(self.units[rows], self.scores[rows], known, paths, prefixes)


class CtcPrefixes:
    """Log probabilities that what frames say begins with a text.

    For each text, `paths` float64 (2, T, n) sums the paths of the frames up to each that make
    exactly this text and end in its last unit or in a blank.

    Args:
        log_probs: float (T, units), of each frame's units; the first is the blank.
        end: Number of the unit that ends a text.
    """

    def __init__(self, log_probs: Tensor, end: int) -> None:
        self.log_probs = log_probs.double()
        self.blanks = self.log_probs[:, BLANK].cumsum(0)
        self.end = end

    def start(self) -> Tensor:
        """Return the paths of the empty text, (2, T, 1)."""
        return torch.stack([torch.full_like(self.blanks, -math.inf), self.blanks])[:, :, None]

    def extend(self, paths: Tensor, last: Tensor | None, units: Tensor) -> tuple[Tensor, Tensor]:
        """Put each of k units after each of n texts.

        Args:
            paths: Of the n texts.
            last: int64 (n,), their last units; None where they are empty.
            units: int64 (n, k).

        Returns:
            float64 (n, k), log probabilities of the longer texts as beginnings, or of the text
            itself as a whole where the unit is the end; and the paths, (2, T, n, k).
        """
        either = torch.logaddexp(paths[0], paths[1])
        before = either[:, :, None].expand(-1, -1, units.shape[1])
        if last is not None:
            # The same unit twice in a row is one, unless a blank was between.
            before = torch.where(units == last[:, None], paths[1][:, :, None], before)
        emitted = self.log_probs[:, units]
        opening = emitted[:1] if last is None else torch.full_like(emitted[:1], -math.inf)
        entered = torch.cat([opening, before[:-1] + emitted[1:]])
        ends_in_unit = _carried(entered, emitted.cumsum(0))
        shifted = torch.cat([torch.full_like(opening, -math.inf), ends_in_unit[:-1]])
        blanks = self.blanks[:, None, None]
        ends_in_blank = _carried(shifted + self.log_probs[:, BLANK, None, None], blanks)
        begins = entered.logsumexp(0)
        begins = torch.where(units == self.end, either[-1][:, None], begins)
        begins = begins.masked_fill(units == BLANK, -math.inf)
        return begins, torch.stack([ends_in_unit, ends_in_blank])


def _carried(entered: Tensor, staying: Tensor) -> Tensor:
    """Sum paths that entered at any frame so far and stayed; `staying` sums what a stay costs."""
    return torch.logcumsumexp(entered - staying, 0) + staying


def search(step: Step, log_probs: Tensor, settings: Search) -> list[Text]:
    """Search for the best texts.

    Args:
        step: Takes int64 (n, L) units after the opening one, and its own second result of the call
            before, with one unit less; gives log probabilities (n, 1, units) of the next.
        log_probs: float (T, units), CTC's; T is 1 or more. The first unit is the blank, the last
            opens and ends a text.
        settings: Of the search.

    Returns:
        Texts that ended, the best first; never longer than T.
    """
    frames, units = log_probs.shape
    ctc = CtcPrefixes(log_probs, units - 1)
    opening = torch.full((1, 1), units - 1, device=log_probs.device)
    nothing = torch.zeros(1, dtype=torch.double, device=log_probs.device)
    beam = _Beam(opening, nothing, [], ctc.start(), nothing)
    found: list[list[Text]] = []
    for number in range(frames):
        beam = _grown(beam, step, ctc, settings)
        over = beam.units[:, -1] == units - 1
        if number == frames - 1:
            over = torch.ones_like(over)
        found.append(_texts(beam.pick(over.nonzero()[:, 0]), units - 1))
        beam = beam.pick((~over).nonzero()[:, 0])
        if not len(beam.units) or _cannot_win(found):
            break
    return sorted((text for texts in found for text in texts), key=lambda text: -text.score)


def _grown(beam: _Beam, step: Step, ctc: CtcPrefixes, settings: Search) -> _Beam:
    """Put one more unit after each text and keep the best."""
    log_probs, known = step(beam.units, beam.known)
    decoded = log_probs[:, -1].double()
    count = min(int(settings.considered * settings.beam), decoded.shape[1])
    choices = decoded.topk(count).indices
    # A text may end at any time, whatever the decoder says, but only once.
    ends = torch.full_like(choices[:, :1], ctc.end)
    twice = (choices == ends).any(1, keepdim=True)
    ending = decoded[:, ctc.end, None].masked_fill(twice, -math.inf)
    decoded = torch.cat([decoded.gather(1, choices), ending], 1)
    return _best(beam, known, decoded, torch.cat([choices, ends], 1), ctc, settings)


def _best(
    beam: _Beam,
    known: list[Tensor],
    decoded: Tensor,
    choices: Tensor,
    ctc: CtcPrefixes,
    settings: Search,
) -> _Beam:
    last = beam.units[:, -1] if beam.units.shape[1] > 1 else None
    prefixes, paths = ctc.extend(beam.paths, last, choices)
    weight = settings.ctc_weight
    gained = (1 - weight) * decoded + weight * (prefixes - beam.prefixes[:, None]) + settings.bonus
    scores = (beam.scores[:, None] + gained).flatten()
    top = scores.topk(min(settings.beam, len(scores)))
    kept = top.indices[top.values > -math.inf]
    texts = kept // choices.shape[1]
    units = torch.cat([beam.units[texts], choices.flatten()[kept, None]], 1)
    return _Beam(
        units,
        scores[kept],
        [one[texts] for one in known],
        paths.flatten(2)[:, :, kept],
        prefixes.flatten()[kept],
    )


def _texts(beam: _Beam, end: int) -> list[Text]:
    rows = zip(beam.units[:, 1:].tolist(), beam.scores.tolist(), strict=True)
    return [Text(tuple(unit for unit in units if unit != end), score) for units, score in rows]


def _cannot_win(found: Sequence[Sequence[Text]]) -> bool:
    """Tell whether the best texts of three lengths in a row, the newest left out, are far behind.

    A length at which no text ended is not counted as far behind.
    """
    scores = [[text.score for text in texts] for texts in found]
    best = max((score for some in scores for score in some), default=-math.inf)
    recent = scores[:-2][-LENGTHS:]
    return len(recent) == LENGTHS and all(some and max(some) - best < FAR for some in recent)
