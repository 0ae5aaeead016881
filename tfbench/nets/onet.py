"""The last network of MTCNN as a feature extractor that every installation has.

O-Net (Zhang et al. 2016) decides on 48x48 pixels whether they show a face and where its five
points are; its 256 values before those decisions describe a face crop. The weights ship with
facenet-pytorch. A Fréchet distance on them is no FID, and is not named so.
"""

from __future__ import annotations

import torch
from facenet_pytorch.models.mtcnn import ONet
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import InputError
from tfbench.nets.frozen import Frozen

__all__ = ["VARIANTS", "ONetFeatures", "load"]

VARIANTS = {"mtcnn": ""}
SIZE = 48


class ONetFeatures(nn.Module):
    """256 features of a face crop."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ONet(pretrained=True)

    def embed(self, frames: Tensor) -> Tensor:
        """Compute features.

        Args:
            frames: uint8 (t, 3, h, w) RGB face crops of any size.

        Returns:
            float32 (t, 256).

        Raises:
            InputError: The frames are of another type or shape.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
            raise InputError(
                f"O-Net reads uint8 (t, 3, h, w); got {frames.dtype} {tuple(frames.shape)}"
            )
        x = F.interpolate(frames.float(), (SIZE, SIZE), mode="area")
        net = self.net
        x = (x - 127.5) * 0.0078125
        x = net.pool1(net.prelu1(net.conv1(x)))
        x = net.pool2(net.prelu2(net.conv2(x)))
        x = net.pool3(net.prelu3(net.conv3(x)))
        x = net.prelu4(net.conv4(x))
        features: Tensor = net.prelu5(net.dense5(x.permute(0, 3, 2, 1).flatten(1)))
        return features


def load(variant: str) -> Frozen[ONetFeatures]:
    """Load the weights that facenet-pytorch ships.

    Args:
        variant: "mtcnn".
    """
    return Frozen(ONetFeatures(), f"onet.{variant}")
