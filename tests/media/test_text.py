import random

import jiwer
import pytest
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

from tfbench.core.errors import UnknownName
from tfbench.media.text import characters, edit_distance, is_unspaced, normalise, words


def sentences(seed: int) -> tuple[str, str]:
    draw = random.Random(seed)
    vocabulary = ["the", "lips", "a", "speak", "größer", "Ж世界", "e\u0301😀"][: 2 + seed % 6]
    one, other = (
        " ".join(draw.choice(vocabulary) for _ in range(draw.randint(1, 40))) for _ in range(2)
    )
    return one, other


@pytest.mark.parametrize("seed", range(40))
def test_edits_of_words_and_characters_are_those_of_jiwer(seed: int):
    ref, hyp = sentences(seed)
    by_word, by_character = jiwer.process_words(ref, hyp), jiwer.process_characters(ref, hyp)
    for ours, theirs in (
        (edit_distance(words(ref), words(hyp)), by_word),
        (edit_distance(ref, hyp), by_character),
    ):
        assert ours == theirs.substitutions + theirs.deletions + theirs.insertions


@pytest.mark.parametrize(
    ("ref", "hyp", "edits"),
    [
        ("kitten", "sitting", 3),
        ("", "", 0),
        ("abc", "", 3),
        ("", "abc", 3),
        ("abc", "abc", 0),
        ("intention", "execution", 5),
        ("ab", "ba", 2),
    ],
)
def test_edits_by_hand(ref: str, hyp: str, edits: int):
    assert edit_distance(ref, hyp) == edits == edit_distance(hyp, ref)


def test_a_thousand_words_are_quick_and_right():
    draw = random.Random(0)
    ref, hyp = ([f"w{draw.randint(0, 300)}" for _ in range(1000)] for _ in range(2))
    found = jiwer.process_words(" ".join(ref), " ".join(hyp))
    assert edit_distance(ref, hyp) == found.substitutions + found.deletions + found.insertions


@pytest.mark.parametrize(
    ("text", "english", "basic"),
    [
        ("It's twenty past, Mr. Grey", "it is 20 past mister gray", "it s twenty past mr grey"),
        ("It\u2019s  COLOUR\n", "it is color", "it s colour"),
        ("[noise] Um, hello (laughs)!", "hello", "um hello"),
        ("Größe", "grosse", "größe"),
        ("um...", "", "um"),
        ("and then...", "and then", "and then"),
        ("$5.50, or 50%", "$5.50 or 50%", "5 50 or 50"),
        ("", "", ""),
    ],
)
def test_whispers_rules(text: str, english: str, basic: str):
    assert normalise(text) == english
    assert normalise(text, "basic") == basic


@pytest.mark.parametrize(
    "text",
    [
        "Dr. O'Neill couldn't've paid $20.5 million in the 1990s, could he?",
        "TWO HUNDRED AND FIFTY-THREE (laughs) LABOURERS WON'T, UH, ORGANISE",
        "Ça n'a rien coûté: 3,5 € & plus",
    ],
)
def test_other_texts_are_as_the_package_writes_them(text: str):
    for rules, package in (("english", EnglishTextNormalizer), ("basic", BasicTextNormalizer)):
        assert normalise(text, rules).split() == package()(text).split()


def test_unknown_rules_are_named():
    with pytest.raises(UnknownName, match=r"no rules 'german'.*english, basic"):
        normalise("a", "german")


@pytest.mark.parametrize(
    "text", ["你好\uff0c世界\uff01", "こんにちは 世界", "ภาษา ไทย", "我 love 你"]
)
def test_scripts_without_spaces_have_characters_but_no_words(text: str):
    clean = normalise(text, "basic")
    assert is_unspaced(clean)
    assert "".join(characters(clean)) == clean.replace(" ", "")


@pytest.mark.parametrize("text", ["안녕하세요 세계", "Здравствуй мир", "hello world"])
def test_scripts_with_spaces_keep_them(text: str):
    clean = normalise(text, "basic")
    assert not is_unspaced(clean)
    assert len(words(clean)) == 2
    assert "".join(characters(clean)) == clean == text.lower()


def test_chinese_punctuation_is_no_error():
    one, other = (normalise(text, "basic") for text in ("你好\uff0c世界。", "你好世界"))
    assert edit_distance(characters(one), characters(other)) == 0
    assert edit_distance(words(one), words(other)) == 2
