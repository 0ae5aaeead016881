"""Frame Attention Network's backbone: 512 numbers of a face that tell its expression.

Meng et al., "Frame attention networks for facial expression recognition in videos", ICIP 2019;
Open-Debin/Emotion-FAN (`basic_code/networks.py`): a ResNet-18, the same as torchvision's, whose
pooled features the attention weighs. Attention and classifiers look at whole videos and are left
out here, so that each frame has a feature of its own; the published ResNet-18 trained on FER+ and
networks that were trained further with attention load alike.

The reference feeds dlib's face chips of 224 pixels with a padding of 0.25
(`data/face_alignment_code/lib/face_align_cuda.py`) as RGB from 0 to 1, without subtracting a mean
(`basic_code/load.py`). Here MTCNN's five points are brought to where they lie in such chips, see
`tfbench.faces.align.TEMPLATES`, so that dlib is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from tfbench.core.errors import AssetError
from tfbench.faces.align import AlignedFace
from tfbench.nets._checkpoint import fill
from tfbench.nets._crops import draw_weights, in_pieces
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIANTS", "EmotionFAN", "load", "load_state", "seeded"]

VARIANTS = {"ferplus": "emotion-fan"}
SIZE = 224
DIMENSIONS = 512
PREFIX = "module."
HEADS = ("fc.", "alpha.", "beta.", "pred_fc1.", "pred_fc2.")
"""Beginnings of names that are left out: the classifier of FER+, attention, FAN's classifiers."""


class EmotionFAN(ResNet):
    """512-d expression features.

    Attributes:
        crop: What `embed` must be fed.
    """

    crop = AlignedFace(SIZE, "dlib", antialias=True)

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.fc = nn.Identity()

    def embed(self, frames: Tensor) -> Tensor:
        """Compute features.

        Args:
            frames: uint8 (t, 3, 224, 224) RGB, cut by `crop`.

        Returns:
            float32 (t, 512), not negative, not of unit length.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(lambda x: self(x / 255), frames, SIZE, DIMENSIONS)


def load(variant: str) -> Frozen[EmotionFAN]:
    """Load published weights.

    Args:
        variant: "ferplus".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    return Frozen(load_state(locate(VARIANTS[variant])), f"emotion_fan.{variant}")


def load_state(path: Path) -> EmotionFAN:
    """Load a checkpoint whose "state_dict" has the reference's names after "module.".

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    state = _state_dict(path)
    bare = {name.removeprefix(PREFIX): value for name, value in state.items()}
    used = {name: value for name, value in bare.items() if not name.startswith(HEADS)}
    net = EmotionFAN()
    fill(net, used, f"{path} is not Emotion-FAN's ResNet-18")
    return net.eval()


def seeded(seed: int = 0) -> EmotionFAN:
    """Make weights for tests that are the same with every version of torch."""
    net = EmotionFAN()
    draw_weights(net, seed)
    return net.eval()


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a cut-off file raises whatever its last bytes happen to mean
        raise AssetError(f"{path} is no readable checkpoint (cut off?): {error}") from error
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise AssetError(f"{path} is not Emotion-FAN's ResNet-18: it has no 'state_dict'")
    return state
