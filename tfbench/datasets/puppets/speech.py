"""What puppets say: synthesised sentences with the times of their words and phones.

eSpeak NG speaks; its phone events give the times. A voice is one of eSpeak's voice variants with
its own rate, pitch and length of the vocal tract; an emotion changes rate, pitch, pitch range,
loudness and the tilt of the spectrum, by the directions of Murray and Arnott 1993
(JASA 93(2), table 1) and by little enough that recognisers understand it about as well as neutral
speech (benchmarks/puppets_speech.py).

The same text, voice and emotion give the same bits, whatever was said before.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfbench.core.errors import InputError, TfbenchError, UnknownName
from tfbench.core.types import FPS, SAMPLE_RATE
from tfbench.datasets.puppets.espeak import speak
from tfbench.datasets.puppets.phones import Phone
from tfbench.datasets.puppets.sentences import is_grammar_sentence
from tfbench.datasets.puppets.timeline import Clock, loud_level, phones_of, timeline, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "PROSODIES",
    "VOICES",
    "Phone",
    "Prosody",
    "Utterance",
    "Voice",
    "draw_voice",
    "loudness",
    "pitch_contour",
    "prosody",
    "synthesise",
]

# Of 224 words, Whisper tiny.en misheard 29 % in eSpeak's British accent and 16 % in this one.
_ACCENT = "en-us"
_VARIANTS = {
    "female": ("f1", "f2", "f3", "f4", "f5"),
    "male": ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"),
}
VOICES = {
    gender: tuple(f"{_ACCENT}+{variant}" for variant in variants)
    for gender, variants in _VARIANTS.items()
}
"""eSpeak's voices that a recogniser understands, by gender: accent and variant."""

# Shorter women's and longer men's are less well understood.
_TRACTS = {"female": (0.97, 1.06), "male": (0.94, 1.03)}
_LEAD = 0.16  # seconds of silence before eSpeak's first sample, which itself starts with 0.05
_TAIL = 0.16  # at least this much after its last one
_SAMPLES_A_FRAME = int(SAMPLE_RATE / FPS)
_UP, _DOWN = 320, 441  # 16,000 / 22,050
# eSpeak's embedded command: some variants have an echo of 15 %, which would fill the closures of
# stops; 1 % is the least that the command can ask for.
_NO_ECHO = "\x011H"
# 10 ms each; without gaps words run into each other, and Whisper tiny.en misheard half as many
# again of 224 words.
_WORD_GAP = 3
_LEVEL_DB = -23.0  # of neutral speech, root mean square of its louder frames, full scale 0
_NOISE_DB = -72.0  # of the room


@dataclass(frozen=True)
class Voice:
    """How somebody speaks.

    Attributes:
        name: One of `VOICES`.
        rate: Words a minute by eSpeak's count, 80 to 450.
        pitch: 0 to 99; 50 is the variant's own, a step is about 1.5 %.
        range: How far the pitch moves, 0 to 99; 50 is the variant's own.
        tract: Length of the vocal tract by the variant's own, 0.9 to 1.1: a longer one has lower
            formants.
    """

    name: str = "en-us+m3"
    rate: int = 150
    pitch: int = 50
    range: int = 50
    tract: float = 1.0


@dataclass(frozen=True, eq=False)
class Utterance:
    """A spoken text.

    Attributes:
        text: As it was asked for.
        words: (word, start, end) in seconds; the words as in the text, without punctuation.
        phones: They tile [0, duration] without a gap.
        waveform: float32 (S,), in [-1, 1], 16 kHz, a whole number of frames at 25 fps.
    """

    text: str
    words: tuple[tuple[str, float, float], ...]
    phones: tuple[Phone, ...]
    waveform: np.ndarray

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.waveform) / SAMPLE_RATE

    @property
    def n_frames(self) -> int:
        """Frames at 25 fps."""
        return len(self.waveform) // _SAMPLES_A_FRAME


@dataclass(frozen=True)
class Prosody:
    """What an emotion does to a voice.

    Attributes:
        rate: Factor.
        pitch: Added to `Voice.pitch`.
        range: Added to `Voice.range`.
        gain_db: Louder by this.
        tilt_db: Gain above about 2 kHz; a strained voice has more, a slack one less.
    """

    rate: float = 1.0
    pitch: float = 0.0
    range: float = 0.0
    gain_db: float = 0.0
    tilt_db: float = 0.0


PROSODIES = {
    "neutral": Prosody(),
    "happy": Prosody(1.08, 9, 22, 1.5, 1.5),
    "sad": Prosody(0.86, -8, -18, -5.0, -2.5),
    "angry": Prosody(1.08, 6, 18, 5.0, 4.0),
    "fear": Prosody(1.12, 14, -8, -1.0, 1.0),
    "disgusted": Prosody(0.88, -6, 6, 0.0, 1.0),
    "surprised": Prosody(1.02, 14, 32, 2.0, 1.0),
    "contempt": Prosody(0.92, -5, -10, -1.0, -1.0),
}
"""Prosody of each emotion at level 3."""

