"""Training of the lip reader, which judges WER and CER.

The loss is that of connectionist temporal classification (Graves et al. 2006), as LipNet's
(Assael et al. 2016), and beside it, where the data set knows the times of words, a cross-entropy
of every frame: a word's characters are spread evenly over its time, what is between words is
silence. It tells the network at once where to look, which CTC needs many passes to find, and
fades out, since nobody speaks so evenly. Half of it is asked of the GRUs, and half of what the
convolutions see, since GRUs can lower the loss for long by guessing words from the ones before.
Its two layers are not part of the network. As LipNet does,
training also sees runs of words cut out of sentences; mirrored, turned, moved and zoomed mouths;
and frames that are left out or doubled. Stretched time and hidden frames come on top.

It is measured by free decoding, by decoding constrained to GRID's grammar where a sentence is of
it, and, as a control, by free decoding of another clip than the one whose words are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import unpad_sequence

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import FPS, ViewKey
from tfbench.evaluators.base import Figure, Positive, Share, TrainConfig, Trainee
from tfbench.media.grammar import GRAMMAR
from tfbench.metrics._error_rates import Errors, count_errors
from tfbench.metrics.wer import is_sentence
from tfbench.nets._ctc import BLANK
from tfbench.nets.lipreader import (
    ALPHABET,
    CROP,
    LipReader,
    decode,
    decode_grammar,
    gray,
    spell,
    standardised,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tfbench.core.types import Sample, Views
    from tfbench.evaluators.base import Kept

__all__ = ["LipReaderTrainee", "LipReaderConfig"]

SILENCE = len(ALPHABET)
"""Class of the frames between words; those of letters are their places in `ALPHABET`."""
UNKNOWN = -100
"""Of frames whose letter nobody knows."""
MOST_LOST = 12
"""Frames at the ends of a clip in which the face may be missing; GRID has silence there."""
DRAWS = 1000
DARK = 1e-3
"""Least brightness, where the exponent's slope is finite."""

_JOINED = ("mouths", "text", "letters", "hidden")

Factor = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class LipReaderConfig(TrainConfig):
    """Settings of the lip reader; `tfbench.nets.lipreader.LIPNET` has the paper's widths.

    Attributes:
        window: Pixels of a side of the crop's centre that is read.
        size: Pixels of a side to which that is shrunk.
        widths: Channels of the three convolutions.
        kernels: Their sides in space.
        features: What is left of each frame for the GRUs; 0 for all.
        hidden: Of a GRU in each direction.
        dropout: Share of channels and features that are dropped.
        beam: Prefixes that survive a frame in free decoding.
        landmarks: Variant of `tfbench.nets.landmarks` by which mouths are found.
        runs: Share of examples that are a run of words out of a sentence, where times are known.
        turn: Largest angle by which a mouth is turned, degrees.
        move: Largest distance by which it is moved, pixels of the 96.
        zoom: Largest share by which it is made larger or smaller.
        gamma: Largest logarithm of the exponent of brightness.
        stretch: Largest share by which time is stretched or compressed.
        jitter: Share of frames that are left out, and of those that are doubled.
        hidden_frames: Most frames in a row that are hidden.
        frame_loss: Weight of the frames' cross-entropy at the start, beside 1 of CTC.
        frame_until: Share of the steps in which that weight falls to zero.
    """

    steps: Positive = 3000
    every: Positive = 250
    batch: Positive = 8
    lr: Annotated[float, Field(gt=0)] = 2e-3
    warmup: Annotated[int, Field(ge=0)] = 100
    clip: Annotated[float, Field(ge=0)] = 5.0
    window: Annotated[int, Field(gt=0, le=CROP)] = 72
    size: Positive = 48
    widths: tuple[int, int, int] = (16, 32, 64)
    kernels: tuple[int, int, int] = (5, 3, 3)
    features: Annotated[int, Field(ge=0)] = 128
    hidden: Positive = 192
    dropout: Share = 0.15
    beam: Positive = 16
    landmarks: str = "dlib68"
    runs: Annotated[float, Field(ge=0, le=1)] = 0.5
    turn: Annotated[float, Field(ge=0, le=45)] = 8.0
    move: Annotated[float, Field(ge=0, le=20)] = 4.0
    zoom: Factor = 0.1
    gamma: Annotated[float, Field(ge=0)] = 0.3
    stretch: Factor = 0.15
    jitter: Annotated[float, Field(ge=0, le=0.4)] = 0.05
    hidden_frames: Annotated[int, Field(ge=0)] = 5
    frame_loss: Annotated[float, Field(ge=0)] = 1.0
    frame_until: Annotated[float, Field(gt=0)] = 1.0


