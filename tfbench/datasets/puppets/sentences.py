"""What puppets say: sentences of a grammar like GRID's, and open sentences.

The grammar is that of the GRID corpus, `tfbench.media.grammar`. The open sentences in
`sentences.txt` were written for this project and are everyday English of 4 to 10 words; a hash of
its words puts a sentence in one split, so that adding sentences moves none.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tfbench.core.errors import UnknownName
from tfbench.media.grammar import GRAMMAR

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "GRAMMAR",
    "SPLITS",
    "grammar_sentence",
    "is_grammar_sentence",
    "jsgf",
    "open_sentence",
    "open_sentences",
    "split_of",
]

SPLITS = ("train", "val", "test")
"""Splits of the open sentences: 70, 10 and 20 in a hundred."""


def grammar_sentence(rng: np.random.Generator) -> str:
    """Draw a sentence such as "place red at a two now"."""
    return " ".join(words[rng.integers(len(words))] for words in GRAMMAR.values())


def is_grammar_sentence(text: str) -> bool:
    """Tell whether a text is a sentence of the grammar; case and a full stop do not matter."""
    tokens = text.lower().rstrip(".").split()
    return len(tokens) == len(GRAMMAR) and all(
        token in words for token, words in zip(tokens, GRAMMAR.values(), strict=True)
    )


def jsgf() -> str:
    """Write the grammar in JSpeech Grammar Format, for recognisers; letters as "a." and so on.

    A letter has a full stop, as in CMUdict, where "a." is the letter and "a" the article.
    """
    rules = []
    for name, words in GRAMMAR.items():
        spelt = [f"{word}." if name == "letter" else word for word in words]
        rules.append(f"<{name}> = {' | '.join(spelt)};")
    sequence = " ".join(f"<{name}>" for name in GRAMMAR)
    return "\n".join(["#JSGF V1.0;", "grammar grid;", *rules, f"public <sentence> = {sequence};"])


def open_sentence(rng: np.random.Generator, split: str) -> str:
    """Draw an open sentence.

    Args:
        rng: Where chance comes from.
        split: One of `SPLITS`.

    Raises:
        UnknownName: There is no such split.
    """
    sentences = open_sentences(split)
    return sentences[rng.integers(len(sentences))]


@cache
def open_sentences(split: str) -> tuple[str, ...]:
    """All open sentences of a split, in the order of the list.

    Raises:
        UnknownName: There is no such split.
    """
    if split not in SPLITS:
        raise UnknownName(f"no split '{split}' of sentences; there are {', '.join(SPLITS)}")
    lines = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    return tuple(line for line in lines if line and split_of(line) == split)


def split_of(sentence: str) -> str:
    """Tell in which split an open sentence is; case and punctuation do not matter."""
    letters = "".join(filter(str.isalnum, sentence.lower()))
    bucket = int.from_bytes(hashlib.sha256(letters.encode()).digest()[:4], "big") % 100
    return "train" if bucket < 70 else "val" if bucket < 80 else "test"
