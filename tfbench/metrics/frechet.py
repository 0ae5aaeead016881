"""Fréchet distance between the features of generated and of real frames.

d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) with unbiased covariances (Heusel et al. 2017; Dowson
and Landau 1982). Lower is better. It is called FID only with the Inception network of the
original; with any other feature network it is FD and carries that network's name.

tr (Σ₁ Σ₂)^½ is computed in float64 without a matrix square root: with centred feature matrices
X₁ (n₁, d) and X₂ (n₂, d) it is the nuclear norm of X₁ X₂ᵀ / √((n₁−1)(n₂−1)), whose singular
values are also those of R₁ R₂ᵀ with the triangular QR factors of X₁ and X₂, which are built up
clip by clip. pytorch-fid and
clean-fid take a matrix square root of the product instead, and add 1e-6 to the diagonals when
that is singular (fewer samples than dimensions); this form needs no such correction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import Aggregate, Column, Score
from tfbench.core.views import ViewKey, Views
from tfbench.faces.crop import FaceBox, WholeFrame
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tfbench.core.views import Crop
    from tfbench.nets.frozen import Frozen

ALIASES = ("fid",)

__all__ = ["FrechetDistance", "Moments", "frechet_distance"]


class Moments:
    """Mean and covariance of a set of features that need not fit into memory together.

    Args:
        chunks: Matrices (n_i, d) of any float type; gone through twice.

    Attributes:
        n: Number of samples.
        mean: float64 (d,).
        factor: float64 (k, d) with k <= max(n, 2 d); factorᵀ factor is the covariance, divided
            by n - 1.

    Raises:
        InputError: Fewer than two samples, not matrices, or values that are not finite.
    """

    def __init__(self, chunks: Iterable[Tensor]) -> None:
        self.n = 0
        total: Tensor | None = None
        for chunk in chunks:
            _check(chunk)
            self.n += int(chunk.shape[0])
            part = chunk.to(torch.float64).sum(0)
            total = part if total is None else total + part
        if total is None or self.n < 2:
            raise InputError(
                f"a Fréchet distance needs at least 2 samples on each side; got {self.n}"
            )
        self.mean = total / self.n
        self.factor = self._factor(chunks)

    @property
    def trace(self) -> Tensor:
        """Trace of the covariance, float64 ()."""
        return self.factor.square().sum()

    def _factor(self, chunks: Iterable[Tensor]) -> Tensor:
        """Stack centred samples, replaced by their triangular QR factor once it is smaller."""
        held: list[Tensor] = []
        n_held = 0
        for chunk in chunks:
            held.append((chunk.to(torch.float64) - self.mean) / math.sqrt(self.n - 1))
            n_held += int(chunk.shape[0])
            if n_held > 2 * chunk.shape[1]:
                held = [torch.linalg.qr(torch.cat(held), mode="r").R]
                n_held = int(held[0].shape[0])
        return torch.cat(held)


def _check(chunk: Tensor) -> None:
    if chunk.ndim != 2:
        raise InputError(f"features must be a matrix (n, d); got {tuple(chunk.shape)}")
    if not bool(torch.isfinite(chunk).all()):
        raise InputError("the feature network gave values that are not finite numbers")


class _Stored:
    """Features on disk, read one clip at a time."""

    def __init__(self, names: Sequence[str], load: Callable[[str], Tensor]) -> None:
        self.names = names
        self.load = load

    def __iter__(self) -> Iterator[Tensor]:
        return (self.load(name) for name in self.names)


def frechet_distance(pred: Moments, ref: Moments) -> float:
    """Fréchet distance between two sets of features.

    Args:
        pred: Of the generated frames.
        ref: Of the real frames, features of the same width.

    Returns:
        The squared distance, as the literature reports it; rounding below zero is cut off.
    """
    if pred.mean.shape != ref.mean.shape:
        raise InputError(
            f"features of {pred.mean.shape[0]} and {ref.mean.shape[0]} dimensions "
            "cannot be compared; use one network for both sides"
        )
    cross = torch.linalg.svdvals(pred.factor @ ref.factor.T).sum()
    distance = (pred.mean - ref.mean).square().sum() + pred.trace + ref.trace - 2 * cross
    return max(float(distance), 0.0)


class FrechetDistance(TalkingFaceMetric):
    """Fréchet distance on a named feature network.

    Definitions: `face`, on the box of the detected face, which must be found in every clip, or on
    what the network's `crop` cuts, where it reads faces in one way only; `frame`, on the whole
    frame; `scene`, the whole frame of a conversation's scene, under the name
    that its tables use (TCCP). Every frame is a sample.

    Args:
        definition: `face`, `frame` or `scene`.
        network: Has `embed(frames uint8 (t, 3, h, w)) -> (t, d)`.
    """

    name = "frechet"
    reduction = "set"
    judge_has = ("embed",)
    higher_is_better = False
    definitions: ClassVar[Mapping[str, Crop]] = {
        "face": FaceBox(),
        "frame": WholeFrame(),
        "scene": WholeFrame(),
    }

    pred_features: list[Tensor]
    ref_features: list[Tensor]

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__(definition, network)
        self.add_rows("pred_features", torch.float32)
        self.add_rows("ref_features", torch.float32)

    @property
    def columns(self) -> tuple[Column, ...]:
        """One column, called FID only with Inception."""
        stem = self.network.name.partition(".")[0] if self.network else ""
        name = "FID" if stem == "inception" else f"FD ({stem})" if stem else "FD"
        return (Column(name, higher_is_better=False),)

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """Features of the scored clip and of the clip that shows the same person."""
        judge, crop = self._judge(), self.settings
        if self.definition == "face":
            crop = getattr(judge.module, "crop", crop)
        return tuple(
            ViewKey(f"features.{judge.name}", side, crop, judge.sha256, 0, self._embed)
            for side in ("pred", "appearance")
        )

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Keep the features of both sides; the number exists only over all clips."""
        kept = {}
        for key in self.needs:
            values = torch.cat([part.values for part in views.parts(key)])
            if not bool(torch.isfinite(values).all()):
                raise Unscorable(f"{self._judge().name} gave values that are not finite numbers")
            kept["pred" if key.side == "pred" else "ref"] = views.keep(values)
        column = self.columns[0].name
        return (Score(views.case, "clip", column, views.cluster, features=kept),)

    def aggregate(
        self, scores: Sequence[Score], load: Callable[[str], Tensor] | None = None
    ) -> tuple[Aggregate, ...]:
        """Compare all features; a real clip that serves several cases counts once."""
        column = self.columns[0].name
        kept = [score.features for score in scores if score.features is not None]
        if not kept or load is None:
            return (Aggregate(column, None, 0),)
        real = list(dict.fromkeys(row["ref"] for row in kept))
        try:
            pred = Moments(_Stored([row["pred"] for row in kept], load))
            ref = Moments(_Stored(real, load))
        except InputError as error:
            return (Aggregate(column, None, len(kept), warning=str(error)),)
        value = frechet_distance(pred, ref)
        return (Aggregate(column, value, len(kept), pred.n, _few(pred, ref)),)

    def update(self, frames: Tensor, *, real: bool) -> None:
        """Add frames of one side.

        Args:
            frames: uint8 (t, 3, h, w), already cropped.
            real: Whether they are real.
        """
        side = self.ref_features if real else self.pred_features
        side.append(self._embed(frames.to(self.device)))

    def compute(self) -> Tensor:
        """Return the distance, float64 ()."""
        pred, ref = (Moments([self.rows(s)]) for s in ("pred_features", "ref_features"))
        return torch.tensor(frechet_distance(pred, ref), dtype=torch.float64)

    def _embed(self, frames: Tensor) -> Tensor:
        features: Tensor = self._judge().module.embed(frames)
        return features


def _few(pred: Moments, ref: Moments) -> str:
    n, dimensions = min(pred.n, ref.n), int(pred.mean.shape[0])
    if n > dimensions:
        return ""
    return (
        f"{n} frames give no full-rank covariance of {dimensions} dimensions: "
        "the distance is biased upwards"
    )
