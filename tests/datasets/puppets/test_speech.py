# ruff: noqa: RUF001 - the letters of the IPA are meant.
import hashlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfbench.core.errors import InputError, MissingAsset, TfbenchError, UnknownName
from tfbench.datasets.puppets import espeak, speech
from tfbench.datasets.puppets.phones import ARPABET, Phone, arpabet, divide
from tfbench.datasets.puppets.sentences import GRAMMAR, SPLITS, open_sentences
from tfbench.datasets.puppets.speech import (
    PROSODIES,
    VOICES,
    Utterance,
    Voice,
    draw_voice,
    loudness,
    pitch_contour,
    prosody,
    synthesise,
)

TEXT = "The happy boys measure a thick bottle."
GRID = "place red at a two now"
MALE = Voice()
FEMALE = Voice(VOICES["female"][0], pitch=55)
EVERY_VOICE = [Voice(name) for names in VOICES.values() for name in names]


@pytest.fixture(scope="module")
def spoken():
    return synthesise(TEXT, MALE)


def digest(utterance):
    facts = repr((utterance.words, utterance.phones)).encode()
    return hashlib.sha256(utterance.waveform.tobytes() + facts).hexdigest()


def tone(hertz, seconds=1.0):
    times = np.arange(round(seconds * 16_000)) / 16_000
    # With harmonics, as a voice has them.
    wave = sum(np.sin(2 * np.pi * hertz * n * times) / n for n in range(1, 6)) * 0.1
    return Utterance("", (), (), wave.astype(np.float32))


def test_utterance(spoken):
    assert spoken.waveform.dtype == np.float32
    assert len(spoken.waveform) % 640 == 0
    assert spoken.n_frames == len(spoken.waveform) // 640
    assert 0.1 < np.abs(spoken.waveform).max() < 1
    assert [word for word, _, _ in spoken.words] == TEXT.rstrip(".").split()


def test_phones_tile_the_utterance(spoken):
    assert spoken.phones[0].start == 0
    assert spoken.phones[-1].end == spoken.duration
    for one, following in zip(spoken.phones[:-1], spoken.phones[1:], strict=True):
        assert one.start < one.end == following.start
    for silence in (spoken.phones[0], spoken.phones[-1]):
        assert silence.symbol == "SIL"
        assert silence.end - silence.start >= 0.12


def test_phones_are_those_of_a_dictionary(spoken):
    symbols = [phone.symbol for phone in spoken.phones if phone.symbol != "SIL"]
    # CMUdict's, with eSpeak's reduced vowels of "the" and "a".
    wanted = (
        "DH AH HH AE P IY B OY Z M EH ZH ER AH TH IH K B AA T AH L"  # the r of "measure a" links
    )
    assert [symbol for symbol in symbols if symbol != "R"] == wanted.split()
    stressed = [phone.symbol for phone in spoken.phones if phone.stress]
    assert stressed == ["AE", "OY", "EH", "IH", "AA"]


def test_words_lie_in_order_on_the_phones(spoken):
    starts = {phone.start for phone in spoken.phones}
    last = 0.0
    for _, start, end in spoken.words:
        assert last <= start < end
        assert start in starts
        last = end


