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
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import unpad_sequence

from tfbench.evaluators._mouths import (
    SILENCE,
    UNKNOWN,
    MouthConfig,
    draw_hidden,
    draw_place,
    draw_run,
    error_rate,
    kept_mouths,
    least_frames,
    letter_loss,
    mouth_view,
    placed,
    reading_figures,
    refuse_without_words,
    spelt,
    spread_letters,
    varied_time,
)
from tfbench.evaluators.base import Figure, NonNegative, Positive, Share, Trainee
from tfbench.media.grammar import GRAMMAR
from tfbench.metrics._error_rates import count_errors
from tfbench.metrics.wer import is_sentence
from tfbench.nets._ctc import BLANK
from tfbench.nets.lipreader import (
    CROP,
    LipReader,
    decode,
    decode_grammar,
    standardised,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.core.types import Sample
    from tfbench.core.views import ViewKey, Views
    from tfbench.evaluators.base import Kept

__all__ = ["LipReaderTrainee", "LipReaderConfig"]

_JOINED = ("mouths", "text", "letters", "hidden")


@dataclass(frozen=True)
class LipReaderConfig(MouthConfig):
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
        frame_loss: Weight of the frames' cross-entropy at the start, beside 1 of CTC.
        frame_until: Share of the steps in which that weight falls to zero.
    """

    steps: Positive = 3000
    every: Positive = 250
    batch: Positive = 8
    lr: Annotated[float, Field(gt=0)] = 2e-3
    warmup: Annotated[int, Field(ge=0)] = 100
    clip: NonNegative = 5.0
    window: Annotated[int, Field(gt=0, le=CROP)] = 72
    size: Positive = 48
    widths: tuple[int, int, int] = (16, 32, 64)
    kernels: tuple[int, int, int] = (5, 3, 3)
    features: Annotated[int, Field(ge=0)] = 128
    hidden: Positive = 192
    dropout: Share = 0.15
    beam: Positive = 16
    landmarks: str = "dlib68"
    frame_loss: NonNegative = 1.0
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
        return (mouth_view(self.net.crop),)

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep the gray mouth of every frame as `mouths`, uint8 (T, 96, 96).

        Frames before the face is seen show the first mouth, so that times stay true.

        Raises:
            Unscorable: There is no transcript of letters, or no face that is seen all the time.
        """
        spelt(sample.transcript, sample.id)
        return {"mouths": kept_mouths(sample, views, self.keys[0])}

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Check that every clip has a transcript.

        Raises:
            InputError: Some have none, or none that can be spelt.
        """
        refuse_without_words(clips)

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a sentence or a run of its words, and how it is varied.

        Returns:
            "mouths" uint8 (T, 96, 96); "text" int64 (n,), symbols; "letters" int64 (T,), the class
            of each frame; "hidden" bool (T,); "place" float32 (2, 3), see `draw_place`; "gamma"
            float32 (), the exponent of brightness.
        """
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        n = clip.shapes["mouths"][0]
        start, stop, text = 0, n, spelt(clip.facts.get("transcript"), clip.id)
        times = clip.facts.get("word_times")
        letters = spread_letters(times, n)
        if times and rng.random() < c.runs:
            start, stop, text = draw_run(times, n, text, rng)
        chosen = varied_time(stop - start, least_frames(text), c, rng)
        hidden = draw_hidden(len(chosen), c, rng)
        return {
            "mouths": clip.array("mouths", start, stop)[torch.from_numpy(chosen)],
            "text": torch.tensor(text),
            "letters": torch.from_numpy(letters[start:stop][chosen]),
            "hidden": hidden,
            "place": draw_place(c, c.window, rng),
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
        by_sight = letter_loss(self.seen(torch.cat(seen)), batch["letters"])
        by_all = letter_loss(self.known(known), batch["letters"])
        self.log("letters_seen", by_sight)
        self.log("letters", by_all)
        return ctc + weight * (by_sight + by_all) / 2

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Measure error rates over all clips, with 95 % intervals from 1000 bootstrap draws.

        People are drawn where the clips show several, else clips. Beside CER and WER of free
        decoding: WER of the sentences of GRID's grammar and of the others apart, where there are
        both; free WER against the words of another clip; and WER when the network is told the
        grammar, of the former.
        """
        found = [self.net.log_probs(self.net.centre(self._at_home(c))) for c in clips]
        free = [decode(log_probs, self.config.beam) for log_probs in found]
        said = [str(clip.facts["transcript"]) for clip in clips]
        people = [clip.identity for clip in clips]
        figures = reading_figures(said, free, people)
        told = [k for k, text in enumerate(said) if is_sentence(text)]
        if told:
            guided = [count_errors(said[k], decode_grammar(found[k], GRAMMAR)) for k in told]
            own = guided, [people[k] for k in told]
            figures.append(error_rate("WER, told the grammar", *own))
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
            bright = placed(mouths, batch["place"][k], batch["gamma"][k], side)
            varied.append(standardised(bright).masked_fill(hidden[:, None, None], 0.0))
        return varied
