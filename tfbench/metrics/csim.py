"""Cosine similarity of identity embeddings: whether the generated face is the same person.

For every frame the cosine between the embedding of the generated face and of the real one, mean
over frames, then over clips; 1 for the same features, higher is better. The literature uses
several networks under one name (CurricularFace in Xu et al. 2023, ArcFace elsewhere), whose
cosines have different scales: the network's name stands with every number. dlib's descriptor was
trained for Euclidean distance, so that its cosines lie close to 1 even for strangers: read it as
a ranking.
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

__all__ = ["CSIM"]


class CSIM(FeatureComparison):
    """Identity similarity.

    Definitions: `paired`, each frame against the true clip's frame at the same time; `one_shot`,
    each frame against the still that the generator was given, which must show exactly one face.

    Args:
        definition: `paired` or `one_shot`.
        network: An identity network, such as `facenet.vggface2`.
    """

    name = "csim"
    higher_is_better = True
    definitions: ClassVar[Mapping[str, Side]] = {"paired": "ref", "one_shot": "identity"}
    columns = (Column("CSIM", higher_is_better=True),)

    @staticmethod
    def compare(pred: Tensor, ref: Tensor) -> Tensor:
        """Cosine of each row, (t,), in [-1, 1]."""
        return F.cosine_similarity(pred, ref, dim=1)
