import hashlib
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tfbench.core.errors import InputError, UnknownName
from tfbench.datasets.puppets import speech
from tfbench.datasets.puppets.emotions import EMOTIONS
from tfbench.datasets.puppets.head import head
from tfbench.datasets.puppets.identity import draw_identity
from tfbench.datasets.puppets.performance import Performance, listen, perform
from tfbench.datasets.puppets.phones import Phone

LIPS, TEETH = ("P", "B", "M"), ("F", "V")
# Degree of opening, from the height of the tongue in the IPA's chart.
OPENNESS = {
    "AA": 3, "AE": 3, "AO": 3, "AH": 3, "AY": 3, "AW": 3, "EH": 2, "OW": 2, "EY": 2,
    "IH": 1, "UH": 1, "IY": 1, "UW": 1,
}  # fmt: skip
TEXTS = (
    "Bob may have been very happy to move the big blue boat",
    "bin blue at f two now",
    "place red by m five please",
    "Five people saw a brown fox jump over the farm wall",
    "My mother put the apple pie above the fire",
    "She always thinks about him before breakfast",
)


def column(name):
    return head().expression_names.index(name)


def of(performance, name):
    return performance.expression[:, column(name)]


@pytest.fixture(scope="module")
def utterances():
    """One for each text, in several voices, emotions and levels: (utterance, emotion, level)."""
    made = []
    for k in range(18):
        emotion, level = EMOTIONS[k % 8], 1 + k % 3
        rng = np.random.default_rng(k)
        voice = speech.draw_voice(rng, ("female", "male")[k % 2])
        made.append((speech.synthesise(TEXTS[k % 6], voice, emotion, level), emotion, level))
    return made


@pytest.fixture(scope="module")
def performances(utterances):
    return [perform(u, e, level, k) for k, (u, e, level) in enumerate(utterances)]


@pytest.fixture(scope="module")
def spoken():
    return speech.synthesise(TEXTS[0], speech.Voice())


def lip_columns():
    """Vertices of the upper and of the lower lip near five verticals through the mouth."""
    h = head()
    lips = np.flatnonzero((h.masks["lips"] > 0.6) & (h.vertex_part == 0))
    falls = h.expression[column("jawOpen"), :, 1]
    found = []
    for x in (-0.12, -0.06, 0.0, 0.06, 0.12):
        near = lips[np.abs(h.canonical[lips, 0] - x) < 0.025]
        near = near[h.canonical[near, 2] > h.canonical[near, 2].max() - 0.13]
        found.append((near[falls[near] > -0.15], near[falls[near] <= -0.15]))
    return found


def gaps(shape, expressions):
    """Return (T, 5), how far the lips are apart over the mouth's width at rest."""
    h = head()
    columns = lip_columns()
    used = np.unique(np.concatenate([np.concatenate(pair) for pair in columns]))
    rest = h.neutral + np.tensordot(shape, h.identity, 1)
    corners = rest[h.masks["lips"] > 0.6, 0]
    heights = rest[used, 1] + expressions @ h.expression[:, used, 1]
    where = {v: n for n, v in enumerate(used)}
    parts = [
        heights[:, [where[v] for v in up]].min(1) - heights[:, [where[v] for v in low]].max(1)
        for up, low in columns
    ]
    return np.stack(parts, 1) / (corners.max() - corners.min())


def inside(phone, n_frames):
    middles = (np.arange(n_frames) + 0.5) / 25
    found = np.flatnonzero((middles >= phone.start) & (middles <= phone.end))
    return found if len(found) else np.argmin(np.abs(middles - phone.start), keepdims=True)


@pytest.fixture(scope="module")
def openings(utterances, performances):
    """Of each clip the opening of every frame, on a head of its own."""
    shapes = [np.zeros(len(head().identity), np.float32)]
    shapes += [draw_identity(k).shape for k in range(5)]
    return [gaps(shapes[k % 6], p.expression) for k, p in enumerate(performances)]


def test_what_comes_back(spoken):
    made = perform(spoken, "happy", 3, 1)
    assert made.n_frames == spoken.n_frames
    assert made.expression.shape == (spoken.n_frames, 52)
    assert made.rotation.shape == (spoken.n_frames, 3)
    assert made.expression.dtype == made.rotation.dtype == np.float32
    assert made.expression.min() >= 0
    assert made.expression.max() <= 1


def test_lips_close(utterances, openings):
    closed = [
        openings[k][inside(phone, len(openings[k]))].max(1).min()
        for k, (utterance, _, _) in enumerate(utterances)
        for phone in utterance.phones
        if phone.symbol in LIPS
    ]
    assert len(closed) > 40
    assert np.mean(np.array(closed) < 0.02) >= 0.98


