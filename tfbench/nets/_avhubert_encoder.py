"""AV-HuBERT's encoder of mouths and sound, with its pre-training by masked prediction.

Shi et al., "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster Prediction",
2022. Names of parameters and all arithmetic are those of facebookresearch/av_hubert
(`avhubert/hubert.py`, class AVHubertModel), so that its files load; see `tfbench.nets.avhubert`
for what differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import ConfigError, InputError
from tfbench.nets._avhubert_front import AudioFront, VideoFront, scale_gradient
from tfbench.nets._avhubert_layers import EncoderLayer, PositionConv, initialise
from tfbench.nets._avhubert_masks import draw_spans, replaced, spans_elsewhere

if TYPE_CHECKING:
    from numpy.random import RandomState

__all__ = ["AVHubert", "Encoded", "EncoderSettings", "Predicted"]

FLOOR = 1e-6
"""Least product of two lengths by which a cosine is divided."""


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder is made of; the defaults are base, as it was pre-trained on VoxCeleb2.

    Attributes:
        layers: Of the transformer; 24 for large.
        dim: Its width; 1024 for large.
        ffn: Width inside its layers; 4096 for large.
        heads: Of its attention; 16 for large.
        audio_dim: Values of a frame of sound.
        fuse: Features of the two streams side by side or summed.
        norm_first: Whether a layer normalises what it reads, not what it writes.
        conv_pos: Frames that the convolution for the position sees.
        conv_pos_groups: Of that convolution.
        widths: Channels of the ResNet's stem and of its four stages.
        prelu: PReLU in the ResNet, otherwise ReLU.
        dropout: Of the transformer, in training, like all below.
        attention_dropout: Of attention weights.
        activation_dropout: Inside layers.
        input_dropout: Of what enters the transformer.
        layerdrop: Share of layers that are passed by.
        front_gradient: Factor on the gradient of the front ends.
        modality_dropout: How often one stream is left out of a batch in pre-training.
        audio_dropout: How often that is the sound.
        masking: Before the front ends ("input") or after fusion ("feature").
        mask_prob_video: Share of frames whose mouth is masked, before overlaps.
        mask_length_video: Frames of a masked span.
        mask_prob_audio: As above for sound, and for "feature".
        mask_length_audio: As above.
        mask_source: Masked mouths are replaced by those of the same or another sequence.
        classes: Labels to predict, for each set of them; empty for no pre-training.
        label_dim: Width in which states and labels are compared.
        own_projections: A projection for each set of labels.
        similarity: Of states and labels.
        temperature: Similarities are divided by it.
    """

    layers: int = 12
    dim: int = 768
    ffn: int = 3072
    heads: int = 12
    audio_dim: int = 104
    fuse: Literal["concat", "add"] = "concat"
    norm_first: bool = True
    conv_pos: int = 128
    conv_pos_groups: int = 16
    widths: tuple[int, ...] = (64, 64, 128, 256, 512)
    prelu: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    input_dropout: float = 0.1
    layerdrop: float = 0.05
    front_gradient: float = 0.1
    modality_dropout: float = 0.5
    audio_dropout: float = 0.5
    masking: Literal["input", "feature"] = "input"
    mask_prob_video: float = 0.3
    mask_length_video: int = 5
    mask_prob_audio: float = 0.8
    mask_length_audio: int = 10
    mask_source: Literal["same_seq", "same_other_seq"] = "same_seq"
    classes: tuple[int, ...] = ()
    label_dim: int = 256
    own_projections: bool = True
    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: float = 0.1


class Encoded(NamedTuple):
    """What an encoder makes of an utterance or a batch.

    Attributes:
        last: (B, T, dim), normalised where `norm_first`.
        layers: What each layer of the transformer writes, each (B, T, dim), not normalised after.
    """

    last: Tensor
    layers: tuple[Tensor, ...]


class Predicted(NamedTuple):
    """What masked prediction gives.

    Attributes:
        logits: For each set of labels (B, T, classes).
        masked: bool (B, T), where something was masked and is no padding.
    """

    logits: tuple[Tensor, ...]
    masked: Tensor


