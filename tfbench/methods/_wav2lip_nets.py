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
from tfbench.methods._pixel_loss import evened, mouth_weights, unlike
from tfbench.nets._checkpoint import fill
from tfbench.nets.color_syncnet import ConvBlock, read_official, sound_tower, swap_colours

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LipGenerator",
    "QualityDiscriminator",
    "coloured",
    "cross_entropy",
    "decoded",
    "face_decoder",
    "face_encoder",
    "load_discriminator",
    "load_generator",
    "masked",
    "quality_losses",
]

MOUTH_HEIGHT = 0.75
"""Of the mouth's middle in a talking face's box, as a share."""
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


def face_encoder(width: int, most: int, side: int) -> nn.ModuleList:
    """Make the stages that read a face's six channels, down to a map of one pixel.

    Args:
        width: Channels of the first layer; the others are multiples of it.
        most: No layer has more channels.
        side: Of the faces, pixels; a multiple of 32 from 64.

    Raises:
        ConfigError: The side is another.
    """
    # What is left after five halvings is closed by one kernel of this size.
    least = _least(side)
    stages, n_in = [], 6
    for k, (multiple, extra) in enumerate(zip(ENCODER, RESIDUALS, strict=True)):
        n_out = min(width * multiple, most)
        first = ConvBlock(n_in, n_out, 3, 2) if k else ConvBlock(n_in, n_out, 7, 1, 3)
        n_in = n_out
        stages.append(nn.Sequential(first, *_residuals(n_in, extra)))
    last = ConvBlock(n_in, n_in, least, 1, 0)
    stages.append(nn.Sequential(last, ConvBlock(n_in, n_in, 1, 1, 0)))
    return nn.ModuleList(stages)


def face_decoder(
    width: int, most: int, side: int, decoder_width: int, heard: int
) -> tuple[nn.ModuleList, nn.Sequential]:
    """Make the stages that draw a face from what was heard and from the encoder's maps.

    Args:
        width: Of the encoder.
        most: No layer has more channels.
        side: Of the faces, pixels.
        decoder_width: As `width`, of these stages.
        heard: Channels of what was heard.

    Returns:
        The stages, and what turns the last of their maps into colours.
    """
    deepest = min(width * ENCODER[-1], most)
    stages = [nn.Sequential(ConvBlock(heard, deepest, 1, 1, 0))]
    n_in = 2 * deepest
    for k, (multiple, skipped) in enumerate(zip(DECODER, reversed(ENCODER), strict=True)):
        width_here = min(decoder_width * multiple, most)
        up = UpBlock(n_in, width_here, 3 if k else _least(side), double=k > 0)
        stages.append(nn.Sequential(up, *_residuals(width_here, 2 if k else 1)))
        n_in = width_here + min(width * skipped, most)
    last_width = min(2 * decoder_width, most)
    output = nn.Sequential(ConvBlock(n_in, last_width), nn.Conv2d(last_width, 3, 1), nn.Sigmoid())
    return nn.ModuleList(stages), output


def decoded(encoder: nn.ModuleList, decoder: nn.ModuleList, faces: Tensor, x: Tensor) -> Tensor:
    """Pass faces down and what was heard up, past each of the faces' maps.

    Args:
        encoder: Of `face_encoder`.
        decoder: Of `face_decoder`.
        faces: float32 (B, 6, side, side).
        x: (B, heard, 1, 1).

    Returns:
        (B, channels, side, side), for the last layers.
    """
    maps = []
    for stage in encoder:
        faces = stage(faces)
        maps.append(faces)
    for stage in decoder:
        x = torch.cat([stage(x), maps.pop()], 1)
    return x


