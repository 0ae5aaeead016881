# ruff: noqa: RUF001 - the letters of the IPA are meant.
"""Phones of eSpeak NG's English voices as the 39 phones of CMUdict.

CMUdict (Carnegie Mellon University, http://www.speech.cs.cmu.edu/cgi-bin/cmudict) writes American
English in ARPAbet; here without stress digits. A syllabic consonant becomes AH and the consonant,
an r-coloured vowel the vowel and R, the taps and glottal stops of "better" and "button" T. British
vowels go to the nearest American one, so that "lot" has AA with either accent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfbench.core.errors import TfbenchError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ARPABET", "SILENCE", "Phone", "arpabet", "divide", "is_stressed"]

SILENCE = "SIL"
"""The symbol of a pause."""

ARPABET = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY",
    "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY",
    "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
"""CMUdict's phones."""

_STRESSED, _MARKS = "ˈ", str.maketrans("", "", "ˈˌː:")

_SYMBOLS: dict[str, str] = {
    # consonants
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "tʃ": "CH", "dʒ": "JH",
    "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH",
    "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɫ": "L", "ɹ": "R", "r": "R", "w": "W", "ʍ": "W",
    "j": "Y", "ɾ": "T", "ʔ": "T", "x": "K",
    # syllabic consonants
    "əl": "AH L", "l̩": "AH L", "n̩": "AH N", "m̩": "AH M", "ən": "AH N", "əm": "AH M",
    # vowels
    "ɑ": "AA", "ɒ": "AA", "æ": "AE", "a": "AE", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɔ": "AO",
    "ɛ": "EH", "e": "EH", "ɜ": "ER", "ɚ": "ER", "ɝ": "ER", "ɪ": "IH", "ᵻ": "IH", "i": "IY",
    "ʊ": "UH", "u": "UW", "ʉ": "UW", "o": "OW",
    # diphthongs
    "aʊ": "AW", "aɪ": "AY", "eɪ": "EY", "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY",
    "æʊ": "AW", "ʌʉ": "AW",
    # before r
    "ɑɹ": "AA R", "ɔɹ": "AO R", "oɹ": "AO R", "ɛɹ": "EH R", "ɪɹ": "IH R", "iɹ": "IY R",
    "ʊɹ": "UH R", "aɪɚ": "AY ER", "aɪə": "AY AH", "aʊɚ": "AW ER", "aʊə": "AW AH",
    "eə": "EH AH", "ɛə": "EH AH", "iə": "IH AH", "ɪə": "IH AH", "ʊə": "UH AH", "ɔə": "AO AH",
    "əɹ": "ER", "ʌɹ": "ER", "ɜɹ": "ER", "ʉɹ": "UH R",
}  # fmt: skip

# How much of the time the first of two phones takes.
_FIRST = {"AH": 0.35}
_FIRST_ELSE = 0.6


@dataclass(frozen=True)
class Phone:
    """A phone with its time.

    Attributes:
        symbol: One of `ARPABET`, or "SIL".
        start: Seconds.
        end: Seconds; the next phone's start.
        stress: Whether it carries a word's main stress.
    """

    symbol: str
    start: float
    end: float
    stress: bool


def arpabet(ipa: str) -> tuple[tuple[str, float], ...]:
    """Write one of eSpeak's phones in ARPAbet.

    Args:
        ipa: As eSpeak writes it, with or without a stress mark; "" is a pause.

    Returns:
        One phone or two, each with its share of the time.

    Raises:
        TfbenchError: The phone is not known.
    """
    bare = ipa.translate(_MARKS)
    if not bare:
        return ((SILENCE, 1.0),)
    if bare not in _SYMBOLS:
        raise TfbenchError(
            f"the phone '{ipa}' of eSpeak NG has no ARPAbet symbol in {__name__}; "
            "say the text with a voice of tfbench.datasets.puppets.speech.VOICES"
        )
    symbols = _SYMBOLS[bare].split()
    if len(symbols) == 1:
        return ((symbols[0], 1.0),)
    share = _FIRST.get(symbols[0], _FIRST_ELSE)
    return ((symbols[0], share), (symbols[1], 1.0 - share))


def is_stressed(ipa: str) -> bool:
    """Tell whether a phone carries the word's main stress."""
    return _STRESSED in ipa


def divide(together: Sequence[str], alone: Sequence[Sequence[str]]) -> list[int]:
    """Find the words in phones that eSpeak says as one, such as "of the" or "out of a".

    Args:
        together: IPA of the phones.
        alone: For each word the IPA of its phones when it is said alone.

    Returns:
        For each word how many of the phones are its own; at least one where there are enough.
    """
    from tfbench.media.text import edit_distance

    rest = [ipa.translate(_MARKS) for ipa in together]
    counts = []
    for n, word in enumerate(alone[:-1]):
        first = [ipa.translate(_MARKS) for ipa in word]
        second = [ipa.translate(_MARKS) for later in alone[n + 1 :] for ipa in later]
        least, most = min(1, len(rest)), max(len(rest) - (len(alone) - n - 1), 1)
        count = min(
            range(least, most + 1),
            key=lambda k: edit_distance(first, rest[:k]) + edit_distance(second, rest[k:]),
        )
        counts.append(count)
        rest = rest[count:]
    return [*counts, len(rest)]