class LipReaderTrainee(Trainee):
    """Trains the lip reader.

    Args:
        config: Settings; None takes the defaults.
    """

    name = "lipreader"
    Config = LipReaderConfig
    monitor: ClassVar[str] = "CER"
    higher_is_better: ClassVar[bool] = False
    config: LipReaderConfig

    def __init__(self, config: LipReaderConfig | None = None) -> None:
        super().__init__(config)
        c = self.config
        self.net = LipReader(
            c.window,
            c.size,
            c.widths,
            c.kernels,
            c.features,
            c.hidden,
            c.dropout,
            c.beam,
            c.landmarks,
        )
        classes = SILENCE + 1
        self.seen = nn.Linear(self.net.recurrent.input_size, classes)
        self.known = nn.Linear(2 * c.hidden, classes)

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """Gray mouths with the edge that moving and turning needs."""
        return (ViewKey(f"mouths-{CROP}", "pred", self.net.crop, extract=gray),)

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep the gray mouth of every frame as `mouths`, uint8 (T, 96, 96).

        Frames before the face is seen show the first mouth, so that times stay true.

        Raises:
            Unscorable: There is no transcript of letters, or no face that is seen all the time.
        """
        _spelt(sample.transcript, sample.id)
        parts = views.parts(self.keys[0])
        lost = sample.clip.video.n_frames - len(parts[0].values)
        if len(parts) > 1 or lost > MOST_LOST:
            raise Unscorable(
                f"a lip reader learns from one face that is seen all the time; this clip has "
                f"{len(parts)} tracks, and {lost} frames without the first"
            )
        before = parts[0].values[:1].expand(parts[0].start, -1, -1)
        return {"mouths": torch.cat([before, parts[0].values])}

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Check that every clip has a transcript.

        Raises:
            InputError: Some have none, or none that can be spelt.
        """
        without = [clip.id for clip in clips if not _has_words(clip)]
        if without or not clips:
            raise InputError(
                f"{len(without)} of {len(clips)} clips have no transcript of the letters a to z, "
                f"such as {', '.join(without[:3]) or 'none'}; a lip reader learns from clips with "
                "their words: leave the others out, or give `transcript`"
            )

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a sentence or a run of its words, and how it is varied.

        Returns:
            "mouths" uint8 (T, 96, 96); "text" int64 (n,), symbols; "letters" int64 (T,), the class
            of each frame; "hidden" bool (T,); "place" float32 (2, 3), see `_draw_place`; "gamma"
            float32 (), the exponent of brightness.
        """
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        n = clip.shapes["mouths"][0]
        start, stop, text = 0, n, _spelt(clip.facts.get("transcript"), clip.id)
        times = clip.facts.get("word_times")
        letters = _letters(times, n)
        if times and rng.random() < c.runs:
            start, stop, text = _run(times, n, text, rng)
        chosen = _varied_time(stop - start, _least_frames(text), c, rng)
        hidden = np.zeros(len(chosen), bool)
        first, width = rng.integers(len(chosen)), rng.integers(c.hidden_frames + 1)
        hidden[first : first + width] = True
        return {
            "mouths": clip.array("mouths", start, stop)[torch.from_numpy(chosen)],
            "text": torch.tensor(text),
            "letters": torch.from_numpy(letters[start:stop][chosen]),
            "hidden": torch.from_numpy(hidden),
            "place": _draw_place(c, rng),
            "gamma": torch.tensor(np.exp(rng.uniform(-c.gamma, c.gamma)), dtype=torch.float32),
        }

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Join utterances one after the other; "frames" and "symbols" are lengths, int64 (b,)."""
        joined = {name: torch.cat([e[name] for e in examples]) for name in _JOINED}
        stacked = {name: torch.stack([e[name] for e in examples]) for name in ("place", "gamma")}
        return {
            **joined,
            **stacked,
            "frames": torch.tensor([len(e["mouths"]) for e in examples]),
            "symbols": torch.tensor([len(e["text"]) for e in examples]),
        }

    def loss(self, batch: Any) -> Tensor:
        """Compute CTC by symbols, and the frames' cross-entropy as long as it counts."""
        seen = self.net.look(self._vary(batch))
        states = self.net.drop(self.net.follow(seen))
        log_probs = self.net.letters(states).float().log_softmax(-1)
        ctc = F.ctc_loss(
            log_probs.transpose(0, 1),
            batch["text"],
            batch["frames"],
            batch["symbols"],
            BLANK,
            zero_infinity=True,
        )
        self.log("ctc", ctc)
        weight = self.config.frame_loss * max(1 - self._progress(), 0.0)
        if weight == 0 or not bool((batch["letters"] != UNKNOWN).any()):
            return ctc
        known = torch.cat(unpad_sequence(states, batch["frames"], batch_first=True))
        by_sight = _letter_loss(self.seen(torch.cat(seen)), batch["letters"])
        by_all = _letter_loss(self.known(known), batch["letters"])
        self.log("letters_seen", by_sight)
        self.log("letters", by_all)
        return ctc + weight * (by_sight + by_all) / 2

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Measure error rates over all clips, with 95 % intervals from 1000 bootstrap draws.

        People are drawn where the clips show several, else clips. Beside CER and WER of free
        decoding: WER of the sentences of GRID's grammar and of the others apart, where there are
        both; WER when the network is told the grammar, of the former; and free WER against the
        words of another clip.
        """
        found = [self.net.log_probs(self.net.centre(self._at_home(c))) for c in clips]
        free = [decode(log_probs, self.config.beam) for log_probs in found]
        said = [str(clip.facts["transcript"]) for clip in clips]
        errors = [count_errors(*pair) for pair in zip(said, free, strict=True)]
        told = [k for k, text in enumerate(said) if is_sentence(text)]
        others = [k for k in range(len(clips)) if k not in told]
        people = [clip.identity for clip in clips]
        figures = [_rate("CER", errors, people), _rate("WER", errors, people)]
        if told and others:
            for name, rows in (("grammar", told), ("open", others)):
                own = [errors[k] for k in rows], [people[k] for k in rows]
                figures.append(_rate(f"WER of {name} sentences", *own))
        if told:
            guided = [count_errors(said[k], decode_grammar(found[k], GRAMMAR)) for k in told]
            own = guided, [people[k] for k in told]
            figures.append(_rate("WER, told the grammar", *own))
        if len(clips) > 1:
            # Neighbours in a sorted list often begin with the same words: the order is shuffled.
            order = np.random.default_rng(0).permutation(len(clips))
            pairs = zip(order, np.roll(order, 1), strict=True)
            control = [count_errors(said[k], free[other]) for k, other in pairs]
            speakers = [people[k] for k in order]
            figures.append(_rate("WER against another clip's words", control, speakers))
        return tuple(figures)

    def parts(self) -> dict[str, nn.Module]:
        """Return the lip reader; the frames' layer only helps to train it."""
        return {"net": self.net}

    def _at_home(self, clip: Kept) -> Tensor:
        return clip.array("mouths").to(self.known.weight.device)

    def _progress(self) -> float:
        """Return how much of the time is over in which frames count, 1 or more at its end."""
        return self.global_step / (self.config.frame_until * self.config.steps)

    def _vary(self, batch: Any) -> list[Tensor]:
        """Place, shrink and brighten each utterance's mouths, and hide some frames.

        Returns:
            Each float32 (T, size, size), standardised.
        """
        counts = batch["frames"].tolist()
        pairs = zip(batch["mouths"].split(counts), batch["hidden"].split(counts), strict=True)
        side = self.config.size
        varied = []
        for k, (mouths, hidden) in enumerate(pairs):
            # Frames of an utterance are placed alike, so they can be channels.
            place = F.affine_grid(
                batch["place"][k : k + 1], [1, 1, side, side], align_corners=False
            )
            small = F.grid_sample(
                mouths[None].float() / 255, place, padding_mode="border", align_corners=False
            )[0]
            bright = standardised(small.clamp(min=DARK) ** batch["gamma"][k])
            varied.append(bright.masked_fill(hidden[:, None, None], 0.0))
        return varied


