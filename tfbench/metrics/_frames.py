"""What metrics share that compare each frame with the true frame at the same time."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfbench.core.types import Score
from tfbench.core.views import ViewKey, Views
from tfbench.faces.crop import FaceBox, WholeFrame
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.views import Crop
    from tfbench.nets.frozen import Frozen

__all__ = ["FrameComparison"]


class FrameComparison(TalkingFaceMetric):
    """Base of metrics that compare pixels of both clips, frame by frame.

    Definitions: `frame`, over the whole frame; `face`, over the true face's box on both sides.

    Args:
        definition: `frame` or `face`.
        network: The network that judges, where the metric has one.
    """

    definitions: ClassVar[Mapping[str, Crop]] = {"frame": WholeFrame(), "face": FaceBox()}

    values: list[Tensor]

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__(definition, network)
        self.add_rows("values")

    @abstractmethod
    def compare(self, pred: Tensor, ref: Tensor) -> Tensor:
        """Compare uint8 (t, 3, h, w) frames with frames of the same shape; returns (t,)."""

    def over_frames(self, values: Tensor) -> Tensor:
        """Return one number, (), for those of a clip's frames, (t,)."""
        return values.mean()

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """One number for each pair of frames."""
        name, sha256 = self.name, ""
        if self.judge_has:
            judge = self._judge()
            name, sha256 = f"{self.name}.{judge.name}", judge.sha256
        return (ViewKey(name, "pair", self.settings, sha256, extract=self.compare),)

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Average over the frames of each part."""
        column = self.columns[0].name
        return tuple(
            score
            for part in views.parts(self.needs[0])
            for score in self.score(
                views, part.name, {column: float(self.over_frames(part.values))}
            )
        )

    def update(self, pred: Tensor, ref: Tensor) -> None:
        """Add one clip.

        Args:
            pred: uint8 (T, 3, H, W).
            ref: uint8, same shape.
        """
        with torch.inference_mode():
            value = self.over_frames(self.compare(pred.to(self.device), ref.to(self.device)))
        self.values.append(value.to(torch.float64).reshape(1, 1))

    def compute(self) -> Tensor:
        """Return the mean over clips, float64 ()."""
        return self.rows("values").mean()
