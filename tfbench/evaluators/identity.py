"""Training of `tfbench.nets.identity`: who is seen, told by the angle between embeddings.

The additive angular margin of ArcFace (Deng et al. 2019, equation 3) over the people of the
training clips: each person has a direction, the angle between an embedding and its own person's
direction is made larger by a margin, and the cosines times a scale are the logits of a
cross-entropy. The paper's margin of 0.5 and scale of 64 are for thousands of people; here both are
smaller, and the margin rises from zero, so that a short training starts easily. The directions
stay here: a judge needs the network only.

It is measured by verification as LFW does it (Huang et al. 2007): pairs of frames of two clips, as
many of one person as of two, a threshold on their cosine chosen on nine tenths of the people.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated

import numpy as np
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
    varied,
)
from tfbench.evaluators.base import Figure, NonNegative, Share, TrainConfig
from tfbench.nets.identity import Identity as Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.evaluators.base import Kept

__all__ = [
    "IdentityTrainee",
    "IdentityConfig",
    "Compared",
    "Pairs",
    "arc_face",
    "clip_pairs",
    "verification",
]

EVERY = 3
"""Of three frames one is kept: who is seen does not change between them."""
FRAME_PAIRS = 8
"""Pairs of frames of each pair of clips."""
FOLDS = 10
DRAWS = 1000


@dataclass(frozen=True)
class IdentityConfig(TrainConfig):
    """Settings of the identity network's training.

    Attributes:
        margin: Angle in radians by which an embedding must be nearer to its own person's direction.
        scale: Factor on the cosines.
        ramp: Share of the steps in which the margin rises from zero.
        holes: Share of faces of which a rectangle is covered.
    """

    steps: Annotated[int, Field(gt=0)] = 2000
    every: Annotated[int, Field(gt=0)] = 250
    batch: Annotated[int, Field(gt=0)] = 64
    warmup: Annotated[int, Field(ge=0)] = 100
    clip: NonNegative = 5.0
    margin: Annotated[float, Field(ge=0, lt=1.5)] = 0.4
    scale: Annotated[float, Field(gt=0)] = 30.0
    ramp: Share = 0.3
    holes: Annotated[float, Field(ge=0, le=1)] = 0.5


class IdentityTrainee(FaceTrainee):
    """Trains the identity network."""

    name = "identity"
    Config = IdentityConfig
    crop = Network.crop
    every = EVERY
    monitor = "verification accuracy"
    higher_is_better = True

    config: IdentityConfig
    directions: nn.Parameter
    """float32 (people, dimensions), made by `fit_to`."""

    def __init__(self, config: IdentityConfig | None = None) -> None:
        super().__init__(config)
        self.net = Network()
        self.people: dict[str, int] = {}

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Number the people and draw a direction for each.

        Raises:
            InputError: There are fewer than two.
        """
        people = sorted({clip.identity for clip in clips})
        if len(people) < 2:
            raise InputError(
                f"an identity network learns from two or more people; the clips show {len(people)}"
            )
        self.people = {person: k for k, person in enumerate(people)}
        draw = torch.Generator().manual_seed(self.config.seed)
        dimensions = self.net.settings["dimensions"]
        self.directions = nn.Parameter(torch.randn(len(people), dimensions, generator=draw) * 0.1)

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a clip, one of its faces, and how it is varied."""
        clip = clips[int(rng.integers(len(clips)))]
        return {
            "face": draw_frame(clip, rng)[FACES],
            "look": draw_look(rng, self.config.holes),
            "person": torch.tensor(self.people[clip.identity]),
        }

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Compute the cross-entropy of the people after the margin."""
        embedded = self.net(varied(batch["face"], batch["look"]))
        with torch.autocast(embedded.device.type, enabled=False):
            cosines = embedded.float() @ F.normalize(self.directions, dim=1).T
            margin = self.config.margin * self._ramp()
            logits = arc_face(cosines, batch["person"], margin, self.config.scale)
            return F.cross_entropy(logits, batch["person"])

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Verify pairs of frames and pairs of clips; intervals by resampling people.

        Pairs of clips of one person are all there are, but for people with one clip, who are left
        out. For each there is a pair of one of the two clips with a clip of somebody else. A clip's
        embedding is the mean of its frames'.

        Raises:
            InputError: Fewer than three people have two clips.
        """
        embedded = of_clips(self.net, "embed", clips, self.device)
        same, other = clip_pairs([clip.identity for clip in clips])
        people = np.unique([clip.identity for clip in clips], return_inverse=True)[1]
        means = [F.normalize(rows.mean(dim=0, keepdim=True), dim=1) for rows in embedded]
        figures = []
        for suffix, rows, n in (("", embedded, FRAME_PAIRS), (" of clips", means, 1)):
            pairs = Pairs(*(_compared(rows, people, chosen, n) for chosen in (same, other)))
            figures += verification(pairs, suffix)
        return tuple(figures)

    def parts(self) -> dict[str, nn.Module]:
        """Return the network."""
        return {"net": self.net}

    def _ramp(self) -> float:
        """Return the share of the margin at this step."""
        length = self.config.ramp * self.config.steps
        return min(self.global_step / length, 1.0) if length else 1.0


def arc_face(cosines: Tensor, person: Tensor, margin: float, scale: float) -> Tensor:
    """Make logits of cosines with an additive angular margin.

    Args:
        cosines: float32 (b, people), of embeddings and people's directions.
        person: int64 (b,), who it is.
        margin: Angle in radians, added to that between an embedding and its own direction. Where
            the sum would exceed pi, the line goes on that touches the cosine's edge there.
        scale: Factor on all of them.

    Returns:
        float32 (b, people).
    """
    own = cosines.gather(1, person[:, None])
    sine = (1 - own**2).clamp(min=1e-6).sqrt()
    turned = own * np.cos(margin) - sine * np.sin(margin)
    # Beyond pi the cosine would rise again, and a worse embedding would be a better one.
    beyond = own < -np.cos(margin)
    turned = torch.where(beyond, own - 1 + np.cos(margin), turned)
    return cosines.scatter(1, person[:, None], turned.to(cosines.dtype)) * scale


@dataclass(frozen=True)
class Compared:
    """Pairs of one kind.

    Attributes:
        cosines: float64 (n,).
        one: int (n,), the person of each pair's first half.
        two: int (n,), that of its second half.
    """

    cosines: np.ndarray
    one: np.ndarray
    two: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """What verification is measured on.

    Attributes:
        same: Pairs of one person.
        other: Pairs of two people.
    """

    same: Compared
    other: Compared


def clip_pairs(identities: Sequence[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Choose pairs of clips, as many of one person as of two, without chance.

    Args:
        identities: Of the clips.

    Returns:
        All pairs of clips of one person; and each of their first clips with a clip of another
        person, who is the next one, the next but one, and so on.

    Raises:
        InputError: Fewer than three people have two clips.
    """
    clips: dict[str, list[int]] = {}
    for k, identity in enumerate(identities):
        clips.setdefault(identity, []).append(k)
    people = [clips[name] for name in sorted(clips) if len(clips[name]) > 1]
    if len(people) < 3:
        raise InputError(
            "verification compares three or more people with two or more clips each; the held-out "
            f"clips have {len(people)} such people"
        )
    same, other = [], []
    for p, own in enumerate(people):
        for k, (one, two) in enumerate(combinations(own, 2)):
            stranger = people[(p + 1 + k % (len(people) - 1)) % len(people)]
            same.append((one, two))
            other.append((one, stranger[k % len(stranger)]))
    return same, other


