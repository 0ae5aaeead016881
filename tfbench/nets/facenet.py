"""FaceNet: 512 numbers of a face that tell who it is, on InceptionResnetV1.

Schroff et al. 2015, as David Sandberg trained it on VGGFace2 and CASIA-WebFace and
timesler/facenet-pytorch converted it (`models/inception_resnet_v1.py`); the network is that
package's own. It was trained on faces in MTCNN's box without margin, resized to 160 pixels
without keeping their aspect (`models/mtcnn.py`). Here the box passes a median filter over 13
frames first, and its edges are rounded where the package cuts decimals off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facenet_pytorch import InceptionResnetV1
from torch import Tensor

from tfbench.faces.crop import FaceBox
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets._crops import draw_weights, in_pieces
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIANTS", "FaceNet", "load", "load_state", "seeded"]

VARIANTS = {"vggface2": "vggface2", "casia": "casia-webface"}
SIZE = 160


class FaceNet(InceptionResnetV1):
    """512-d identity embeddings of unit length.

    Attributes:
        crop: What `embed` must be fed.
    """

    crop = FaceBox(size=SIZE)

    def __init__(self) -> None:
        super().__init__(pretrained=None, classify=False)

    def embed(self, frames: Tensor) -> Tensor:
        """Compute embeddings.

        Args:
            frames: uint8 (t, 3, 160, 160) RGB, cut by `crop`.

        Returns:
            float32 (t, 512), of unit length.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(lambda x: self((x - 127.5) / 128), frames, SIZE, 512)


def load(variant: str) -> Frozen[FaceNet]:
    """Load published weights.

    Args:
        variant: "vggface2" or "casia".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    return Frozen(load_state(locate(VARIANTS[variant])), f"facenet.{variant}")


def load_state(path: Path) -> FaceNet:
    """Load a state dict in facenet-pytorch's names; its classifier is left out.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    state = read_state(path)
    net = FaceNet()
    used = {name: value for name, value in state.items() if not name.startswith("logits.")}
    fill(net, used, f"{path} is not InceptionResnetV1")
    return net.eval()


def seeded(seed: int = 0) -> FaceNet:
    """Make weights for tests that are the same with every version of torch."""
    net = FaceNet()
    draw_weights(net, seed)
    return net.eval()
