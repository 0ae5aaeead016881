"""The project's own small identity network: 128 numbers of a face that tell who it is.

A scaled-down residual network of ArcFace (Deng et al., "ArcFace: additive angular margin loss for
deep face recognition", CVPR 2019) on aligned faces of 64 pixels; see `tfbench.nets._residual` for
the structure and `tfbench.evaluators.identity` for the training. What it was trained on, and how
well it tells people apart whom it has not seen, stands in the record beside its weights. Trained
on few people of one data set, it judges clips of that data set and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.faces.align import AlignedFace
from tfbench.nets._crops import draw_weights, in_pieces
from tfbench.nets._residual import SIZE, FaceFeatures
from tfbench.nets.bundle import load_shipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfbench.nets.frozen import Frozen

__all__ = ["VARIANTS", "Identity", "build", "load", "seeded"]

VARIANTS: dict[str, str] = {"puppets": "", "puppets_supervisor": ""}


class Identity(nn.Module):
    """Identity embeddings of unit length.

    Args:
        dimensions: Length of an embedding.
        widths: Channels of each stage.
        depths: Units in each stage.

    Attributes:
        crop: What `embed` must be fed.
        settings: The arguments, as JSON holds them.
    """

    crop = AlignedFace(SIZE, antialias=True)

    def __init__(
        self,
        dimensions: int = 128,
        widths: Sequence[int] = (16, 40, 80, 160),
        depths: Sequence[int] = (1, 2, 2, 1),
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "dimensions": dimensions,
            "widths": list(widths),
            "depths": list(depths),
        }
        self.features = FaceFeatures(dimensions, widths, depths)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (t, dimensions) of unit length from float32 (t, 3, 64, 64) RGB, 0 to 255."""
        return F.normalize(self.features(x).float(), dim=1)

    def embed(self, frames: Tensor) -> Tensor:
        """Compute embeddings.

        Args:
            frames: uint8 (t, 3, 64, 64) RGB, cut by `crop`.

        Returns:
            float32 (t, dimensions), of unit length.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(self, frames, SIZE, self.settings["dimensions"])


def build(settings: Mapping[str, Any]) -> Identity:
    """Make a network, with any weights, from `Identity.settings`."""
    return Identity(**settings)


def load(variant: str) -> Frozen[Identity]:
    """Load shipped weights.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        MissingAsset: This installation lacks the file.
        AssetError: It is not what its record describes.
    """
    return load_shipped(f"identity.{variant}", build)


def seeded(seed: int = 0) -> Identity:
    """Make weights for tests that are the same with every version of torch."""
    net = Identity()
    draw_weights(net, seed)
    return net.eval()
