"""What a network must offer to read lips for the word error rate, and what it may offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from tfbench.core.views import Crop
    from tfbench.media.text import Rules

__all__ = ["ForcedReader", "GrammarReader", "LipReader"]


class LipReader(Protocol):
    """Reads what a face says from its frames alone, without being told the words.

    A clip is read in two steps. `prepare` sees its frames in pieces, in order, while the clip is
    decoded, and keeps of each frame what reading needs, such as a small mouth crop; `read` sees
    that of all frames at once.
    """

    @property
    def crop(self) -> Crop:
        """What of each frame `prepare` is fed."""

    @property
    def located(self) -> bool:
        """Whether `prepare` takes whole frames with the crop's regions."""

    @property
    def text(self) -> Rules:
        """How the text that it writes, and the reference, are normalised before they are compared.

        "english" is also how the language that it reads is known to a transcriber.
        """

    def prepare(self, frames: Tensor, regions: Tensor | None = None) -> Tensor:
        """Keep of each frame what reading needs.

        Args:
            frames: uint8 (t, 3, h, w) RGB at 25 fps, as `crop` cuts them; whole frames where
                `located` is true.
            regions: float32 (t, ...), of `crop`; only where `located` is true.

        Returns:
            (t, ...), of the same type and shape for every frame.
        """

    def read(self, mouths: Tensor) -> str:
        """Decode an utterance freely.

        Args:
            mouths: (T, ...), what `prepare` made of consecutive frames.

        Returns:
            The words, not normalised; "" where nothing is said.
        """


class GrammarReader(LipReader, Protocol):
    """A lip reader that can also be told of which sentences one was said."""

    def read_grammar(self, mouths: Tensor, grammar: Mapping[str, Sequence[str]]) -> str:
        """Decode an utterance that is a sentence of a grammar.

        Args:
            mouths: (T, ...), what `prepare` made of consecutive frames.
            grammar: Place -> the words of which one stands there; places in their order.

        Returns:
            One word for each place, with one space between them.

        Raises:
            InputError: No sentence fits into so few frames.
        """


class ForcedReader(LipReader, Protocol):
    """A lip reader that can also be told the text and asked what it sees at each place of it."""

    def read_forced(self, mouths: Tensor, text: str) -> str:
        """Read an utterance with the true text before each place given (teacher forcing).

        Args:
            mouths: (T, ...), what `prepare` made of consecutive frames.
            text: What was said: lower case words with one space between them.

        Returns:
            The most probable sign at each place, spaces among them, in lower case and not
            normalised. Where it sees none, such as an end before the end, a sign that no text has.

        Raises:
            InputError: The text has a sign that it cannot be told, or there is no frame.
        """
