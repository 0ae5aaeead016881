"""Codes of GRID's clips."""

import pytest

from tfbench.core.errors import InputError
from tfbench.media.grammar import GRAMMAR, words_of_code


def test_codes_of_real_clips():
    assert " ".join(words_of_code("bbaf2n")) == "bin blue at f two now"
    assert " ".join(words_of_code("swizzp")) == "set white in z zero please"
    assert " ".join(words_of_code("PGBX9S")) == "place green by x nine soon"
    assert " ".join(words_of_code("lrwa1a")) == "lay red with a one again"


def test_every_word_has_a_code_of_its_own():
    places = list(GRAMMAR.values())
    initials = [[word[0] for word in words] for words in places]
    initials[4] = list("z123456789")
    for place, words in enumerate(places):
        for initial, word in zip(initials[place], words, strict=True):
            code = list("bbaf2n")
            code[place] = initial
            assert words_of_code("".join(code))[place] == word


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("bbaf2", "one has 6 characters"),
        ("bbaf2nn", "one has 6 characters"),
        ("xbaf2n", "'x' stands for no command; wanted is one of blps"),
        ("bbaw2n", "'w' stands for no letter"),
        ("bbaf0n", "'0' stands for no digit; wanted is one of z123456789"),
    ],
)
def test_other_names_are_refused(code: str, message: str):
    with pytest.raises(InputError, match=message):
        words_of_code(code)
