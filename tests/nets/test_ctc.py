"""Decoding of CTC against brute force over all paths, and against torch's CTC loss."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.nets._ctc import WordLattice, beam_search


def drawn(frames: int, symbols: int, seed: int, sharpness: float = 1.5) -> np.ndarray:
    logits = sharpness * np.random.RandomState(seed).standard_normal((frames, symbols))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def merged(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol)


def texts(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every text, as the sum over all paths."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    frames, symbols = log_probs.shape
    for path in itertools.product(range(symbols), repeat=frames):
        found[merged(path)] += math.exp(log_probs[range(frames), path].sum())
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_every_text_with_its_probability(seed: int):
    log_probs = drawn(6, 3, seed)
    wanted = texts(log_probs)
    assert sum(wanted.values()) == pytest.approx(1)
    found = beam_search(log_probs, width=1000)
    assert len(found) == len(wanted)
    for text, log_probability in found:
        assert math.exp(log_probability) == pytest.approx(wanted[text], rel=1e-10)
    assert found[0][0] == max(wanted, key=wanted.__getitem__)
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)


def test_the_best_text_need_not_be_that_of_the_best_path():
    """Two frames of 0.6 blank: the best path is empty, and three paths together say "a"."""
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    (text, log_probability), *_ = beam_search(log_probs, 4)
    assert text == (1,)
    assert math.exp(log_probability) == pytest.approx(0.64)


def test_a_narrow_beam_agrees_with_the_best_path_where_the_network_is_sure():
    rng = np.random.RandomState(0)
    for width in (1, 8):
        path = rng.randint(0, 5, 40)
        log_probs = np.log(np.where(np.eye(5)[path] > 0, 0.98, 0.005))
        assert beam_search(log_probs, width)[0][0] == merged(tuple(path))


def test_impossible_symbols_and_no_frames():
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.eye(3)[[1, 0, 1, 1, 2]])
    (text, log_probability), *_ = beam_search(log_probs, 5)
    assert (text, log_probability) == ((1, 1, 2), 0.0)
    assert beam_search(np.zeros((0, 3)), 5) == [((), 0.0)]


PLACES = [[(2,), (3, 3)], [(2, 3), (3,), (4, 2)], [(4,), (2, 4)]]
"""Words over the symbols 2 to 4; 1 parts them."""
SENTENCES = list(itertools.product(*PLACES))


def spelt(sentence: tuple[tuple[int, ...], ...]) -> list[int]:
    return [symbol for word in sentence for symbol in (1, *word)][1:]


def probabilities(log_probs: np.ndarray) -> np.ndarray:
    """Of every sentence, by torch."""
    frames = torch.from_numpy(log_probs)[:, None]
    return np.array(
        [
            math.exp(
                -torch.nn.functional.ctc_loss(
                    frames,
                    torch.tensor([spelt(sentence)]),
                    torch.tensor([len(log_probs)]),
                    torch.tensor([len(spelt(sentence))]),
                    reduction="sum",
                )
            )
            for sentence in SENTENCES
        ]
    )


@pytest.mark.parametrize(("seed", "frames"), [(0, 6), (1, 8), (2, 15), (3, 40), (4, 40)])
def test_words_of_a_grammar_have_their_exact_posterior(seed: int, frames: int):
    log_probs = drawn(frames, 5, seed)
    of_sentences = probabilities(log_probs)
    found = WordLattice(PLACES, gap=1).posteriors(log_probs)
    for place, words in enumerate(PLACES):
        for number, word in enumerate(words):
            has = [sentence[place] == word for sentence in SENTENCES]
            wanted = of_sentences[has].sum() / of_sentences.sum()
            assert found[place][number] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_a_sentence_that_is_shown_is_read():
    for number, sentence in enumerate(SENTENCES):
        path = [step for symbol in spelt(sentence) for step in (symbol, symbol, 0)]
        log_probs = np.log(np.where(np.eye(5)[path] > 0, 0.96, 0.01))
        found = WordLattice(PLACES, gap=1).posteriors(log_probs)
        assert tuple(w[p.argmax()] for w, p in zip(PLACES, found, strict=True)) == sentence, number


def test_a_silent_clip_of_many_frames_does_not_underflow():
    log_probs = np.full((2000, 5), -700.0)
    log_probs[:, 0] = 0
    found = WordLattice(PLACES, gap=1).posteriors(log_probs)
    assert [float(p.sum()) for p in found] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("frames", [0, 4])
def test_too_few_frames_for_any_sentence_are_refused(frames: int):
    with pytest.raises(InputError, match="frames"):
        WordLattice(PLACES, gap=1).posteriors(drawn(frames, 5, 0))


@pytest.mark.parametrize("places", [[], [[]], [[(2,)], [()]]])
def test_a_grammar_without_words_is_refused(places: list):
    with pytest.raises(InputError, match="one place or more"):
        WordLattice(places, gap=1)
