"""What metrics share that compare a network's features of two clips frame by frame."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import Score
from tfbench.core.views import ViewKey, Views
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.views import Side
    from tfbench.nets.frozen import Frozen

__all__ = ["FeatureComparison"]


class FeatureComparison(TalkingFaceMetric):
    """Base of metrics that compare features of the scored clip with those of a real one.

    A definition says which real one: the true clip ("ref"), frame by frame, or the stills that
    the generator was given ("identity"), each frame with each still.

    Args:
        definition: One of `definitions`.
        network: Has `crop`, what it is fed, and `embed(frames uint8 (t, 3, h, w)) -> (t, d)`;
            where `located` is true, `embed` takes whole frames and boxes (t, 4).
    """

    judge_has = ("embed", "crop")
    definitions: ClassVar[Mapping[str, Side]]

    values: list[Tensor]

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__(definition, network)
        self.add_rows("values")

    @staticmethod
    @abstractmethod
    def compare(pred: Tensor, ref: Tensor) -> Tensor:
        """Compare features (t, d) with features (t, d), row by row; returns (t,)."""

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """Features of the scored clip and of the real one."""
        judge = self._judge()
        located = getattr(judge.module, "located", False)
        return tuple(
            ViewKey(
                f"features.{judge.name}",
                side,
                judge.module.crop,
                judge.sha256,
                extract=self._embed,
                located=located,
            )
            for side in ("pred", self.settings)
        )

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Average over the frames of each face."""
        pred, real = self.needs
        if self.settings == "identity":
            stills = torch.cat([part.values for part in views.parts(real)])
            pairs = [(part.name, part.values, stills) for part in views.parts(pred)]
        else:
            pairs = [(p.name, p.values, r.values) for p, r in views.pairs(pred, real)]
        return tuple(
            score
            for name, one, other in pairs
            for score in self.score(views, name, {self.columns[0].name: self._value(one, other)})
        )

    def update(self, pred: Tensor, ref: Tensor, *boxes: Tensor) -> None:
        """Add one clip.

        Args:
            pred: uint8 (T, 3, h, w), as the network's `crop` cuts them.
            ref: uint8 (T, 3, h, w) of the same frames, or (n, 3, h, w) stills.
            boxes: For a network that takes whole frames: the boxes (T, 4) of both sides.
        """
        if boxes and len(boxes) != 2:
            raise InputError(f"boxes are given for both sides or for none; got {len(boxes)}")
        sides = [(frames, *boxes[k : k + 1]) for k, frames in enumerate((pred, ref))]
        with torch.inference_mode():
            one, other = (self._embed(*(x.to(self.device) for x in side)) for side in sides)
        self.values.append(torch.tensor([[self._value(one, other)]], dtype=torch.float64))

    def compute(self) -> Tensor:
        """Return the mean over clips, float64 ()."""
        return self.rows("values").mean()

    def _value(self, pred: Tensor, ref: Tensor) -> float:
        pred, ref = self._finite(pred), self._finite(ref)
        if self.settings == "identity":
            pred, ref = pred.repeat_interleave(len(ref), 0), ref.repeat(len(pred), 1)
        if pred.shape != ref.shape or len(pred) == 0:
            raise InputError(
                f"frames are compared one by one; got {len(pred)} scored and {len(ref)} true ones"
            )
        return float(self.compare(pred, ref).mean())

    def _finite(self, features: Tensor) -> Tensor:
        if not bool(torch.isfinite(features).all()):
            raise Unscorable(f"{self._judge().name} gave values that are not finite numbers")
        return features.to(torch.float64)

    def _embed(self, *inputs: Tensor) -> Tensor:
        features: Tensor = self._judge().module.embed(*inputs)
        return features
