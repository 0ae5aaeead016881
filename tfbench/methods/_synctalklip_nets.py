"""SyncTalklip's generator: a U-Net over faces, and a tunable AV-HuBERT that hears the sound.

Structure after Yangxiaoda1/SyncTalkLip, which is that of Sxjdwang/TalkLip (`models/talklip.py`):
the stages over faces are Wav2Lip's, and the vector between them is a frame's feature of the whole
utterance, after a linear layer. Everything is RGB.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from tfbench.core.errors import ConfigError
from tfbench.core.types import FPS
from tfbench.methods._wav2lip_nets import (
    ENCODER,
    LipGenerator,
    coloured,
    decoded,
    face_decoder,
    face_encoder,
)
from tfbench.methods.base import bundle_folder
from tfbench.nets.av_syncnet import AVSyncNet, from_reader
from tfbench.nets.avhubert import (
    STACK,
    AVHubert,
    AVHubertReader,
    EncoderSettings,
    audio_features,
)
from tfbench.nets.bundle import load_network, load_part, read_record
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "FaceGenerator",
    "Listener",
    "SoundEncoder",
    "Unheard",
    "deepest",
    "load_expert",
    "place_of",
    "take_faces",
]

SAMPLES = 160 * STACK
"""Of a feature's time, 16 kHz."""
STRETCH, CONTEXT = 250, 50
"""Features that are computed at once, and how many are heard before and after: 10 s and 2 s."""


def deepest(width: int, most: int) -> int:
    """Return the channels of the map of one pixel, which is what the sound is brought to."""
    return min(width * ENCODER[-1], most)


class FaceGenerator(nn.Module):
    """Draws faces; the defaults are the published network.

    Args:
        width: Channels of the first layer; the others are multiples of it.
        most: No layer has more channels.
        side: Of the faces, pixels; a multiple of 32 from 64.
        smooth: What it is fed: frames over which the face's box is averaged.
        below: Room below the face's box, as a share of its height.
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
            "decoder_width": decoder_width,
            "residual": residual,
        }
        self.side, self.smooth, self.below = side, smooth, below
        heard = deepest(width, most)
        self.face_encoder_blocks = face_encoder(width, most, side)
        self.face_decoder_blocks, self.output_block = face_decoder(
            width, most, side, decoder_width, heard
        )

    @property
    def colours(self) -> nn.Module:
        """The last layer."""
        return self.output_block[1]

    def forward(self, heard: Tensor, faces: Tensor) -> Tensor:
        """Draw faces.

        Args:
            heard: float32 (N, deepest), of `SoundEncoder.project`.
            faces: float32 (N, 6, side, side), 0 to 1: the face to be drawn, its lower half black,
                and the same person's at another time; RGB.

        Returns:
            (N, 3, side, side), 0 to 1.
        """
        x = heard[:, :, None, None]
        x = decoded(self.face_encoder_blocks, self.face_decoder_blocks, faces, x)
        return coloured(self.output_block, x, faces, residual=self.settings["residual"])


class SoundEncoder(nn.Module):
    """AV-HuBERT as far as sound goes through it, and a linear layer to the generator's width.

    Args:
        encoder: Arguments of `EncoderSettings`. What they say of mouths does not count, and nothing
            is dropped in training.
        channels: Of the generator's map of one pixel.
        teacher: sha256 of the expert whose encoder it begins with; "" for none.

    Attributes:
        settings: The arguments, as JSON holds them.
    """

    def __init__(self, encoder: Mapping[str, Any], channels: int, teacher: str = "") -> None:
        super().__init__()
        without = dict.fromkeys(
            ("dropout", "attention_dropout", "activation_dropout", "input_dropout", "layerdrop"),
            0.0,
        )
        # The front end for mouths is taken away again: it may as well be small.
        small = {"widths": (1, 1, 1, 1, 1), "classes": (), "front_gradient": 1.0}
        wanted = EncoderSettings(**{**encoder, **without, **small})
        self.encoder = AVHubert(wanted)
        del self.encoder.feature_extractor_video
        # What stands for masked sound in pre-training is not learnt here.
        masked = self.encoder.mask_emb.detach()
        del self.encoder.mask_emb
        self.encoder.register_buffer("mask_emb", masked)
        self.audio_map = nn.Linear(wanted.dim, channels)
        self.settings: dict[str, Any] = {
            "encoder": {**asdict(wanted), "widths": [1] * 5, "classes": []},
            "channels": channels,
            "teacher": teacher,
        }

    @classmethod
    def of(
        cls,
        encoder: AVHubert,
        channels: int,
        audio_map: nn.Linear | None = None,
        teacher: str = "",
    ) -> SoundEncoder:
        """Begin with the weights of a whole AV-HuBERT.

        Args:
            encoder: The whole one.
            channels: As for the class.
            audio_map: The linear layer, where there is one of the right shape; otherwise drawn.
            teacher: As for the class.
        """
        made = cls(asdict(encoder.settings), channels, teacher)
        own = made.encoder.state_dict().keys()
        state = {name: value for name, value in encoder.state_dict().items() if name in own}
        made.encoder.load_state_dict(state)
        if audio_map is not None and audio_map.weight.shape == made.audio_map.weight.shape:
            made.audio_map.load_state_dict(audio_map.state_dict())
        return made

    @property
    def dim(self) -> int:
        """Width of features, D."""
        return self.encoder.settings.dim

    def forward(self, sound: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute the features of sound, f_a.

        Args:
            sound: float32 (B, T, 104), of `tfbench.nets.avhubert.audio_features`.
            padding: bool (B, T), True after an utterance's end.

        Returns:
            (B, T, D).
        """
        heard: Tensor = self.encoder(None, sound, padding).last
        return heard

    def project(self, heard: Tensor) -> Tensor:
        """Bring features (N, D) to the generator's width, (N, channels)."""
        projected: Tensor = self.audio_map(heard)
        return projected


