"""What trainings share that read lips: what is kept, how it is varied, how errors are counted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import FPS
from tfbench.core.views import ViewKey
from tfbench.evaluators.base import Figure, NonNegative, TrainConfig
from tfbench.metrics._error_rates import Errors, count_errors
from tfbench.metrics.wer import is_sentence
from tfbench.nets.lipreader import ALPHABET, CROP, gray, spell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tfbench.core.types import Sample
    from tfbench.core.views import Crop, Views
    from tfbench.evaluators.base import Kept

__all__ = [
    "SILENCE",
    "UNKNOWN",
    "Factor",
    "MouthConfig",
    "draw_hidden",
    "draw_place",
    "draw_run",
    "error_rate",
    "has_words",
    "kept_mouths",
    "least_frames",
    "letter_loss",
    "mouth_view",
    "placed",
    "reading_figures",
    "refuse_without_words",
    "spelt",
    "spread_letters",
    "varied_time",
]

SILENCE = len(ALPHABET)
"""Class of the frames between words; those of letters are their places in `ALPHABET`."""
UNKNOWN = -100
"""Of frames whose letter nobody knows."""
MOST_LOST = 12
"""Frames at the ends of a clip in which the face may be missing; GRID has silence there."""
DRAWS = 1000
DARK = 1e-3
"""Least brightness, where the exponent's slope is finite."""

Factor = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class MouthConfig(TrainConfig):
    """Settings of every training that reads lips.

    Attributes:
        runs: Share of examples that are a run of words out of a sentence, where times are known.
        turn: Largest angle by which a mouth is turned, degrees.
        move: Largest distance by which it is moved, pixels of the 96.
        zoom: Largest share by which it is made larger or smaller.
        gamma: Largest logarithm of the exponent of brightness.
        stretch: Largest share by which time is stretched or compressed.
        jitter: Share of frames that are left out, and of those that are doubled.
        hidden_frames: Most frames in a row that are hidden.
    """

    runs: Annotated[float, Field(ge=0, le=1)] = 0.5
    turn: Annotated[float, Field(ge=0, le=45)] = 8.0
    move: Annotated[float, Field(ge=0, le=20)] = 4.0
    zoom: Factor = 0.1
    gamma: NonNegative = 0.3
    stretch: Factor = 0.15
    jitter: Annotated[float, Field(ge=0, le=0.4)] = 0.05
    hidden_frames: Annotated[int, Field(ge=0)] = 5


def mouth_view(crop: Crop) -> ViewKey:
    """Ask for gray mouths with the edge that moving and turning needs."""
    return ViewKey(f"mouths-{CROP}", "pred", crop, extract=gray)


def kept_mouths(sample: Sample, views: Views, key: ViewKey) -> Tensor:
    """Keep the gray mouth of every frame, uint8 (T, 96, 96).

    Frames before the face is seen show the first mouth, so that times stay true.

    Args:
        sample: The clip.
        views: Of the clip.
        key: Made by `mouth_view`.

    Raises:
        Unscorable: There is no face that is seen all the time.
    """
    parts = views.parts(key)
    lost = sample.clip.video.n_frames - len(parts[0].values)
    if len(parts) > 1 or lost > MOST_LOST:
        raise Unscorable(
            f"a lip reader learns from one face that is seen all the time; this clip has "
            f"{len(parts)} tracks, and {lost} frames without the first"
        )
    before = parts[0].values[:1].expand(parts[0].start, -1, -1)
    return torch.cat([before, parts[0].values])


def refuse_without_words(clips: Sequence[Kept]) -> None:
    """Check that every clip has a transcript.

    Raises:
        InputError: Some have none, or none that can be spelt.
    """
    without = [clip.id for clip in clips if not has_words(clip)]
    if without or not clips:
        raise InputError(
            f"{len(without)} of {len(clips)} clips have no transcript of the letters a to z, "
            f"such as {', '.join(without[:3]) or 'none'}; a lip reader learns from clips with "
            "their words: leave the others out, or give `transcript`"
        )


def draw_hidden(n: int, config: MouthConfig, rng: np.random.Generator) -> Tensor:
    """Draw which of n frames are hidden, bool (n,)."""
    hidden = np.zeros(n, bool)
    first, width = rng.integers(n), rng.integers(config.hidden_frames + 1)
    hidden[first : first + width] = True
    return torch.from_numpy(hidden)


