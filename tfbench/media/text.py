"""Text of what was said: normalisation, words, characters, and how many edits apart two texts are.

Texts are compared after one of the two normalisers of Whisper (Radford et al. 2023, appendix C;
the package openai-whisper, `whisper/normalizers`), with two changes: a typographic apostrophe
becomes a plain one first, since "it's" would fall apart at it, and a lone sign, such as the full
stop that is left of a final "...", is no word and is dropped.

- `english`: lower case, no punctuation and no text in brackets; fillers such as "um" dropped,
  contractions, titles and numbers written one way, British spelling made American. "It's twenty
  past, Mr. Grey" becomes "it is 20 past mister gray".
- `basic`, for other languages: lower case, Unicode form NFKC, no text in brackets; punctuation,
  symbols and combining marks become spaces. Vowel signs of Indic scripts and of Thai are such
  marks, so that their words fall apart.

Chinese, Japanese, Thai, Lao, Burmese and Khmer are written without spaces between words: there
`words` has no meaning (`is_unspaced` tells), and characters are counted.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfbench.core.errors import MissingAsset, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = ["Rules", "characters", "edit_distance", "is_unspaced", "normalise", "words"]

Rules = Literal["english", "basic"]
"""Which of Whisper's normalisers is applied."""

# Thai, Lao, Burmese, Khmer, kana, Han with its extensions.
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af]"
)
_LOOSE_SPACE = re.compile(rf"(?<={_UNSPACED.pattern}) | (?={_UNSPACED.pattern})")


def normalise(text: str, rules: Rules = "english") -> str:
    """Write a text in the one way in which texts are compared.

    Args:
        text: As a data set or a network writes it.
        rules: "english" or "basic"; see the top of this file.

    Returns:
        Words with one space between them; "" where nothing is left.

    Raises:
        UnknownName: There are no such rules.
        MissingAsset: The package openai-whisper is not installed.
    """
    normalised: str = _normaliser(rules)(text.replace("\u2019", "'"))
    return " ".join(word for word in normalised.split() if any(map(str.isalnum, word)))


def words(text: str) -> list[str]:
    """Split a normalised text at its spaces."""
    return text.split()


def characters(text: str) -> list[str]:
    """Split a normalised text into its characters, the spaces between words among them.

    A space beside a character of a script without spaces is left out: it stands where punctuation
    stood, which nobody hears.
    """
    return list(_LOOSE_SPACE.sub("", " ".join(text.split())))


def is_unspaced(text: str) -> bool:
    """Tell whether a text has a character of a script that is written without spaces."""
    return _UNSPACED.search(text) is not None


def edit_distance(ref: Sequence[Hashable], hyp: Sequence[Hashable]) -> int:
    """Smallest number of substitutions, deletions and insertions that make one into the other.

    Levenshtein 1966, every edit costing 1; one row of the table at a time.

    Args:
        ref: Words, or characters (a `str` is a sequence of characters).
        hyp: The same.
    """
    numbers: dict[Hashable, int] = {}
    one, other = (
        np.array([numbers.setdefault(token, len(numbers)) for token in side], np.int64)
        for side in (ref, hyp)
    )
    steps = np.arange(len(other) + 1)
    row = steps
    for n, token in enumerate(one, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (other != token))
        # Insertions go along the row: each costs one step, so a running minimum finds them all.
        row = np.minimum.accumulate(np.concatenate([[n], best]) - steps) + steps
    return int(row[-1])


@cache
def _normaliser(rules: str) -> Callable[[str], Any]:
    try:
        from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer
    except ImportError as error:
        raise MissingAsset(
            f"openai-whisper is not installed ({error}); run `pip install openai-whisper`"
        ) from error
    known = {"english": EnglishTextNormalizer, "basic": BasicTextNormalizer}
    if rules not in known:
        raise UnknownName(f"no rules '{rules}' to normalise text; there are {', '.join(known)}")
    normaliser: Callable[[str], Any] = known[rules]()
    return normaliser
