"""Conformer lip readers of Ma et al. and of TalkLip, the second and third readers of papers.

Ma, Petridis and Pantic, "End-to-end audio-visual speech recognition with Conformers", ICASSP 2021;
Ma et al., "Auto-AVSR", ICASSP 2023. A residual network sees the mouth in each frame, a Conformer
all frames, and a transformer and CTC together write the text. Two networks:

- `lrs3`: Auto-AVSR's visual network (mpc001/Visual_Speech_Recognition_for_Multiple_Languages,
  `configs/LRS3_V_WER19.1.ini`), 250 million parameters, 5,049 units of words. Its 19.1 % on LRS3
  were reached with an external model of language (weight 0.3 in that file), which is left out
  here, so that nothing but the lips and the reader's own decoder speaks.
- `talklip`: TalkLip's lip-reading observer 2 (Sxjdwang/TalkLip, `models/conformer_lip_reading.py`,
  `evaluation/conformer_arg.txt`, `evaluation/teacher_force_wer.py`), 40 characters. It looks at
  the middle of the whole frame, which is the mouth only where frames show a face as LRS2's do.
  TalkLip never decodes it freely but tells it the true characters before each one
  (`read_forced`), the WER3 of SyncTalkLip. `read` searches as `lrs3` does.

They differ beyond size: Auto-AVSR's front end has SiLU and its encoder's feed-forward layers ReLU;
TalkLip's, espnet's of version 0.10.6, has SiLU in the latter and normalises features first.

Differences: grays are rounded from floating point where OpenCV's fixed point can be one level off,
and TalkLip's frames are resized before they become gray; Auto-AVSR's mouths are those of
`tfbench.faces.mouth.SteadyMouthCrop`, which tells how near to the reference's they are, and their
landmarks are dlib's, not those of FAN.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.assets import locate
from tfbench.core.errors import AssetError, InputError, UnknownName
from tfbench.faces.crop import WholeFrame
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets._conformer import Decoder, Encoder, Sizes, ctc_head
from tfbench.nets._conformer_frontend import MaFrontend, ShahFrontend
from tfbench.nets._conformer_search import Search, search
from tfbench.nets._crops import draw_weights, luma
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tfbench.core.views import Crop
    from tfbench.media.text import Rules

__all__ = [
    "CHARACTERS",
    "PUBLISHED",
    "UNREAD",
    "VARIANTS",
    "AutoAvsr",
    "Conformer",
    "Sizes",
    "TalkLip",
    "load",
    "read_units",
    "seeded",
    "sizes_of",
]

VARIANTS: dict[str, str] = {"lrs3": "autoavsr-lrs3", "talklip": "talklip-reader-conformer"}

BLANK, END = "<blank>", "<eos>"
CHARACTERS = (BLANK, *" ETOAINSHRLDUYWGCMFBP'VKJXQZ0192856734", END)
"""Characters of `talklip` by number, `evaluation/teacher_force_wer.py`."""
UNREAD = "\N{REPLACEMENT CHARACTER}"
"""Stands where a forced reader expects the end, or a blank, before the text is over."""


class Conformer(nn.Module, ABC):
    """Reads English from mouths; base of the two readers.

    Args:
        sizes: Of the network.
        units: What each number stands for; the blank first, the end last.
        how: Of `read`'s search.
    """

    located = False
    text: Rules = "english"
    side: ClassVar[int]
    """Pixels of a side of the frames that `prepare` takes."""
    window: ClassVar[int]
    """Pixels of a side of their middle that is read."""
    mean: ClassVar[float]
    deviation: ClassVar[float]
    """Of brightness from 0 to 1, over the data on which the network was trained."""

    def __init__(
        self,
        frontend: nn.Module,
        encoder: Encoder,
        sizes: Sizes,
        units: Sequence[str],
        how: Search,
    ) -> None:
        super().__init__()
        if len(units) != sizes.units:
            raise InputError(
                f"a network of {sizes.units} units was given {len(units)}; "
                "take the vocabulary that it was trained with"
            )
        self.sizes, self.units, self.how = sizes, tuple(units), how
        self.frontend = frontend
        self.encoder = encoder
        self.decoder = Decoder(sizes)
        self.ctc = ctc_head(sizes)

    @property
    @abstractmethod
    def crop(self) -> Crop:
        """What of each frame is read."""

    def prepare(self, frames: Tensor, regions: Tensor | None = None) -> Tensor:
        """Keep the middle of each frame, gray; see `tfbench.nets.lipreading.LipReader`.

        Args:
            frames: uint8 (t, 3, side, side) RGB, cut by `crop`.
            regions: None.

        Returns:
            uint8 (t, window, window).

        Raises:
            InputError: The frames are of another type or shape, or there are regions.
        """
        if regions is not None:
            raise InputError("this lip reader takes crops, not whole frames with regions")
        shape = (3, self.side, self.side)
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1:] != shape:
            raise InputError(
                f"this lip reader takes uint8 crops (t, 3, {self.side}, {self.side}); "
                f"got {frames.dtype} {tuple(frames.shape)}"
            )
        edge = (self.side - self.window) // 2
        middle = frames[:, :, edge : edge + self.window, edge : edge + self.window]
        return luma(middle).round().byte()

    def encode(self, mouths: Tensor, least: int = 0) -> Tensor:
        """Compute what is known of each frame.

        Args:
            mouths: uint8 (T, window, window), of `prepare`.
            least: With fewer frames than this, features of 0 are put around, half before.

        Returns:
            float32 (T or least, dim).

        Raises:
            InputError: The mouths are of another type or shape, or there is none.
        """
        wanted = (self.window, self.window)
        if mouths.dtype != torch.uint8 or mouths.shape[1:] != wanted or not len(mouths):
            raise InputError(
                f"this lip reader reads uint8 mouths (T, {self.window}, {self.window}), T 1 or "
                f"more; got {mouths.dtype} {tuple(mouths.shape)}"
            )
        features = self.frontend((mouths.float() / 255 - self.mean) / self.deviation)
        missing = max(least - len(mouths), 0)
        padded = F.pad(features, (0, 0, missing // 2, missing - missing // 2))
        encoded: Tensor = self.encoder(padded)
        return encoded

    def ctc_log_probs(self, encoded: Tensor) -> Tensor:
        """Compute CTC's log probabilities, float32 (T, units), of float32 (T, dim)."""
        logits: Tensor = self.ctc["ctc_lo"](encoded)
        return logits.log_softmax(-1)

    def told(self, encoded: Tensor, units: Sequence[int]) -> Tensor:
        """Compute the decoder's distribution at each place of a text, given the true units before.

        Args:
            encoded: float32 (T, dim), of `encode`.
            units: Numbers of the n units of the text.

        Returns:
            Log probabilities float32 (n + 1, units); the last is of what follows the text.
        """
        given = torch.tensor([[self.sizes.units - 1, *units]], device=encoded.device)
        return self.decoder(given, encoded)[0][0]

    def read(self, mouths: Tensor) -> str:
        """Decode an utterance freely by `how`, without an external model of language.

        Args:
            mouths: uint8 (T, window, window), of `prepare`.

        Returns:
            Lower case words; "" where nothing is said.
        """
        if not len(mouths):
            return ""
        encoded = self.encode(mouths)

        def step(units: Tensor, known: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
            return self.decoder(units, encoded, known)

        best = search(step, self.ctc_log_probs(encoded), self.how)[0]
        joined = "".join(self.units[unit] for unit in best.units)
        return " ".join(joined.replace("\u2581", " ").lower().split())


class AutoAvsr(Conformer):
    """Auto-AVSR's visual network.

    Args:
        sizes: Of the network.
        units: See `Conformer`; "\u2581" begins a word.
        how: Of the search.
        prelu: Whether the front end has PReLU.
        landmarks: Variant of `tfbench.nets.landmarks` by which mouths are found.
    """

    side, window = 96, 88
    mean, deviation = 0.421, 0.165

    def __init__(
        self,
        sizes: Sizes,
        units: Sequence[str],
        how: Search = Search(),  # noqa: B008 - it is frozen
        prelu: bool = False,
        landmarks: str = "dlib68",
    ) -> None:
        encoder = Encoder(sizes, nn.ReLU(), normed=False)
        super().__init__(MaFrontend(prelu), encoder, sizes, units, how)
        self.landmarks = landmarks

    @cached_property
    def crop(self) -> Crop:
        """Mouths aligned by landmarks, 96 x 96.

        Raises:
            MissingAsset: The landmark network is not on this machine.
        """
        from tfbench.faces.mouth import SteadyMouthCrop
        from tfbench.nets import landmarks

        points = landmarks.landmark_view(landmarks.load(self.landmarks), "pred")
        return SteadyMouthCrop(points, self.side)


class TalkLip(Conformer):
    """TalkLip's lip-reading observer 2.

    Args:
        sizes: Of the network.
        units: Characters, see `Conformer`.
        how: Of `read`'s search, which TalkLip does not have.
    """

    side, window = 224, 112
    mean, deviation = 0.4161, 0.1688

    def __init__(
        self,
        sizes: Sizes,
        units: Sequence[str] = CHARACTERS,
        how: Search = Search(beam=20),  # noqa: B008 - it is frozen
    ) -> None:
        encoder = Encoder(sizes, nn.SiLU(), normed=True)
        super().__init__(ShahFrontend(), encoder, sizes, units, how)

    @property
    def crop(self) -> Crop:
        """The whole frame, 224 x 224: LRS2's frames are placed around the face already."""
        return WholeFrame(self.side)

    def read_forced(self, mouths: Tensor, text: str) -> str:
        """Read each character, told the true ones before; see `lipreading.ForcedReader`.

        As TalkLip does, a clip with fewer frames than CTC would need for the text is filled up.

        Args:
            mouths: uint8 (T, 112, 112), of `prepare`.
            text: What was said, in letters, digits, apostrophes and spaces; case does not matter.

        Returns:
            A lower case character for each of the text, `UNREAD` where the reader saw none; at the
            last place nothing where it saw the end.

        Raises:
            InputError: The text has another character, or there is no frame.
        """
        places = self._spelt(text)
        repeats = sum(one == other for one, other in pairwise(places))
        log_probs = self.told(self.encode(mouths, len(places) + repeats), places)
        read = log_probs.argmax(-1).tolist()[: len(places)]
        end = self.sizes.units - 1
        if read[-1:] == [end]:
            read.pop()
        return "".join(UNREAD if n in {0, end} else self.units[n].lower() for n in read)

    def _spelt(self, text: str) -> list[int]:
        numbers = {unit: number for number, unit in enumerate(self.units[1:-1], 1)}
        plain = text.upper()
        strange = sorted(set(plain) - numbers.keys())
        if strange:
            raise InputError(
                f"this lip reader has no sign for {', '.join(map(repr, strange))} of {text!r}; "
                "it has letters a to z, digits, apostrophe and space"
            )
        return [numbers[sign] for sign in plain]


@dataclass(frozen=True)
class Published:
    """How a published network is built.

    Attributes:
        build: Its class.
        sizes: Its sizes.
        vocabulary: Asset that lists its units; "" for `CHARACTERS`.
        renamed: Parts of names in its file -> names here.
    """

    build: type[AutoAvsr | TalkLip]
    sizes: Sizes
    vocabulary: str
    renamed: Mapping[str, str]


PUBLISHED: dict[str, Published] = {
    "lrs3": Published(
        AutoAvsr,
        Sizes(),
        "autoavsr-units",
        {"encoder.frontend.": "frontend.", ".pointwise_cov": ".pointwise_conv"},
    ),
    "talklip": Published(
        TalkLip,
        Sizes(256, 4, 12, 2048, 31, 6, 2048, len(CHARACTERS)),
        "",
        {"visual_frontend.": "frontend."},
    ),
}


def load(variant: str) -> Frozen[AutoAvsr | TalkLip]:
    """Load a published network.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        UnknownName: There is no such variant.
        MissingAsset: Its weights or its vocabulary are not on this machine.
        AssetError: The file is of another network, size or vocabulary, or cannot be read.
    """
    if variant not in VARIANTS:
        raise UnknownName(f"no Conformer lip reader '{variant}'; there are {', '.join(VARIANTS)}")
    chosen = PUBLISHED[variant]
    path = locate(VARIANTS[variant])
    units = read_units(locate(chosen.vocabulary)) if chosen.vocabulary else CHARACTERS
    what = f"{path} as conformer.{variant}"
    return Frozen(_filled(chosen, read_state(path), units, what), f"conformer.{variant}")


def _filled(
    chosen: Published, state: Mapping[str, Tensor], units: Sequence[str], what: str
) -> AutoAvsr | TalkLip:
    """Build a published network with the weights of a published state dict.

    Raises:
        AssetError: They are those of another network.
    """
    named = {_renamed(name, chosen.renamed): value for name, value in state.items()}
    found = sizes_of(named, what)
    if found != chosen.sizes:
        raise AssetError(f"{what}: it has {found}, not {chosen.sizes}; take the file of its page")
    if len(units) != found.units:
        raise AssetError(
            f"{what}: it has {found.units} units and its vocabulary {len(units)}; "
            "the two files do not belong together"
        )
    net = chosen.build(found, units)
    fill(net, named, what)
    return net


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def sizes_of(state: Mapping[str, Tensor], what: str) -> Sizes:
    """Read the sizes of a network off the shapes in its state dict.

    Args:
        state: Name, as here -> tensor.
        what: The file, for messages.

    Raises:
        AssetError: It is no Conformer lip reader.
    """
    first, decoder = "encoder.encoders.0.", "decoder.decoders.0."
    try:
        return Sizes(
            dim=state["encoder.embed.0.weight"].shape[0],
            heads=state[f"{first}self_attn.pos_bias_u"].shape[0],
            layers=_count(state, "encoder.encoders."),
            hidden=state[f"{first}feed_forward.w_1.weight"].shape[0],
            kernel=state[f"{first}conv_module.depthwise_conv.weight"].shape[-1],
            decoder_layers=_count(state, "decoder.decoders."),
            decoder_hidden=state[f"{decoder}feed_forward.w_1.weight"].shape[0],
            units=state["decoder.output_layer.weight"].shape[0],
        )
    except (KeyError, IndexError) as error:
        raise AssetError(
            f"{what}: it is no Conformer lip reader, since it lacks {error}"
        ) from error


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.split(".")[2] for name in state if name.startswith(prefix)})


def read_units(path: Path) -> tuple[str, ...]:
    """Read a list of units: one a line, with its number after a space, from 1.

    Returns:
        The blank, the units in their order, the end.

    Raises:
        AssetError: The file is something else.
    """
    try:
        rows = [line.split(" ") for line in path.read_text("utf-8").rstrip("\n").split("\n")]
        units = tuple(unit for unit, number in rows)
        numbers = [int(number) for _, number in rows]
    except ValueError as error:
        raise AssetError(f"{path} is no list of units with their numbers: {error}") from error
    if not units or numbers != list(range(1, len(units) + 1)):
        raise AssetError(f"{path} is no list of units: its numbers are not 1, 2, ...")
    return (BLANK, *units, END)


def seeded(
    build: type[AutoAvsr | TalkLip],
    sizes: Sizes,
    units: Sequence[str] = CHARACTERS,
    seed: int = 0,
    **settings: Any,
) -> AutoAvsr | TalkLip:
    """Build with weights drawn from a seed; for tests."""
    net = build(sizes, units, **settings)
    draw_weights(net, seed)
    return net.eval()
