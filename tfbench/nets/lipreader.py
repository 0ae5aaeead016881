"""A small lip reader of the kind of LipNet that this project trains.

Assael et al., "LipNet: End-to-End Sentence-level Lipreading", 2016, table 5: three convolutions
over time and space, each with pooling and dropout of whole channels, two bidirectional GRUs and
CTC over characters. Widths, sizes and what is between convolutions and GRUs are settings.

Deviations from the paper, by default: narrower layers; gray mouths instead of colour; the mouth
is 48 pixels square; each utterance is brought to mean 0 and variance 1 instead of normalising
with the means of a data set; batch normalisation after each convolution, which lets a few hundred
clips suffice; a linear layer in front of the GRUs, which otherwise would hold most of the
weights; and an apostrophe among the characters. `LIPNET` are the settings of the paper's widths,
with the 88 pixels square that lip readers after it take, instead of 100 x 50.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from tfbench.core.errors import InputError
from tfbench.nets._crops import draw_weights, luma
from tfbench.nets._ctc import WordLattice, beam_search
from tfbench.nets.bundle import load_shipped
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tfbench.core.views import Crop
    from tfbench.media.text import Rules

__all__ = [
    "ALPHABET",
    "CROP",
    "LIPNET",
    "VARIANTS",
    "LipReader",
    "build",
    "gray",
    "load",
    "seeded",
    "spell",
    "standardised",
]

VARIANTS: dict[str, str] = {
    "grid": "",
    "grid_supervisor": "",
    "puppets": "",
    "puppets_supervisor": "",
}

ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"
"""Symbols 1, 2, ... of the network; 0 is the blank."""
CROP = 96
"""Pixels of a side of the aligned crop."""
LIPNET = {
    "window": 88,
    "size": 88,
    "widths": (32, 64, 96),
    "kernels": (5, 5, 3),
    "features": 0,
    "hidden": 256,
    "dropout": 0.5,
}
"""Settings of the paper's widths."""

NOT_FLAT = 1e-3
"""Least standard deviation of an utterance, of brightness from 0 to 1: a flat picture stays so."""


