"""AV-HuBERT's encoder as pre-training leaves it, with the centres of the clusters it predicted.

`tfbench train avhubert` writes such networks; the variants are those of the authors
(`tfbench.nets.avhubert.ENCODERS`), whose files do not hold their centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tfbench.core.errors import InputError
from tfbench.nets import avhubert
from tfbench.nets.avhubert import AVHubert, EncoderSettings
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VARIANTS", "PretrainedEncoder", "build", "load", "seeded"]

VARIANTS: dict[str, str] = avhubert.ENCODERS

PIECE = 16_384
"""Frames whose distances to all centres are computed at once; bounds memory."""


class PretrainedEncoder(nn.Module):
    """An AV-HuBERT encoder and the clusters whose numbers it learnt to tell.

    Args:
        encoder: Arguments of `EncoderSettings`.
        clusters: How many centres there are, and their width; (0, 0) where nobody knows them.

    Attributes:
        settings: The arguments, as JSON holds them.
        encoder: The network.
        centres: float32 of the shape `clusters`.
    """

    centres: Tensor

    def __init__(self, encoder: Mapping[str, Any], clusters: Sequence[int] = (0, 0)) -> None:
        super().__init__()
        lists = {name: tuple(encoder.get(name, ())) for name in ("classes", "widths")}
        lists = {name: value for name, value in lists.items() if value}
        self.encoder = AVHubert(EncoderSettings(**{**encoder, **lists}))
        made = asdict(self.encoder.settings)
        self.settings: dict[str, Any] = {
            "encoder": {k: list(v) if isinstance(v, tuple) else v for k, v in made.items()},
            "clusters": list(clusters),
        }
        self.register_buffer("centres", torch.zeros(*clusters))

    def label(self, features: Tensor) -> Tensor:
        """Tell the nearest centre of each frame.

        Args:
            features: float (T, width), of what the centres are of.

        Returns:
            int64 (T,).

        Raises:
            InputError: They are of another width, or the centres are not known.
        """
        if features.ndim != 2 or features.shape[1] != self.centres.shape[1]:
            raise InputError(
                f"these clusters are of features (T, {self.centres.shape[1]}); "
                f"got {tuple(features.shape)}"
            )
        centres = self.centres.double()
        pieces = [
            (centres.square().sum(1) - 2 * piece.double() @ centres.T).argmin(1)
            for piece in features.split(PIECE)
        ]
        return torch.cat(pieces)


def build(settings: Mapping[str, Any]) -> PretrainedEncoder:
    """Make the network with any weights; `settings` as a bundle's record holds them."""
    return PretrainedEncoder(**settings)


def load(variant: str) -> Frozen[PretrainedEncoder]:
    """Load an encoder of the authors of AV-HuBERT.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: The file is not what it should be.
    """
    found = avhubert.load_encoder(variant)
    with torch.device("meta"):
        net = PretrainedEncoder(asdict(found.module.settings))
    net.encoder, net.centres = found.module, torch.zeros(0, 0)
    return Frozen(net, f"avhubert_encoder.{variant}", found.sha256)


def seeded(seed: int = 0, clusters: Sequence[int] = (6, 39)) -> PretrainedEncoder:
    """Make a very small one with random weights for tests."""
    encoder = {
        "layers": 2,
        "dim": 16,
        "ffn": 32,
        "heads": 2,
        "conv_pos": 8,
        "conv_pos_groups": 4,
        "widths": (4, 4, 4, 6, 8),
        "label_dim": 8,
        "classes": (clusters[0],),
    }
    net = PretrainedEncoder(encoder, clusters)
    avhubert.draw_weights(net, seed)
    return net.eval()
