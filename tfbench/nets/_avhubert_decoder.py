"""The decoder that writes subwords from what AV-HuBERT encodes, and its search.

Names of parameters and all arithmetic are those of facebookresearch/av_hubert
(`avhubert/decoder.py`; `avhubert/sequence_generator.py` for the search) and of the layers of
fairseq that it uses (`modules/transformer_layer.py` at commit afc77bdf), so that its files load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import InputError
from tfbench.nets._avhubert_layers import Attention

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["EOS", "PAD", "Decoder", "DecoderSettings", "Hypothesis", "Memory", "beam_search"]

PAD, EOS = 1, 2
"""Numbers of fairseq's dictionaries; 0 is <s>, 3 is <unk>. A text begins and ends with EOS."""


@dataclass(frozen=True)
class DecoderSettings:
    """What a decoder is made of; the defaults are that of base.

    Attributes:
        subwords: Of the vocabulary, with the four special ones.
        layers: 9 for large.
        dim: Width; 1024 for large.
        ffn: Width inside layers; 4096 for large.
        heads: Of attention; 8 for large.
        memory_dim: Width of what the encoder gives.
        norm_first: Whether layers normalise what they read, not what they write.
        scaled: Whether embeddings of subwords are multiplied by the root of `dim`.
        max_subwords: Of a text, with its end.
        dropout: In training, like all below.
        attention_dropout: Of attention weights.
        activation_dropout: Inside layers.
        layerdrop: Share of layers that are passed by.
    """

    subwords: int = 1000
    layers: int = 6
    dim: int = 768
    ffn: int = 3072
    heads: int = 4
    memory_dim: int = 768
    norm_first: bool = True
    scaled: bool = False
    max_subwords: int = 2048
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.1
    layerdrop: float = 0.0


