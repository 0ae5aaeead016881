"""How often sound and picture of the same frame are nearest: Eq. 2 of SyncTalkLip, for any network.

SyncTalkLip (2024, section 3.1) blames the cosine similarity of AV-HuBERT's features that nothing
makes the similarity of sound i and picture i the largest among sound i and all pictures j of a
clip (its Eq. 2), and trains with the L1 distance of other features instead. Here is how often it
is, for any network that gives a vector for the sound and one for the picture of each frame, by L1,
L2 or cosine distance: the share of frames whose own picture is the nearest, the share whose
nearest picture is at most k frames away, and the mean rank of the own picture.

Two points in which Eq. 2 is read strictly. Pictures at the same distance share the first place, so
that a frozen face, all of whose pictures are equally near, gets what chance gets and not 100 %.
And the share depends on how long clips are, since among many pictures another is nearest more
often, so that the share by chance, 1/T, is given beside it; compare networks on the same clips.

Mean distance by offset shows why: a network that sees time has a dip at 0, and the dip's width is
the time in which it cannot tell frames apart. A dip elsewhere is a clip out of sync.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import InputError, MissingAsset, UnknownName
from tfbench.evaluation.statistics import DRAWS, MIN_CLUSTERS, Interval, bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = [
    "Distance",
    "EmbeddedClip",
    "Estimate",
    "SyncDiagnostic",
    "diagnose",
    "distances",
    "plot",
]

Distance = Literal["l1", "l2", "cosine"]
"""Sum of absolute differences; root of the sum of squares; 1 - cosine of the angle."""

BINS = 20
"""Of the histogram of ranks."""


@dataclass(frozen=True)
class EmbeddedClip:
    """What a network makes of a clip.

    Attributes:
        audio: float (T, D), of the sound at each frame, T 2 or more.
        video: float (T, D), of the picture at each frame.
        cluster: Who speaks, or another name that clips share that are not independent.
    """

    audio: Tensor
    video: Tensor
    cluster: str


@dataclass(frozen=True)
class Estimate:
    """A number over all frames with its 95 % interval over clusters of clips."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class SyncDiagnostic:
    """How near sound and picture of the same frame are among all frames of their clip.

    Attributes:
        distance: Between vectors.
        n_clips: Clips.
        n_frames: Frames of all clips.
        nearest: Percentage of frames whose own picture is the nearest; Eq. 2 wants 100.
        within: `near` frames.
        near: Percentage of frames whose nearest picture is at most `within` frames away.
        mean_rank: From 0, the own picture is always the nearest, to 1, always the farthest; 0.5 by
            chance.
        chance_nearest: What `nearest` would be by chance.
        chance_near: What `near` would be by chance.
        offsets: In frames, how much later the picture is than the sound.
        by_offset: Mean distance at each of `offsets`; NaN where no clip is so long.
        ranks: Percentage of frames whose rank is in each twentieth from 0 to 1.
    """

    distance: Distance
    n_clips: int
    n_frames: int
    nearest: Estimate
    within: int
    near: Estimate
    mean_rank: Estimate
    chance_nearest: float
    chance_near: float
    offsets: tuple[int, ...]
    by_offset: tuple[float, ...]
    ranks: tuple[float, ...]


@dataclass(frozen=True)
class _Frames:
    """A clip's frames: float64 (T,) each, and distances summed and counted at each offset."""

    cluster: str
    nearest: Tensor
    near: Tensor
    chance_near: Tensor
    ranks: Tensor
    sums: Tensor
    counts: Tensor


def distances(audio: Tensor, video: Tensor, distance: Distance = "l1") -> Tensor:
    """Compute the distance of every sound from every picture.

    Args:
        audio: float (T, D).
        video: float (T, D).
        distance: Between vectors.

    Returns:
        float64 (T, T), [i, j] of sound i and picture j. Equal pictures are exactly equally far.

    Raises:
        InputError: Shapes differ, there are fewer than 2 frames, or a value is not finite.
        UnknownName: There is no such distance.
    """
    if audio.ndim != 2 or audio.shape != video.shape or len(audio) < 2:
        raise InputError(
            "sound and picture need one vector each for the same 2 frames or more, (T, D); "
            f"got {tuple(audio.shape)} and {tuple(video.shape)}"
        )
    a, v = audio.detach().double(), video.detach().double()
    if not (a.isfinite().all() and v.isfinite().all()):
        raise InputError("a vector has a value that is not finite, so it is at no distance")
    # Differences, not products, so that rounding does not part what is equal.
    exact = "donot_use_mm_for_euclid_dist"
    if distance == "l1":
        return torch.cdist(a, v, 1.0)
    if distance == "l2":
        return torch.cdist(a, v, 2.0, compute_mode=exact)
    if distance == "cosine":
        between = torch.cdist(F.normalize(a), F.normalize(v), 2.0, compute_mode=exact)
        return between.square() / 2
    raise UnknownName(f"no distance '{distance}'; there are {', '.join(get_args(Distance))}")