_LEVELS = {1: 0.4, 2: 0.7, 3: 1.0}


def prosody(emotion: str, level: int) -> Prosody:
    """How an emotion of a level sounds.

    Args:
        emotion: One of `PROSODIES`.
        level: 1 to 3; of no effect for "neutral".

    Raises:
        UnknownName: There is no such emotion.
        InputError: There is no such level.
    """
    if emotion not in PROSODIES:
        raise UnknownName(f"no emotion '{emotion}'; there are {', '.join(PROSODIES)}")
    if level not in _LEVELS:
        raise InputError(f"no level {level!r} of an emotion; there are 1, 2 and 3")
    full, share = PROSODIES[emotion], _LEVELS[level]
    return Prosody(
        rate=full.rate**share,
        pitch=full.pitch * share,
        range=full.range * share,
        gain_db=full.gain_db * share,
        tilt_db=full.tilt_db * share,
    )


def draw_voice(rng: np.random.Generator, gender: str) -> Voice:
    """Draw the voice of a person.

    Args:
        rng: Where chance comes from.
        gender: "female" or "male".

    Raises:
        UnknownName: There are no voices for this gender.
    """
    if gender not in VOICES:
        raise UnknownName(f"no voices for the gender '{gender}'; there are {', '.join(VOICES)}")
    return Voice(
        name=VOICES[gender][rng.integers(len(VOICES[gender]))],
        rate=int(rng.integers(125, 171)),
        pitch=int(rng.integers(38, 63)),
        range=int(rng.integers(40, 71)),
        tract=round(float(rng.uniform(*_TRACTS[gender])), 3),
    )


def synthesise(
    text: str,
    voice: Voice,
    emotion: str = "neutral",
    level: int = 1,
    seconds: float | None = None,
) -> Utterance:
    """Say a text.

    A sentence of the grammar (`sentences.GRAMMAR`) has its letter said as a letter, also "a".

    Args:
        text: English.
        voice: Who says it.
        emotion: One of `PROSODIES`.
        level: Its strength, 1 to 3.
        seconds: Length of the clip, made with silence at the end; None for the shortest.

    Returns:
        With at least 0.16 s of silence at both ends.

    Raises:
        InputError: The text has no words, the voice is not one of `VOICES` or its numbers are out
            of range, there is no such level, or the text takes longer than `seconds`.
        UnknownName: There is no such emotion.
        TfbenchError: eSpeak NG is missing or failed.
    """
    tokens = _tokens(text)
    manner = prosody(emotion, level)
    _check(voice, seconds)
    spoken, places = _spelling(tokens)
    sound = speak(spoken, voice.name, _parameters(voice, manner), tokens)
    down = round(_DOWN / voice.tract)
    clock = Clock(_LEAD, _UP / down / SAMPLE_RATE)
    speech_end = clock.seconds(len(sound.samples))
    n_frames = math.ceil(round((speech_end + _TAIL) * FPS, 6))
    if seconds is not None:
        wanted = round(seconds * FPS)
        if wanted < n_frames:
            raise InputError(
                f"'{text}' takes {float(n_frames / FPS):.2f} s in this voice, more than the "
                f"{seconds:.2f} s that were asked for; ask for more seconds or speak faster"
            )
        n_frames = wanted
    seed = zlib.crc32(repr((text, voice, emotion, level)).encode())
    events = timeline(sound, clock)
    return Utterance(
        text=text,
        words=words_of(tokens, places, events, sound.alone),
        phones=phones_of(events, float(n_frames / FPS)),
        waveform=_waveform(sound.samples, down, manner, n_frames * _SAMPLES_A_FRAME, seed),
    )


def loudness(utterance: Utterance) -> np.ndarray:
    """How loud each frame is.

    Returns:
        float32 (T,): root mean square over the frame, in decibels, from 0 at -60 dB or less to 1
        at full scale.
    """
    frames = utterance.waveform.reshape(-1, _SAMPLES_A_FRAME).astype(np.float64)
    power = np.square(frames).mean(axis=1)
    return np.clip(1 + np.log10(power + 1e-12) / 6, 0, 1).astype(np.float32)


