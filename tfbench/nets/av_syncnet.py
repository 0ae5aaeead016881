"""AV-SyncNet: AV-HuBERT that reads lips, with the features of sound and of lips close together.

"SyncTalklip: Highly Synchronized Lip-Readable Speaker Generation with Multi-Task Learning", 2024,
Sections 3.2 and 3.4, Equations 4 and 5. Sound alone and mouths alone go through one encoder; a
decoder writes what was said from the mouths' features; the distance of the two at each frame is
the sum of absolute differences. The variant `conv` compares them after a convolution over time.

Deviations: F of Equation 5 is 1; see `tfbench.evaluators.av_syncnet`. The authors' code shows no
AV-SyncNet apart from AV-HuBERT.
Not in the paper, decided here: the convolution of `conv` keeps the width, sees an odd number of
frames, begins as the mean of what it sees and serves both streams; frames after an utterance's end
count as zeros there. Nothing but the distance trains it, which it could bring to 0 by making all
features small or all of them the same: what it reads lacks the utterance's mean, it has no bias,
and what it makes is normalised over the width, without learned factors. The decoder reads the
features before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import ConfigError
from tfbench.nets import avhubert
from tfbench.nets._avhubert_decoder import EOS, PAD
from tfbench.nets.avhubert import AVHubertReader, DecoderSettings, EncoderSettings, Reading
from tfbench.nets.bundle import load_shipped
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.nets.avhubert import AVHubert

__all__ = [
    "VARIANTS",
    "AVSyncNet",
    "build",
    "filled",
    "from_reader",
    "l1_distances",
    "lip_loss",
    "load",
    "seeded",
]

VARIANTS: dict[str, str] = {**avhubert.VARIANTS, "puppets": "", "grid": ""}
"""Variant -> the asset that it reads, "" for weights that this package ships. Those with an asset
are official readers without alignment, to compare with."""

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""The first four numbers of fairseq's dictionaries."""
UNKNOWN = SPECIALS.index("<unk>")


