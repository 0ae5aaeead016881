"""AV-HuBERT: speech from mouths, from sound or from both, and a reader of lips on top.

Shi et al., "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster Prediction",
ICLR 2022, and "Robust Self-Supervised Audio-Visual Speech Recognition", 2022. In plain PyTorch
after the definition in facebookresearch/av_hubert (`avhubert/hubert.py`, `hubert_asr.py`,
`resnet.py`, `decoder.py`, `sequence_generator.py`) and the commit of fairseq that it pins; its
official files load. Lips are read as there (`avhubert/conf/s2s_decode.yaml`, `hubert_dataset.py`):
beam 50, length penalty 1, no more subwords than frames; gray mouths of 88 x 88, the centre of the
aligned 96 x 96, mean 0.421, deviation 0.165.

TalkLip's first observer (Wang et al. 2023; Sxjdwang/TalkLip, `evaluation/README.md` and
`utils/data_avhubert.py`) is a large one fine-tuned on LRS2. There the frames of LRS2, 160 x 160
pixels around a face, are not aligned: the centre 88 x 88 of the whole frame is read. The variant
`large_lrs2_talklip` does that, with frames of other sizes brought to 160 x 160; WER of TalkLip's
tables is to be compared with it alone. `large_lrs2` reads aligned mouths with the same weights.

Deviations: mouths are cut from the clip, where the reference reads them from a video file that
was compressed again after cutting; masks, dropped streams and dropped layers are drawn from a
given generator or torch's, not numpy's global one; layers for a single modality, learned
positions in the decoder and a separate output embedding, which no published file has, are
refused. Where a beam is so wide for a vocabulary that too few unfinished texts are among its
candidates, fewer are followed; the reference follows finished ones on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import AssetError, ConfigError, InputError
from tfbench.nets._avhubert_decoder import EOS, Decoder, DecoderSettings, beam_search
from tfbench.nets._avhubert_encoder import AVHubert, Encoded, EncoderSettings, Predicted
from tfbench.nets._avhubert_load import encoder_parts, reader_parts
from tfbench.nets._checkpoint import fill
from tfbench.nets._crops import luma
from tfbench.nets._subwords import WORD_START, Subwords
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tfbench.core.views import Crop
    from tfbench.media.text import Rules
    from tfbench.nets._avhubert_decoder import Hypothesis

__all__ = [
    "ENCODERS",
    "VARIANTS",
    "AVHubert",
    "AVHubertReader",
    "Decoder",
    "DecoderSettings",
    "Encoded",
    "EncoderSettings",
    "Predicted",
    "Reading",
    "audio_features",
    "draw_weights",
    "load",
    "load_encoder",
    "load_reader",
    "normalised",
    "seeded",
]

M = TypeVar("M", bound=nn.Module)

VARIANTS: dict[str, str] = {
    "large_lrs2": "talklip-reader-lrs2",
    "large_lrs2_talklip": "talklip-reader-lrs2",
    "large_lrs3": "avhubert-large-lrs3",
    "large_lrs3_selftrained": "avhubert-large-lrs3-selftrained",
    "base_lrs3": "avhubert-base-lrs3",
}
"""Readers and their assets."""

ENCODERS: dict[str, str] = {
    "base": "avhubert-base",
    "base_noise": "avhubert-base-noise",
    "large": "avhubert-large",
    "large_noise": "avhubert-large-noise",
}
"""Pre-trained encoders and their assets."""

WINDOW = 88
"""Pixels of a side of what is read."""
CROP = 96
"""Pixels of a side of the aligned crop."""
FRAME = 160
"""Pixels of a side of a frame of LRS2 and LRS3."""
MEAN, DEVIATION = 0.421, 0.165
"""Of brightness from 0 to 1."""
STACK = 4
"""Frames of log filter banks, 100 a second, for a frame of video, 25 a second."""

SPECIAL = 3
"""Numbers below are no text: the beginning, filling and the end."""
FIRST = 4
"""Number of the first subword that texts are cut into, after the unknown one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How lips are read.

    Attributes:
        beam: Texts that are followed at once.
        length_penalty: Above 1 favours longer texts.
        aligned: Whether mouths are found by landmarks; otherwise the middle of the frame is read.
        landmarks: Variant of `tfbench.nets.landmarks` by which mouths are found.
    """

    beam: int = 50
    length_penalty: float = 1.0
    aligned: bool = True
    landmarks: str = "dlib68"


class AVHubertReader(nn.Module):
    """Writes what is said, from mouths, sound or both; see `tfbench.nets.lipreading.LipReader`.

    Args:
        encoder: What the encoder is made of.
        decoder: What the decoder is made of.
        subwords: Of the decoder, in the order of their numbers, with fairseq's four special ones.
        reading: How lips are read.
        scores: Of the subwords, by which texts are cut into them; None where nobody knows them:
            then texts are cut into as few subwords as possible.

    Raises:
        ConfigError: The parts do not fit together.
    """

    located = False
    text: Rules = "english"

    def __init__(
        self,
        encoder: EncoderSettings,
        decoder: DecoderSettings,
        subwords: Sequence[str],
        reading: Reading | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if decoder.memory_dim != encoder.dim or decoder.subwords != len(subwords):
            raise ConfigError(
                f"the decoder reads width {decoder.memory_dim} and writes {decoder.subwords} "
                f"subwords; the encoder has width {encoder.dim}, the list {len(subwords)} subwords"
            )
        if scores is not None and len(scores) != len(subwords):
            raise ConfigError(f"there are {len(scores)} scores for {len(subwords)} subwords")
        self.encoder, self.decoder = AVHubert(encoder), Decoder(decoder)
        self.subwords, self.reading = tuple(subwords), reading or Reading()
        self.scores = None if scores is None else tuple(scores)

    @cached_property
    def crop(self) -> Crop:
        """Aligned mouths, 96 x 96, or whole frames, 160 x 160.

        Raises:
            MissingAsset: The landmark network is not on this machine.
        """
        if not self.reading.aligned:
            from tfbench.faces.crop import WholeFrame

            return WholeFrame(FRAME)
        from tfbench.faces.mouth import MouthCrop
        from tfbench.nets import landmarks

        points = landmarks.landmark_view(landmarks.load(self.reading.landmarks), "pred")
        return MouthCrop(points, CROP)

    def prepare(self, frames: Tensor, regions: Tensor | None = None) -> Tensor:
        """Keep the middle of each crop, gray.

        Args:
            frames: uint8 (t, 3, s, s) RGB, cut by `crop`.
            regions: None.

        Returns:
            uint8 (t, 88, 88).

        Raises:
            InputError: The frames are of another type or shape, or there are regions.
        """
        side = CROP if self.reading.aligned else FRAME
        if regions is not None:
            raise InputError("AV-HuBERT takes crops, not whole frames with regions")
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != (3, side, side):
            raise InputError(
                f"AV-HuBERT takes uint8 crops (t, 3, {side}, {side}); "
                f"got {frames.dtype} {tuple(frames.shape)}"
            )
        edge = (side - WINDOW) // 2
        return luma(frames[:, :, edge : edge + WINDOW, edge : edge + WINDOW]).round().byte()

    def read(self, mouths: Tensor) -> str:
        """Read lips freely.

        Args:
            mouths: uint8 (T, 88, 88), of `prepare`.

        Returns:
            Lower case words; "" where there is no frame.
        """
        return self.spell(self.write(video=mouths)[0].tokens) if len(mouths) else ""

    @torch.no_grad()
    def write(self, video: Tensor | None = None, audio: Tensor | None = None) -> list[Hypothesis]:
        """Search for probable texts.

        Args:
            video: As for `encode`.
            audio: As for `encode`.

        Returns:
            At least one, the best first.

        Raises:
            InputError: As for `encode`, or the network's outputs are no numbers.
        """
        return self.search(self.encode(video, audio).last[None])

    @torch.no_grad()
    def search(self, encoded: Tensor) -> list[Hypothesis]:
        """Search for probable texts of what was encoded.

        Args:
            encoded: (1, T, dim).

        Returns:
            At least one, the best first.

        Raises:
            InputError: The network's outputs are no numbers.
        """
        memory = self.decoder.begin(encoded)

        def follow(parents: Tensor, last: Tensor) -> Tensor:
            memory.keep(parents)
            return self.decoder.step(last, memory)

        longest = min(encoded.shape[1], self.decoder.settings.max_subwords - 1)
        beam, penalty = self.reading.beam, self.reading.length_penalty
        found = beam_search(follow, beam, penalty, longest, encoded.device)
        if not found:
            raise InputError("AV-HuBERT wrote nothing: its outputs are not finite numbers")
        return found

    def encode(self, video: Tensor | None = None, audio: Tensor | None = None) -> Encoded:
        """Encode one utterance, in full float32.

        Args:
            video: uint8 (T, 88, 88), of `prepare`.
            audio: float32 (T, 104), of `audio_features`.

        Returns:
            Features (T, dim), and what each layer writes.

        Raises:
            InputError: There is no frame, or streams are of other types, shapes or lengths.
        """
        if video is not None:
            video = normalised(video)[None]
        with full_precision():
            last, layers = self.encoder(video, None if audio is None else audio[None])
        return Encoded(last[0], tuple(layer[0] for layer in layers))

    def forward(
        self,
        tokens: Tensor,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Compute what follows each subword of given texts, as in fine-tuning.

        Args:
            tokens: int64 (B, L), each text beginning with EOS and filled with PAD at its end.
            video: float32 (B, T, 88, 88), of `normalised`.
            audio: float32 (B, T, 104).
            padding: bool (B, T), True after an utterance's end.

        Returns:
            Logits (B, L, subwords).
        """
        logits: Tensor = self.decoder(tokens, self.encoder(video, audio, padding).last, padding)
        return logits

    def spell(self, tokens: Sequence[int]) -> str:
        """Join subwords to words; SentencePiece's own joining needs no more than this."""
        pieces = "".join(self.subwords[number] for number in tokens if number >= SPECIAL)
        return " ".join(pieces.replace(WORD_START, " ").split())

    def tokenise(self, text: str) -> tuple[int, ...]:
        """Cut a text into subwords.

        Args:
            text: Words; case and punctuation do not matter.

        Returns:
            Numbers of the subwords, and EOS at the end.

        Raises:
            InputError: No word is left, or a letter or digit is in no subword.
        """
        return (*(self._numbers[piece] for piece in self._cutter.cut(text)), EOS)

    @cached_property
    def _cutter(self) -> Subwords:
        scores = self.scores
        if scores is None:
            log.warning(
                "this reader's file holds no scores of subwords; texts are cut into as few as "
                "possible, which can differ from how it was trained"
            )
            scores = (-1.0,) * len(self.subwords)
        return Subwords(list(zip(self.subwords, scores, strict=True))[FIRST:])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {piece: FIRST + k for k, piece in enumerate(self.subwords[FIRST:])}