def verification(pairs: Pairs, suffix: str = "") -> list[Figure]:
    """Measure how well cosines tell pairs of one person from pairs of two.

    Args:
        pairs: At least three people.
        suffix: Of the figures' names.

    Returns:
        Accuracy in %, each pair judged by the threshold that is best for pairs in which nobody of
        its fold is (a pair of two people is judged in the fold of the first); and the area under
        the curve: the probability that a pair of one person has the higher cosine. Intervals are
        percentiles over 1,000 draws of people.
    """
    hits = _cross_validated(pairs)
    weights = _drawn_weights(pairs)
    drawn = [(w @ h) / w.sum(axis=1) for w, h in zip(weights, hits, strict=True)]
    accuracies = 50 * (drawn[0] + drawn[1])
    once = [np.ones((1, len(right))) for right in hits]
    accuracy, area = 50 * (hits[0].mean() + hits[1].mean()), _areas(pairs, *once)[0]
    n = len(hits[0]) + len(hits[1])
    return [
        _figure(f"verification accuracy{suffix}", accuracy, accuracies, n, "%"),
        _figure(f"verification AUC{suffix}", area, _areas(pairs, *weights), n, ""),
    ]


def _figure(name: str, value: float, drawn: np.ndarray, n: int, unit: str) -> Figure:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Figure(name, float(value), float(low), float(high), n, "pairs", unit)


