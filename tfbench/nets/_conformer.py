"""Encoder, decoder and CTC head of the Conformer lip readers, for reading only.

A Conformer (Gulati et al. 2020) encodes the features of frames, a transformer (Vaswani et al.
2017) decodes units of text from them, and a linear layer gives each frame a distribution for CTC
(Watanabe et al. 2017). Written after espnet 0.10.6 (`espnet/nets/pytorch_backend/conformer/`,
`transformer/`) and the variation on it in mpc001/Visual_Speech_Recognition_for_Multiple_Languages
(`espnet/nets/pytorch_backend/transformer/`), whose names of parameters are kept. Left out: what
only training needs (dropout, losses) and batches of utterances with their masks. Positions are
relative in the form that espnet calls "latest" (its pull request 2816); checkpoints of the older
form have the same names and shapes but other positions, and nothing in a file tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Decoder", "Encoder", "Sizes", "ctc_head"]

EPS = 1e-12
"""Of all layer normalisations but the one after the encoder's first layer."""
FEATURES = 512
"""Values of a frame that the front ends give."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network, all of which show in a state dict.

    Attributes:
        dim: Values of a frame or unit inside.
        heads: Of attention.
        layers: Of the encoder.
        hidden: Of the encoder's feed-forward layers.
        kernel: Frames that the encoder's convolutions see, odd.
        decoder_layers: Of the decoder.
        decoder_hidden: Of its feed-forward layers.
        units: Of text, with the blank (the first) and the end (the last).
    """

    dim: int = 768
    heads: int = 12
    layers: int = 12
    hidden: int = 3072
    kernel: int = 31
    decoder_layers: int = 6
    decoder_hidden: int = 3072
    units: int = 5049