def normalised(mouths: Tensor) -> Tensor:
    """Bring uint8 (..., 88, 88), or float of 0 to 255, to about mean 0 and deviation 1.

    Raises:
        InputError: They are of another size or type.
    """
    if mouths.shape[-2:] != (WINDOW, WINDOW) or mouths.ndim < 3 or mouths.dtype == torch.bool:
        raise InputError(
            f"AV-HuBERT reads mouths (T, {WINDOW}, {WINDOW}), uint8 or float of 0 to 255; "
            f"got {mouths.dtype} {tuple(mouths.shape)}"
        )
    return (mouths.float() / 255 - MEAN) / DEVIATION


def audio_features(waveform: Tensor, frames: int | None = None) -> Tensor:
    """Compute the log filter banks that AV-HuBERT hears.

    26 filters every 10 ms; four of these in a row are a frame, which is normalised by itself.

    Args:
        waveform: float (S,) in [-1, 1], 16 kHz.
        frames: Of the video; sound after it is cut, and missing sound is filled with zeros.

    Returns:
        float32 (T, 104), 25 frames a second.

    Raises:
        InputError: The waveform is not one-dimensional or is empty.
    """
    from tfbench.media.spectral import log_filter_banks, stack_frames

    stacked = stack_frames(log_filter_banks(waveform), STACK)
    if frames is not None:
        stacked = F.pad(stacked[:frames], (0, 0, 0, max(0, frames - len(stacked))))
    return F.layer_norm(stacked, stacked.shape[1:])