def coloured(output: nn.Sequential, x: Tensor, faces: Tensor, *, residual: bool) -> Tensor:
    """Turn the decoder's last map into faces.

    Args:
        output: Of `face_decoder`.
        x: (B, channels, side, side), of `decoded`.
        faces: (B, 6, side, side), what the generator sees.
        residual: Whether colours are added to those faces: to the upper half of the first, to the
            lower one of the second. In training they are not cut off below 0 and above 1, where
            there would be no gradient.

    Returns:
        (B, 3, side, side).
    """
    if not residual:
        drawn: Tensor = output(x)
        return drawn
    half = faces.shape[2] // 2
    seen = torch.cat([faces[:, :3, :half], faces[:, 3:, half:]], 2)
    drawn = seen + output[:-1](x)
    return drawn if output.training else drawn.clamp(0, 1)


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
        residual: Whether what is drawn is added to what is seen; see `coloured`.

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
        residual: bool = False,
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
            "residual": residual,
        }
        self.side, self.lead = side, lead
        self.smooth, self.below = smooth, below
        self.face_encoder_blocks = face_encoder(width, most, side)
        self.audio_encoder = sound_tower([min(width * m, most) for m in SOUND], (2, 2, 2, 1))
        self.face_decoder_blocks, self.output_block = face_decoder(
            width, most, side, decoder_width, min(width * SOUND[-1], most)
        )

    @property
    def colours(self) -> nn.Module:
        """The last layer."""
        return self.output_block[1]

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Draw faces.

        Args:
            mel: float32 (B, 1, 80, 16), of `tfbench.media.spectral.log_mel`.
            faces: float32 (B, 6, side, side), 0 to 1: the face to be drawn, its lower half black,
                and the same person's at another time; RGB.

        Returns:
            (B, 3, side, side), 0 to 1.
        """
        x = self.audio_encoder(mel)
        x = decoded(self.face_encoder_blocks, self.face_decoder_blocks, faces, x)
        return coloured(self.output_block, x, faces, residual=self.settings["residual"])


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


def weighted_difference(
    drawn: Tensor,
    real: Tensor,
    mouth_weight: float,
    *,
    relative: bool = False,
    structure: float = 0.0,
) -> Tensor:
    """Compute the mean difference of pixels, in which those of the mouth count more.

    Args:
        drawn: float (..., 3, S, S), talking faces.
        real: Of the same shape.
        mouth_weight: What is added in the middle of the mouth; all are then brought to mean 1.
        relative: Whether dark faces count as much as light ones; see `evened`.
        structure: Weight of `unlike`, which is added.

    Returns:
        ().
    """
    off = (drawn - real).abs()
    if structure:
        off = off + structure * unlike(drawn, real)
    if not (mouth_weight or relative):
        return off.mean()
    weights = mouth_weights(off.shape[-1], MOUTH_HEIGHT, mouth_weight).to(off.device)
    off = (off * (weights / weights.mean())).mean((-3, -2, -1))
    if relative:
        off = off * evened(real, MOUTH_HEIGHT)
    return off.mean()


def quality_losses(critic: nn.Module, real: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the two losses of a generator and its discriminator, which share no gradient.

    Args:
        critic: Gives the probability that faces are real, (n,).
        real: float32 (n, 3, S, S).
        drawn: float32 (n, 3, S, S).

    Returns:
        The generator's, which would be taken for real and does not reach the discriminator's
        parameters; and the discriminator's, which does not reach the drawn faces.
    """
    held = {name: value.detach() for name, value in critic.named_parameters()}
    fooled = cross_entropy(torch.func.functional_call(critic, held, (drawn,)), 1.0)
    judged = cross_entropy(critic(real), 1.0)
    return fooled, judged + cross_entropy(critic(drawn.detach()), 0.0)


def cross_entropy(real: Tensor, target: float) -> Tensor:
    """Compute the binary cross-entropy of probabilities whose truth is all 0 or all 1."""
    # Probabilities near 0 and 1 need more digits than bfloat16 has.
    with torch.autocast(real.device.type, enabled=False):
        return F.binary_cross_entropy(real.float(), torch.full_like(real.float(), target))


def masked(faces: Tensor, reference: Tensor) -> Tensor:
    """Make what a generator is fed of faces.

    Args:
        faces: float32 (n, 3, S, S), 0 to 1; of the lower half nothing is seen.
        reference: float32 (n, 3, S, S), 0 to 1, the same person.

    Returns:
        (n, 6, S, S).
    """
    upper = torch.arange(faces.shape[2], device=faces.device) < faces.shape[2] // 2
    return torch.cat([faces * upper[:, None], reference], 1)


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
