"""Wav2Lip's generator and its discriminator of visual quality.

Prajwal et al. 2020; structure and names of the parameters after Rudrabha/Wav2Lip
(`models/wav2lip.py`): 36,298,035 and 14,113,793 parameters. Both read and write RGB, the official
weights BGR; `load_generator` and `load_discriminator` turn the layers that see colours. Narrower
networks have the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import ConfigError
from tfbench.nets._checkpoint import fill
from tfbench.nets.color_syncnet import ConvBlock, read_official, sound_tower, swap_colours

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LipGenerator", "QualityDiscriminator", "load_discriminator", "load_generator"]

ENCODER = (1, 2, 4, 8, 16, 32)
"""Channels of the stages whose maps the decoder reads, in units of `width`."""
RESIDUALS = (0, 2, 3, 2, 2, 1)
"""Residual blocks of those stages."""
FIRST = "face_encoder_blocks.0.0.conv_block.0.weight"
"""What reads colours, in both networks."""
SOUND = (2, 4, 8, 16, 32)
DECODER = (32, 32, 24, 16, 8, 4)
"""Channels of the stages after the first; each but the first of them doubles the side."""


class UpBlock(nn.Module):
    """Transposed convolution, batch normalisation, ReLU.

    Args:
        n_in: Channels.
        n_out: Channels.
        kernel: Rows and columns.
        double: Whether the side doubles, with a kernel of 3; else it grows by `kernel` - 1.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int = 3, double: bool = True) -> None:
        super().__init__()
        steps = (2, 1, 1) if double else (1, 0, 0)
        self.conv_block = nn.Sequential(
            nn.ConvTranspose2d(n_in, n_out, kernel, *steps), nn.BatchNorm2d(n_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, h, w) -> (B, n_out, h', w')."""
        return F.relu(self.conv_block(x))


class PlainBlock(nn.Module):
    """Convolution and leaky ReLU.

    Args:
        n_in: Channels.
        n_out: Channels.
        kernel: Rows and columns.
        stride: Rows and columns, or both.
        padding: On each side.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int | tuple[int, int], padding: int
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(n_in, n_out, kernel, stride, padding))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, h, w) -> (B, n_out, h', w')."""
        return F.leaky_relu(self.conv_block(x), 0.01)


class LipGenerator(nn.Module):
    """Draws a face whose lips fit the sound; the defaults are the published network.

    Args:
        width: Channels of the first layer; the others are multiples of it.
        most: No layer has more channels.
        side: Of the faces, pixels; a multiple of 32 from 64.
        smooth: What it is fed: frames over which the face's box is averaged.
        below: Room below the face's box, as a share of its height.
        lead: Frames by which a frame's sound begins before it.
        decoder_width: As `width`, of the decoder.

    Attributes:
        settings: The arguments.

    Raises:
        ConfigError: The side is another.
    """

    def __init__(
        self,
        width: int = 16,
        most: int = 512,
        side: int = 96,
        smooth: int = 5,
        below: float = 0.05,
        lead: int = 0,
        decoder_width: int = 16,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "width": width,
            "most": most,
            "side": side,
            "smooth": smooth,
            "below": below,
            "lead": lead,
            "decoder_width": decoder_width,
        }
        self.side, self.lead = side, lead
        self.smooth, self.below = smooth, below
        # What is left after five halvings is closed by one kernel of this size.
        least = _least(side)

        def n(multiple: int) -> int:
            return min(width * multiple, most)

        deepest = n(ENCODER[-1])
        stages, n_in = [], 6
        for k, (multiple, extra) in enumerate(zip(ENCODER, RESIDUALS, strict=True)):
            first = ConvBlock(n_in, n(multiple), 3, 2) if k else ConvBlock(6, n(1), 7, 1, 3)
            n_in = n(multiple)
            stages.append(nn.Sequential(first, *_residuals(n_in, extra)))
        last = ConvBlock(deepest, deepest, least, 1, 0)
        stages.append(nn.Sequential(last, ConvBlock(deepest, deepest, 1, 1, 0)))
        self.face_encoder_blocks = nn.ModuleList(stages)
        self.audio_encoder = sound_tower([n(multiple) for multiple in SOUND], (2, 2, 2, 1))
        stages = [nn.Sequential(ConvBlock(n(SOUND[-1]), deepest, 1, 1, 0))]
        n_in = 2 * deepest
        for k, (multiple, skipped) in enumerate(zip(DECODER, reversed(ENCODER), strict=True)):
            width_here = min(decoder_width * multiple, most)
            up = UpBlock(n_in, width_here, 3 if k else least, double=k > 0)
            stages.append(nn.Sequential(up, *_residuals(width_here, 2 if k else 1)))
            n_in = width_here + n(skipped)
        self.face_decoder_blocks = nn.ModuleList(stages)
        last_width = min(2 * decoder_width, most)
        self.output_block = nn.Sequential(
            ConvBlock(n_in, last_width), nn.Conv2d(last_width, 3, 1), nn.Sigmoid()
        )

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Draw faces.

        Args:
            mel: float32 (B, 1, 80, 16), of `tfbench.media.spectral.log_mel`.
            faces: float32 (B, 6, side, side), 0 to 1: the face to be drawn, its lower half black,
                and the same person's at another time; RGB.

        Returns:
            (B, 3, side, side), 0 to 1.
        """
        maps = []
        for stage in self.face_encoder_blocks:
            faces = stage(faces)
            maps.append(faces)
        x = self.audio_encoder(mel)
        for stage in self.face_decoder_blocks:
            x = torch.cat([stage(x), maps.pop()], 1)
        drawn: Tensor = self.output_block(x)
        return drawn