def _spelt(transcript: object, clip: str) -> tuple[int, ...]:
    """Return the symbols of a transcript.

    Raises:
        Unscorable: There is none, or none that can be spelt.
    """
    if not isinstance(transcript, str):
        raise Unscorable(f"{clip} has no transcript")
    try:
        symbols = spell(transcript)
    except InputError as error:
        raise Unscorable(str(error)) from error
    if not symbols:
        raise Unscorable(f"the transcript of {clip} has no word")
    return symbols


def _has_words(clip: Kept) -> bool:
    try:
        _spelt(clip.facts.get("transcript"), clip.id)
    except Unscorable:
        return False
    return True


def _letter_loss(logits: Tensor, letters: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), letters, ignore_index=UNKNOWN)


def _letters(times: Sequence[Sequence[Any]] | None, n: int) -> NDArray[np.int64]:
    """Spread the letters of each word evenly over its time.

    Args:
        times: Word, start and end in seconds.
        n: Frames.

    Returns:
        int64 (n,), places in `ALPHABET`, `SILENCE`, or `UNKNOWN` where no times are known.
    """
    if not times:
        return np.full(n, UNKNOWN)
    letters = np.full(n, SILENCE)
    middles = (np.arange(n) + 0.5) / float(FPS)
    for word, start, end in times:
        symbols = np.array(spell(word))
        inside = (middles >= start) & (middles < end)
        if len(symbols) and inside.any():
            share = (middles[inside] - start) / (end - start)
            letters[inside] = symbols[(share * len(symbols)).astype(int)] - 1
    return letters


