"""The sentences of the GRID corpus: a word for each of six places, and a name that spells them.

Cooke et al. 2006, "An audio-visual corpus for speech perception and automatic speech recognition",
JASA 120(5). A clip's file name, its code, has one character for each place.
"""

from __future__ import annotations

from tfbench.core.errors import InputError

__all__ = ["GRAMMAR", "words_of_code"]

GRAMMAR: dict[str, tuple[str, ...]] = {
    "command": ("bin", "lay", "place", "set"),
    "colour": ("blue", "green", "red", "white"),
    "preposition": ("at", "by", "in", "with"),
    "letter": tuple("abcdefghijklmnopqrstuvxyz"),
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "adverb": ("again", "now", "please", "soon"),
}
"""The words of each of a sentence's six places, in order; the letter w does not occur."""

DIGITS = "z123456789"
"""What stands in a code for each word of the place `digit`."""


def words_of_code(code: str) -> tuple[str, ...]:
    """Spell out a clip's code, such as "bbaf2n" for "bin blue at f two now".

    Args:
        code: Six characters; case does not matter.

    Raises:
        InputError: A character stands for no word of its place, or there are not six.
    """
    characters = code.lower()
    if len(characters) != len(GRAMMAR):
        raise InputError(
            f"'{code}' is no GRID code: one has {len(GRAMMAR)} characters, such as 'bbaf2n' for "
            "'bin blue at f two now'"
        )
    spelt = zip(characters, GRAMMAR.items(), strict=True)
    return tuple(_word(code, character, place, words) for character, (place, words) in spelt)


def _word(code: str, character: str, place: str, words: tuple[str, ...]) -> str:
    initials = DIGITS if place == "digit" else "".join(word[0] for word in words)
    if character not in initials:
        raise InputError(
            f"'{code}' is no GRID code: '{character}' stands for no {place}; wanted is one of "
            f"{initials}"
        )
    return words[initials.index(character)]
