"""Wav2Lip's lip-sync expert: one embedding for five frames of a coloured lower face, one for sound.

Prajwal, Mukhopadhyay, Namboodiri and Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
Generation In The Wild", ACM Multimedia 2020; structure and names of the parameters after
Rudrabha/Wav2Lip (`models/syncnet.py`, `models/conv.py`). 16,435,072 parameters. Both embeddings
end in a ReLU and have length 1, so that their cosine lies in 0..1 and can be read as the
probability that sound and lips belong together.

The official network reads BGR. Ours reads RGB: `load_state` turns the first layer's weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import AssetError, InputError
from tfbench.nets._checkpoint import fill
from tfbench.nets.bundle import load_shipped
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "COLUMNS",
    "N_MELS",
    "VARIANTS",
    "WINDOW",
    "ColorSyncNet",
    "ConvBlock",
    "build",
    "cosine_loss",
    "load",
    "load_state",
    "read_official",
    "sound_tower",
    "swap_colours",
]

VARIANTS = {"official": "wav2lip-expert", "puppets": "", "grid": ""}
"""Variant -> the asset that it reads, "" for weights that this package ships."""

WINDOW = 5
COLUMNS = 16
N_MELS = 80
PARTS_OF_A_PASS = 64


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, ReLU; a residual one adds its input before the ReLU.

    Args:
        n_in: Channels.
        n_out: Channels.
        kernel: Rows and columns, or both.
        stride: Rows and columns, or both.
        padding: On each side.
        residual: Whether the input is added; then n_in is n_out and the stride 1.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(n_in, n_out, kernel, stride, padding), nn.BatchNorm2d(n_out)
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, h, w) -> (B, n_out, h', w')."""
        y = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