def load(variant: str) -> Frozen[AVHubertReader]:
    """Load a published reader.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: The file is not what it should be.
    """
    from tfbench.core.assets import locate

    reading = Reading(aligned=not variant.endswith("_talklip"))
    reader = load_reader(locate(VARIANTS[variant]), variant.partition("_")[0], reading)
    return Frozen(reader, f"avhubert.{variant}")


def load_reader(path: Path, size: str = "", reading: Reading | None = None) -> AVHubertReader:
    """Load a reader that fairseq saved.

    Args:
        path: The file.
        size: "base" or "large", which its encoder must be; "" for any.
        reading: How lips are read.

    Raises:
        AssetError: The file cannot be read, or is of another size, vocabulary or architecture.
    """
    parts = reader_parts(path, size)
    reader = _built(
        path,
        lambda: AVHubertReader(parts.encoder, parts.decoder, parts.subwords, reading, parts.scores),
    )
    fill(reader, parts.state, f"{path} is no AV-HuBERT reader of its sizes")
    return reader.eval()


def load_encoder(name: str) -> Frozen[AVHubert]:
    """Load a published pre-trained encoder whole, with what predicts labels.

    Args:
        name: A key of `ENCODERS`.

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: The file is not what it should be.
    """
    from tfbench.core.assets import locate

    path = locate(ENCODERS[name])
    settings, state = encoder_parts(path, name.partition("_")[0])
    encoder = _built(path, lambda: AVHubert(settings))
    fill(encoder, state, f"{path} is no AV-HuBERT of its sizes")
    return Frozen(encoder, f"avhubert.{name}")


