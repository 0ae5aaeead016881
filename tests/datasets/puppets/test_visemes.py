import numpy as np
import pytest

from tfbench.core.errors import InputError
from tfbench.datasets.puppets.phones import ARPABET, SILENCE, Phone
from tfbench.datasets.puppets.visemes import CHANNELS, VISEMES, articulate

JAW = CHANNELS.index("jaw")


def said(*symbols, each=0.24, stress=False):
    return [Phone(s, k * each, (k + 1) * each, stress) for k, s in enumerate(symbols)]


def test_a_phone_alone_reaches_its_target():
    mouth = articulate(said("AA"), 6, np.ones(1))
    np.testing.assert_allclose(mouth.channels, np.tile(VISEMES["AA"][:8], (6, 1)))
    assert mouth.talk.min() == 1
    assert mouth.seal.max() == 0


def test_the_blend_of_two_worked_by_hand():
    # Frame 8 (0.34 s): AA is full up to 0.06 s before its end, 0.18 s; S from 0.30 s on.
    mouth = articulate(said("AA", "S"), 12, np.ones(2))
    first = np.exp(-(0.34 - 0.18) / 0.055) * VISEMES["AA"][8]
    second = VISEMES["S"][8]
    wanted = (first * VISEMES["AA"][0] + second * VISEMES["S"][0]) / (first + second)
    assert mouth.channels[8, JAW] == pytest.approx(wanted)


@pytest.mark.parametrize("start", np.arange(0.30, 0.34, 0.004))
@pytest.mark.parametrize("length", [0.01, 0.03, 0.05, 0.1])
@pytest.mark.parametrize("symbol", ["P", "B", "M"])
def test_a_closure_is_seen_wherever_it_falls(symbol, start, length):
    phones = [
        Phone("AA", 0, start, True),
        Phone(symbol, start, start + length, False),
        Phone("AA", start + length, 0.8, True),
    ]
    mouth = articulate(phones, 20, np.ones(3))
    assert mouth.seal.max() == 1
    closed = (np.flatnonzero(mouth.seal == 1) + 0.5) / 25
    assert closed.min() > start - 0.0201
    assert closed.max() < start + length + 0.0201
    assert mouth.seal[[3, 16]].max() == 0


def test_the_tuck_of_f_is_seen_beside_a_closure():
    mouth = articulate(said("AA", "M", "F", "AA", each=0.07), 7, np.ones(4))
    assert mouth.seal.max() == 1
    assert mouth.channels[:, CHANNELS.index("tuck")].max() > 0.9


def test_effort_opens_vowels_only():
    wide, usual = (articulate(said("AA", "S"), 12, np.full(2, e)).channels for e in (1.2, 1.0))
    assert wide[1, JAW] > 1.15 * usual[1, JAW]
    assert wide[11, JAW] == pytest.approx(usual[11, JAW], abs=0.01)


def test_fast_speech_moves_less():
    slow, fast = (
        articulate(said("S", "AA", "S", each=each), int(75 * each), np.ones(3))
        for each in (0.3, 0.08)
    )
    assert fast.channels[:, JAW].max() < 0.9 * slow.channels[:, JAW].max()


def test_silence_is_not_speech():
    mouth = articulate(said("SIL", "AA", "SIL", each=0.4), 30, np.ones(3))
    assert mouth.talk[0] == mouth.talk[29] == 0
    assert mouth.talk[10:20].min() == 1


def test_bad_input():
    with pytest.raises(InputError, match="there are none"):
        articulate([], 10, np.ones(0))
    with pytest.raises(InputError, match="phone 'AX'; there are AA, "):
        articulate(said("AX"), 6, np.ones(1))


def test_all_phones_are_known():
    articulate(said(*ARPABET, SILENCE), 240, np.ones(40))
