"""Pictures: decoding to upright 8-bit RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tfbench.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_image"]

LEVELS_16 = 65535


def read_image(path: Path | str) -> Tensor:
    """Read a picture as a viewer shows it.

    Turned upright as its EXIF data say, transparent parts on white, 16-bit levels scaled to 8,
    the first picture of an animation. Colour profiles are not applied.

    Args:
        path: PNG, JPEG, WebP, or any other file that Pillow reads.

    Returns:
        uint8 (3, H, W) RGB.

    Raises:
        InputError: There is no such file, or no picture of whole numbers in it.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    if not path.is_file():
        raise InputError(f"the image {path} is not there; give a PNG, JPEG or WebP file")
    try:
        with Image.open(path) as opened:
            image = _eight_bits(path, ImageOps.exif_transpose(opened))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            array = np.array(image.convert("RGB"))
    except InputError:
        raise
    # A PNG whose chunks are broken is a SyntaxError to Pillow.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} cannot be read as an image: {error}; give a PNG, JPEG or WebP file"
        ) from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def _eight_bits(path: Path, image: Any) -> Any:
    """Scale 16-bit greys to 8 bits, which Pillow's own conversion would clip."""
    from PIL import Image

    if image.mode == "F":
        raise InputError(f"{path} holds floating-point numbers; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).astype(np.float64)
    if levels.min() < 0 or levels.max() > LEVELS_16:
        raise InputError(f"{path} holds numbers beyond 16 bits; save it with 8 or 16 bits")
    return Image.fromarray((levels * 255 / LEVELS_16).round().astype(np.uint8))