class QualityDiscriminator(nn.Module):
    """Tells drawn lower faces from real ones; the defaults are the published network.

    Args:
        width: Channels of the first layer; the others are multiples of it.
        most: No layer has more channels.
        side: Of the faces, pixels; a multiple of 32 from 64.

    Attributes:
        settings: The arguments.

    Raises:
        ConfigError: The side is another.
    """

    def __init__(self, width: int = 32, most: int = 512, side: int = 96) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"width": width, "most": most, "side": side}
        a, b, c, d, e = (min(width * multiple, most) for multiple in (1, 2, 4, 8, 16))
        stages = [nn.Sequential(PlainBlock(3, a, 7, 1, 3))]
        wide: tuple[tuple[int, int, int | tuple[int, int]], ...]
        wide = ((a, b, (1, 2)), (b, c, 2), (c, d, 2))
        for n_in, n_out, stride in wide:
            pair = PlainBlock(n_in, n_out, 5, stride, 2), PlainBlock(n_out, n_out, 5, 1, 2)
            stages.append(nn.Sequential(*pair))
        for n_in in (d, e):
            pair = PlainBlock(n_in, e, 3, 2, 1), PlainBlock(e, e, 3, 1, 1)
            stages.append(nn.Sequential(*pair))
        last = PlainBlock(e, e, _least(side), 1, 0)
        stages.append(nn.Sequential(last, PlainBlock(e, e, 1, 1, 0)))
        self.face_encoder_blocks = nn.ModuleList(stages)
        self.binary_pred = nn.Sequential(nn.Conv2d(e, 1, 1), nn.Sigmoid())

    def forward(self, faces: Tensor) -> Tensor:
        """Judge the lower halves of faces.

        Args:
            faces: float32 (B, 3, side, side), RGB, 0 to 1.

        Returns:
            (B,), the probability that a face is real.
        """
        x = faces[:, :, faces.shape[2] // 2 :]
        for stage in self.face_encoder_blocks:
            x = stage(x)
        real: Tensor = self.binary_pred(x)
        return real.flatten()


def load_generator(path: Path) -> LipGenerator:
    """Load an official generator, such as wav2lip_gan.pth.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    net = LipGenerator()
    fill(net, read_official(path), f"{path} is not Wav2Lip's generator")
    state = net.state_dict()
    state[FIRST].copy_(swap_colours(state[FIRST]))
    for name in ("output_block.1.weight", "output_block.1.bias"):
        state[name].copy_(state[name].flip(0))
    return net


def load_discriminator(path: Path) -> QualityDiscriminator:
    """Load an official discriminator of visual quality.

    Raises:
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    net = QualityDiscriminator()
    fill(net, read_official(path), f"{path} is not Wav2Lip's discriminator of visual quality")
    first = net.state_dict()[FIRST]
    first.copy_(swap_colours(first))
    return net


def _residuals(width: int, n: int) -> list[ConvBlock]:
    return [ConvBlock(width, width, residual=True) for _ in range(n)]


def _least(side: int) -> int:
    """Return the side of the smallest map."""
    if side < 64 or side % 32:
        raise ConfigError(f"Wav2Lip's faces have a side of 64, 96, 128, ... pixels; got {side}")
    return side // 32
