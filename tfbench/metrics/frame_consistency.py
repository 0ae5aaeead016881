"""Frame consistency: how alike a network finds consecutive frames.

The mean cosine similarity of CLIP's image embeddings of consecutive frames, then the mean over
clips; at most 1, higher is better. TCCP reports it as F.C. on all frames of its output videos,
which is the definition `frame`, after Gen-1 and FateZero; it names no CLIP. It measures whether
the content stays the same, not whether pixels do: still frames score best, and all methods of
TCCP's table score high. The scale depends on the network, whose name stands with every number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import Unscorable
from tfbench.core.types import Column, Score
from tfbench.core.views import ViewKey, Views
from tfbench.faces.crop import FaceBox, WholeFrame
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.views import Crop
    from tfbench.nets.frozen import Frozen

__all__ = ["FrameConsistency", "consecutive_similarity"]


def consecutive_similarity(embeddings: Tensor) -> Tensor:
    """Cosine similarity of each row with the row before it.

    Args:
        embeddings: float (T, d), of consecutive frames.

    Returns:
        float64 (T - 1,), -1 to 1.
    """
    rows = embeddings.to(torch.float64)
    return F.cosine_similarity(rows[:-1], rows[1:], dim=1)


class FrameConsistency(TalkingFaceMetric):
    """Frame consistency.

    Definitions: `frame`, on whole frames, as TCCP reports it; `face`, on the box of the detected
    face.

    Args:
        definition: `frame` or `face`.
        network: Has `embed(frames uint8 (t, 3, h, w)) -> (t, d)`, such as `clip.b32`.
    """

    name = "frame_consistency"
    judge_has = ("embed",)
    higher_is_better = True
    definitions: ClassVar[Mapping[str, Crop]] = {"frame": WholeFrame(), "face": FaceBox()}
    columns = (Column("F.C.", higher_is_better=True),)

    values: list[Tensor]

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__(definition, network)
        self.add_rows("values")

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """Embeddings of the scored clip's frames."""
        judge = self._judge()
        name = f"features.{judge.name}"
        return (ViewKey(name, "pred", self.settings, judge.sha256, extract=self._embed),)

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Average over the pairs of consecutive frames of each part."""
        return tuple(
            score
            for part in views.parts(self.needs[0])
            for score in self.score(views, part.name, {"F.C.": self._mean(part.values)})
        )

    def update(self, frames: Tensor) -> None:
        """Add one clip.

        Args:
            frames: uint8 (T, 3, H, W), consecutive, at least two.

        Raises:
            Unscorable: There is only one frame.
        """
        with torch.inference_mode():
            embeddings = self._embed(frames.to(self.device))
        self.values.append(torch.tensor([[self._mean(embeddings)]], dtype=torch.float64))

    def compute(self) -> Tensor:
        """Return the mean over clips, float64 ()."""
        return self.rows("values").mean()

    def _embed(self, frames: Tensor) -> Tensor:
        embeddings: Tensor = self._judge().module.embed(frames)
        return embeddings

    def _mean(self, embeddings: Tensor) -> float:
        if embeddings.shape[0] < 2:
            raise Unscorable("the clip has 1 frame; consecutive frames need at least 2")
        if not bool(torch.isfinite(embeddings).all()):
            raise Unscorable(f"{self._judge().name} gave values that are not finite numbers")
        return float(consecutive_similarity(embeddings).mean())
