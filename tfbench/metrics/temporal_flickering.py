"""How little consecutive frames differ: VBench's temporal flickering.

(255 - mean absolute difference of consecutive frames) / 255 over all pixels, channels and pairs
of frames, then the mean over clips (Huang et al. 2024; Vchitect/VBench,
`vbench/temporal_flickering.py`). Higher is called better and a still picture has 1; but all motion
counts as flicker, so VBench applies it to scenes that should not move. Read it beside the value of
the true clip: a talking face above that moves too little.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from tfbench.core.errors import InputError
from tfbench.core.types import Column, Score
from tfbench.core.views import ViewKey, Views
from tfbench.faces.crop import WholeFrame
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.views import Crop

__all__ = ["TemporalFlickering", "stillness"]


def stillness(frames: Tensor) -> Tensor:
    """Compare each frame with the one before it.

    Args:
        frames: uint8 (T, 3, H, W), at least two.

    Returns:
        float64 (T - 1,), 0 to 1; 1 where nothing changes.

    Raises:
        InputError: The frames are of another type or shape, or fewer than two.
    """
    if frames.ndim != 4 or frames.dtype != torch.uint8 or frames.shape[0] < 2:
        raise InputError(
            "temporal flickering compares consecutive uint8 frames (T, 3, H, W), at least two; "
            f"got {frames.dtype} {tuple(frames.shape)}"
        )
    # A pair at a time keeps the memory of 1080p small.
    changes = [
        (one.short() - two.short()).abs_().sum(dtype=torch.int64)
        for one, two in pairwise(frames.unbind(0))
    ]
    return 1 - torch.stack(changes).to(torch.float64) / (255 * frames[0].numel())


class TemporalFlickering(TalkingFaceMetric):
    """Temporal flickering.

    Definitions: `frame`, over the whole frame, as VBench does. A box that follows the face would
    count its own motion.

    Example:
        >>> metric = TemporalFlickering()
        >>> metric.update(torch.tensor([0, 51]).byte().reshape(2, 1, 1, 1).expand(2, 3, 8, 8))
        >>> metric.compute()
        tensor(0.8000, dtype=torch.float64)
    """

    name = "temporal_flickering"
    higher_is_better = True
    definitions: ClassVar[Mapping[str, Crop]] = {"frame": WholeFrame()}
    columns = (Column("Flickering", higher_is_better=True),)

    values: list[Tensor]

    def __init__(self, definition: str | None = None) -> None:
        super().__init__(definition)
        self.add_rows("values")

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """The likeness of each frame to the one before it."""
        return (ViewKey("stillness", "pred", self.settings, context=1, extract=stillness),)

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Average over the pairs of frames."""
        return tuple(
            score
            for part in views.parts(self.needs[0])
            for score in self.score(views, part.name, {"Flickering": float(part.values.mean())})
        )

    def update(self, frames: Tensor) -> None:
        """Add one clip.

        Args:
            frames: uint8 (T, 3, H, W) at 25 fps, at least two.
        """
        self.values.append(stillness(frames.to(self.device)).mean().reshape(1, 1))

    def compute(self) -> Tensor:
        """Return the mean over clips, float64 ()."""
        return self.rows("values").mean()