class LipReader(nn.Module):
    """Reads English from mouths, one character after the other.

    Args:
        window: Pixels of a side of the crop's centre that is read.
        size: Pixels of a side to which that is shrunk.
        widths: Channels of the three convolutions.
        kernels: Their sides in space; in time all have 3.
        features: What a linear layer leaves of each frame for the GRUs; 0 for no such layer.
        hidden: Of a GRU in each direction.
        dropout: Share of channels, and of features, that are dropped in training.
        beam: Prefixes that survive a frame in free decoding.
        landmarks: Variant of `tfbench.nets.landmarks` by which mouths are found.
    """

    located = False
    text: Rules = "english"

    def __init__(
        self,
        window: int = 72,
        size: int = 48,
        widths: Sequence[int] = (16, 32, 64),
        kernels: Sequence[int] = (5, 3, 3),
        features: int = 128,
        hidden: int = 192,
        dropout: float = 0.15,
        beam: int = 16,
        landmarks: str = "dlib68",
    ) -> None:
        super().__init__()
        if not 0 < window <= CROP or window % 2:
            raise InputError(f"the window is even, 2 to {CROP} pixels; got {window}")
        self.settings: dict[str, Any] = {
            "window": window,
            "size": size,
            "widths": list(widths),
            "kernels": list(kernels),
            "features": features,
            "hidden": hidden,
            "dropout": dropout,
            "beam": beam,
            "landmarks": landmarks,
        }
        self.window, self.size, self.beam = window, size, beam
        ins = (1, *widths[:-1])
        layers = zip(ins, widths, kernels, (2, 1, 1), strict=True)
        self.blocks = nn.ModuleList(_Block(*layer, dropout) for layer in layers)
        side = _side_after(size, kernels)
        flat = widths[-1] * side * side
        self.squeeze = _Squeeze(flat, features, dropout) if features else nn.Identity()
        width = features or flat
        self.recurrent = nn.GRU(
            width, hidden, 2, batch_first=True, bidirectional=True, dropout=dropout
        )
        self.drop = nn.Dropout(dropout)
        self.letters = nn.Linear(2 * hidden, 1 + len(ALPHABET))

    @cached_property
    def crop(self) -> Crop:
        """Mouths aligned by landmarks, 96 x 96.

        Raises:
            MissingAsset: The landmark network is not on this machine.
        """
        from tfbench.faces.mouth import MouthCrop
        from tfbench.nets import landmarks

        points = landmarks.landmark_view(landmarks.load(self.settings["landmarks"]), "pred")
        return MouthCrop(points, CROP)

    def prepare(self, frames: Tensor, regions: Tensor | None = None) -> Tensor:
        """Keep the centre of each mouth, gray; see `tfbench.nets.lipreading.LipReader`.

        Args:
            frames: uint8 (t, 3, 96, 96) RGB, cut by `crop`.
            regions: None.

        Returns:
            uint8 (t, window, window).

        Raises:
            InputError: The frames are of another type or shape, or there are regions.
        """
        if regions is not None:
            raise InputError("this lip reader takes crops, not whole frames with regions")
        return self.centre(gray(frames))

    def centre(self, mouths: Tensor) -> Tensor:
        """Cut the window out of the middle of (T, 96, 96)."""
        edge = (CROP - self.window) // 2
        return mouths[:, edge : edge + self.window, edge : edge + self.window]

    def read(self, mouths: Tensor) -> str:
        """Decode an utterance freely by prefix beam search, without a model of language.

        Args:
            mouths: uint8 (T, window, window), of `prepare`.

        Returns:
            Lower case words; "" where nothing is said.
        """
        return decode(self.log_probs(mouths), self.beam)

    def read_grammar(self, mouths: Tensor, grammar: Mapping[str, Sequence[str]]) -> str:
        """Choose the most probable word at each place of a grammar; see `decode_grammar`.

        Args:
            mouths: uint8 (T, window, window), of `prepare`.
            grammar: Place -> its words, in the order in which they are said.

        Raises:
            InputError: No sentence fits into so few frames.
        """
        return decode_grammar(self.log_probs(mouths), grammar)

    def log_probs(self, mouths: Tensor) -> NDArray[np.float64]:
        """Compute each frame's distribution over the blank and `ALPHABET`.

        Args:
            mouths: uint8 (T, window, window), of `prepare`.

        Returns:
            float64 (T, 29), natural logarithms.

        Raises:
            InputError: The mouths are of another type or shape.
        """
        if mouths.dtype != torch.uint8 or mouths.shape[1:] != (self.window, self.window):
            raise InputError(
                f"this lip reader reads uint8 mouths (T, {self.window}, {self.window}); "
                f"got {mouths.dtype} {tuple(mouths.shape)}"
            )
        if len(mouths) == 0:
            return torch.zeros(0, 1 + len(ALPHABET)).double().numpy()
        small = F.interpolate(mouths[None].float() / 255, (self.size, self.size), mode="area")
        with full_precision():
            logits = self([small[0]])[0]
        return logits.detach().double().log_softmax(-1).cpu().numpy()

    def forward(self, utterances: Sequence[Tensor]) -> Tensor:
        """Compute logits (b, T, 29) of the longest utterance's T; arguments as of `look`."""
        logits: Tensor = self.letters(self.drop(self.follow(self.look(utterances))))
        return logits

    def look(self, utterances: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Compute what is seen at each frame and the three on either side of it.

        Args:
            utterances: Each float32 (T, size, size), of any brightness; none changes another.

        Returns:
            For each float32 (T, features).
        """
        x, inside, owner = _in_a_row([standardised(one) for one in utterances])
        for block in self.blocks:
            x = block(x, inside, owner)
        seen: Tensor = self.squeeze(x[0].transpose(0, 1)[inside].flatten(1))
        return seen.split([len(one) for one in utterances])

    def follow(self, seen: Sequence[Tensor]) -> Tensor:
        """Compute what the GRUs know at each frame.

        Args:
            seen: Of `look`.

        Returns:
            float32 (b, T of the longest, 2 hidden), zero after each one's end.
        """
        packed = pack_sequence(list(seen), enforce_sorted=False)
        states: Tensor = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)[0]
        return states


def _in_a_row(utterances: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Put utterances one after the other with a black frame between.

    One frame parts them as the ends of a tensor would, since convolutions reach one frame in time
    and it is made black again after each. Filling all up to the longest would cost half as much
    time again.

    Returns:
        float32 (1, 1, N, h, w); bool (N,), False at the black frames; int64 (N,), the number of
        the utterance.
    """
    device = utterances[0].device
    framed = torch.cat([F.pad(one, (0, 0, 0, 0, 0, 1)) for one in utterances])
    steps = torch.tensor([len(one) + 1 for one in utterances], device=device)
    owner = torch.arange(len(utterances), device=device).repeat_interleave(steps)
    inside = torch.ones(len(framed), dtype=torch.bool, device=device)
    inside[steps.cumsum(0) - 1] = False
    return framed[None, None], inside, owner


class _Block(nn.Module):
    """A convolution over time and space, then pooling by 2 in space.

    Normalisation comes after pooling, where there is a quarter of the numbers.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, dropout: float) -> None:
        super().__init__()
        shape, pad = (3, kernel, kernel), (1, kernel // 2, kernel // 2)
        self.conv = nn.Conv3d(n_in, n_out, shape, (1, stride, stride), pad, bias=False)
        self.norm = nn.BatchNorm3d(n_out)
        self.dropout = dropout

    def forward(self, x: Tensor, inside: Tensor, owner: Tensor) -> Tensor:
        """Compute (1, n_out, N, h', w') from (1, n_in, N, h, w); see `_in_a_row`."""
        x = F.relu(self.norm(F.max_pool3d(self.conv(x), (1, 2, 2))))
        # An utterance loses a channel in all its frames: in one alone it could be guessed.
        kept = x.new_ones(int(owner[-1]) + 1, x.shape[1])
        kept = F.dropout(kept, self.dropout, self.training)[owner] * inside[:, None]
        return x * kept.T[None, :, :, None, None]


class _Squeeze(nn.Module):
    """A linear layer over what the convolutions leave of a frame."""

    def __init__(self, n_in: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.norm = nn.LayerNorm(n_out)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        squeezed: Tensor = self.drop(F.relu(self.norm(self.linear(x))))
        return squeezed


def _side_after(size: int, kernels: Sequence[int]) -> int:
    """Return the side of the last maps.

    Raises:
        InputError: Nothing is left of the picture.
    """
    for number, kernel in enumerate(kernels):
        stride = 1 if number else 2
        size = ((size + 2 * (kernel // 2) - kernel) // stride + 1) // 2
    if size < 1:
        raise InputError("mouths are shrunk to nothing by three poolings; take a larger `size`")
    return size


def standardised(mouths: Tensor) -> Tensor:
    """Bring an utterance (T, h, w) to mean 0 and variance 1, so that light does not matter."""
    centred = mouths - mouths.mean()
    return centred / centred.square().mean().sqrt().clamp(min=NOT_FLAT)


def gray(frames: Tensor) -> Tensor:
    """Turn uint8 (t, 3, 96, 96) RGB into uint8 (t, 96, 96) luma of ITU-R BT.601.

    Raises:
        InputError: The frames are of another type or shape.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != (3, CROP, CROP):
        raise InputError(
            f"this lip reader takes uint8 crops (t, 3, {CROP}, {CROP}); "
            f"got {frames.dtype} {tuple(frames.shape)}"
        )
    return luma(frames).round().byte()


def spell(text: str) -> tuple[int, ...]:
    """Turn a text into symbols, without punctuation and in lower case.

    Returns:
        Numbers of 1 or more, `ALPHABET[number - 1]`.

    Raises:
        InputError: A letter or digit is not of the alphabet, such as 2, which is read "two".
    """
    plain = text.lower().replace("\u2019", "'")
    strange = sorted({sign for sign in plain if sign.isalnum() and sign not in ALPHABET})
    if strange:
        raise InputError(
            f"{text!r} cannot be spelt with a to z: it has {', '.join(strange)}; "
            "write numbers as words"
        )
    words = re.sub(f"[^{ALPHABET}]", " ", plain).split()
    return tuple(ALPHABET.index(sign) + 1 for sign in " ".join(words))


def decode(log_probs: NDArray[np.float64], beam: int) -> str:
    """Find the most probable text by `beam_search`."""
    (best, _), *_ = beam_search(log_probs, beam)
    return " ".join("".join(ALPHABET[number - 1] for number in best).split())


def decode_grammar(log_probs: NDArray[np.float64], grammar: Mapping[str, Sequence[str]]) -> str:
    """Choose the most probable word at each place of a grammar.

    The probability of a word at a place is the exact sum over all sentences and all their
    alignments. Of all sentences the one of these words is expected to have the fewest wrong
    words; it can differ from the most probable sentence.

    Raises:
        InputError: No sentence fits into so few frames, or a word cannot be spelt.
    """
    places = [tuple(spell(word) for word in words) for words in grammar.values()]
    found = WordLattice(places, ALPHABET.index(" ") + 1).posteriors(log_probs)
    pairs = zip(grammar.values(), found, strict=True)
    return " ".join(words[int(posterior.argmax())] for words, posterior in pairs)


def build(settings: Mapping[str, Any]) -> LipReader:
    """Make the network with any weights; `settings` as a bundle's record holds them."""
    return LipReader(**settings)


def load(variant: str) -> Frozen[LipReader]:
    """Load weights that this package ships.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        MissingAsset: This installation lacks them.
    """
    return load_shipped(f"lipreader.{variant}", build)


def seeded(seed: int = 0, **settings: Any) -> LipReader:
    """Build with weights drawn from a seed; for tests."""
    net = LipReader(**settings)
    draw_weights(net, seed)
    return net.eval()