class Decoder(nn.Module):
    """Tells the next subword from those before it and from what was encoded.

    Args:
        settings: See `DecoderSettings`.
    """

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.embed_tokens = nn.Embedding(settings.subwords, settings.dim, PAD)
        nn.init.normal_(self.embed_tokens.weight, std=settings.dim**-0.5)
        nn.init.zeros_(self.embed_tokens.weight[PAD])
        self.layers = nn.ModuleList(_DecoderLayer(settings) for _ in range(settings.layers))
        self.layer_norm = nn.LayerNorm(settings.dim) if settings.norm_first else nn.Identity()

    def forward(self, tokens: Tensor, encoded: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute what follows each subword when all before it are given.

        Args:
            tokens: int64 (B, L), each text beginning with EOS and filled with PAD at its end.
            encoded: (B, T, memory_dim).
            padding: bool (B, T), True after an utterance's end.

        Returns:
            Logits (B, L, subwords).
        """
        x = self._embedded(tokens, positions(tokens))
        visible = None if padding is None else ~padding[:, None, None]
        for layer in self._stack:
            if not (self.training and torch.rand(()) <= self.settings.layerdrop):
                x = layer(x, layer.encoder_attn.remember(encoded), visible)
        return self._logits(x)

    def begin(self, encoded: Tensor) -> Memory:
        """Prepare to write one utterance, encoded as (1, T, memory_dim)."""
        if len(encoded) != 1:
            raise InputError(f"one utterance is written at a time; got {len(encoded)}")
        return Memory([layer.encoder_attn.remember(encoded) for layer in self._stack])

    def step(self, last: Tensor, memory: Memory) -> Tensor:
        """Compute what follows the last subword of each text.

        Args:
            last: int64 (n,), none PAD.
            memory: Of the subwords before; is extended.

        Returns:
            Logarithms of probabilities, float32 (n, subwords).
        """
        memory.length += 1
        x = self._embedded(last[:, None], last.new_full((1, 1), PAD + memory.length))
        for layer, (keys, values), said in zip(self._stack, memory.seen, memory.said, strict=True):
            # All texts see the same utterance, which a view repeats without copying.
            seen = keys.expand(len(last), -1, -1, -1), values.expand(len(last), -1, -1, -1)
            x = layer(x, seen, None, said)
        return F.log_softmax(self._logits(x)[:, 0].float(), 1)

    @property
    def _stack(self) -> list[_DecoderLayer]:
        return cast("list[_DecoderLayer]", list(self.layers))

    def _embedded(self, tokens: Tensor, places: Tensor) -> Tensor:
        x: Tensor = self.embed_tokens(tokens)
        if self.settings.scaled:
            x = x * math.sqrt(self.settings.dim)
        return F.dropout(x + sinusoids(places, x.shape[2]), self.settings.dropout, self.training)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self.layer_norm(x), self.embed_tokens.weight)


class _DecoderLayer(nn.Module):
    """Attention to the text so far and to what was encoded, and two linear layers."""

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        dim, dropout = settings.dim, settings.attention_dropout
        self.self_attn = Attention(dim, settings.heads, dropout)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.encoder_attn = Attention(dim, settings.heads, dropout, settings.memory_dim)
        self.encoder_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, settings.ffn)
        self.fc2 = nn.Linear(settings.ffn, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(settings.dropout)
        self.ffn_dropout = nn.Dropout(settings.activation_dropout)
        self.norm_first = settings.norm_first

    def forward(
        self,
        x: Tensor,
        seen: tuple[Tensor, Tensor],
        visible: Tensor | None,
        said: Said | None = None,
    ) -> Tensor:
        """Compute (B, L, dim) from the same; with `said`, x is only what comes after it."""
        x = self._past(x, self.self_attn_layer_norm, lambda new: self._look_back(new, said))
        x = self._past(
            x, self.encoder_attn_layer_norm, lambda new: self.encoder_attn(new, seen, visible)
        )
        return self._past(x, self.final_layer_norm, self._think)

    def _look_back(self, x: Tensor, said: Said | None) -> Tensor:
        remembered = self.self_attn.remember(x)
        if said is not None:
            remembered = said.extend(remembered)
        attended: Tensor = self.self_attn(x, remembered, causal=said is None)
        return attended

    def _think(self, x: Tensor) -> Tensor:
        thought: Tensor = self.fc2(self.ffn_dropout(F.relu(self.fc1(x))))
        return thought

    def _past(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            return x + self.dropout(part(norm(x)))
        normalised: Tensor = norm(x + self.dropout(part(x)))
        return normalised


class Said:
    """Keys and values of the subwords so far in one layer, each (n, heads, L, dim / heads)."""

    def __init__(self) -> None:
        self.held: tuple[Tensor, Tensor] | None = None

    def extend(self, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Add those of new subwords; returns all."""
        if self.held is not None:
            new = torch.cat([self.held[0], new[0]], 2), torch.cat([self.held[1], new[1]], 2)
        self.held = new
        return new

    def keep(self, rows: Tensor) -> None:
        """Go on with these texts."""
        if self.held is not None:
            self.held = self.held[0][rows], self.held[1][rows]


class Memory:
    """What a decoder need not compute again for the next subword.

    Attributes:
        seen: Keys and values of what was encoded, for each layer; the same for all texts.
        said: Those of the subwords so far, for each layer.
        length: How many these are.
    """

    def __init__(self, seen: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.seen, self.said, self.length = seen, [Said() for _ in seen], 0

    def keep(self, rows: Tensor) -> None:
        """Go on with the texts of these numbers, in this order; repetitions are allowed."""
        for one in self.said:
            one.keep(rows)


def positions(tokens: Tensor) -> Tensor:
    """Number the subwords of texts (B, L) from PAD + 1 on; PAD keeps its own number."""
    real = tokens != PAD
    return real.cumsum(1) * real + PAD


def sinusoids(places: Tensor, dim: int) -> Tensor:
    """Compute what is added at each place, float32 (B, L, dim); nothing at PAD.

    The first half are sines, the second cosines, of waves from 1 to 10,000 places long / 2 pi.
    """
    half = dim // 2
    rates = torch.exp(torch.arange(half, device=places.device) * -(math.log(10000) / (half - 1)))
    phases = places[..., None].float() * rates
    waves = torch.cat([phases.sin(), phases.cos()], -1)
    return waves.masked_fill((places == PAD)[..., None], 0.0)


class Hypothesis(NamedTuple):
    """A text that a search found.

    Attributes:
        tokens: Its subwords without the end.
        score: Logarithm of its probability over its length, with the end, to the penalty's power.
    """

    tokens: tuple[int, ...]
    score: float


def beam_search(
    follow: Callable[[Tensor, Tensor], Tensor],
    beam: int,
    length_penalty: float,
    max_subwords: int,
    device: torch.device | str = "cpu",
) -> list[Hypothesis]:
    """Find probable texts as fairseq does.

    At each step the best 2 `beam` continuations of all texts are looked at: those among the best
    `beam` that end are finished, and the best `beam` that do not end go on. The search is over
    when `beam` texts are finished or none may go on. PAD is never chosen, and no text is empty.

    Args:
        follow: Is told for each text the text that it continues, int64 (n,), as a number among
            those of the call before, and its last subword, int64 (n,); returns the logarithms of
            the probabilities of what follows, (n, subwords). First it is called for one text that
            is EOS.
        beam: Texts that are followed at once.
        length_penalty: Above 1 favours longer texts.
        max_subwords: Of a text without its end; at least 1.
        device: Where to search.

    Returns:
        At most `beam` texts, the best first.

    Raises:
        InputError: Beam or length is not positive.
    """
    if beam < 1 or max_subwords < 1:
        raise InputError(f"beam and length are positive; got {beam} and {max_subwords}")
    texts = torch.empty(1, 0, dtype=torch.int64, device=device)
    parents, last = torch.zeros(2, 1, dtype=torch.int64, device=device)
    last += EOS
    scores = torch.zeros(1, device=device)
    finished: list[Hypothesis] = []
    for length in range(max_subwords + 1):
        allowed = _allowed(follow(parents, last), length, max_subwords)
        n = allowed.shape[1]
        width = min(beam, n - 1)
        best, places = (
            (scores[:, None] + allowed).flatten().topk(min(2 * width, allowed.numel() - 1))
        )
        parents, last = places // n, places % n
        possible, ends = best > -math.inf, last == EOS
        for row in torch.nonzero((ends & possible)[:width])[: width - len(finished), 0].tolist():
            tokens = tuple(texts[parents[row]].tolist())
            finished.append(Hypothesis(tokens, float(best[row]) / (length + 1) ** length_penalty))
        rows = torch.nonzero(possible & ~ends)[:width, 0]
        if len(finished) >= width or len(rows) == 0:
            break
        parents, last, scores = parents[rows], last[rows], best[rows]
        texts = torch.cat([texts[parents], last[:, None]], 1)
    return sorted(finished, key=lambda one: -one.score)


def _allowed(log_probs: Tensor, length: int, max_subwords: int) -> Tensor:
    """Forbid PAD, an end at the beginning, and anything but the end when a text is full."""
    forbidden = torch.zeros_like(log_probs, dtype=torch.bool)
    if length >= max_subwords:
        forbidden[:] = True
        forbidden[:, EOS] = False
    forbidden[:, PAD] = True
    if length == 0:
        forbidden[:, EOS] = True
    return log_probs.nan_to_num(nan=-math.inf, neginf=-math.inf).masked_fill(forbidden, -math.inf)
