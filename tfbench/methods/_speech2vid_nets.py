"""Speech2Vid's networks: two encoders and a decoder, and the one that sharpens."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import AssetError, ConfigError
from tfbench.nets._checkpoint import read_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "CEPSTRA",
    "COLUMNS",
    "SKIPS",
    "Deblur",
    "FaceGenerator",
    "begin_with_vgg_face",
    "gaussian_blur",
]

CEPSTRA, COLUMNS = 12, 35
"""Of a window of sound: 0.35 s at 100 Hz."""

SKIPS = {"none": (), "two": (2, 5), "early": (1, 2, 5)}
"""Convolutions of the identity encoder whose output the decoder reads too."""


STATISTICS = ("running_mean", "running_var")
VGG_FACE_MEAN = (131.4538, 103.9875, 91.4623)
"""RGB, what VGG-M's pictures are less by."""


class FaceGenerator(nn.Module):
    """Draws a face that says what is heard.

    Args:
        size: Side of the faces, a multiple of 16.
        stills: Pictures of the person, side by side on the channels.
        audio: Channels of the five convolutions of the audio encoder.
        identity: Channels of the five convolutions of the identity encoder.
        hidden: Width of FC6.
        features: Width of FC7, of each encoder.
        seed_channels: Of the map that the two features become.
        decoder: Channels after each of the four transposed convolutions.
        skips: A key of `SKIPS`.
        residual: Whether what is drawn is added to the (first) still. In training it is then not
            cut off below 0 and above 1, where there would be no gradient.

    Raises:
        ConfigError: The size is no multiple of 16, or there is no such key.
    """

    def __init__(
        self,
        size: int = 112,
        stills: int = 1,
        audio: Sequence[int] = (64, 128, 256, 256, 512),
        identity: Sequence[int] = (96, 256, 512, 512, 512),
        hidden: int = 512,
        features: int = 256,
        seed_channels: int = 512,
        decoder: Sequence[int] = (512, 256, 96, 64),
        skips: str = "two",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if size < 16 or size % 16 or skips not in SKIPS:
            raise ConfigError(
                f"the side is a multiple of 16 and skips one of {', '.join(SKIPS)}; "
                f"got {size} and '{skips}'"
            )
        self.settings: dict[str, Any] = {
            "size": size,
            "stills": stills,
            "audio": list(audio),
            "identity": list(identity),
            "hidden": hidden,
            "features": features,
            "seed_channels": seed_channels,
            "decoder": list(decoder),
            "skips": skips,
            "residual": residual,
        }
        self.audio_encoder = _AudioEncoder(audio, hidden, features)
        self.identity_encoder = _IdentityEncoder(size, 3 * stills, identity, hidden, features)
        self.decoder = _Decoder(size // 16, 2 * features, seed_channels, decoder, identity, skips)

    @property
    def colours(self) -> nn.Module:
        """The last layer."""
        return self.decoder.last

    def forward(self, sound: Tensor, stills: Tensor) -> Tensor:
        """Draw faces.

        Args:
            sound: float32 (B, 12, 35) cepstra.
            stills: float32 (B, 3 N, S, S), 0 to 1.

        Returns:
            float32 (B, 3, S, S), 0 to 1.
        """
        return self.draw(sound, self.look(stills))

    def look(self, stills: Tensor) -> list[Tensor]:
        """Compute what `draw` needs of the stills, once for a whole video.

        Returns:
            The first still, the identity's feature and the maps that skip.
        """
        feature, maps = self.identity_encoder(stills)
        return [stills[:, :3], feature, *(maps[k] for k in SKIPS[self.settings["skips"]])]

    def draw(self, sound: Tensor, looked: Sequence[Tensor]) -> Tensor:
        """Draw faces of what `look` gave, of one row or of as many as there are sounds."""
        still, feature, *maps = (t.expand(len(sound), *t.shape[1:]) for t in looked)
        joined = torch.cat([self.audio_encoder(sound[:, None]), feature], 1)
        drawn: Tensor = self.decoder(joined, maps)
        if not self.settings["residual"]:
            return torch.sigmoid(drawn)
        drawn = still + drawn
        return drawn if self.training else drawn.clamp(0, 1)


class _AudioEncoder(nn.Module):
    """VGG-M on a picture of 12 x 35, (B, 1, 12, 35) -> (B, features)."""

    def __init__(self, widths: Sequence[int], hidden: int, features: int) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.convolutions = nn.Sequential(
            *_conv(1, a, 3),
            *_conv(a, b, 3),
            nn.MaxPool2d(3, (1, 2)),  # /2 over time only
            *_conv(b, c, 3),
            *_conv(c, d, 3),
            *_conv(d, e, 3),
            nn.MaxPool2d(3, 2),  # (B, e, 4, 8)
        )
        self.fc = _fully_connected(e * 4 * 8, hidden, features)

    def forward(self, sound: Tensor) -> Tensor:
        feature: Tensor = self.fc(self.convolutions(sound))
        return feature


class _IdentityEncoder(nn.Module):
    """VGG-M on faces: (B, 3 N, S, S) -> (B, features), and the maps of its five convolutions."""

    def __init__(
        self, size: int, n_in: int, widths: Sequence[int], hidden: int, features: int
    ) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.conv1 = nn.Sequential(*_conv(n_in, a, 7, 2))  # S / 2
        self.conv2 = nn.Sequential(nn.MaxPool2d(3, 2, 1), *_conv(a, b, 5, 2))  # S / 8
        self.conv3 = nn.Sequential(nn.MaxPool2d(3, 2, 1), *_conv(b, c, 3))  # S / 16
        self.conv4 = nn.Sequential(*_conv(c, d, 3))
        self.conv5 = nn.Sequential(*_conv(d, e, 3))
        self.fc = _fully_connected(e * (size // 16) ** 2, hidden, features)

    def forward(self, stills: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        maps, x = {}, stills
        for number in range(1, 6):
            x = getattr(self, f"conv{number}")(x)
            maps[number] = x
        return self.fc(x), maps


class _Decoder(nn.Module):
    """Four doublings from S / 16 to S, joined by maps of the same size on the way."""

    def __init__(
        self,
        side: int,
        n_in: int,
        seed_channels: int,
        widths: Sequence[int],
        identity: Sequence[int],
        skips: str,
    ) -> None:
        super().__init__()
        self.seed = nn.Sequential(
            nn.Linear(n_in, seed_channels * side * side),
            nn.Unflatten(1, (seed_channels, side, side)),
            nn.BatchNorm2d(seed_channels),
            nn.ReLU(),
        )
        # conv5 joins at S / 16, conv2 at S / 8, conv1 at S / 2.
        self.joins = {0: 5, 1: 2, 3: 1}
        self.skipped = SKIPS[skips]
        widths = [seed_channels, *widths]
        ups = []
        for stage, (n, n_out) in enumerate(pairwise(widths)):
            convolution = self.joins.get(stage)
            more = identity[convolution - 1] if convolution in self.skipped else 0
            ups.append(_up(n + more, n_out))
        self.ups = nn.ModuleList(ups)
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, feature: Tensor, maps: Sequence[Tensor]) -> Tensor:
        x = self.seed(feature)
        given = dict(zip(self.skipped, maps, strict=True))
        for stage, up in enumerate(self.ups):
            joined = given.get(self.joins.get(stage, 0))
            x = up(x if joined is None else torch.cat([x, joined], 1))
        return self.last(x)


class Deblur(nn.Module):
    """Ten convolutions that tell what a blurred picture lacks (after VDSR, Kim et al. 2016).

    Args:
        width: Channels between the layers.
        layers: How many.
    """

    def __init__(self, width: int = 64, layers: int = 10) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"width": width, "layers": layers}
        blocks: list[nn.Module] = []
        for n_in, n_out in pairwise([3, *[width] * (layers - 1), 3]):
            blocks += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
        # The last one has to give either sign, so that it has no ReLU.
        self.residual = nn.Sequential(*blocks[:-1])

    def forward(self, blurred: Tensor) -> Tensor:
        """Sharpen (B, 3, S, S), 0 to 1."""
        sharp: Tensor = blurred + self.residual(blurred)
        return sharp


def begin_with_vgg_face(net: FaceGenerator, path: Path) -> None:
    """Give the identity encoder's convolutions the weights of VGG-M trained on VGG Face.

    The file is that of `vgg_m_face_bn_dag`, a port of the authors' model: `conv1` to `conv5` with
    bias and `bn49` to `bn53`, for pictures of 0 to 255 less a mean. Here pictures are 0 to 1 and
    convolutions have no bias, so that scale, mean and bias are folded in, exactly but for the
    picture's edge. For several stills the first layer's weights are repeated and divided by their
    number, so that equal stills give what one gives.

    Args:
        net: Is changed in place; has the published widths.
        path: The file.

    Raises:
        AssetError: The file holds something else.
        ConfigError: The encoder has other widths.
    """
    state = read_state(path)
    stills = net.settings["stills"]
    mean = torch.tensor(VGG_FACE_MEAN)
    for number in range(1, 6):
        block: Any = getattr(net.identity_encoder, f"conv{number}")
        conv: Any
        norm: Any
        conv, norm = (m for m in block if isinstance(m, nn.Conv2d | nn.BatchNorm2d))
        names = [f"conv{number}.weight", f"conv{number}.bias"]
        names += [f"bn{48 + number}.{part}" for part in ("weight", "bias", *STATISTICS)]
        absent = [name for name in names if name not in state]
        if absent:
            raise AssetError(f"{path} is not VGG-M trained on VGG Face: it lacks '{absent[0]}'")
        weight, bias, gain, offset, average, variance = (state[name] for name in names)
        if number == 1:
            bias = bias - (weight * mean[:, None, None]).sum((1, 2, 3))
            weight = (255 * weight / stills).repeat(1, stills, 1, 1)
        if weight.shape != conv.weight.shape:
            raise ConfigError(
                f"VGG-M's convolution {number} has weights {tuple(weight.shape)}, this encoder's "
                f"has {tuple(conv.weight.shape)}; leave identity as it is, or vgg_face=false"
            )
        with torch.no_grad():
            conv.weight.copy_(weight)
            norm.weight.copy_(gain)
            norm.bias.copy_(offset)
            norm.running_mean.copy_(average - bias)
            norm.running_var.copy_(variance)


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(n_out), nn.ReLU()


def _up(n_in: int, n_out: int) -> nn.Sequential:
    """Double the side."""
    up = nn.ConvTranspose2d(n_in, n_out, 4, 2, 1, bias=False)
    return nn.Sequential(up, nn.BatchNorm2d(n_out), nn.ReLU())


def _fully_connected(n_in: int, hidden: int, features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(n_in, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, features, bias=False),
        nn.BatchNorm1d(features),
        nn.ReLU(),
    )


def gaussian_blur(pictures: Tensor, sigmas: Tensor) -> Tensor:
    """Blur each picture (B, C, S, S) with a deviation of its own, pixels, edges repeated.

    It keeps the precision of the pictures inside autocast too: what is drawn is compared with them.
    """
    reach = max(1, int(3 * float(sigmas.max()) + 0.5))
    steps = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    kernels = torch.exp(-0.5 * (steps / sigmas.clamp(min=1e-3)[:, None]) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(pictures.shape[1], 0)
    flat = pictures.flatten(0, 1)[None]
    flat = F.pad(flat, (reach, reach, reach, reach), "replicate")
    with torch.autocast(pictures.device.type, enabled=False):
        flat = F.conv2d(flat, kernels[:, None, None], groups=len(kernels))
        flat = F.conv2d(flat, kernels[:, None, :, None], groups=len(kernels))
    return flat[0].unflatten(0, pictures.shape[:2])