def _run(
    times: Sequence[Sequence[Any]], n: int, text: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, int, tuple[int, ...]]:
    """Draw consecutive words: first frame, the frame after the last one, and their symbols.

    Where so many letters do not fit into so few frames it is the whole sentence.
    """
    count = int(rng.integers(1, len(times) + 1))
    first = int(rng.integers(len(times) - count + 1))
    words = times[first : first + count]
    run = spell(" ".join(word for word, _, _ in words))
    start = max(round(words[0][1] * float(FPS)) - int(rng.integers(3)), 0)
    stop = min(round(words[-1][2] * float(FPS)) + int(rng.integers(3)), n)
    if not run or stop - start < _least_frames(run):
        return 0, n, text
    return start, stop, run


def _least_frames(text: Sequence[int]) -> int:
    """Return how many frames CTC needs: a blank has to part equal symbols."""
    return len(text) + sum(a == b for a, b in pairwise(text))


def _varied_time(
    n: int, least: int, config: LipReaderConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Leave out, double and stretch frames; returns the chosen ones, all where too few are left."""
    j = config.jitter
    frames = np.repeat(np.arange(n), rng.choice(3, n, p=[j, 1 - 2 * j, j]))
    length = round(len(frames) * (1 + rng.uniform(-config.stretch, config.stretch)))
    if length < max(least, 1):
        return np.arange(n)
    return frames[np.linspace(0, len(frames) - 1, length).round().astype(int)]


def _draw_place(config: LipReaderConfig, rng: np.random.Generator) -> Tensor:
    """Draw where the network's window lies in the crop.

    Returns:
        float32 (2, 3), from coordinates of the window to those of the crop, both -1 to 1.
    """
    angle = np.deg2rad(rng.uniform(-config.turn, config.turn))
    scale = config.window / CROP * (1 + rng.uniform(-config.zoom, config.zoom))
    mirror = 1 if rng.random() < 0.5 else -1
    x, y = rng.uniform(-config.move, config.move, 2) * 2 / CROP
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return torch.tensor([[mirror * c, -s, x], [mirror * s, c, y]], dtype=torch.float32)


def _rate(name: str, errors: Sequence[Errors], people: Sequence[str]) -> Figure:
    """Divide all edits by all words, or characters for CER, with an interval in percent."""
    if name.startswith("CER"):
        counts = np.array([(e.characters, e.n_characters) for e in errors], float)
    else:
        counts = np.array([(e.words, e.n_words) for e in errors], float)
    groups = np.unique(people, return_inverse=True)[1]
    if groups.max() == 0:
        groups = np.arange(len(counts))
    sums = np.zeros((groups.max() + 1, 2))
    np.add.at(sums, groups, counts)
    rng = np.random.default_rng(0)
    drawn = sums[rng.integers(len(sums), size=(DRAWS, len(sums)))].sum(1)
    low, high = np.percentile(100 * drawn[:, 0] / drawn[:, 1], (2.5, 97.5))
    over, under = counts.sum(0)
    return Figure(name, 100 * over / under, float(low), float(high), len(errors), "clips", "%")
