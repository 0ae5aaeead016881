"""LPIPS: perceptual distance between a generated frame and the true frame at the same time.

Zhang et al., CVPR 2018, as their package `lpips` computes it: uint8 frames are scaled to -1 to 1
and compared at their own size; the mean over frames, then over clips. Lower is better; identical
frames give 0. The backbone (AlexNet, VGG-16 or SqueezeNet) changes the scale, so its name stands
with every number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tfbench.core.errors import Unscorable
from tfbench.core.types import Column
from tfbench.metrics._frames import FrameComparison

if TYPE_CHECKING:
    from tfbench.core.types import Score
    from tfbench.core.views import Views

__all__ = ["LPIPS"]


class LPIPS(FrameComparison):
    """LPIPS.

    Definitions: `frame`, over the whole frame; `face`, over the true face's box on both sides.

    Args:
        definition: `frame` or `face`.
        network: Has `distance(pred, ref uint8 (t, 3, h, w)) -> (t,)`, such as `lpips.alex`.

    Example:
        >>> from tfbench.nets.frozen import Frozen
        >>> from tfbench.nets.lpips import seeded
        >>> metric = LPIPS(network=Frozen(seeded(variant="squeeze"), "lpips.seeded"))
        >>> frames = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> metric.update(frames, frames)
        >>> metric.compute()
        tensor(0., dtype=torch.float64)
    """

    name = "lpips"
    judge_has = ("distance",)
    higher_is_better = False
    columns = (Column("LPIPS", higher_is_better=False),)

    def compare(self, pred: Tensor, ref: Tensor) -> Tensor:
        """Distance of each pair of frames, (t,)."""
        distances: Tensor = self._judge().module.distance(pred, ref)
        return distances

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Average over the frames of each part."""
        (key,) = self.needs
        if not all(bool(torch.isfinite(part.values).all()) for part in views.parts(key)):
            raise Unscorable(f"{self._judge().name} gave values that are not finite numbers")
        return super().measure(views)