class Unheard(nn.Module):
    """Stands for the audio encoder until an expert or a bundle brings it."""

    settings: ClassVar[dict[str, Any]] = {}
    audio_map = None


def take_faces(net: FaceGenerator, source: str) -> tuple[str, ...]:
    """Let a generator begin with the layers that see and draw faces of one of Wav2Lip's.

    Args:
        net: The generator.
        source: Name of a shipped bundle of `wav2lip`, or the folder of one.

    Returns:
        The supervisors of that one.

    Raises:
        ConfigError: It is a bundle of another network, or of other sizes.
        MissingAsset: It is not here.
    """
    folder = bundle_folder(source)
    record = read_record(folder / "bundle.json")
    if record["name"] != "wav2lip":
        raise ConfigError(f"faces_from is a bundle of wav2lip; {source} is one of {record['name']}")
    taken: LipGenerator = load_part(folder, record, "net", lambda s: LipGenerator(**s)).module
    for key in net.settings.keys() - {"residual"}:
        if net.settings[key] != taken.settings[key]:
            raise ConfigError(
                f"faces_from={source} has {key} = {taken.settings[key]}, asked for is "
                f"{net.settings[key]}; set {key}, or take a wav2lip that was trained with it, or "
                "faces_from= fix_norm=2000 for random layers"
            )
    state = taken.state_dict()
    net.load_state_dict({name: state[name] for name in net.state_dict()})
    net.settings["residual"] = taken.settings["residual"]
    return tuple(record["supervisors"])


def load_expert(name: str, landmarks: str) -> Frozen[AVSyncNet]:
    """Load an AV-SyncNet, or an AV-HuBERT that reads lips in its place.

    Args:
        name: `av_syncnet.<variant>`, or the folder of a bundle.
        landmarks: By which it must find mouths.

    Raises:
        ConfigError: It is another network, or reads other mouths.
        MissingAsset: Its weights are not here.
    """
    frozen = load_network(name)
    if isinstance(frozen.module, AVHubertReader):
        frozen = Frozen(from_reader(frozen.module), frozen.name, frozen.sha256)
    if not isinstance(frozen.module, AVSyncNet):
        raise ConfigError(
            f"the expert {name} must be an av_syncnet or an AV-HuBERT that reads lips; it is a "
            f"{type(frozen.module).__name__}"
        )
    reading = frozen.module.reader.reading
    if not reading.aligned or reading.landmarks != landmarks:
        what = f"by {reading.landmarks}" if reading.aligned else "in the middle of the frame"
        raise ConfigError(
            f"the expert {name} finds mouths {what}, here they are found by landmarks "
            f"{landmarks}; set landmarks, or take an expert that reads aligned mouths"
        )
    encoder = frozen.module.encoder
    # A factor on its front end's gradient is for its own training.
    encoder.settings = replace(encoder.settings, front_gradient=1.0)
    return frozen


class Listener:
    """Features of a recording, computed where they are asked for: memory does not grow with it.

    Stretches of 10 s are heard with 2 s before and after; what lies further away, which attention
    would reach in a shorter recording, is not.

    Args:
        encoder: In evaluation mode.
        waveform: float32 (S,), 16 kHz.
        device: Where to compute.
    """

    def __init__(
        self, encoder: SoundEncoder, waveform: Tensor, device: torch.device | str = "cpu"
    ) -> None:
        self.encoder, self.waveform, self.device = encoder, waveform, device
        self.n = max(1, -(-len(waveform) // SAMPLES))
        self.held: dict[int, Tensor] = {}

    def at(self, places: Sequence[Fraction]) -> Tensor:
        """Return features (k, D) at places in time, ascending, in units of features.

        Between two features they are mixed by their distance; beyond the ends the last one counts.
        """
        rows = []
        for place in places:
            inside = max(Fraction(0), min(place, Fraction(self.n - 1)))
            low, share = int(inside // 1), float(inside % 1)
            here = self._feature(low)
            rows.append(here + share * (self._feature(low + 1) - here) if share else here)
        return torch.stack(rows)

    def _feature(self, number: int) -> Tensor:
        k = number // STRETCH
        if k not in self.held:
            before = {k - 1: self.held[k - 1]} if k - 1 in self.held else {}
            self.held = before | {k: self._stretch(k)}
        return self.held[k][number - k * STRETCH]

    def _stretch(self, k: int) -> Tensor:
        """Compute the k-th stretch, (at most 250, D)."""
        first, stop = k * STRETCH, min((k + 1) * STRETCH, self.n)
        low, high = max(first - CONTEXT, 0), min(stop + CONTEXT, self.n)
        samples = self.waveform[low * SAMPLES : high * SAMPLES]
        sound = audio_features(samples, high - low).to(self.device)
        heard = self.encoder(sound[None])[0]
        return heard[first - low : stop - low]


def place_of(frame: int, fps: Fraction) -> Fraction:
    """Return where the middle of a frame lies among features, whose middles are whole numbers."""
    half = Fraction(1, 2)
    return FPS * (frame + half) / fps - half