class AVSyncNet(nn.Module):
    """Reads lips, and measures how far what is heard is from what is seen.

    Args:
        encoder: Arguments of `EncoderSettings`.
        decoder: Arguments of `DecoderSettings`; `subwords` and `memory_dim` need not be given.
        subwords: Pieces with their scores, without fairseq's four special ones. Scores may be
            None, all of them; see `AVHubertReader`.
        align_kernel: Frames that the convolution before the alignment sees, odd; 0 for none.
        reading: Arguments of `Reading`.

    Attributes:
        settings: The arguments, as JSON holds them.
        reader: The encoder and the decoder.

    Raises:
        ConfigError: They do not fit together.
    """

    def __init__(
        self,
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        subwords: Sequence[Sequence[Any]],
        align_kernel: int = 0,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if align_kernel < 0 or (align_kernel and align_kernel % 2 == 0):
            raise ConfigError(
                f"the convolution before the alignment sees an odd number of frames, or 0 for "
                f"none; got {align_kernel}"
            )
        pieces = [(str(piece), score) for piece, score in subwords]
        symbols = (*SPECIALS, *(piece for piece, _ in pieces))
        scores = [score for _, score in pieces]
        known = None if None in scores else (0.0,) * len(SPECIALS) + tuple(map(float, scores))
        widths = tuple(encoder.get("widths", EncoderSettings.widths))
        wanted = EncoderSettings(**{**encoder, "widths": widths, "classes": ()})
        sizes = {**decoder, "subwords": len(symbols), "memory_dim": wanted.dim}
        self.reader = AVHubertReader(
            wanted, DecoderSettings(**sizes), symbols, Reading(**(reading or {})), known
        )
        self.alignment = _Mean(wanted.dim, align_kernel) if align_kernel else nn.Identity()
        self.settings: dict[str, Any] = {
            "encoder": {**asdict(wanted), "widths": list(wanted.widths), "classes": []},
            "decoder": asdict(self.reader.decoder.settings),
            "subwords": [list(pair) for pair in pieces],
            "align_kernel": align_kernel,
            "reading": asdict(self.reader.reading),
        }

    @property
    def encoder(self) -> AVHubert:
        """What both streams go through."""
        return self.reader.encoder

    @property
    def dim(self) -> int:
        """Width of features, D."""
        return self.reader.encoder.settings.dim

    def hear(self, audio: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute the features of sound alone, f_a.

        Args:
            audio: float32 (B, T, 104), of `tfbench.nets.avhubert.audio_features`.
            padding: bool (B, T), True after an utterance's end.

        Returns:
            (B, T, D).

        Raises:
            InputError: Shapes do not agree, or there is no frame.
        """
        return self.encoder(None, audio, padding).last

    def see(self, video: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute the features of mouths alone, f_v.

        Args:
            video: float32 (B, T, 88, 88), of `tfbench.nets.avhubert.normalised`.
            padding: bool (B, T), True after an utterance's end.

        Returns:
            (B, T, D).

        Raises:
            InputError: Shapes do not agree, or there is no frame.
        """
        return self.encoder(video, None, padding).last

    def align(self, features: Tensor, padding: Tensor | None = None) -> Tensor:
        """Prepare features for comparison: `conv`'s convolution over time, otherwise nothing.

        The mean over an utterance's frames is taken off before, and each frame of the result has
        mean 0 and variance 1 over the width.

        Args:
            features: (B, T, D), of `hear` or `see`.
            padding: bool (B, T), True after an utterance's end.

        Returns:
            (B, T, D).
        """
        if not self.settings["align_kernel"]:
            return features
        if padding is None:
            padding = torch.zeros(features.shape[:2], dtype=torch.bool, device=features.device)
        beyond = padding[..., None]
        counted = features.masked_fill(beyond, 0.0)
        mean = counted.sum(1, keepdim=True) / (~beyond).sum(1, keepdim=True)
        aligned: Tensor = self.alignment((counted - mean).masked_fill(beyond, 0.0))
        return aligned

    def write_logits(
        self,
        seen: Tensor,
        tokens: Tensor,
        padding: Tensor | None = None,
        word_drop: float = 0.0,
    ) -> Tensor:
        """Compute the probabilities of given texts, each subword from the true ones before it.

        Args:
            seen: (B, T, D), of `see`, or of `hear`.
            tokens: int64 (B, L), what is to be written, of `filled`.
            padding: bool (B, T), True after an utterance's end.
            word_drop: Share of the subwords before, but never the beginning, that the decoder is
                not told, in training, so that it has to look.

        Returns:
            Logits (B, L, subwords); those at (b, l) are for `tokens[b, l]`.
        """
        before = torch.cat([tokens.new_full((len(tokens), 1), EOS), tokens[:, :-1]], 1)
        # The end of a shorter text is no subword before the filling after it.
        before = before.masked_fill(tokens == PAD, PAD)
        if word_drop:
            hidden = torch.rand(before.shape, device=before.device) < word_drop
            before = before.masked_fill(hidden & (before > EOS), UNKNOWN)
        logits: Tensor = self.reader.decoder(before, seen, padding)
        return logits

    def read(self, features: Tensor) -> str:
        """Search for the most probable text.

        Args:
            features: (1, T, D), of `see`, or of `hear`.

        Returns:
            Lower case words.
        """
        return self.spell(self.reader.search(features)[0].tokens)

    def tokenise(self, text: str) -> tuple[int, ...]:
        """Cut a text into subwords, with EOS at the end; see `AVHubertReader.tokenise`."""
        return self.reader.tokenise(text)

    def spell(self, tokens: Sequence[int]) -> str:
        """Join subwords to words."""
        return self.reader.spell(tokens)


class _Mean(nn.Module):
    """A convolution over time that begins as a mean, and is normalised over the width."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        # With a bias, constant features would bring the distance to 0.
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(dim)[:, :, None].expand(-1, -1, kernel) / kernel)

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = self.conv(features.transpose(1, 2)).transpose(1, 2)
        return F.layer_norm(mixed, mixed.shape[-1:])


def l1_distances(a: Tensor, v: Tensor) -> Tensor:
    """Compute the distance of Equations 5 and 11: the sum of absolute differences.

    Args:
        a: (..., D).
        v: (..., D), of a shape that broadcasts with that of `a`.

    Returns:
        (...), 0 or more.
    """
    return (a - v).abs().sum(-1)


def lip_loss(logits: Tensor, tokens: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Compute Equation 4: minus the logarithm of a text's probability, the mean over texts.

    It is summed over the subwords of a text, as the equation and the fine-tuning of AV-HuBERT
    (`sentence_avg`) do. Smoothing is fairseq's (`label_smoothed_cross_entropy`): of the wanted
    probability the share is spread over all other subwords.

    Args:
        logits: (B, L, subwords), of `AVSyncNet.write_logits`.
        tokens: int64 (B, L), of `filled`.
        label_smoothing: The share, 0 to below 1.

    Returns:
        ().
    """
    log_probs = logits.float().log_softmax(-1)
    wanted = log_probs.gather(2, tokens[..., None])[..., 0]
    others = (log_probs.sum(-1) - wanted) / (logits.shape[-1] - 1)
    losses = -(1 - label_smoothing) * wanted - label_smoothing * others
    return losses.masked_fill(tokens == PAD, 0.0).sum(1).mean()


def filled(texts: Sequence[Sequence[int]]) -> Tensor:
    """Put texts of `tokenise` side by side, int64 (B, L), filled with PAD at their ends."""
    rows = [torch.tensor(text, dtype=torch.int64) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def from_reader(reader: AVHubertReader) -> AVSyncNet:
    """Take an AV-HuBERT that reads lips in the place of an AV-SyncNet, without alignment.

    Args:
        reader: Is shared, not copied.
    """
    numbers = range(len(SPECIALS), len(reader.subwords))
    scores = reader.scores
    subwords = [(reader.subwords[n], None if scores is None else scores[n]) for n in numbers]
    with torch.device("meta"):
        net = AVSyncNet(
            asdict(reader.encoder.settings),
            asdict(reader.decoder.settings),
            subwords,
            reading=asdict(reader.reading),
        )
    net.reader = reader
    return net


def build(settings: Mapping[str, Any]) -> AVSyncNet:
    """Make the network with any weights; `settings` as a bundle's record holds them."""
    return AVSyncNet(**settings)


def load(variant: str) -> Frozen[AVSyncNet]:
    """Load a network.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        MissingAsset: This machine lacks the weights.
        AssetError: The file is not what it should be.
    """
    if not VARIANTS[variant]:
        return load_shipped(f"av_syncnet.{variant}", build)
    reader = avhubert.load(variant)
    # The same sha256, so that this reader cannot both train a method and judge it.
    return Frozen(from_reader(reader.module), f"av_syncnet.{variant}", reader.sha256)


def seeded(seed: int = 0, *, align_kernel: int = 0, **encoder: Any) -> AVSyncNet:
    """Make a very small network with random weights for tests; it knows the letters a to z.

    Args:
        seed: Of the weights.
        align_kernel: As for `AVSyncNet`.
        **encoder: Changes of its encoder.
    """
    small: dict[str, Any] = {
        "layers": 2,
        "dim": 16,
        "ffn": 32,
        "heads": 2,
        "conv_pos": 8,
        "conv_pos_groups": 4,
        "widths": (4, 4, 4, 6, 8),
    }
    letters = [(sign, -3.0) for sign in "\u2581'abcdefghijklmnopqrstuvwxyz"]
    decoder = {"layers": 2, "dim": 16, "ffn": 32, "heads": 2}
    net = AVSyncNet({**small, **encoder}, decoder, letters, align_kernel, {"beam": 3})
    avhubert.draw_weights(net, seed)
    return net.eval()