class ColorSyncNet(nn.Module):
    """The two towers; the defaults are the published network.

    Args:
        widths: Channels of the five stages of both towers; the last is the embeddings' length.
        side: Of the square face crop, pixels; at least 48. The network reads its lower half.

    Attributes:
        settings: The arguments.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256, 512), side: int = 96) -> None:
        super().__init__()
        if side < 48 or side % 2:
            raise InputError(f"the expert reads faces of an even side from 48 pixels; got {side}")
        self.settings: dict[str, Any] = {"widths": list(widths), "side": side}
        self.side = side
        self.face_encoder = _face_tower(widths, side)
        self.audio_encoder = sound_tower(widths, blocks=(2, 2, 2, 2))

    def embed_faces(self, windows: Tensor) -> Tensor:
        """Embed windows of five lower faces.

        Args:
            windows: float32 (B, 15, side / 2, side), RGB of one frame after the other, 0 to 1.

        Returns:
            (B, D), of length 1.
        """
        return F.normalize(self.face_encoder(windows).flatten(1), dim=1)

    def embed_sound(self, mel: Tensor) -> Tensor:
        """Embed 0.2 s of sound.

        Args:
            mel: float32 (B, 1, 80, 16), of `tfbench.media.spectral.log_mel`.

        Returns:
            (B, D), of length 1.
        """
        return F.normalize(self.audio_encoder(mel).flatten(1), dim=1)

    def forward(self, mel: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Embed pairs of sound and windows of faces, in this order as the reference does."""
        return self.embed_sound(mel), self.embed_faces(windows)

    def look(self, faces: Tensor) -> Tensor:
        """Cut the windows that `embed_faces` reads out of consecutive faces.

        Args:
            faces: float (B, T, 3, side, side), T at least 5, 0 to 1.

        Returns:
            (B, T - 4, 15, side / 2, side).

        Raises:
            InputError: The faces have another size, or there are fewer than five.
        """
        if faces.ndim != 5 or tuple(faces.shape[2:]) != (3, self.side, self.side):
            raise InputError(
                f"the expert reads faces (B, T, 3, {self.side}, {self.side}); "
                f"got {tuple(faces.shape)}"
            )
        if faces.shape[1] < WINDOW:
            raise InputError(f"the expert needs {WINDOW} frames; got {faces.shape[1]}")
        lower = faces[:, :, :, self.side // 2 :]
        return lower.unfold(1, WINDOW, 1).permute(0, 1, 5, 2, 3, 4).flatten(2, 3)

    def embed_clip(self, faces: Tensor) -> Tensor:
        """Embed every window of a clip.

        Args:
            faces: uint8 (T, 3, side, side).

        Returns:
            float32 (T - 4, D).

        Raises:
            InputError: The faces have another size, or there are fewer than five.
        """
        windows = self.look(faces[None])[0]
        with full_precision():
            return torch.cat(
                [self.embed_faces(part.float() / 255) for part in windows.split(PARTS_OF_A_PASS)]
            )


def cosine_loss(sound: Tensor, faces: Tensor, together: Tensor) -> Tensor:
    """Binary cross-entropy of the cosine of embeddings, the loss of `color_syncnet_train.py`.

    Args:
        sound: (..., D), of any length.
        faces: (..., D).
        together: (...), 1 where they belong together, 0 where not.

    Returns:
        (), the mean.
    """
    # Half precision cannot tell cosines near 1 apart.
    with torch.autocast(sound.device.type, enabled=False):
        cosine = F.cosine_similarity(sound.float(), faces.float(), dim=-1)
        return F.binary_cross_entropy(cosine.clamp(0, 1), together.float())


def build(settings: Mapping[str, Any]) -> ColorSyncNet:
    """Make a network with the settings of a record."""
    return ColorSyncNet(**settings)


def load(variant: str) -> Frozen[ColorSyncNet]:
    """Load published or shipped weights.

    Args:
        variant: One of `VARIANTS`.

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    if not VARIANTS[variant]:
        return load_shipped(f"color_syncnet.{variant}", build)
    return Frozen(load_state(locate(VARIANTS[variant])), f"color_syncnet.{variant}")


def load_state(path: Path) -> ColorSyncNet:
    """Load a checkpoint of the reference, whose colours are BGR.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    net = ColorSyncNet()
    fill(net, read_official(path), f"{path} is not Wav2Lip's lip-sync expert")
    first = net.state_dict()["face_encoder.0.conv_block.0.weight"]
    first.copy_(swap_colours(first))
    return net


def read_official(path: Path) -> dict[str, Tensor]:
    """Read the state dict out of a checkpoint of Rudrabha/Wav2Lip, of whichever of its networks.

    Returns:
        name -> tensor, without the prefix that training on several devices adds.

    Raises:
        AssetError: The file cannot be read or holds something else.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a cut-off file raises whatever its last bytes happen to mean
        raise AssetError(f"{path} is no readable checkpoint (cut off?): {error}") from error
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise AssetError(f"{path} is no checkpoint of Wav2Lip: it has no 'state_dict' of tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def swap_colours(weight: Tensor) -> Tensor:
    """Turn a first layer's weights from BGR to RGB, or back.

    Args:
        weight: (n_out, 3 k, h, w), k pictures one after the other.
    """
    return weight.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)


def sound_tower(widths: Sequence[int], blocks: Sequence[int]) -> nn.Sequential:
    """Make the sound encoder that expert and generator share but for their residual blocks.

    Args:
        widths: Channels of the five stages.
        blocks: Residual blocks of the first four stages.

    Returns:
        (B, 1, 80, 16) -> (B, widths[4], 1, 1).
    """
    strides: tuple[int | tuple[int, int], ...] = (1, (3, 1), 3, (3, 2))
    layers, n_in = [], 1
    for width, stride, n in zip(widths[:4], strides, blocks, strict=True):
        layers.append(ConvBlock(n_in, width, 3, stride))
        layers += [ConvBlock(width, width, residual=True) for _ in range(n)]
        n_in = width
    last = widths[4]
    layers += [ConvBlock(n_in, last, 3, 1, 0), ConvBlock(last, last, 1, 1, 0)]
    return nn.Sequential(*layers)


def _face_tower(widths: Sequence[int], side: int) -> nn.Sequential:
    a, b, c, d, e = widths
    layers = [ConvBlock(3 * WINDOW, a, 7, 1, 3), ConvBlock(a, b, 5, (1, 2), 1)]
    layers += [ConvBlock(b, b, residual=True) for _ in range(2)]
    for n_in, width, n in ((b, c, 3), (c, d, 2), (d, e, 2)):
        layers.append(ConvBlock(n_in, width, 3, 2))
        layers += [ConvBlock(width, width, residual=True) for _ in range(n)]
    # The last kernel covers what is left of the picture, 3 x 3 of 96 pixels.
    left = (_left(side // 2 - 2), _left((side - 3) // 2 + 1))
    layers += [ConvBlock(e, e, 3, 2), ConvBlock(e, e, left, 1, 0), ConvBlock(e, e, 1, 1, 0)]
    return nn.Sequential(*layers)


def _left(extent: int) -> int:
    """Pixels that are left of a side after four more layers that halve it."""
    for _ in range(4):
        extent = (extent - 1) // 2 + 1
    return extent
