import json
import time

import numpy as np
import pytest
import torch

from tfbench.core.errors import InputError, MissingAsset
from tfbench.media.grammar import GRAMMAR
from tfbench.nets.lipreader import (
    ALPHABET,
    LIPNET,
    LipReader,
    build,
    decode,
    decode_grammar,
    gray,
    load,
    seeded,
    spell,
    standardised,
)
from tfbench.nets.lipreading import GrammarReader

SMALL = {
    "window": 88,
    "size": 16,
    "widths": (4, 5, 6),
    "kernels": (3, 3, 3),
    "features": 8,
    "hidden": 7,
}


def mouths(n: int, seed: int = 0) -> torch.Tensor:
    pixels = np.random.RandomState(seed).randint(0, 256, (n, 88, 88))
    return torch.from_numpy(pixels.astype(np.uint8))


def shown(text: str, frames: int = 2) -> np.ndarray:
    """Log probabilities of a network that is sure of a text."""
    path = [step for symbol in spell(text) for step in [*[symbol] * frames, 0]]
    return np.log(np.where(np.eye(len(ALPHABET) + 1)[path] > 0, 0.972, 0.001))


def test_sizes():
    net = LipReader()
    assert 1.0e6 < sum(p.numel() for p in net.parameters()) < 1.3e6
    paper = build({**net.settings, **LIPNET})
    assert paper.recurrent.hidden_size == 256
    assert paper.recurrent.input_size == 96 * 5 * 5
    assert [block.conv.out_channels for block in paper.blocks] == [32, 64, 96]


def test_settings_build_the_same_network():
    net = seeded(1, **SMALL)
    again = build(json.loads(json.dumps(net.settings)))
    again.load_state_dict(net.state_dict())
    assert np.array_equal(again.eval().log_probs(mouths(9)), net.log_probs(mouths(9)))


def test_log_probs_are_a_distribution_over_blank_and_characters():
    found = seeded(0, **SMALL).log_probs(mouths(7))
    assert (found.shape, found.dtype) == ((7, 29), np.float64)
    assert np.exp(found).sum(1) == pytest.approx(np.ones(7))


def test_neighbours_in_the_batch_change_nothing():
    net = seeded(0, **SMALL)
    pixels = torch.rand(45, 16, 16, generator=torch.Generator().manual_seed(0))
    utterances = pixels.split([30, 12, 3])
    with torch.inference_mode():
        together = net.follow(net.look(utterances))
        for one, states in zip(utterances, together, strict=True):
            alone = net.follow(net.look([one]))[0]
            assert (states[: len(one)] - alone).abs().max() < 1e-5
            assert not states[len(one) :].any()


def test_light_does_not_matter():
    net = seeded(0, **SMALL)
    dark = mouths(8) // 4
    assert np.abs(net.log_probs(dark * 3 + 20) - net.log_probs(dark)).max() < 1e-4
    flat = standardised(torch.full((3, 4, 4), 0.5))
    assert flat.abs().max() < 1e-3


def test_frames_are_seen_on_both_sides_in_time():
    net = seeded(0, **SMALL)
    before = net.log_probs(mouths(20))
    changed = mouths(20)
    changed[15] = 255 - changed[15]
    assert np.abs(net.log_probs(changed) - before)[2].max() > 0


def test_prepare_keeps_the_gray_centre_of_each_frame():
    frames = torch.zeros(3, 3, 96, 96, dtype=torch.uint8)
    frames[:, 0, 4, 4], frames[:, 1, 91, 91], frames[:, 2, 3, 50] = 255, 255, 255
    kept = LipReader(**SMALL).prepare(frames)
    assert (kept.shape, kept.dtype) == ((3, 88, 88), torch.uint8)
    assert kept[0, 0, 0] == 76
    assert kept[0, -1, -1] == 150
    assert int(kept[0].long().sum()) == 76 + 150
    assert gray(torch.full((1, 3, 96, 96), 255, dtype=torch.uint8)).min() == 255


@pytest.mark.parametrize(
    "text", ["place red at a two now", "set green in z zero soon", "it's a bell", ""]
)
def test_decoding_gives_what_is_shown(text: str):
    assert decode(shown(text) if text else np.log(np.eye(29)[:1] + 1e-9), 8) == text


def test_decoding_by_the_grammar_gives_what_is_shown_and_repairs_slips():
    assert decode_grammar(shown("bin blue at f two now"), GRAMMAR) == "bin blue at f two now"
    assert decode_grammar(shown("bin glue at f too now"), GRAMMAR) == "bin blue at f two now"
    said = seeded(0, **SMALL).read_grammar(mouths(75), GRAMMAR).split()
    assert all(word in words for word, words in zip(said, GRAMMAR.values(), strict=True))


def test_decoding_is_quick():
    log_probs = seeded(0, **SMALL).log_probs(mouths(75))
    start = time.process_time()
    decode(log_probs, 16)
    decode_grammar(log_probs, GRAMMAR)
    assert time.process_time() - start < 1


def test_it_is_a_reader_of_words_and_of_grammars():
    reader: GrammarReader = seeded(0, **SMALL)
    assert reader.located is False
    assert reader.text == "english"
    assert isinstance(reader.read(mouths(30)), str)
    assert reader.read(mouths(0)) == ""


def test_spelling():
    assert [ALPHABET[n - 1] for n in spell(" It\u2019s  a test-drive, ok? ")] == list(
        "it's a test drive ok"
    )
    assert spell("...") == ()
    with pytest.raises(InputError, match="2; write numbers as words"):
        spell("at f 2 now")
    with pytest.raises(InputError, match="世"):
        spell("世")


def test_other_input_is_refused():
    net = seeded(0, **SMALL)
    with pytest.raises(InputError, match="96"):
        net.prepare(mouths(2)[:, None])
    with pytest.raises(InputError, match="not whole frames"):
        net.prepare(torch.zeros(1, 3, 96, 96, dtype=torch.uint8), torch.zeros(1, 4))
    for wrong in (mouths(2).float(), mouths(2)[:, :80]):
        with pytest.raises(InputError, match="uint8 mouths"):
            net.read(wrong)
    with pytest.raises(InputError, match="larger `size`"):
        LipReader(size=8)


def test_mouths_are_aligned_by_landmarks():
    try:
        crop = LipReader().crop
    except MissingAsset as error:
        pytest.skip(str(error))
    assert crop.name == "mouth-96.dlib68"


def test_what_is_not_shipped_is_named():
    with pytest.raises(MissingAsset, match=r"lipreader\.no_such"):
        load("no_such")
