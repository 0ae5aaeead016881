"""What metrics share that count how many words of a text were understood otherwise.

WER is (S + D + I) / N over words, in percent: substitutions, deletions and insertions of the
cheapest way from the reference to what was understood, by the words of the reference; CER the
same over characters, spaces among them. Both are corpus level: the sum of edits over the sum of
words of all clips, so that a long sentence weighs more than a short one. Neither ends at 100 %:
who reads more words than were said can make more errors than there are words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tfbench.core.errors import Unscorable
from tfbench.core.types import Aggregate, Score
from tfbench.media.text import characters, edit_distance, is_unspaced, normalise, words
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfbench.core.types import Transcript
    from tfbench.core.views import Views
    from tfbench.media.text import Rules
    from tfbench.nets.frozen import Frozen

__all__ = ["ErrorRates", "Errors", "count_errors"]

DATASET = "dataset"
HEARD = "reference heard by "
NO_WORDS = (
    "the reference is in a script without spaces between words, so there are no words to count; "
    "read the character error rate"
)


@dataclass(frozen=True)
class Errors:
    """How far what was understood is from the reference.

    Attributes:
        words: Edits between the words.
        n_words: Of the reference; 0 where its script has no spaces between words.
        characters: Edits between the characters.
        n_characters: Of the reference, 1 or more.
    """

    words: int
    n_words: int
    characters: int
    n_characters: int


def count_errors(reference: str, understood: str, rules: Rules = "english") -> Errors:
    """Count the edits from what was said to what was understood.

    Args:
        reference: What was said.
        understood: What was read or heard; "" is all deletions.
        rules: Both are normalised by these, see `tfbench.media.text`.

    Raises:
        Unscorable: Normalisation leaves nothing of the reference.
    """
    ref, hyp = normalise(reference, rules), normalise(understood, rules)
    if not ref:
        raise Unscorable(f"the reference text {reference!r} has no word")
    by_character = edit_distance(characters(ref), characters(hyp)), len(characters(ref))
    if is_unspaced(ref):
        return Errors(0, 0, *by_character)
    return Errors(edit_distance(words(ref), words(hyp)), len(words(ref)), *by_character)


class ErrorRates(TalkingFaceMetric):
    """Base of metrics with two columns, the error rates of words and of characters in percent.

    Args:
        definition: One of `definitions`.
        network: Reads or hears the words.
    """

    reduction = "ratio"
    higher_is_better = False

    counts: list[Tensor]

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__(definition, network)
        self.add_rows("counts")

    def compute(self) -> dict[str, Tensor]:
        """Return each column's sum of edits over its sum of words or characters, float64 ().

        In percent; NaN for words where no reference has any.
        """
        sums = self.rows("counts").sum(0)
        rates = (100 * sums[0] / sums[1], 100 * sums[2] / sums[3])
        return {column.name: rate for column, rate in zip(self.columns, rates, strict=True)}

    def aggregate(
        self, scores: Sequence[Score], load: Callable[[str], Tensor] | None = None
    ) -> tuple[Aggregate, ...]:
        """Divide the sum of edits by the sum of words; warn of references that nobody wrote."""
        rows = [row for row in scores if row.reason is None]
        heard = len({row.case for row in rows if (row.note or "").startswith(HEARD)})
        found = super().aggregate(scores, load)
        if not heard:
            return found
        warning = (
            f"{heard} of {len({row.case for row in rows})} references were written by a network "
            "that heard the driving speech, errors included, not by the data set"
        )
        return tuple(replace(one, warning=warning) if one.n else one for one in found)

    def rates(
        self, views: Views, reference: Transcript, understood: str, rules: Rules
    ) -> tuple[Score, ...]:
        """Make the two rows of a clip, with a note on where the reference comes from.

        Raises:
            Unscorable: The reference has no word.
        """
        errors = count_errors(reference.text, understood, rules)
        known = reference.source == DATASET
        origin = "reference of the data set" if known else HEARD + reference.source
        note = f"{origin}; text by Whisper's {rules} normaliser"
        pairs = ((errors.words, errors.n_words), (errors.characters, errors.n_characters))
        return tuple(
            replace(_row(views, column.name, edits, n), note=note)
            for column, (edits, n) in zip(self.columns, pairs, strict=True)
        )

    def add(self, reference: str, understood: str, rules: Rules) -> None:
        """Count one utterance for `compute`."""
        errors = count_errors(reference, understood, rules)
        row = [errors.words, errors.n_words, errors.characters, errors.n_characters]
        self.counts.append(torch.tensor([row], dtype=torch.float64))


def _row(views: Views, column: str, edits: int, n: int) -> Score:
    if n == 0:
        return Score(views.case, "clip", column, views.cluster, reason=NO_WORDS)
    over, under = 100.0 * edits, float(n)
    return Score(
        views.case,
        "clip",
        column,
        views.cluster,
        value=over / under,
        numerator=over,
        denominator=under,
    )