def _compared(
    rows: Sequence[Tensor], people: np.ndarray, chosen: Sequence[tuple[int, int]], n: int
) -> Compared:
    """Compare n frames of each first clip with n of the second, later with earlier ones."""
    cosines, ones, twos = [], [], []
    for one, two in chosen:
        first = rows[one][np.linspace(0, len(rows[one]) - 1, n).round()]
        second = rows[two][np.linspace(len(rows[two]) - 1, 0, n).round()]
        cosines.append((first.double() * second.double()).sum(dim=1).numpy())
        ones.append(np.full(n, people[one]))
        twos.append(np.full(n, people[two]))
    return Compared(np.concatenate(cosines), np.concatenate(ones), np.concatenate(twos))


def _cross_validated(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Tell for each pair of either kind whether it is judged rightly, 0 or 1."""
    people = np.unique(pairs.same.one)
    sides = (pairs.same, pairs.other)
    hits = tuple(np.zeros(len(side.cosines)) for side in sides)
    for fold in np.array_split(people, min(FOLDS, len(people))):
        apart = [~np.isin(s.one, fold) & ~np.isin(s.two, fold) for s in sides]
        threshold = _best_threshold(*(s.cosines[a] for s, a in zip(sides, apart, strict=True)))
        for k, side in enumerate(sides):
            tested = np.isin(side.one, fold)
            hits[k][tested] = (side.cosines[tested] > threshold) == (k == 0)
    return hits[0], hits[1]


def _best_threshold(same: np.ndarray, other: np.ndarray) -> float:
    """Find the middle of the thresholds with the highest mean of both kinds' accuracies."""
    edges = np.unique(np.concatenate([same, other]))
    middles = np.concatenate([[edges[0] - 1], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1]])
    right = 1 - np.searchsorted(np.sort(same), middles) / len(same)
    right += np.searchsorted(np.sort(other), middles) / len(other)
    best = np.flatnonzero(right == right.max())
    return float(middles[best[len(best) // 2]])


def _drawn_weights(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Draw people with replacement; returns how often each pair comes, (draws, n) of each kind."""
    people = np.unique(pairs.same.one)
    counts = np.random.default_rng(0).multinomial(
        len(people), np.full(len(people), 1 / len(people)), DRAWS
    )
    same = counts[:, np.searchsorted(people, pairs.same.one)]
    one, two = (np.searchsorted(people, x) for x in (pairs.other.one, pairs.other.two))
    other = counts[:, one] * counts[:, two]
    # A draw of few people may leave no pair of two; such draws say nothing.
    used = other.any(axis=1)
    return same[used], other[used]


def _areas(pairs: Pairs, same: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute the area under the curve for rows of weights; ties count half."""
    order = np.argsort(pairs.other.cosines)
    ranked = pairs.other.cosines[order]
    below = np.concatenate([np.zeros((len(other), 1)), other[:, order].cumsum(axis=1)], axis=1)
    low = np.searchsorted(ranked, pairs.same.cosines, "left")
    high = np.searchsorted(ranked, pairs.same.cosines, "right")
    beaten = (below[:, low] + below[:, high]) / 2
    areas: np.ndarray = (same * beaten).sum(axis=1) / (same.sum(axis=1) * other.sum(axis=1))
    return areas
