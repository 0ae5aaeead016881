"""Training of `tfbench.nets.emotion`: which emotion a frame shows, from the clip's label.

Cross-entropy with smoothed labels over single frames. Each class is drawn equally often, so that
neutral clips, which data sets have most of, do not become the answer to every doubt. Frames carry
their clip's emotion at any level and while speech moves the mouth, so that some cannot be told;
a clip is judged by the mean of its frames' probabilities.

A few hundred labels are soon learnt by heart. Where the data set knows each frame's expression, a
linear layer, which is not part of the network, also tells it from the features. That is much more
to learn from a frame than one label, and says which part of a face moves for speech and which for
an emotion.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import InputError
from tfbench.evaluators._faces import (
    FACES,
    FaceTrainee,
    draw_frame,
    draw_look,
    of_clips,
    thinned,
    varied,
)
from tfbench.evaluators.base import Figure, NonNegative, Share, TrainConfig
from tfbench.faces.arkit import of_both_sides
from tfbench.nets.emotion import Emotion as Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tfbench.core.types import Sample
    from tfbench.core.views import Views
    from tfbench.evaluators.base import Kept

__all__ = ["EmotionTrainee", "EmotionConfig"]

EVERY = 2
"""Of two frames one is kept."""
EXPRESSION = "expression"
"""Name of the kept array, float32 (n, 52), of `tfbench.faces.arkit.of_both_sides`."""
LEAST_SPREAD = 0.02
"""Of ARKit weights, which go from 0 to 1."""
NEUTRAL = "neutral"
"""The emotion that has no levels."""


@dataclass(frozen=True)
class EmotionConfig(TrainConfig):
    """Settings of the emotion network's training.

    Attributes:
        smoothing: Share of a label that is spread over all classes.
        expression: Weight of the squared error of each frame's expression, in units of its spread,
            where the data set knows it.
        holes: Share of faces of which a rectangle is covered.
    """

    steps: Annotated[int, Field(gt=0)] = 2000
    every: Annotated[int, Field(gt=0)] = 250
    batch: Annotated[int, Field(gt=0)] = 64
    warmup: Annotated[int, Field(ge=0)] = 100
    clip: NonNegative = 5.0
    smoothing: Share = 0.1
    expression: NonNegative = 1.0
    holes: Annotated[float, Field(ge=0, le=1)] = 0.25


class EmotionTrainee(FaceTrainee):
    """Trains the emotion network."""

    name = "emotion"
    Config = EmotionConfig
    kept_version = 2
    crop = Network.crop
    every = EVERY
    monitor = "accuracy"
    higher_is_better = True

    config: EmotionConfig
    net: Network
    """Made by `fit_to`, which learns the classes."""

    def __init__(self, config: EmotionConfig | None = None) -> None:
        super().__init__(config)
        self.chances: dict[str, float] = {}
        self.expressions: Expressions | None = None

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep every second face and, where it is known, the expression of its frame."""
        kept = super().keep(sample, views)
        if sample.expression is None:
            return kept
        parts = sorted(views.parts(self.keys[0]), key=lambda part: part.start)
        shown = torch.cat([sample.expression[part.start : part.stop] for part in parts])
        return kept | {EXPRESSION: thinned(of_both_sides(shown), self.every)}

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Learn the emotions, sorted by name, and how rare each is; make the network.

        Raises:
            InputError: A clip's emotion is unknown, or there are fewer than two.
        """
        counts = Counter(_emotion(clip) for clip in clips)
        if len(counts) < 2:
            raise InputError(
                "an emotion network learns from two or more emotions; "
                f"the clips show {', '.join(counts)}"
            )
        rarest = min(counts.values())
        self.chances = {emotion: rarest / n for emotion, n in counts.items()}
        self.net = Network(sorted(counts))
        known = all(EXPRESSION in clip.shapes for clip in clips)
        if known and self.config.expression:
            rows = torch.cat([clip.array(EXPRESSION) for clip in clips])
            self.expressions = Expressions(self.net.settings["dimensions"], rows)

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a clip, each emotion equally often, one of its faces, and how it is varied."""
        clip = clips[int(rng.integers(len(clips)))]
        while rng.random() >= self.chances[_emotion(clip)]:
            clip = clips[int(rng.integers(len(clips)))]
        frame = draw_frame(clip, rng)
        return {
            **frame,
            "look": draw_look(rng, self.config.holes),
            "emotion": torch.tensor(self.net.classes.index(_emotion(clip))),
        }

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Compute the cross-entropy of the emotions and the error of the expressions."""
        features = self.net.features(varied(batch[FACES], batch["look"]))
        logits = self.net.classifier(features).float()
        smoothing = self.config.smoothing
        value = F.cross_entropy(logits, batch["emotion"], label_smoothing=smoothing)
        if self.expressions is None:
            return value
        error = self.expressions.error(features, batch[EXPRESSION])
        self.log("expression", error)
        return value + self.config.expression * error

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Count the clips, and the frames, whose most probable emotion is their own.

        It is always chosen among all classes. "accuracy" is over all clips, "accuracy of frames"
        over all their kept frames (without an interval: they are not independent), "accuracy of
        neutral" over neutral clips, "accuracy at level k" over the clips of that level that are not
        neutral, and "accuracy at level k or neutral" over both.

        Raises:
            InputError: A clip's emotion is unknown, or is none of the classes.
        """
        own = torch.tensor([self._class(clip) for clip in clips])
        found = of_clips(self.net, "probabilities", clips, self.device)
        frames = torch.cat([rows.argmax(1) == k for rows, k in zip(found, own, strict=True)])
        right = torch.stack([rows.mean(dim=0) for rows in found]).argmax(1) == own
        neutral = torch.tensor([_emotion(clip) == NEUTRAL for clip in clips])
        levels = [clip.facts.get("level") for clip in clips]
        chosen = {"accuracy": torch.ones_like(neutral), "accuracy of neutral": neutral}
        for level in sorted({level for level in levels if level is not None}):
            shown = torch.tensor([value == level for value in levels]) & ~neutral
            chosen[f"accuracy at level {level}"] = shown
            chosen[f"accuracy at level {level} or neutral"] = shown | neutral
        figures = [
            Figure.share(name, int(right[rows].sum()), int(rows.sum()))
            for name, rows in chosen.items()
            if rows.any()
        ]
        share = 100 * float(frames.double().mean())
        figures.insert(1, Figure("accuracy of frames", share, n=len(frames), of="frames", unit="%"))
        return tuple(figures)

    def parts(self) -> dict[str, nn.Module]:
        """Return the network."""
        return {"net": self.net}

    def _class(self, clip: Kept) -> int:
        emotion = _emotion(clip)
        if emotion not in self.net.classes:
            known = ", ".join(self.net.classes)
            raise InputError(f"clip {clip.id} shows '{emotion}'; the network knows {known}")
        return self.net.classes.index(emotion)


class Expressions(nn.Module):
    """Tells expressions from features, in training only.

    Args:
        dimensions: Of a feature.
        rows: float32 (n, 52), of all training frames, for their means and spreads.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, dimensions: int, rows: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(dimensions, rows.shape[1])
        self.register_buffer("mean", rows.mean(dim=0))
        # What hardly ever moves would be noise in units of its own spread.
        self.register_buffer("spread", rows.std(dim=0).clamp(min=LEAST_SPREAD))

    def error(self, features: Tensor, wanted: Tensor) -> Tensor:
        """Compute the mean squared error, ()."""
        told = self.linear(features).float()
        return F.mse_loss(told, (wanted - self.mean) / self.spread)


def _emotion(clip: Kept) -> str:
    if "emotion" not in clip.facts:
        raise InputError(
            f"the emotion of clip {clip.id} is unknown; train on a data set that knows it"
        )
    emotion: str = clip.facts["emotion"]
    return emotion