def placed(mouths: Tensor, place: Tensor, gamma: Tensor, side: int) -> Tensor:
    """Cut an utterance's mouths out of their crops and brighten them.

    Args:
        mouths: uint8 (T, 96, 96).
        place: float32 (2, 3), of `draw_place`.
        gamma: float32 (), the exponent of brightness.
        side: Of the result in pixels.

    Returns:
        float32 (T, side, side), about 0 to 1.
    """
    # Frames of an utterance are placed alike, so they can be channels.
    grid = F.affine_grid(place[None], [1, 1, side, side], align_corners=False)
    small = F.grid_sample(
        mouths[None].float() / 255, grid, padding_mode="border", align_corners=False
    )[0]
    return small.clamp(min=DARK) ** gamma


def spelt(transcript: object, clip: str) -> tuple[int, ...]:
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


def has_words(clip: Kept) -> bool:
    try:
        spelt(clip.facts.get("transcript"), clip.id)
    except Unscorable:
        return False
    return True


def letter_loss(logits: Tensor, letters: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), letters, ignore_index=UNKNOWN)


def spread_letters(times: Sequence[Sequence[Any]] | None, n: int) -> NDArray[np.int64]:
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


def draw_run(
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
    if not run or stop - start < least_frames(run):
        return 0, n, text
    return start, stop, run


def least_frames(text: Sequence[int]) -> int:
    """Return how many frames CTC needs: a blank has to part equal symbols."""
    return len(text) + sum(a == b for a, b in pairwise(text))


def varied_time(
    n: int, least: int, config: MouthConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Leave out, double and stretch frames; returns the chosen ones, all where too few are left."""
    j = config.jitter
    frames = np.repeat(np.arange(n), rng.choice(3, n, p=[j, 1 - 2 * j, j]))
    length = round(len(frames) * (1 + rng.uniform(-config.stretch, config.stretch)))
    if length < max(least, 1):
        return np.arange(n)
    return frames[np.linspace(0, len(frames) - 1, length).round().astype(int)]


def draw_place(config: MouthConfig, window: int, rng: np.random.Generator) -> Tensor:
    """Draw where the network's window lies in the crop.

    Args:
        config: How far it may be turned, moved and zoomed.
        window: Pixels of its side.
        rng: Where chance comes from.

    Returns:
        float32 (2, 3), from coordinates of the window to those of the crop, both -1 to 1.
    """
    angle = np.deg2rad(rng.uniform(-config.turn, config.turn))
    scale = window / CROP * (1 + rng.uniform(-config.zoom, config.zoom))
    mirror = 1 if rng.random() < 0.5 else -1
    x, y = rng.uniform(-config.move, config.move, 2) * 2 / CROP
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return torch.tensor([[mirror * c, -s, x], [mirror * s, c, y]], dtype=torch.float32)


def error_rate(name: str, errors: Sequence[Errors], people: Sequence[str]) -> Figure:
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


def reading_figures(
    said: Sequence[str], lips: Sequence[str], people: Sequence[str]
) -> list[Figure]:
    """Compute the error rates of what was read from lips.

    Args:
        said: Transcripts.
        lips: What was read of each.
        people: Who says each.

    Returns:
        CER; WER; WER of GRID's grammar and of other sentences apart, where there are both; and,
        as a control, WER of each transcript against what was read of another clip.
    """
    errors = [count_errors(*pair) for pair in zip(said, lips, strict=True)]
    figures = [error_rate(name, errors, people) for name in ("CER", "WER")]
    told = [is_sentence(text) for text in said]
    for name, wanted in (("grammar", True), ("open", False)):
        own = [k for k, grammar in enumerate(told) if grammar == wanted]
        if 0 < len(own) < len(said):
            picked = [errors[k] for k in own], [people[k] for k in own]
            figures.append(error_rate(f"WER of {name} sentences", *picked))
    if len(said) > 1:
        # Neighbours in a sorted list often begin with the same words: the order is shuffled.
        order = np.random.default_rng(0).permutation(len(said))
        pairs = zip(order, np.roll(order, 1), strict=True)
        control = [count_errors(said[k], lips[other]) for k, other in pairs]
        speakers = [people[k] for k in order]
        figures.append(error_rate("WER against another clip's words", control, speakers))
    return figures