class AVHubert(nn.Module):
    """Encodes mouths, sound, or both.

    Args:
        settings: See `EncoderSettings`.

    Raises:
        ConfigError: Widths do not fit together.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        if len(settings.widths) != 5:
            raise ConfigError(f"the ResNet has a stem and four stages; got {settings.widths}")
        self.settings, dim = settings, settings.dim
        self.feature_extractor_audio = AudioFront(settings.audio_dim, dim)
        self.feature_extractor_video = VideoFront(settings.widths, dim, prelu=settings.prelu)
        fused = 2 * dim if settings.fuse == "concat" else dim
        self.post_extract_proj = nn.Linear(fused, dim) if fused != dim else None
        self.layer_norm = nn.LayerNorm(fused)
        self.input_dropout = nn.Dropout(settings.input_dropout)
        self.mask_emb = nn.Parameter(
            torch.rand(settings.audio_dim if settings.masking == "input" else dim)
        )
        self.encoder = _Transformer(settings)
        if settings.classes:
            sets = len(settings.classes) if settings.own_projections else 1
            self.final_proj = nn.Linear(dim, sets * settings.label_dim)
            self.label_embs_concat = nn.Parameter(
                torch.rand(sum(settings.classes), settings.label_dim)
            )

    def forward(
        self,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Encoded:
        """Encode a batch; a stream that is None is silent or black to all later layers.

        Args:
            video: float32 (B, T, h, w), normalised gray mouths.
            audio: float32 (B, T, audio_dim).
            padding: bool (B, T), True after an utterance's end; None where all are of one length.

        Raises:
            InputError: Both streams are missing, or shapes do not agree.
        """
        self._check(video, audio, padding)
        return self.encoder(self._fused(self._features(video, audio, padding)), padding)

    def look(self, video: Tensor, padding: Tensor | None = None) -> Tensor:
        """Describe mouths by the front end alone.

        Args:
            video: As for `forward`.
            padding: As for `forward`.

        Returns:
            (B, T, dim), of frames where `padding` is True anything.
        """
        seen = self.feature_extractor_video(video, padding)
        return scale_gradient(seen, self.settings.front_gradient)

    def follow(self, seen: Tensor, padding: Tensor | None = None) -> Encoded:
        """Encode mouths that `look` has described, (B, T, dim), as `forward` does without sound."""
        return self.encoder(self._fused((torch.zeros_like(seen), seen)), padding)

    def predict(
        self, video: Tensor, audio: Tensor, draw: RandomState, padding: Tensor | None = None
    ) -> Predicted:
        """Mask parts of a batch and tell each frame's labels, as in pre-training.

        Args:
            video: As for `forward`.
            audio: As for `forward`.
            draw: Decides what is masked.
            padding: As for `forward`.

        Raises:
            ConfigError: The encoder was built without labels.
        """
        if not self.settings.classes:
            raise ConfigError("this AV-HuBERT knows no labels to predict; build it with `classes`")
        self._check(video, audio, padding)
        masked = torch.zeros(video.shape[:2], dtype=torch.bool, device=video.device)
        if self.settings.masking == "input":
            video, audio, masked = self._mask_inputs(video, audio, padding, draw)
        x = self._fused(self._drop_one(*self._features(video, audio, padding)))
        if self.settings.masking == "feature":
            masked = self._spans(x, padding, draw, self.settings.mask_prob_audio)
            x = torch.where(masked[..., None], self.mask_emb, x)
        inside = masked if padding is None else masked & ~padding
        return Predicted(self._logits(self.encoder(x, padding).last), inside)

    def _check(self, video: Tensor | None, audio: Tensor | None, padding: Tensor | None) -> None:
        given = [stream for stream in (video, audio) if stream is not None]
        shapes = {tuple(stream.shape[:2]) for stream in (*given, padding) if stream is not None}
        fits = (video is None or video.ndim == 4) and (
            audio is None or audio.shape[2:] == (self.settings.audio_dim,)
        )
        if not given or not fits or len(shapes) > 1 or 0 in next(iter(shapes)):
            came = [None if t is None else tuple(t.shape) for t in (video, audio, padding)]
            raise InputError(
                f"AV-HuBERT encodes video (B, T, h, w), audio (B, T, {self.settings.audio_dim}) or "
                f"both, with padding (B, T) or none, of one B and T >= 1; got {came[0]}, {came[1]} "
                f"and {came[2]}"
            )

    def _features(
        self, video: Tensor | None, audio: Tensor | None, padding: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute sound's and mouths' features, zeros for a stream that is missing."""
        shape = [len(one) for one in (video, audio) if one is not None][:1]
        missing = self.mask_emb.new_zeros(*shape, 1, self.settings.dim)
        heard = seen = missing
        if audio is not None:
            factor = self.settings.front_gradient
            heard = scale_gradient(self.feature_extractor_audio(audio), factor)
        if video is not None:
            seen = self.look(video, padding)
        heard, seen = torch.broadcast_tensors(heard, seen)
        return heard, seen

    def _drop_one(self, heard: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Leave one stream out of a whole batch now and then, in training."""
        if self.training:
            one, sound = torch.rand(2).tolist()
            if one < self.settings.modality_dropout:
                heard_kept = float(sound >= self.settings.audio_dropout)
                return heard_kept * heard, (1 - heard_kept) * seen
        return heard, seen

    def _fused(self, streams: tuple[Tensor, Tensor]) -> Tensor:
        heard, seen = streams
        fused = torch.cat(streams, 2) if self.settings.fuse == "concat" else heard + seen
        fused = self.layer_norm(fused)
        if self.post_extract_proj is not None:
            fused = self.post_extract_proj(fused)
        dropped: Tensor = self.input_dropout(fused)
        return dropped

    def _mask_inputs(
        self, video: Tensor, audio: Tensor, padding: Tensor | None, draw: RandomState
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Replace spans of mouths and, elsewhere, of sound; a single utterance gets zeros."""
        settings = self.settings
        unseen = self._spans(video, padding, draw, settings.mask_prob_video, video=True)
        alone = len(video) == 1
        if alone:
            masked_video = replaced(video, unseen, torch.zeros_like(video))
        elif settings.mask_source == "same_seq":
            masked_video = replaced(video, unseen, spans_elsewhere(video, unseen, draw))
        else:
            masked_video = replaced(video, unseen, video.roll(-draw.randint(1, len(video)), 0))
        unheard = self._spans(audio, padding, draw, settings.mask_prob_audio)
        filler = torch.zeros_like(self.mask_emb) if alone else self.mask_emb
        return masked_video, torch.where(unheard[..., None], filler, audio), unseen | unheard

    def _spans(
        self,
        x: Tensor,
        padding: Tensor | None,
        draw: RandomState,
        share: float,
        *,
        video: bool = False,
    ) -> Tensor:
        length = self.settings.mask_length_video if video else self.settings.mask_length_audio
        lengths = None if padding is None else (~padding).sum(1).tolist()
        spans = draw_spans(x.shape[0], x.shape[1], lengths, share, length, draw)
        return torch.from_numpy(spans).to(x.device)

    def _logits(self, states: Tensor) -> tuple[Tensor, ...]:
        """Compare states with the embeddings of all labels, for each set of labels."""
        settings = self.settings
        projected = self.final_proj(states).split(settings.label_dim, 2)
        if not settings.own_projections:
            projected = projected * len(settings.classes)
        labels = self.label_embs_concat.split(list(settings.classes))
        return tuple(
            _similarities(one, each, settings.similarity) / settings.temperature
            for one, each in zip(projected, labels, strict=True)
        )


class _Transformer(nn.Module):
    """Layers of attention over the features of all frames."""

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.pos_conv = nn.Sequential(
            PositionConv(settings.dim, settings.conv_pos, settings.conv_pos_groups)
        )
        dropouts = settings.dropout, settings.attention_dropout, settings.activation_dropout
        self.layers = nn.ModuleList(
            EncoderLayer(
                settings.dim,
                settings.ffn,
                settings.heads,
                dropouts,
                norm_first=settings.norm_first,
            )
            for _ in range(settings.layers)
        )
        self.layer_norm = nn.LayerNorm(settings.dim)
        initialise(self)

    def forward(self, x: Tensor, padding: Tensor | None) -> Encoded:
        visible = None
        if padding is not None and bool(padding.any()):
            x = x.masked_fill(padding[..., None], 0.0)
            visible = ~padding[:, None, None]
        x = x + self.pos_conv(x)
        if not self.settings.norm_first:
            x = self.layer_norm(x)
        x = F.dropout(x, self.settings.dropout, self.training)
        written = []
        for layer in self.layers:
            if not (self.training and torch.rand(()) <= self.settings.layerdrop):
                x = layer(x, visible)
            written.append(x)
        return Encoded(self.layer_norm(x) if self.settings.norm_first else x, tuple(written))


def _similarities(states: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Compute (B, T, V) of (B, T, D) and (V, D)."""
    products = states @ labels.T
    if kind == "dot":
        return products
    lengths = states.norm(dim=2, keepdim=True) * labels.norm(dim=1)
    return products / lengths.clamp(min=FLOOR)