def test_the_lower_lip_comes_to_the_upper_teeth(utterances, performances):
    h = head()
    edge = h.neutral[h.vertex_part == 3, 1].min()
    low = np.concatenate([lower for _, lower in lip_columns()[1:4]])
    reached = []
    for (utterance, _, _), made in zip(utterances, performances, strict=True):
        top = (h.neutral[low, 1] + made.expression @ h.expression[:, low, 1]).max(1)
        tucked = made.expression[:, column("mouthRollLower")]
        for phone in (p for p in utterance.phones if p.symbol in TEETH):
            frames = inside(phone, made.n_frames)
            reached.append(bool(((top[frames] > edge) & (tucked[frames] > 0.5)).any()))
    assert len(reached) > 20
    assert np.mean(reached) >= 0.98


def test_open_vowels_are_wider(utterances, openings):
    seen = [
        (openings[k][inside(phone, len(openings[k])), 2].max(), OPENNESS[phone.symbol])
        for k, (utterance, _, _) in enumerate(utterances)
        for phone in utterance.phones
        if phone.symbol in OPENNESS
    ]
    assert len(seen) > 150
    assert np.corrcoef(np.array(seen).T)[0, 1] > 0.65


def test_each_vowel_after_its_kind():
    wide = {v: of(perform(Said.of("SIL", v, "SIL"), "neutral", 1, 0), "jawOpen").max() for v in
            OPENNESS}  # fmt: skip
    for first, second in ((3, 2), (2, 1)):
        narrowest = min(wide[v] for v, n in OPENNESS.items() if n == first)
        assert narrowest > max(wide[v] for v, n in OPENNESS.items() if n == second), wide


@pytest.mark.parametrize(
    ("phone", "name"),
    [
        ("UW", "mouthPucker"), ("W", "mouthPucker"), ("OW", "mouthFunnel"), ("SH", "mouthFunnel"),
        ("CH", "mouthFunnel"), ("IY", "mouthStretchLeft"), ("TH", "tongueOut"), ("L", "tongueOut"),
    ],
)  # fmt: skip
def test_rounding_spreading_and_tongue(phone, name):
    other = {"IY": "UW"}.get(phone, "IY")
    own = of(perform(Said.of("SIL", phone, "SIL"), "neutral", 1, 0), name).max()
    others = of(perform(Said.of("SIL", other, "SIL"), "neutral", 1, 0), name).max()
    assert own > 0.15
    assert own > 3 * others


def test_rounding_begins_before_its_vowel():
    length = Said.of("SIL", "S", "IY", "SIL").n_frames
    first, second = (
        of(perform(Said.of("SIL", "S", vowel, "SIL"), "neutral", 1, 0), "mouthPucker")
        for vowel in ("IY", "UW")
    )
    s = inside(Said.of("SIL", "S", "IY", "SIL").phones[1], length)
    assert (second[s] > first[s] + 0.05).all()


def test_k_leaves_the_jaw_to_its_neighbours():
    jaw = {
        c: of(perform(Said.of("SIL", "AA", c, "AA", "SIL"), "neutral", 1, 0), "jawOpen")
        for c in ("K", "S")
    }
    said = Said.of("SIL", "AA", "K", "AA", "SIL")
    middle = inside(said.phones[2], said.n_frames)
    assert jaw["K"][middle].min() > 1.5 * jaw["S"][middle].min()


def test_mouth_close_never_exceeds_jaw_open(performances):
    for made in performances:
        assert (of(made, "mouthClose") <= of(made, "jawOpen") + 1e-6).all()


def test_a_mouth_rests_closed():
    made = perform(Said.of("SIL", "SIL"), "neutral", 1, 4)
    assert gaps(np.zeros(len(head().identity), np.float32), made.expression).max() < 0.02


def test_speeds_are_bounded(performances):
    turns = np.concatenate([np.diff(p.rotation, axis=0) for p in performances])
    assert np.abs(turns).max() < np.deg2rad(2.0)
    steps = np.concatenate([np.abs(np.diff(p.expression, axis=0)) for p in performances])
    # A frame is 40 ms: about what lips and lids need to close.
    quick = {"eye": 0.75, "jawOpen": 0.5, "mouthRoll": 0.8, "tongue": 0.5, "mouth": 0.55}
    bounds = [
        next((bound for part, bound in quick.items() if name.startswith(part)), 0.3)
        for name in head().expression_names
    ]
    assert (steps.max(0) <= bounds).all(), steps.max(0)


def test_the_head_does_not_jitter(performances):
    for made in performances:
        jerk = np.diff(made.rotation, 2, axis=0)
        assert np.abs(jerk).max() < np.deg2rad(0.6)
        assert made.rotation.std(0).max() > np.deg2rad(0.4)


def test_emotions_differ_and_grow(spoken):
    rest = perform(spoken, "neutral", 1, 3).expression.mean(0)
    shown = {
        (e, level): perform(spoken, e, level, 3).expression.mean(0) - rest
        for e in EMOTIONS[1:]
        for level in (1, 2, 3)
    }
    for emotion in EMOTIONS[1:]:
        sizes = [np.linalg.norm(shown[emotion, level]) for level in (1, 2, 3)]
        assert sizes[1] > 1.3 * sizes[0]
        assert sizes[2] > 1.15 * sizes[1]
    for one in EMOTIONS[1:]:
        for other in EMOTIONS[1:]:
            if one != other:
                assert np.linalg.norm(shown[one, 3] - shown[other, 3]) > 0.6, (one, other)