def test_closures_are_quiet_and_hisses_are_high(spoken):
    def sound(phone: Phone) -> np.ndarray:
        first, last = round(phone.start * 16_000), round(phone.end * 16_000)
        return spoken.waveform[first:last].astype(np.float64)

    def decibels(values: np.ndarray) -> float:
        return float(10 * np.log10(np.square(values).mean()))

    of = {phone.symbol: sound(phone) for phone in spoken.phones}
    vowel = decibels(of["AE"])
    for stop in ("P", "K"):
        # The closure is the first 40 ms; its last bit may hold the burst's first samples.
        assert decibels(of[stop][80:560]) < vowel - 30
    for hiss in ("ZH", "TH"):
        spectrum = np.abs(np.fft.rfft(of[hiss])) ** 2
        low = np.abs(np.fft.rfft(of["AE"])) ** 2
        shares = [s[len(s) // 4 :].sum() / s.sum() for s in (spectrum, low)]
        assert shares[0] > 2 * shares[1]


def test_same_bits_whatever_was_said_before(spoken):
    for text, voice in (("Something else.", FEMALE), (GRID, EVERY_VOICE[3])):
        synthesise(text, voice, "happy", 3)
    assert digest(synthesise(TEXT, MALE)) == digest(spoken)


@pytest.mark.parametrize("voice", EVERY_VOICE, ids=lambda voice: voice.name)
def test_same_bits_of_every_voice_in_threads(voice):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda text: digest(synthesise(text, voice)), ["Go."] * 2)
    assert first == second


def test_same_bits_a_second_later():
    # Breath is noise, which eSpeak NG seeds by the clock's seconds.
    breathy = Voice("en-us+f5")
    before = digest(synthesise("Go.", breathy))
    time.sleep(1.1)
    assert digest(synthesise("Go.", breathy)) == before


def test_same_bits_in_another_process(spoken):
    code = (
        "import hashlib; from tfbench.datasets.puppets.speech import Voice, synthesise\n"
        f"u = synthesise({TEXT!r}, Voice())\n"
        "facts = repr((u.words, u.phones)).encode()\n"
        "print(hashlib.sha256(u.waveform.tobytes() + facts).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(spoken)


def test_a_letter_is_said_as_a_letter():
    phones = {}
    for letter in "abez":
        utterance = synthesise(GRID.replace(" a ", f" {letter} "), MALE)
        word, start, end = utterance.words[3]
        assert word == letter
        phones[letter] = [p.symbol for p in utterance.phones if start <= p.start < end]
    assert phones == {"a": ["EY"], "b": ["B", "IY"], "e": ["IY"], "z": ["Z", "IY"]}
    article = synthesise("They found a nest.", MALE)
    start = article.words[2][1]
    assert next(p.symbol for p in article.phones if p.start == start) == "AH"


def test_words_that_espeak_joins_are_found():
    text = "Some of the men ran out of a house, at the end of it."
    utterance = synthesise(text, MALE)
    assert [word for word, _, _ in utterance.words] == text.replace(",", "").rstrip(".").split()
    the = utterance.words[2]
    assert [p.symbol for p in utterance.phones if the[1] <= p.start < the[2]] == ["DH", "AH"]


def test_every_phone_of_every_voice_and_sentence_is_known():
    # All words of the sentences and of the grammar, in long texts: a process each takes longer.
    words = sorted({w for split in SPLITS for s in open_sentences(split) for w in s.split()})
    words += [word for place in GRAMMAR.values() for word in place]
    symbols = set()
    for accent in sorted({voice.name.split("+")[0] for voice in EVERY_VOICE}):
        for start in range(0, len(words), 400):
            sound = espeak.speak(" ".join(words[start : start + 400]), accent, {"rate": 450})
            symbols |= {symbol for event in sound.events for symbol, _ in arpabet(event.ipa)}
    assert symbols == {*ARPABET, "SIL"}


def test_unknown_phone():
    with pytest.raises(TfbenchError, match="'ʘ' of eSpeak NG has no ARPAbet symbol"):
        arpabet("ʘ")


@pytest.mark.parametrize(
    ("together", "alone", "counts"),
    [
        ("ʌ v ð ə", ["ʌ v", "ð ə"], [2, 2]),
        ("æ ɾ ə", ["æ t", "ɐ"], [2, 1]),
        ("ˌaʊ ɾ ə v ð ə", ["ˈaʊ t", "ʌ v", "ð ə"], [2, 2, 2]),
        ("d oʊ n t", ["d oʊ n t"], [4]),
        ("ə", ["ʌ v", "ə"], [1, 0]),
    ],
)
def test_divide(together, alone, counts):
    assert divide(together.split(), [word.split() for word in alone]) == counts


def test_seconds_pad_with_silence(spoken):
    longer = synthesise(TEXT, MALE, seconds=4)
    assert longer.n_frames == 100
    assert longer.phones[:-1] == spoken.phones[:-1]
    assert longer.phones[-1].end == 4
    assert np.abs(longer.waveform[-8000:]).max() < 0.01


def test_tract_lowers_formants_and_keeps_pitch_and_pace():
    short, long = (synthesise(TEXT, Voice(tract=tract)) for tract in (0.95, 1.05))
    assert long.duration == pytest.approx(short.duration, rel=0.06)
    heard = [np.median(f0[f0 > 0]) for f0 in map(pitch_contour, (short, long))]
    assert heard[1] == pytest.approx(heard[0], rel=0.05)


def test_emotions_are_heard():
    told = {name: synthesise(TEXT, FEMALE, name, 3) for name in ("happy", "sad", "angry")}
    told["neutral"] = synthesise(TEXT, FEMALE)
    contours = {name: pitch_contour(utterance) for name, utterance in told.items()}
    pitch = {name: np.median(f0[f0 > 0]) for name, f0 in contours.items()}
    loud = {name: np.percentile(loudness(utterance), 80) for name, utterance in told.items()}
    assert pitch["happy"] > 1.05 * pitch["neutral"] > 1.1 * pitch["sad"]
    assert loud["angry"] > loud["neutral"] > loud["sad"]
    assert told["sad"].duration > told["neutral"].duration > told["angry"].duration


def test_levels_grow_and_neutral_has_none():
    rates = [prosody("sad", level).rate for level in (1, 2, 3)]
    assert 1 > rates[0] > rates[1] > rates[2] == PROSODIES["sad"].rate
    assert prosody("neutral", 1) == prosody("neutral", 3) == PROSODIES["neutral"]


def test_draw_voice():
    rng = np.random.default_rng(0)
    for gender, names in VOICES.items():
        voices = [draw_voice(rng, gender) for _ in range(200)]
        assert {voice.name for voice in voices} == set(names)
        assert len(set(voices)) > 150
    assert draw_voice(np.random.default_rng(3), "male") == draw_voice(
        np.random.default_rng(3), "male"
    )


def test_pitch_contour_of_a_tone():
    for hertz in (90, 150, 240, 330):
        f0 = pitch_contour(tone(hertz))[2:-2]
        assert f0 == pytest.approx(hertz, rel=0.02)
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    assert (pitch_contour(Utterance("", (), (), noise)) > 0).mean() < 0.1
    assert not pitch_contour(Utterance("", (), (), np.zeros(6400, np.float32))).any()


def test_loudness_is_on_a_scale_of_decibels():
    for decibels, wanted in ((-80, 0), (-60, 0), (-30, 0.5), (0, 1)):
        constant = np.full(6400, 10 ** (decibels / 20), np.float32)
        values = loudness(Utterance("", (), (), constant))
        assert values.dtype == np.float32
        assert values == pytest.approx(np.full(10, wanted), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"text": ""}, InputError, "needs an English word"),
        ({"text": " ... !"}, InputError, "needs an English word"),
        ({"text": "\u4f60\u597d"}, InputError, "needs an English word"),
        ({"voice": Voice("klingon")}, InputError, "no voice 'klingon'"),
        ({"voice": Voice(rate=20)}, InputError, "rate is from 80 to 450, not 20"),
        ({"voice": Voice(tract=float("nan"))}, InputError, "tract is from 0.9 to 1.1"),
        ({"emotion": "hungry"}, UnknownName, "no emotion 'hungry'; there are neutral, happy"),
        ({"emotion": "sad", "level": 4}, InputError, "no level 4"),
        ({"seconds": 0.5}, InputError, "takes .* more than the 0.50 s"),
        ({"seconds": 0}, InputError, "positive number of seconds"),
        ({"seconds": float("inf")}, InputError, "positive number of seconds"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        synthesise(**{"text": TEXT, "voice": MALE} | change)


def test_unknown_gender():
    with pytest.raises(UnknownName, match="gender 'robot'; there are female, male"):
        draw_voice(np.random.default_rng(0), "robot")


def test_brackets_and_zeros_of_a_text_are_no_commands():
    utterance = synthesise("hello [[p p p]] wor\0ld", MALE)
    assert [word for word, _, _ in utterance.words] == ["hello", "p", "p", "p", "wor", "ld"]


def test_espeak_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak._location.cache_clear()
    with pytest.raises(MissingAsset, match="pip install espeakng-loader"):
        synthesise(TEXT, MALE)
    espeak._location.cache_clear()


def test_espeak_fails(monkeypatch, tmp_path):
    library, data = espeak._location()
    monkeypatch.setattr(espeak, "_location", lambda: (str(tmp_path / "none.so"), data))
    with pytest.raises(TfbenchError, match=r"cannot say .*none\.so"):
        synthesise(TEXT, MALE)
    monkeypatch.setattr(espeak, "_location", lambda: (library, str(tmp_path)))
    with pytest.raises(TfbenchError, match="cannot say"):
        synthesise(TEXT, MALE)


def test_unknown_voice_of_espeak():
    with pytest.raises(TfbenchError, match="no voice 'xx-none'"):
        espeak.speak("hello", "xx-none", {})


def test_all_is_exported():
    assert all(hasattr(speech, name) for name in speech.__all__)
