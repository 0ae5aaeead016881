"""Word and character error rate of a lip reader: whether the lips can be read.

A network reads the generated clip without its sound, and its text is compared with what was said;
lower is better, and above 100 % is possible. A low rate needs both lips that show the words and a
network that can read: on real clips the best ones err as well, so compare with the method
`ground_truth`. Used so by TalkLip and SyncTalklip with AV-HuBERT (Sxjdwang/TalkLip,
`evaluation/README.md`; facebookresearch/av_hubert, `avhubert/infer_s2s.py`, corpus level as here).
They compare words as LRS2 and LRS3 write them; here both texts pass one of Whisper's normalisers
first, which the lip reader names (see `tfbench.media.text`). TalkLip's other variant, a Conformer
that is told the words before each one, averaged over utterances, is another quantity.

The definition `grammar` asks less: the network is told that a sentence of the GRID corpus is said
(Cooke et al. 2006: command, colour, preposition, letter, digit, adverb, such as "place red at a two
now"), and has to find the word at each of the six places. A small network that fails at free
decoding can do this, and nothing can be inserted or left out, so that errors are words mistaken for
others. But who knows the grammar is often right by chance: sentences drawn from it without a look
at the lips have a WER of 82 % and a CER of 62 %, not 100 % (20,000 drawn pairs; of six places with
n words each, 1 - 1/n is 81 % on average, and the normaliser writes "o one" as the one word "01").
Read a rate against that, and never beside one of `free`. Clips whose transcript is no such sentence
are refused.

The reference is the data set's transcript of the driving speech. Where there is none, a Whisper
network may write one from the driving speech; then the row and the total say so, since its own
errors count against the lips. In Chinese and other scripts without spaces the word rate is
refused and the character rate serves.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import Column, Score, Transcript, ViewKey, Views
from tfbench.media.grammar import GRAMMAR
from tfbench.metrics._error_rates import ErrorRates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfbench.core.types import Part
    from tfbench.nets.frozen import Frozen
    from tfbench.nets.lipreading import GrammarReader, LipReader

__all__ = ["WER", "is_sentence"]


class WER(ErrorRates):
    """Lip-reading error rates.

    Definitions: `free`, the network decodes freely and is told no word; `grammar`, it is told that
    the sentence is one of GRID's. Several tracks of a clip are read one after the other, for
    `grammar` as one sentence; tracks at the same time are refused, since no transcript tells which
    face speaks.

    Args:
        definition: `free` or `grammar`.
        network: A lip reader, see `tfbench.nets.lipreading`; for `grammar` one that has
            `read_grammar`.
        transcriber: A network such as `whisper.base_en` that hears the driving speech where the
            data set has no transcript; None refuses such clips.
    """

    name = "wer"
    optional_networks = ("transcriber",)
    definitions: ClassVar[Mapping[str, str]] = {
        "free": "free decoding",
        "grammar": "decoding constrained to GRID's sentences",
    }
    columns = (
        Column("WER", "%", higher_is_better=False),
        Column("CER", "%", higher_is_better=False),
    )

    def __init__(
        self,
        definition: str | None = None,
        network: Frozen[Any] | None = None,
        transcriber: Frozen[Any] | None = None,
    ) -> None:
        super().__init__(definition, network)
        self.transcriber = transcriber

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """What the lip reader keeps of each frame of the scored clip."""
        judge, reader = self._judge(), self._reader()
        name = f"lips.{judge.name}"
        return (
            ViewKey(
                name,
                "pred",
                reader.crop,
                judge.sha256,
                extract=self._prepare,
                located=reader.located,
            ),
        )

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Read the clip and compare with what was said."""
        parts = _one_after_the_other(views.parts(self.needs[0]))
        reference = self._reference(views)
        if self.definition == "grammar":
            _check_sentence(reference.text)
        understood = self._read([part.values for part in parts])
        return self.rates(views, reference, understood, self._reader().text)

    def update(self, frames: Tensor, text: str, regions: Tensor | None = None) -> None:
        """Add one utterance.

        Args:
            frames: uint8 (T, 3, h, w) RGB at 25 fps, as the lip reader's `crop` cuts them.
            text: What was said.
            regions: float32 (T, ...), for a lip reader that takes whole frames.

        Raises:
            Unscorable: Normalisation leaves nothing of the text, or, for `grammar`, it is no
                sentence of GRID's, the lip reader cannot be told a grammar, or no sentence fits
                into so few frames.
        """
        if self.definition == "grammar":
            _check_sentence(text)
        inputs = [side.to(self.device) for side in (frames, regions) if side is not None]
        with torch.inference_mode():
            mouths = self._prepare(*inputs)
        self.add(text, self._read([mouths]), self._reader().text)

    def _reference(self, views: Views) -> Transcript:
        try:
            return views.transcript()
        except Unscorable as error:
            if self.transcriber is None:
                raise Unscorable(
                    f"{error}; a network on this machine can write one: "
                    "`tfbench assets get whisper-base-en`, then "
                    "`--evaluators SET+wer.transcriber=whisper.base_en`"
                ) from error
        language = "en" if self._reader().text == "english" else None
        waveform = views.speech("driving").waveform.to(self.device)
        text = self.transcriber.module.transcribe(waveform, language)
        return Transcript(text, self.transcriber.name)

    def _read(self, parts: Sequence[Tensor]) -> str:
        if self.definition == "grammar":
            return self._read_grammar(torch.cat(tuple(parts)))
        with torch.inference_mode():
            return " ".join(self._reader().read(mouths.to(self.device)) for mouths in parts)

    def _read_grammar(self, mouths: Tensor) -> str:
        judge = self._judge()
        reader: GrammarReader = judge.module
        if not hasattr(reader, "read_grammar"):
            raise Unscorable(
                f"wer.grammar needs a lip reader that can be told a grammar, and {judge.name} only "
                "decodes freely; take wer.free, or another network, such as one that "
                "`tfbench train lipreader` makes"
            )
        try:
            with torch.inference_mode():
                return reader.read_grammar(mouths.to(self.device), GRAMMAR)
        except InputError as error:
            raise Unscorable(str(error)) from error

    def _prepare(self, *inputs: Tensor) -> Tensor:
        return self._reader().prepare(*inputs)

    def _reader(self) -> LipReader:
        reader: LipReader = self._judge().module
        return reader


def is_sentence(text: str) -> bool:
    """Tell whether a text is a sentence of GRID's grammar; case and punctuation do not matter."""
    said = re.findall(r"[\w']+", text.lower())
    places = GRAMMAR.values()
    return len(said) == len(places) and all(
        word in words for word, words in zip(said, places, strict=True)
    )


def _check_sentence(text: str) -> None:
    """Raise Unscorable where a text is no sentence of GRID's; case and signs do not matter."""
    if not is_sentence(text):
        raise Unscorable(
            f"the reference {text!r} is no sentence of GRID's grammar, such as 'place red at a two "
            "now', and wer.grammar scores no other; take wer.free"
        )


def _one_after_the_other(parts: Sequence[Part]) -> list[Part]:
    """Sort parts by time.

    Raises:
        Unscorable: Two of them share a frame.
    """
    ordered = sorted(parts, key=lambda part: part.start)
    for one, other in pairwise(ordered):
        if other.start < one.stop:
            raise Unscorable(
                f"{one.name} and {other.name} are in the picture at the same time; "
                "the transcript does not tell which of the faces speaks"
            )
    return ordered
