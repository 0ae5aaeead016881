"""What the trainings of AV-HuBERT and AV-SyncNet share: mouths and sound of one stretch of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from tfbench.core.errors import Unscorable
from tfbench.core.types import FPS, SAMPLE_RATE
from tfbench.evaluators._mouths import (
    MouthConfig,
    draw_hidden,
    draw_place,
    kept_mouths,
    mouth_view,
    placed,
    varied_time,
)
from tfbench.evaluators.base import NonNegative, Positive, Share, Trainee
from tfbench.media.spectral import MfccSettings, mfcc
from tfbench.nets.avhubert import (
    CROP,
    DEVIATION,
    MEAN,
    STACK,
    WINDOW,
    EncoderSettings,
    audio_features,
    normalised,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.core.types import Sample
    from tfbench.core.views import ViewKey, Views
    from tfbench.evaluators.base import Kept

__all__ = ["SpeechConfig", "SpeechTrainee", "seen_mouths", "with_deltas"]

CEPSTRA = MfccSettings(append_energy=False)
SAMPLES_PER_FRAME = SAMPLE_RATE // int(FPS)
LEAST = 5
"""Fewest frames of a clip (facebookresearch/av_hubert, `min_sample_size`)."""


@dataclass(frozen=True)
class SpeechConfig(MouthConfig):
    """Settings of the encoder, small enough for a CPU; see `EncoderSettings` for the rest.

    Attributes:
        layers: Of the encoder's transformer.
        dim: Its width.
        ffn: Width inside its layers.
        heads: Of its attention.
        widths: Channels of the ResNet's stem and of its four stages.
        conv_pos: Frames that the convolution for the position sees.
        conv_pos_groups: Of that convolution.
        dropout: Of the encoder.
        attention_dropout: Of its attention weights.
        input_dropout: Of what enters its transformer.
        layerdrop: Share of its layers that are passed by.
        front_gradient: Factor on the gradient of its front ends.
        landmarks: Variant of `tfbench.nets.landmarks` by which mouths are found.
    """

    batch: Positive = 8
    clip: NonNegative = 5.0
    layers: Positive = 3
    dim: Positive = 128
    ffn: Positive = 512
    heads: Positive = 4
    widths: tuple[int, int, int, int, int] = (8, 8, 16, 32, 64)
    conv_pos: Positive = 32
    conv_pos_groups: Positive = 4
    dropout: Share = 0.1
    attention_dropout: Share = 0.1
    input_dropout: Share = 0.1
    layerdrop: Share = 0.0
    front_gradient: NonNegative = 1.0
    landmarks: str = "dlib68"

    def encoder(self) -> dict[str, Any]:
        """Return the settings that are those of `EncoderSettings`."""
        known = EncoderSettings.__dataclass_fields__
        return {name: value for name, value in vars(self).items() if name in known}


class SpeechTrainee(Trainee):
    """Base of trainings that see and hear one person speak."""

    config: SpeechConfig

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """Gray mouths with the edge that moving and turning needs."""
        from tfbench.faces.mouth import MouthCrop
        from tfbench.nets import landmarks

        points = landmarks.landmark_view(landmarks.load(self.config.landmarks), "pred")
        return (mouth_view(MouthCrop(points, CROP)),)

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep mouths and sound of the same frames.

        Returns:
            "mouths" uint8 (T, 96, 96); "audio" float32 (T, 104), of `audio_features`, which are
            normalised frame by frame, so that a stretch has the values of its clip; "mfcc" float32
            (T, 39), the first of each frame's four columns of cepstra, with their first and second
            deltas.

        Raises:
            Unscorable: There is no sound, no face that is seen all the time, or too few frames.
        """
        mouths = kept_mouths(sample, views, self.keys[0])
        waveform = views.speech("pred").waveform
        n = min(len(mouths), len(waveform) // SAMPLES_PER_FRAME)
        if n < LEAST:
            raise Unscorable(f"{n} frames of a mouth with sound; at least {LEAST} are needed")
        if not bool(waveform.any()):
            raise Unscorable("the sound is silent")
        cepstra = with_deltas(mfcc(waveform, CEPSTRA))[::STACK]
        return {
            "mouths": mouths[:n],
            "audio": audio_features(waveform, n),
            "mfcc": _of_length(cepstra, n),
        }

    def stretch(
        self, clip: Kept, start: int, stop: int, least: int, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Take a stretch of a clip and draw how it is varied.

        Args:
            clip: Of `keep`.
            start: First frame.
            stop: The frame after the last one.
            least: Fewest frames that must be left.
            rng: Where chance comes from.

        Returns:
            "mouths" uint8 (T, 96, 96); "audio" float32 (T, 104); "hidden" bool (T,);
            "place" float32 (2, 3) and "gamma" float32 (), see `placed`. And which frames of the
            stretch they are, int64 (T,).
        """
        c = self.config
        chosen = torch.from_numpy(varied_time(stop - start, least, c, rng))
        gamma = np.exp(rng.uniform(-c.gamma, c.gamma))
        drawn = {
            "mouths": clip.array("mouths", start, stop)[chosen],
            "audio": clip.array("audio", start, stop)[chosen],
            "hidden": draw_hidden(len(chosen), c, rng),
            "place": draw_place(c, WINDOW, rng),
            "gamma": torch.tensor(gamma, dtype=torch.float32),
        }
        return drawn, chosen

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Fill all up to the longest; "padding" bool (B, T) is True after an example's end."""
        batch = {name: torch.stack([e[name] for e in examples]) for name in ("place", "gamma")}
        for name in ("mouths", "audio", "hidden"):
            batch[name] = pad_sequence([e[name] for e in examples], batch_first=True)
        lengths = torch.tensor([len(e["audio"]) for e in examples])
        batch["padding"] = torch.arange(int(lengths.max())) >= lengths[:, None]
        return batch

    def video(self, batch: Any) -> Tensor:
        """Place, brighten and normalise the mouths of a batch, float32 (B, T, 88, 88)."""
        looks = zip(batch["mouths"], batch["place"], batch["gamma"], strict=True)
        varied = torch.stack([placed(*one, WINDOW) for one in looks])
        black = (batch["hidden"] | batch["padding"])[:, :, None, None]
        return ((varied - MEAN) / DEVIATION).masked_fill(black, 0.0)


def seen_mouths(clip: Kept) -> Tensor:
    """Read a clip's mouths as they are judged, float32 (1, T, 88, 88)."""
    edge = (CROP - WINDOW) // 2
    mouths = clip.array("mouths")[:, edge : edge + WINDOW, edge : edge + WINDOW]
    return normalised(mouths)[None]


def with_deltas(cepstra: Tensor) -> Tensor:
    """Add first and second deltas over five columns, (T, 39) from (T, 13).

    As facebookresearch/av_hubert `avhubert/clustering/dump_mfcc_feature.py`, whose cepstra are
    Kaldi's: the slope of a line through the column and two on either side of it, the ends repeated.
    """
    first = _slopes(cepstra)
    return torch.cat([cepstra, first, _slopes(first)], 1)


def _slopes(rows: Tensor) -> Tensor:
    padded = F.pad(rows.T[None], (2, 2), mode="replicate")[0].T
    n = len(rows)
    around = [k * (padded[2 + k : 2 + k + n] - padded[2 - k : 2 - k + n]) for k in (1, 2)]
    return (around[0] + around[1]) / 10


def _of_length(rows: Tensor, n: int) -> Tensor:
    """Cut rows to n, or fill them with the last one."""
    return torch.cat([rows[:n], rows[-1:].expand(max(n - len(rows), 0), -1)])
