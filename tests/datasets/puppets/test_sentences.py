import re
from collections import Counter

import numpy as np
import pytest

from tfbench.core.errors import UnknownName
from tfbench.datasets.puppets.sentences import (
    GRAMMAR,
    SPLITS,
    grammar_sentence,
    is_grammar_sentence,
    jsgf,
    open_sentence,
    open_sentences,
    split_of,
)

EVERY = [sentence for split in SPLITS for sentence in open_sentences(split)]


def test_grammar_is_grids():
    assert [len(words) for words in GRAMMAR.values()] == [4, 4, 4, 25, 10, 4]
    assert "w" not in GRAMMAR["letter"]


def test_grammar_sentence_has_a_word_of_each_place_and_all_words_come_up():
    rng = np.random.default_rng(0)
    sentences = [grammar_sentence(rng).split() for _ in range(500)]
    for place, words in zip(zip(*sentences, strict=True), GRAMMAR.values(), strict=True):
        assert set(place) == set(words)
    assert all(is_grammar_sentence(" ".join(words)) for words in sentences)


def test_drawing_depends_on_the_seed_alone():
    for draw in (grammar_sentence, lambda rng: open_sentence(rng, "train")):
        first, second = ([draw(np.random.default_rng(7)) for _ in range(3)] for _ in range(2))
        assert first == second
    assert len({grammar_sentence(np.random.default_rng(seed)) for seed in range(20)}) > 15


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("place red at a two now", True),
        ("Place red at A two now.", True),
        ("place red at w two now", False),
        ("place red at a two", False),
        ("a red place at two now", False),
        ("", False),
    ],
)
def test_is_grammar_sentence(text, is_one):
    assert is_grammar_sentence(text) is is_one


def test_jsgf_says_letters_as_cmudict_does():
    text = jsgf()
    assert text.startswith("#JSGF V1.0;")
    assert "<letter> = a. | b. |" in text
    assert "<colour> = blue | green | red | white;" in text
    assert text.endswith(
        "public <sentence> = <command> <colour> <preposition> <letter> <digit> <adverb>;"
    )


def test_open_sentences_are_many_plain_short_and_different():
    assert len(EVERY) >= 600
    letters = Counter(re.sub("[^a-z]", "", sentence.lower()) for sentence in EVERY)
    assert max(letters.values()) == 1
    for sentence in EVERY:
        assert re.fullmatch(r"[A-Z][A-Za-z', ]+[.?]", sentence), sentence
        assert 4 <= len(sentence.split()) <= 10, sentence


def test_splits_are_disjoint_and_of_the_shares_that_are_told():
    sizes = {split: len(open_sentences(split)) for split in SPLITS}
    assert sum(sizes.values()) == len(set(EVERY))
    assert sizes["test"] >= 100
    assert sizes["train"] / len(EVERY) == pytest.approx(0.7, abs=0.04)
    assert sizes["val"] / len(EVERY) == pytest.approx(0.1, abs=0.04)


def test_split_of_a_sentence_ignores_case_and_punctuation():
    assert split_of("We should wash the dishes now.") == split_of("we should wash the dishes NOW")
    # sha256 of "hello" begins with 2cf24dba: 754077114, of which 14 is left by 100.
    assert split_of("Hello!") == "train"


def test_unknown_split():
    with pytest.raises(UnknownName, match=r"'dev'.*train, val, test"):
        open_sentence(np.random.default_rng(0), "dev")