def diagnose(
    clips: Sequence[EmbeddedClip],
    distance: Distance = "l1",
    within: int = 1,
    max_offset: int = 15,
) -> SyncDiagnostic:
    """Count how often the own picture is the nearest.

    Args:
        clips: Of real speech in sync, to judge a network; of one method, to judge the method.
        distance: Between vectors.
        within: Frames that count as near.
        max_offset: Largest offset of `by_offset`, in frames.

    Raises:
        InputError: There is no clip, or a clip's vectors do not fit; see `distances`.
        UnknownName: There is no such distance.
    """
    if not clips or within < 0 or max_offset < 0:
        raise InputError("a diagnostic needs a clip, and frames are counted from 0")
    frames = [_frames(clip, distance, within, max_offset) for clip in clips]
    ranks = torch.cat([one.ranks for one in frames])
    histogram = ranks.cpu().histc(BINS, 0, 1)
    by_offset = _sum(one.sums for one in frames) / _sum(one.counts for one in frames)
    n_frames = len(ranks)
    return SyncDiagnostic(
        distance=distance,
        n_clips=len(clips),
        n_frames=n_frames,
        nearest=_estimate([(one.cluster, 100 * one.nearest) for one in frames]),
        within=within,
        near=_estimate([(one.cluster, 100 * one.near) for one in frames]),
        mean_rank=_estimate([(one.cluster, one.ranks) for one in frames]),
        chance_nearest=100 * len(clips) / n_frames,
        chance_near=100 * sum(float(one.chance_near.sum()) for one in frames) / n_frames,
        offsets=tuple(range(-max_offset, max_offset + 1)),
        by_offset=tuple(by_offset.tolist()),
        ranks=tuple((100 * histogram / n_frames).tolist()),
    )


def _frames(clip: EmbeddedClip, distance: Distance, within: int, max_offset: int) -> _Frames:
    between = distances(clip.audio, clip.video, distance)
    step = torch.arange(len(between), device=between.device)
    later = step - step[:, None]
    smallest = between == between.min(1, keepdim=True).values
    places = smallest / smallest.sum(1, keepdim=True)
    close = later.abs() <= within
    own = between.diagonal()[:, None]
    # Pictures as far as the own one are half before it, half behind; itself is one of them.
    before = (between < own).sum(1) + ((between == own).sum(1) - 1) / 2
    kept = later.abs() <= max_offset
    offsets = later[kept] + max_offset
    empty = between.new_zeros(2 * max_offset + 1)
    return _Frames(
        cluster=clip.cluster,
        nearest=places.diagonal().double(),
        near=(places * close).sum(1).double(),
        chance_near=close.double().mean(1),
        ranks=before.double() / (len(between) - 1),
        sums=empty.index_add(0, offsets, between[kept]),
        counts=empty.index_add(0, offsets, torch.ones_like(between[kept])),
    )


def _sum(tensors: Iterator[Tensor]) -> Tensor:
    return torch.stack([one.cpu() for one in tensors]).sum(0)


def _estimate(clips: Sequence[tuple[str, Tensor]]) -> Estimate:
    """Average over frames, with an interval over clusters of clips."""
    terms = [(cluster, float(values.sum()), float(len(values))) for cluster, values in clips]
    value = sum(over for _, over, _ in terms) / sum(under for *_, under in terms)
    n = len({cluster for cluster, *_ in terms})
    if n < MIN_CLUSTERS:
        why = f"none: {n} clusters are fewer than {MIN_CLUSTERS}"
        return Estimate(value, Interval(None, None, why, n))
    low, high = bootstrap(terms)
    return Estimate(value, Interval(low, high, f"cluster bootstrap, {DRAWS} draws, 95 %", n))


def plot(found: Sequence[tuple[str, SyncDiagnostic]], path: Path) -> None:
    """Draw mean distances by offset and the histogram of ranks.

    Distances are divided by their mean over all offsets, so that networks can be compared.

    Args:
        found: What each is called, and what was found.
        path: A PNG, SVG or PDF file, by its ending; its folder exists.

    Raises:
        InputError: There is nothing to draw, or no such format.
        MissingAsset: The package matplotlib is not installed.
    """
    if not found or path.suffix not in {".png", ".svg", ".pdf"}:
        raise InputError(f"a plot needs a diagnostic and a .png, .svg or .pdf file; got {path}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingAsset("plots are drawn by matplotlib: pip install 'tfbench[plots]'") from error
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, one in found:
        _draw(left, right, name, one)
    left.axvline(0, color="0.8", zorder=0)
    left.set_xlabel("picture later than sound by (frames)")
    left.set_ylabel("distance / mean over offsets")
    right.axhline(100 / BINS, color="0.8", linestyle="--", zorder=0)
    right.set_xlabel("rank of the own picture (0 nearest, 1 farthest)")
    right.set_ylabel("frames (%); dashed: by chance")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center")
    figure.savefig(path, dpi=150)


def _draw(left: Axes, right: Axes, name: str, one: SyncDiagnostic) -> None:
    by_offset = torch.tensor(one.by_offset)
    label = f"{name}, {one.distance}: nearest {one.nearest.value:.1f} %"
    left.plot(one.offsets, (by_offset / by_offset.nanmean()).tolist(), label=label)
    right.stairs(one.ranks, [n / BINS for n in range(BINS + 1)], label=label)
