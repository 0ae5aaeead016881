"""The project's own small emotion network: features and probabilities of the emotion of a face.

The residual network of `tfbench.nets._residual` with a linear classifier, on the square around the
tracked face in 64 pixels, which also shows the chin and how the head is tilted; see
`tfbench.evaluators.emotion` for the training. Which emotions it knows and how well it tells them
apart stands in the record beside its weights. It judges clips of the data set that it was trained
on and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from tfbench.core.errors import ConfigError
from tfbench.faces.align import SquareFace
from tfbench.nets._crops import draw_weights, in_pieces
from tfbench.nets._residual import SIZE, FaceFeatures
from tfbench.nets.bundle import load_shipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfbench.nets.frozen import Frozen

__all__ = ["VARIANTS", "Emotion", "build", "load", "seeded"]

VARIANTS: dict[str, str] = {"puppets": "", "puppets_supervisor": ""}


class Emotion(nn.Module):
    """Emotion features and probabilities.

    Args:
        classes: Names of the emotions, in the order of the probabilities.
        dimensions: Length of a feature.
        widths: Channels of each stage.
        depths: Units in each stage.

    Attributes:
        crop: What `embed` and `probabilities` must be fed.
        classes: As given.
        settings: The arguments, as JSON holds them.

    Raises:
        ConfigError: There are fewer than two classes, or two of one name.
    """

    crop = SquareFace(SIZE)

    def __init__(
        self,
        classes: Sequence[str],
        dimensions: int = 128,
        widths: Sequence[int] = (16, 40, 80, 160),
        depths: Sequence[int] = (1, 2, 2, 1),
    ) -> None:
        super().__init__()
        if len(set(classes)) != len(classes) or len(classes) < 2:
            raise ConfigError(f"an emotion network tells two or more emotions; got {classes}")
        self.classes = tuple(classes)
        self.settings: dict[str, Any] = {
            "classes": list(classes),
            "dimensions": dimensions,
            "widths": list(widths),
            "depths": list(depths),
        }
        self.features = FaceFeatures(dimensions, widths, depths)
        self.classifier = nn.Linear(dimensions, len(classes))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (t, classes) from float32 (t, 3, 64, 64) RGB, 0 to 255."""
        logits: Tensor = self.classifier(self.features(x))
        return logits

    def embed(self, frames: Tensor) -> Tensor:
        """Compute the features before the classifier.

        Args:
            frames: uint8 (t, 3, 64, 64) RGB, cut by `crop`.

        Returns:
            float32 (t, dimensions), of either sign, not of unit length.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(self.features, frames, SIZE, self.settings["dimensions"])

    def probabilities(self, frames: Tensor) -> Tensor:
        """Compute the probability of each of `classes`.

        Args:
            frames: uint8 (t, 3, 64, 64) RGB, cut by `crop`.

        Returns:
            float32 (t, classes), rows sum to 1.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(lambda x: self(x).softmax(dim=1), frames, SIZE, len(self.classes))


def build(settings: Mapping[str, Any]) -> Emotion:
    """Make a network, with any weights, from `Emotion.settings`."""
    return Emotion(**settings)


def load(variant: str) -> Frozen[Emotion]:
    """Load shipped weights.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        MissingAsset: This installation lacks the file.
        AssetError: It is not what its record describes.
    """
    return load_shipped(f"emotion.{variant}", build)


def seeded(seed: int = 0, classes: Sequence[str] = ("happy", "neutral", "sad")) -> Emotion:
    """Make weights for tests that are the same with every version of torch."""
    net = Emotion(classes)
    draw_weights(net, seed)
    return net.eval()
