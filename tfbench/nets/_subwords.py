"""Subwords: learning a vocabulary of pieces, and cutting texts into them.

The unigram model of Kudo 2018 ("Subword Regularization", ACL), as SentencePiece implements it and
AV-HuBERT's readers use it (facebookresearch/av_hubert `avhubert/preparation/gen_subword.py`): each
piece has a score, the logarithm of its probability, and a text is cut where the sum of its pieces'
scores is highest. Pieces never reach over a space, which is written as the first sign of the word
after it.

It is written here, since what a training learns must be the same after every resume, and the
package tokenizers learns another vocabulary in every process. Texts are cut as by SentencePiece;
learning is simpler than there: pieces are at most `LONGEST` signs long, and probabilities are
plain shares of expected counts.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tfbench.core.errors import AssetError, ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Piece = tuple[str, float]

__all__ = ["NEVER", "WORD_START", "Subwords", "learn_pieces", "read_sentencepiece"]

WORD_START = "\u2581"
"""Begins a subword that begins a word, as SentencePiece writes it."""
NEVER = -1e4
"""Score of a symbol that no text is cut into."""
LONGEST = 12
"""Signs of a piece that is learnt."""
ROUNDS = 2
"""Of expectation and maximisation before pieces are dropped."""
KEPT = 0.75
"""Share of the pieces that one dropping leaves."""
LEAST = 0.5
"""Expected count below which a piece is dropped at once, as in SentencePiece."""
RARE = -10.0
"""What is added to the lowest score for a letter that no text has."""


class Subwords:
    """Cuts texts into pieces.

    Args:
        pieces: Pieces and their scores; a piece that cannot be in a text, such as "<s>", does not
            harm.

    Raises:
        ConfigError: There is no piece.
    """

    def __init__(self, pieces: Sequence[Sequence[Any]]) -> None:
        self.pieces = [(str(piece), float(score)) for piece, score in pieces]
        if not self.pieces:
            raise ConfigError("a vocabulary has one piece or more; got none")
        self._scores = dict(self.pieces)
        self._longest = max(map(len, self._scores))

    def cut(self, text: str) -> tuple[str, ...]:
        """Cut a text; case does not matter, and punctuation that is no piece is left out.

        Args:
            text: Words.

        Raises:
            InputError: No word is left, or a letter or digit is in no piece.
        """
        pieces = []
        for word in self._words(text):
            found, score = _best(WORD_START + word, self._scores, self._longest)
            if score == -math.inf:
                raise InputError(f"{text!r} does not fit the vocabulary: '{word}' cannot be cut")
            pieces += found
        if not pieces:
            raise InputError(f"{text!r} has no word that could be cut into subwords")
        return tuple(pieces)

    def _words(self, text: str) -> list[str]:
        lower = text.lower().replace("\u2019", "'")
        strange = sorted({s for s in lower if s.isalnum() and s not in self._signs})
        if strange:
            raise InputError(
                f"{text!r} does not fit the vocabulary: no subword has {', '.join(strange)}; "
                "write numbers as words, or take a network whose vocabulary has these signs"
            )
        return "".join(s if s in self._signs else " " for s in lower).split()

    @cached_property
    def _signs(self) -> frozenset[str]:
        return frozenset("".join(p for p in self._scores if not p.startswith("<"))) - {WORD_START}


def learn_pieces(texts: Iterable[str], size: int, letters: str = "") -> tuple[Piece, ...]:
    """Learn a vocabulary.

    Every sign of the texts is a piece of its own, and the beginning of a word is one, so that any
    text of these signs can be cut. The same texts, in any order, give the same pieces.

    Args:
        texts: Words in lower case, without punctuation.
        size: Most pieces; fewer come out of few texts.
        letters: Are pieces of their own in any case, with a low score where no text has them, so
            that other texts can be cut.

    Returns:
        Pieces and scores, the highest first.

    Raises:
        InputError: There are no words.
        ConfigError: The signs alone are more than `size`.
    """
    counted = Counter(WORD_START + word for text in texts for word in text.split())
    words = dict(sorted(counted.items()))
    if not words:
        raise InputError("there are no words to learn a vocabulary from")
    said = {sign for word in words for sign in word}
    signs = sorted(said.union(letters))
    if size < len(signs):
        raise ConfigError(
            f"a vocabulary of {size} pieces has no room for the {len(signs)} signs of texts, "
            f"{''.join(signs)}; take a larger one"
        )
    absent = sorted(set(letters) - said)
    scores = _learnt(words, size - len(absent))
    scores |= dict.fromkeys(absent, min(scores.values()) + RARE)
    # Rounded, so that a file of them reads back as the same.
    rounded = [(piece, round(score, 5)) for piece, score in scores.items()]
    return tuple(sorted(rounded, key=lambda pair: (-pair[1], pair[0])))


def _learnt(words: Mapping[str, int], size: int) -> dict[str, float]:
    """Score the pieces of counted words, and drop some until no more than `size` are left."""
    scores = _seeds(words)
    while True:
        for _ in range(ROUNDS):
            scores = _estimated(words, scores)
        if len(scores) <= size:
            return scores
        scores = _fewer(words, scores, max(size, int(KEPT * len(scores))))


def _seeds(words: Mapping[str, int]) -> dict[str, float]:
    """Begin with all signs, and with all strings that occur twice, scored by their counts."""
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(start + LONGEST, len(word)) + 1):
                counts[word[start:stop]] += n
    chosen = {piece: n for piece, n in sorted(counts.items()) if len(piece) == 1 or n > 1}
    return _logarithms(chosen)


def _logarithms(counts: Mapping[str, float]) -> dict[str, float]:
    total = math.log(math.fsum(counts.values()))
    return {piece: math.log(n) - total for piece, n in counts.items()}


def _estimated(words: Mapping[str, int], scores: Mapping[str, float]) -> dict[str, float]:
    """Count how often each piece is expected in all cuts of the words, and score by that."""
    counts = dict.fromkeys(scores, 0.0)
    longest = max(map(len, scores))
    for word, n in words.items():
        arcs = list(_arcs(word, scores, longest))
        before, after = [0.0, *[-math.inf] * len(word)], [*[-math.inf] * len(word), 0.0]
        for start, stop, score in arcs:
            before[stop] = _either(before[stop], before[start] + score)
        for start, stop, score in sorted(arcs, reverse=True):
            after[start] = _either(after[start], after[stop] + score)
        for start, stop, score in arcs:
            share = math.exp(before[start] + score + after[stop] - before[-1])
            counts[word[start:stop]] += n * share
    floor = {piece: max(n, LEAST) for piece, n in counts.items() if len(piece) == 1 or n >= LEAST}
    return _logarithms(floor)


def _fewer(words: Mapping[str, int], scores: Mapping[str, float], size: int) -> dict[str, float]:
    """Keep the signs, and the pieces without which the best cuts would lose most."""
    used: Counter[str] = Counter()
    longest = max(map(len, scores))
    for word, n in words.items():
        for piece in _best(word, scores, longest)[0]:
            used[piece] += n
    loss = {}
    for piece in scores:
        if len(piece) > 1:
            _, without = _best(piece, scores, len(piece) - 1)
            loss[piece] = used[piece] * (scores[piece] - without)
    signs = [piece for piece in scores if len(piece) == 1]
    ranked = sorted(loss, key=lambda piece: (-loss[piece], piece))
    chosen = {*signs, *ranked[: size - len(signs)]}
    return {piece: score for piece, score in scores.items() if piece in chosen}


def _best(word: str, scores: Mapping[str, float], longest: int) -> tuple[list[str], float]:
    """Find the cut with the highest sum of scores; it is -inf where there is none."""
    best, source = [0.0, *[-math.inf] * len(word)], [0] * (len(word) + 1)
    for start, stop, score in _arcs(word, scores, longest):
        if best[start] + score > best[stop]:
            best[stop], source[stop] = best[start] + score, start
    places, place = [len(word)], len(word)
    while place:
        place = source[place]
        places.append(place)
    return [word[a:b] for a, b in pairwise(reversed(places))], best[-1]


def _arcs(word: str, scores: Mapping[str, float], longest: int) -> Iterator[tuple[int, int, float]]:
    """Yield start, stop and score of each piece in a word, by their starts."""
    for start in range(len(word)):
        for stop in range(start + 1, min(start + longest, len(word)) + 1):
            score = scores.get(word[start:stop])
            if score is not None:
                yield start, stop, score


def _either(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b))."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def read_sentencepiece(model: bytes) -> tuple[Piece, ...]:
    """Read the pieces of a model that SentencePiece saved.

    Such a file is a message of Protocol Buffers (google/sentencepiece,
    `src/sentencepiece_model.proto`): in its field 1 are the pieces, each with its text in field 1,
    its score in field 2 and its kind in field 3.

    Args:
        model: The file's bytes.

    Returns:
        Pieces that texts are cut into, with their scores.

    Raises:
        AssetError: The bytes are no such model.
    """
    try:
        found = [_piece(value) for number, value in _fields(model) if number == 1]
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, KeyError) as error:
        raise AssetError(
            f"these {len(model)} bytes are no model of SentencePiece (cut off?): {error}"
        ) from error
    pieces = tuple((text, score) for text, score, kind in found if kind == NORMAL)
    if not pieces:
        raise AssetError(f"these {len(model)} bytes are no model of SentencePiece: no piece in it")
    return pieces


NORMAL = 1
"""Kind of a piece that is neither unknown, nor a control sign, nor given by a user."""


def _piece(message: bytes) -> tuple[str, float, int]:
    fields: dict[int, Any] = dict(_fields(message))
    (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
    return fields[1].decode(), float(score), int(fields.get(3, NORMAL))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message: numbers as int, everything else as bytes."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        length = {1: 8, 5: 4}.get(kind)
        if length is None:
            if kind != 2:
                raise KeyError(f"field of kind {kind}")
            length, place = _varint(message, place)
        if place + length > len(message):
            raise IndexError("it ends within a field")
        yield tag >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Read a whole number of seven bits a byte; returns it and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