class _Attention(nn.Module):
    """Scaled dot-product attention with several heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(dim, dim)
        self.linear_k = nn.Linear(dim, dim)
        self.linear_v = nn.Linear(dim, dim)
        self.linear_out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, other: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Look from (..., m, dim) at (..., n, dim); where `hidden` (m, n) is True nothing is seen.

        Returns:
            (..., m, dim).
        """
        q, k = self.split(self.linear_q(query)), self.split(self.linear_k(other))
        scores = q @ k.transpose(-1, -2)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        return self.gather(scores, other)

    def split(self, x: Tensor) -> Tensor:
        """Turn (..., n, dim) into (..., heads, n, dim / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def gather(self, scores: Tensor, other: Tensor) -> Tensor:
        """Average (..., n, dim) by unscaled scores (..., heads, m, n); returns (..., m, dim)."""
        value = self.split(self.linear_v(other))
        weights = (scores / math.sqrt(value.shape[-1])).softmax(-1)
        seen: Tensor = self.linear_out((weights @ value).transpose(-2, -3).flatten(-2))
        return seen


class _RelativeAttention(_Attention):
    """Attention that knows how far frames are apart (Dai et al. 2019, section 3.3)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, dim // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, dim // heads))

    def among(self, x: Tensor, distances: Tensor) -> Tensor:
        """Look from each frame of (T, dim) at all; `distances` are those of `_distances`."""
        q, k = self.split(self.linear_q(x)), self.split(self.linear_k(x))
        by_distance = self.split(self.linear_pos(distances))
        by_content = (q + self.pos_bias_u[:, None]) @ k.transpose(-1, -2)
        placed = (q + self.pos_bias_v[:, None]) @ by_distance.transpose(-1, -2)
        step = torch.arange(len(x), device=x.device)
        # Frame i sees frame j at the distance i - j, the row len - 1 - (i - j).
        rows = (len(x) - 1 - step[:, None] + step).expand(self.heads, -1, -1)
        return self.gather(by_content + placed.gather(-1, rows), x)


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.w_1 = nn.Linear(dim, hidden)
        self.w_2 = nn.Linear(hidden, dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.w_2(self.activation(self.w_1(x)))
        return changed


class _Convolution(nn.Module):
    """The Conformer's convolution over time, (T, dim) -> (T, dim)."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.BatchNorm1d(dim)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        gated = nn.functional.glu(self.pointwise_conv1(x.T[None]), dim=1)
        smooth = nn.functional.silu(self.norm(self.depthwise_conv(gated)))
        out: Tensor = self.pointwise_conv2(smooth)
        return out[0].T


class _EncoderLayer(nn.Module):
    """Half a feed-forward layer, attention, convolution, half a feed-forward layer."""

    def __init__(self, sizes: Sizes, activation: nn.Module) -> None:
        super().__init__()
        self.self_attn = _RelativeAttention(sizes.dim, sizes.heads)
        self.feed_forward = _FeedForward(sizes.dim, sizes.hidden, activation)
        self.feed_forward_macaron = _FeedForward(sizes.dim, sizes.hidden, activation)
        self.conv_module = _Convolution(sizes.dim, sizes.kernel)
        self.norm_ff_macaron = nn.LayerNorm(sizes.dim, EPS)
        self.norm_mha = nn.LayerNorm(sizes.dim, EPS)
        self.norm_conv = nn.LayerNorm(sizes.dim, EPS)
        self.norm_ff = nn.LayerNorm(sizes.dim, EPS)
        self.norm_final = nn.LayerNorm(sizes.dim, EPS)

    def forward(self, x: Tensor, distances: Tensor) -> Tensor:
        x = x + self.feed_forward_macaron(self.norm_ff_macaron(x)) / 2
        x = x + self.self_attn.among(self.norm_mha(x), distances)
        x = x + self.conv_module(self.norm_conv(x))
        x = x + self.feed_forward(self.norm_ff(x)) / 2
        normed: Tensor = self.norm_final(x)
        return normed


class Encoder(nn.Module):
    """A Conformer over the features of an utterance's frames.

    Args:
        sizes: Of the network.
        activation: Of the feed-forward layers; convolutions always have SiLU.
        normed: Whether features are normalised after the first layer.
    """

    def __init__(self, sizes: Sizes, activation: nn.Module, normed: bool) -> None:
        super().__init__()
        first: list[nn.Module] = [nn.Linear(FEATURES, sizes.dim)]
        self.embed = nn.Sequential(*first, *([nn.LayerNorm(sizes.dim)] if normed else []))
        self.encoders = nn.ModuleList(_EncoderLayer(sizes, activation) for _ in range(sizes.layers))
        self.after_norm = nn.LayerNorm(sizes.dim, EPS)

    def forward(self, features: Tensor) -> Tensor:
        """Encode float32 (T, 512) as (T, dim); T is 1 or more."""
        x = self.embed(features)
        frames, dim = x.shape
        x = x * math.sqrt(dim)
        between = torch.arange(frames - 1, -frames, -1.0, device=x.device)
        distances = _waves(between, dim)
        for layer in self.encoders:
            x = layer(x, distances)
        encoded: Tensor = self.after_norm(x)
        return encoded


class _DecoderLayer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.self_attn = _Attention(sizes.dim, sizes.heads)
        self.src_attn = _Attention(sizes.dim, sizes.heads)
        self.feed_forward = _FeedForward(sizes.dim, sizes.decoder_hidden, nn.ReLU())
        self.norm1 = nn.LayerNorm(sizes.dim, EPS)
        self.norm2 = nn.LayerNorm(sizes.dim, EPS)
        self.norm3 = nn.LayerNorm(sizes.dim, EPS)

    def forward(self, x: Tensor, seen: Tensor, first: int) -> Tensor:
        """Compute (n, L - first, dim) from (n, L, dim), each unit from itself and those before."""
        normed = self.norm1(x)
        places = torch.arange(x.shape[1], device=x.device)
        later = places > places[first:, None]
        x = x[:, first:] + self.self_attn(normed[:, first:], normed, later)
        x = x + self.src_attn(self.norm2(x), seen)
        out: Tensor = x + self.feed_forward(self.norm3(x))
        return out


class Decoder(nn.Module):
    """A transformer that gives the distribution of the next unit.

    Args:
        sizes: Of the network.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Embedding(sizes.units, sizes.dim))
        self.decoders = nn.ModuleList(_DecoderLayer(sizes) for _ in range(sizes.decoder_layers))
        self.after_norm = nn.LayerNorm(sizes.dim, EPS)
        self.output_layer = nn.Linear(sizes.dim, sizes.units)

    def forward(
        self, units: Tensor, encoded: Tensor, known: Sequence[Tensor] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute what follows each beginning of n texts.

        Args:
            units: int64 (n, L), each text's units after the one that opens it.
            encoded: float32 (T, dim), of the encoder; the same for all texts.
            known: The second result of the call before, with one unit less; only the last unit is
                then computed. Without it all are.

        Returns:
            Log probabilities float32 (n, L or 1, units), and what each layer made of all units,
            float32 (n, L, dim).
        """
        x = self.embed(units)
        x = x * math.sqrt(x.shape[-1])
        x = x + _waves(torch.arange(units.shape[1], dtype=x.dtype, device=x.device), x.shape[-1])
        first = units.shape[1] - 1 if known else 0
        made = []
        for number, layer in enumerate(self.decoders):
            x = layer(x, encoded, first)
            if known:
                x = torch.cat([known[number], x], 1)
            made.append(x)
        last: Tensor = self.output_layer(self.after_norm(x[:, first:]))
        return last.log_softmax(-1), made


def ctc_head(sizes: Sizes) -> nn.ModuleDict:
    """Make the linear layer from frames to units, under its public name."""
    return nn.ModuleDict({"ctc_lo": nn.Linear(sizes.dim, sizes.units)})


def _waves(places: Tensor, dim: int) -> Tensor:
    """Write places (n,) as sines and cosines in turn, (n, dim), of wavelengths 2 pi to 20000 pi."""
    rates = torch.exp(torch.arange(0, dim, 2, device=places.device) * -(math.log(1e4) / dim))
    angles = places[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
