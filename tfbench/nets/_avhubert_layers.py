"""Parts of AV-HuBERT's transformer that encoder and decoder share.

Names of parameters are those of facebookresearch/fairseq (`modules/multihead_attention.py` and
`models/wav2vec/wav2vec2.py` at commit afc77bdf, which AV-HuBERT pins), so that its files load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Attention", "EncoderLayer", "PositionConv", "initialise"]


class Attention(nn.Module):
    """Scaled dot-product attention with several heads.

    Args:
        dim: Width of queries and of the result.
        heads: They share the width.
        dropout: Share of attention weights dropped in training.
        memory_dim: Width of what is attended to; None for `dim`.

    Raises:
        ConfigError: The heads cannot share the width.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float = 0.0, memory_dim: int | None = None
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"{heads} attention heads cannot share a width of {dim}")
        self.heads, self.dropout = heads, dropout
        self.k_proj = nn.Linear(memory_dim or dim, dim)
        self.v_proj = nn.Linear(memory_dim or dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Compute keys and values, each (B, heads, T, dim / heads), of memory (B, T, dim)."""
        return self._split(self.k_proj(memory)), self._split(self.v_proj(memory))

    def forward(
        self,
        x: Tensor,
        remembered: tuple[Tensor, Tensor],
        visible: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, L, dim).
            remembered: Keys and values of `remember`.
            visible: bool, of a shape that broadcasts to (B, heads, L, T); None for all.
            causal: Whether each of L places sees only the places up to its own.

        Returns:
            (B, L, dim).
        """
        mixed = F.scaled_dot_product_attention(
            self._split(self.q_proj(x)),
            *remembered,
            attn_mask=visible,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        result: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Self-attention and two linear layers, each with a way past it."""

    def __init__(
        self,
        dim: int,
        ffn: int,
        heads: int,
        dropouts: tuple[float, float, float],
        *,
        norm_first: bool,
    ) -> None:
        super().__init__()
        dropout, in_attention, in_ffn = dropouts
        self.self_attn = Attention(dim, heads, in_attention)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn)
        self.fc2 = nn.Linear(ffn, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.dropout, self.ffn_dropout = nn.Dropout(dropout), nn.Dropout(in_ffn)
        self.norm_first = norm_first

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Compute (B, T, dim) from the same; `visible` as for `Attention`."""
        x = self._past(x, self.self_attn_layer_norm, lambda seen: self._look(seen, visible))
        return self._past(x, self.final_layer_norm, self._think)

    def _past(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            return x + self.dropout(part(norm(x)))
        normalised: Tensor = norm(x + self.dropout(part(x)))
        return normalised

    def _look(self, x: Tensor, visible: Tensor | None) -> Tensor:
        attended: Tensor = self.self_attn(x, self.self_attn.remember(x), visible)
        return attended

    def _think(self, x: Tensor) -> Tensor:
        thought: Tensor = self.fc2(self.ffn_dropout(F.gelu(self.fc1(x))))
        return thought


class PositionConv(nn.Module):
    """A grouped convolution over time whose output tells where a frame stands.

    Its weight is a direction, `weight_v`, times a length for each of its places in time,
    `weight_g`: weight normalisation over dimension 2.

    Args:
        dim: Width.
        kernel: Places in time.
        groups: They share the width.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        if dim % groups:
            raise ConfigError(f"{groups} groups of the position's convolution cannot share {dim}")
        self.groups = groups
        spread = (4 / (kernel * dim)) ** 0.5
        self.weight_v = nn.Parameter(spread * torch.randn(dim, dim // groups, kernel))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, T, dim) from the same."""
        kernel = self.weight_v.shape[2]
        # What torch's own weight normalisation calls: one pass, which takes half of the time.
        weight = torch._weight_norm(self.weight_v, self.weight_g, 2)
        # An even kernel has no middle; the reference drops the last of T + 1 results.
        padded = F.pad(x.transpose(1, 2), (kernel // 2, (kernel - 1) // 2))
        return F.gelu(F.conv1d(padded, weight, self.bias, groups=self.groups)).transpose(1, 2)


def initialise(net: nn.Module) -> None:
    """Draw first weights as BERT does: linear ones normal with deviation 0.02, biases zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
