"""Emotion feature distance: whether the generated face shows the emotion of the true one.

Named by Xu et al. 2023 (High-fidelity Generalized Emotional Talking Face Generation), who compare
features of a Frame Attention Network (Meng et al. 2019) but print no formula. Here: the Euclidean
distance between L2-normalised features of the network's backbone for the same frame of both
clips, mean over frames, then over clips; 0 for the same features, at most 2, lower is better.
Numbers of different networks have different scales, so the network's name stands with every one.
This is neither E-FID (a Fréchet distance over expression coefficients) nor ExpFD (a mean absolute
difference of them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn import functional as F

from tfbench.core.types import Column
from tfbench.metrics._features import FeatureComparison

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.views import Side

__all__ = ["EFD"]


class EFD(FeatureComparison):
    """Emotion feature distance.

    Definition: `paired`, each frame against the true clip's frame at the same time.

    Args:
        definition: `paired`.
        network: An emotion network, such as `emotion_fan.ferplus`.
    """

    name = "efd"
    higher_is_better = False
    definitions: ClassVar[Mapping[str, Side]] = {"paired": "ref"}
    columns = (Column("EFD", higher_is_better=False),)

    @staticmethod
    def compare(pred: Tensor, ref: Tensor) -> Tensor:
        """Distance of each row after normalisation, (t,), in [0, 2]."""
        return (F.normalize(pred, dim=1) - F.normalize(ref, dim=1)).norm(dim=1)
