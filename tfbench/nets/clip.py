"""CLIP's image encoder.

Radford et al., "Learning transferable visual models from natural language supervision", 2021;
run by transformers, with the weights of `openai/clip-vit-base-patch32` and
`openai/clip-vit-large-patch14`. The text encoder lies in the same files and is not loaded.

Frames are prepared as openai/CLIP does (`clip/clip.py`, `_transform`): the shorter side to 224
by Pillow's bicubic filter, whose result is rounded after each direction, the square in the middle,
and the channels scaled by CLIP's means and deviations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import InputError
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIANTS", "CLIPImage", "VisionConfig", "load", "load_state", "prepare", "seeded"]

VARIANTS = {"b32": "clip-vit-b32", "l14": "clip-vit-l14"}
SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
TOWER = ("vision_model.", "visual_projection.")
CONSTANT = "vision_model.embeddings.position_ids"
"""0, 1, 2, ...: files of older versions of transformers have it."""


@dataclass(frozen=True)
class VisionConfig:
    """A vision transformer, in transformers' terms; the names of its settings are theirs."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    patch_size: int
    projection_dim: int
    image_size: int = SIZE
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


CONFIGS = {
    "b32": VisionConfig(768, 3072, 12, 12, patch_size=32, projection_dim=512),
    "l14": VisionConfig(1024, 4096, 24, 16, patch_size=14, projection_dim=768),
}


def prepare(frame: Tensor) -> Tensor:
    """Prepare a frame as CLIP does.

    Args:
        frame: uint8 (3, h, w) RGB.

    Returns:
        float32 (3, 224, 224), about -1.8 to 2.2.
    """
    height, width = frame.shape[1:]
    short = min(height, width)
    high, wide = SIZE * height // short, SIZE * width // short
    # In float32 torch places the taps only to about 1e-5 of a pixel; Pillow does it in float64.
    pixels = frame[None].double()
    for size in ((height, wide), (high, wide)):
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True)
        pixels = pixels.round_().clamp_(0, 255)
    top, left = round((high - SIZE) / 2), round((wide - SIZE) / 2)
    square = pixels[0, :, top : top + SIZE, left : left + SIZE].float() / 255
    mean, deviation = square.new_tensor([MEAN, DEVIATION])[..., None, None]
    return (square - mean) / deviation


class CLIPImage(nn.Module):
    """Embeddings of pictures in the space that CLIP shares with text.

    Args:
        config: Of the vision transformer; its weights are random until they are loaded.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.tower = _tower(config)

    def embed(self, frames: Tensor) -> Tensor:
        """Embed frames.

        Args:
            frames: uint8 (t, 3, h, w) RGB of any size.

        Returns:
            float32 (t, d), not normalised: 512 numbers of b32, 768 of l14.

        Raises:
            InputError: The frames are of another type or shape.
        """
        shape = tuple(frames.shape)
        if frames.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or 0 in shape:
            raise InputError(f"CLIP reads uint8 (t, 3, h, w); got {frames.dtype} {shape}")
        # A frame at a time keeps the memory of resizing 1080p small.
        inputs = torch.stack([prepare(frame) for frame in frames])
        with full_precision():
            embeddings: Tensor = self.tower(pixel_values=inputs).image_embeds
        return embeddings


def load(variant: str) -> Frozen[CLIPImage]:
    """Load OpenAI's weights as transformers publishes them.

    Args:
        variant: "b32" or "l14".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    net = load_state(locate(VARIANTS[variant]), CONFIGS[variant])
    return Frozen(net, f"clip.{variant}")


def load_state(path: Path, config: VisionConfig) -> CLIPImage:
    """Load the image encoder out of a checkpoint of the whole CLIP.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    state = {
        name: value
        for name, value in read_state(path).items()
        if name.startswith(TOWER) and name != CONSTANT
    }
    net = CLIPImage(config)
    fill(net.tower, state, f"{path} is not this CLIP's image encoder")
    return net.eval()


def seeded(seed: int = 0, config: VisionConfig | None = None) -> CLIPImage:
    """Make weights for tests that are the same with every version of torch.

    Args:
        seed: Of every draw.
        config: By default a small one.
    """
    draw = np.random.RandomState(seed)
    net = CLIPImage(config or VisionConfig(64, 128, 2, 4, patch_size=32, projection_dim=32))
    for name, value in net.state_dict().items():
        shape = tuple(value.shape)
        scale = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        value.copy_(torch.from_numpy(around + scale * draw.standard_normal(shape)))
    return net.eval()


def _tower(config: VisionConfig) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(CLIPVisionConfig(**asdict(config)))