def _built(path: Path, build: Callable[[], M]) -> M:
    try:
        return build()
    except ConfigError as error:
        raise AssetError(f"{path}: {error}") from error


def seeded(seed: int = 0, reading: Reading | None = None) -> AVHubertReader:
    """Make a very small reader with random weights for tests; it writes nonsense."""
    encoder = EncoderSettings(
        layers=2, dim=16, ffn=32, heads=2, conv_pos=8, conv_pos_groups=4, widths=(4, 4, 4, 6, 8)
    )
    subwords = ["<s>", "<pad>", "</s>", "<unk>", *(f"{WORD_START}{c}" for c in "abcdefgh"), *"stuv"]
    decoder = DecoderSettings(
        subwords=len(subwords), layers=2, dim=16, ffn=32, heads=2, memory_dim=16
    )
    net = AVHubertReader(encoder, decoder, subwords, reading)
    draw_weights(net, seed)
    return net.eval()


def draw_weights(net: nn.Module, seed: int) -> None:
    """Fill a network of this kind for tests with weights that every version of torch draws."""
    draw = np.random.RandomState(seed)
    for name, value in net.state_dict().items():
        drawn = draw.standard_normal(tuple(value.shape))
        if name.endswith("num_batches_tracked"):
            continue
        if value.ndim > 1:
            drawn = drawn / np.sqrt(np.prod(value.shape[1:]))
        elif name.endswith(("weight", "weight_g", "running_var")):
            drawn = 1 + 0.1 * np.abs(drawn)
        value.copy_(torch.from_numpy(np.asarray(drawn)))
