import numpy as np
import pytest

from tfbench.datasets.puppets.espeak import Event, Sound
from tfbench.datasets.puppets.timeline import Clock, loud_level, phones_of, timeline, words_of

CLOCK = Clock(0.2, 1 / 22_050)


def sound(pieces):
    """A sound of (milliseconds, amplitude, IPA or None where no event begins)."""
    samples, events = [], []
    for milliseconds, amplitude, ipa in pieces:
        if ipa is not None:
            events.append(Event(0, sum(map(len, samples)), ipa))
        times = np.arange(round(milliseconds * 22.05))
        samples.append((amplitude * np.sin(times * 0.3)).astype(np.int16))
    return Sound(np.concatenate(samples), 22_050, tuple(events), ())


def boundaries(pieces):
    return [(timed.ipa, round(1000 * timed.start)) for timed in timeline(sound(pieces), CLOCK)]


def test_a_closure_belongs_to_the_stop_after_it():
    pieces = [(100, 9000, "a"), (50, 0, None), (40, 1000, "p"), (100, 9000, "a")]
    got = boundaries(pieces)
    assert [ipa for ipa, _ in got] == ["a", "p", "a"]
    assert got[1][1] == pytest.approx(300, abs=3)
    assert got[2][1] == 390


def test_a_faint_sound_is_no_closure():
    pieces = [(100, 9000, "a"), (50, 500, "f"), (40, 1000, "t"), (100, 9000, "a")]
    assert boundaries(pieces)[2] == ("t", 350)


def test_silence_before_another_sound_stays_with_the_phone_before():
    pieces = [(100, 9000, "a"), (50, 0, None), (40, 1000, "s"), (100, 9000, "a")]
    assert boundaries(pieces)[1] == ("s", 350)


@pytest.mark.parametrize(("following", "start"), [("b", 300), ("m", 340)])
def test_a_short_gap_is_no_pause(following, start):
    pieces = [(100, 9000, "a"), (40, 0, ""), (60, 3000, following), (100, 9000, "a")]
    got = boundaries(pieces)
    assert [ipa for ipa, _ in got] == ["a", following, "a"]
    assert got[1][1] == start


def test_a_stop_after_a_pause_is_closed_before_it_is_heard():
    pieces = [(100, 9000, "a"), (150, 0, ""), (50, 0, ""), (40, 1000, "p"), (90, 9000, "a")]
    assert boundaries(pieces) == [("a", 200), ("", 300), ("p", 440), ("a", 540)]


def test_a_stop_at_the_start_begins_no_earlier_than_the_sound():
    pieces = [(48, 0, None), (40, 1000, "p"), (100, 9000, "a")]
    assert boundaries(pieces)[0] == ("p", 200)


def test_phones_join_pauses_and_split_two_in_one():
    pieces = [(100, 9000, "ˈɔːɹ"), (200, 0, "")]
    phones = phones_of(timeline(sound(pieces), CLOCK), 0.8)
    assert [(p.symbol, round(p.start, 3), round(p.end, 3), p.stress) for p in phones] == [
        ("SIL", 0.0, 0.2, False),
        ("AO", 0.2, 0.26, True),
        ("R", 0.26, 0.3, True),
        ("SIL", 0.3, 0.8, False),
    ]


def test_words_that_are_said_as_one():
    said = sound([(50, 9000, "ʌ"), (50, 9000, "v"), (50, 9000, "ð"), (50, 9000, "ə")])
    events = timeline(said, CLOCK)
    alone = (("ʌ", "v"), ("ð", "ə"))
    words = words_of(["of", "the,"], [0, 3], events, alone)
    assert [(word, round(start, 3), round(end, 3)) for word, start, end in words] == [
        ("of", 0.2, 0.3),
        ("the", 0.3, 0.4),
    ]


def test_loud_level():
    samples = np.repeat([0, 100, 200, 2], 50).astype(np.int16)
    assert loud_level(samples, 50) == pytest.approx(np.sqrt((100**2 + 200**2) / 2))
    assert loud_level(np.zeros(100, np.int16), 50) == 0
    assert loud_level(np.zeros(10, np.int16), 50) == 0