def pitch_contour(utterance: Utterance, low: float = 60.0, high: float = 400.0) -> np.ndarray:
    """The voice's fundamental frequency in each frame.

    The peak of the normalised autocorrelation of 50 ms around the frame's middle (Boersma 1993),
    below 0.45 of which a frame counts as unvoiced.

    Args:
        utterance: What was said.
        low: Hz, the lowest that is looked for.
        high: Hz, the highest.

    Returns:
        float32 (T,) in Hz; 0 where no voice is heard.
    """
    size, n_fft = 800, 2048
    margin = (size - _SAMPLES_A_FRAME) // 2
    padded = np.pad(utterance.waveform.astype(np.float64), margin)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::_SAMPLES_A_FRAME]
    window = np.hanning(size)
    windowed = (frames - frames.mean(axis=1, keepdims=True)) * window
    lags = np.arange(int(SAMPLE_RATE / high), int(SAMPLE_RATE / low) + 1)
    alike = _autocorrelation(windowed, n_fft)[:, lags] / _autocorrelation(window, n_fft)[lags]
    # A period fits twice as well as one; the little slope prefers the shorter.
    best = np.argmax(alike - 0.02 * np.log2(lags), axis=1)
    strength = alike[np.arange(len(alike)), best]
    heard = np.square(windowed).sum(axis=1) > 1e-4
    return np.where(heard & (strength > 0.45), SAMPLE_RATE / lags[best], 0).astype(np.float32)


def _autocorrelation(values: np.ndarray, n_fft: int) -> np.ndarray:
    product = np.fft.irfft(np.abs(np.fft.rfft(values, n_fft)) ** 2, n_fft)
    return product / np.maximum(product[..., :1], 1e-12)


def _tokens(text: str) -> list[str]:
    clean = text.translate({ord(sign): " " for sign in "[]\0"})
    tokens = [token for token in clean.split() if any(map(str.isalnum, token))]
    if not any(sign.isascii() and sign.isalnum() for token in tokens for sign in token):
        raise InputError(f"a text to say needs an English word or a number; this one is {text!r}")
    return tokens


def _check(voice: Voice, seconds: float | None) -> None:
    known = [name for names in VOICES.values() for name in names]
    if voice.name not in known:
        raise InputError(f"no voice '{voice.name}'; there are {', '.join(known)}")
    limits = {"rate": (80, 450), "pitch": (0, 99), "range": (0, 99), "tract": (0.9, 1.1)}
    for name, (low, high) in limits.items():
        if not low <= getattr(voice, name) <= high:
            raise InputError(
                f"a voice's {name} is from {low} to {high}, not {getattr(voice, name)!r}"
            )
    if seconds is not None and not 0 < seconds < math.inf:
        raise InputError(f"a clip's length is a positive number of seconds, not {seconds!r}")


def _spelling(tokens: Sequence[str]) -> tuple[str, list[int]]:
    """Write tokens for eSpeak; also where each begins."""
    spelling = list(tokens)
    if is_grammar_sentence(" ".join(tokens)):
        # eSpeak reads other single letters as letters, but "a" as the article.
        spelling = ["[['eI]]" if token.lower() == "a" else token for token in tokens]
    lengths = [len(_NO_ECHO), *(len(token) + 1 for token in spelling)]
    text = _NO_ECHO + " ".join(spelling)
    return text if text[-1] in ".?!" else text + ".", np.cumsum(lengths)[:-1].tolist()


def _parameters(voice: Voice, manner: Prosody) -> dict[str, int]:
    # Resampling by the tract's length also slows and lowers; 50 of eSpeak's steps are an octave.
    wanted = {
        "rate": (voice.rate * manner.rate * voice.tract, 80, 450),
        "pitch": (voice.pitch + manner.pitch + 50 * math.log2(voice.tract), 0, 99),
        "range": (voice.range + manner.range, 0, 99),
    }
    within = {
        name: round(min(max(value, low), high)) for name, (value, low, high) in wanted.items()
    }
    return within | {"wordgap": _WORD_GAP}


def _waveform(
    samples: np.ndarray, down: int, manner: Prosody, n_samples: int, seed: int
) -> np.ndarray:
    from scipy.signal import resample_poly

    speech = resample_poly(samples / 32768.0, _UP, down, window=("kaiser", 8.0))
    speech = _tilt(speech, manner.tilt_db)
    level = loud_level(speech, _SAMPLES_A_FRAME)
    if level == 0:
        raise TfbenchError("eSpeak NG made no sound; reinstall espeakng-loader")
    speech *= 10 ** ((_LEVEL_DB + manner.gain_db) / 20) / level
    speech *= min(1.0, 0.97 / np.abs(speech).max())
    waveform = np.random.default_rng(seed).standard_normal(n_samples) * 10 ** (_NOISE_DB / 20)
    first = round(_LEAD * SAMPLE_RATE)
    waveform[first : first + len(speech)] += speech
    return waveform.astype(np.float32)


def _tilt(speech: np.ndarray, gain_db: float) -> np.ndarray:
    """Amplify what is above about 2 kHz, by a first-order shelf."""
    from scipy.signal import lfilter

    pole = math.exp(-2 * math.pi * 2000 / SAMPLE_RATE)
    low: np.ndarray = lfilter([1 - pole], [1, -pole], speech)
    return low + 10 ** (gain_db / 20) * (speech - low)