def test_blinks_come_and_go():
    lids = of(listen(2500, "neutral", 1, 5, (0, 0)), "eyeBlinkLeft")
    begun = np.flatnonzero((lids[1:] > 0.5) & (lids[:-1] <= 0.5))
    assert 10 <= len(begun) / 100 * 60 <= 40  # a minute
    assert np.diff(begun).min() >= 10
    assert 0.05 < np.mean(lids > 0.1) < 0.25


def test_facing_turns_head_and_eyes():
    made = listen(100, "neutral", 1, 5, (0.5, 0.1))
    ahead = listen(100, "neutral", 1, 5)
    assert made.rotation[:, 1].mean() - ahead.rotation[:, 1].mean() == pytest.approx(0.425)
    out = of(made, "eyeLookOutLeft") - of(ahead, "eyeLookOutLeft")
    assert out.mean() > 0


def test_gaze_holds_while_the_head_moves(spoken):
    made = perform(spoken, "neutral", 1, 2)
    eye = of(made, "eyeLookOutLeft") - of(made, "eyeLookInLeft")
    assert np.corrcoef(eye, made.rotation[:, 1])[0, 1] < 0


def test_a_pure_function(spoken):
    one, again = perform(spoken, "fear", 2, 7), perform(spoken, "fear", 2, 7)
    assert one.expression.tobytes() == again.expression.tobytes()
    assert one.rotation.tobytes() == again.rotation.tobytes()
    assert perform(spoken, "fear", 2, 8).rotation.tobytes() != one.rotation.tobytes()


def test_the_same_bits_in_another_process():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.datasets.puppets.test_performance import Said, digest\n"
        "print(digest(Said.of('SIL', 'B', 'AA', 'F', 'UW', 'SIL')))"
    )
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", code, str(root)]
    other = subprocess.run(command, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(Said.of("SIL", "B", "AA", "F", "UW", "SIL"))


def digest(said):
    made = perform(said, "fear", 2, 7)
    return hashlib.sha256(made.expression.tobytes() + made.rotation.tobytes()).hexdigest()


def test_quick(spoken):
    perform(spoken, "happy", 3, 0)
    start = time.process_time()
    for seed in range(5):
        perform(spoken, "happy", 3, seed)
    assert (time.process_time() - start) / 5 < 0.02


def test_listen():
    made = listen(60, "happy", 1, 3, (-0.4, 0.0))
    assert isinstance(made, Performance)
    assert made.n_frames == 60
    assert of(made, "mouthClose").max() == 0
    assert of(made, "mouthSmileLeft").min() > 0.1


@pytest.mark.parametrize(
    ("emotion", "level", "seed", "facing", "error", "words"),
    [
        ("joy", 1, 0, (0, 0), UnknownName, "no emotion 'joy'; there are neutral"),
        ("happy", 4, 0, (0, 0), InputError, "no level 4"),
        ("happy", 0, 0, (0, 0), InputError, "no level 0"),
        ("happy", 1, -1, (0, 0), InputError, "seed .* not -1"),
        ("happy", 1, 0, (1.5, 0), InputError, "at most 1 radian"),
        ("happy", 1, 0, (float("nan"), 0), InputError, "at most 1 radian"),
    ],
)
def test_bad_input(spoken, emotion, level, seed, facing, error, words):
    with pytest.raises(error, match=words):
        perform(spoken, emotion, level, seed, facing)
    with pytest.raises(error, match=words):
        listen(10, emotion, level, seed, facing)


def test_bad_lengths_and_phones():
    with pytest.raises(InputError, match="at least one frame, not 0"):
        listen(0, "happy", 1, 0)
    with pytest.raises(InputError, match="no mouth shape for the phone 'XX'"):
        perform(Said.of("SIL", "XX"), "happy", 1, 0)
    with pytest.raises(InputError, match="there are none"):
        perform(Said(()), "happy", 1, 0)


def test_every_phone_has_a_shape():
    from tfbench.datasets.puppets.phones import ARPABET, SILENCE

    perform(Said.of(*ARPABET, SILENCE), "neutral", 1, 0)


def test_the_names_of_emotions_are_those_of_the_voice():
    assert tuple(speech.PROSODIES) == EMOTIONS


@dataclass(frozen=True)
class Said:
    """Phones of a quarter of a second without a sound."""

    phones: tuple[Phone, ...]

    @classmethod
    def of(cls, *symbols):
        return cls(tuple(Phone(s, k * 0.24, (k + 1) * 0.24, False) for k, s in enumerate(symbols)))

    @property
    def n_frames(self):
        return 6 * max(len(self.phones), 1)

    @property
    def waveform(self):
        return np.full(self.n_frames * 640, 0.07, np.float32)
