"""Word and character error rate of a lip reader: whether the lips can be read.

A network reads the generated clip without its sound, and its text is compared with what was said;
lower is better, and above 100 % is possible. A low rate needs both lips that show the words and a
network that can read: on real clips the best ones err as well, so compare with the method
`ground_truth`. Used so by TalkLip and SyncTalklip with AV-HuBERT (Sxjdwang/TalkLip,
`evaluation/README.md`; facebookresearch/av_hubert, `avhubert/infer_s2s.py`, corpus level as here).
They compare words as LRS2 and LRS3 write them; here both texts pass one of Whisper's normalisers
first, which the lip reader names (see `tfbench.media.text`).

The literature's three names are here: WER1 is `wer.free` with avhubert.large_lrs2_talklip, WER2
`wer.free` with avhubert.large_lrs3, and WER3 `wer.teacher_forced` with conformer.talklip.

The definition `grammar` asks less: the network is told that a sentence of the GRID corpus is said
(Cooke et al. 2006: command, colour, preposition, letter, digit, adverb, such as "place red at a two
now"), and has to find the word at each of the six places. A small network that fails at free
decoding can do this, and nothing can be inserted or left out, so that errors are words mistaken for
others. But who knows the grammar is often right by chance: sentences drawn from it without a look
at the lips have a WER of 82 % and a CER of 62 %, not 100 % (20,000 drawn pairs; of six places with
n words each, 1 - 1/n is 81 % on average, and the normaliser writes "o one" as the one word "01").
Read a rate against that, and never beside one of `free`. Clips whose transcript is no such sentence
are refused. The definition `free_grid` refuses them too and tells the network nothing: it is `free`
for data sets that mix GRID's sentences with open ones, as `puppets` does, of which a small network
reads the former alone.

The definition `teacher_forced` is TalkLip's second rate (Sxjdwang/TalkLip, `evaluation/
teacher_force_wer.py`, `utils/metrics.py`). The network is told the whole text: for each character
it gives the most probable one after the true characters before it. The rate of an utterance is
(S + D + I) / N of what these make against the text, both split at spaces and not normalised, and a
data set's is the mean over utterances, not the sum of edits over the sum of words. It must never
stand beside a rate of `free`: a network that knows how words are spelt and how sentences go on can
do well with its eyes shut, one error does not lead to the next, and the length is given. A text
loses its punctuation first, as LRS2's transcripts have none; TalkLip keeps an empty first word
where a space is read first, and so does this.

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
from tfbench.core.types import Column, Score, Transcript
from tfbench.core.views import ViewKey, Views
from tfbench.media.grammar import GRAMMAR
from tfbench.media.text import edit_distance
from tfbench.metrics._error_rates import DATASET, HEARD, ErrorRates, Errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfbench.core.views import Part
    from tfbench.nets.frozen import Frozen
    from tfbench.nets.lipreading import ForcedReader, GrammarReader, LipReader

__all__ = ["WER", "count_forced", "is_sentence", "plain"]

GRID_ALONE = ("free_grid", "grammar")
"""Definitions that refuse sentences of another grammar."""


class WER(ErrorRates):
    """Lip-reading error rates.

    Definitions: `free`, the network decodes freely and is told no word; `free_grid`, the same, and
    other sentences than GRID's are refused; `grammar`, it is told that the sentence is one of
    GRID's; `teacher_forced`, it is told the true characters before each.
    Several tracks of a clip are read one after the other, for `grammar` and `teacher_forced` as one
    sentence; tracks at the same time are refused, since no transcript tells which face speaks.

    Args:
        definition: `free`, `free_grid`, `grammar` or `teacher_forced`.
        network: A lip reader, see `tfbench.nets.lipreading`; for `grammar` one that has
            `read_grammar`, for `teacher_forced` one that has `read_forced`.
        transcriber: A network such as `whisper.base_en` that hears the driving speech where the
            data set has no transcript; None refuses such clips.
    """

    name = "wer"
    judge_has = ("crop", "prepare", "read")
    optional_networks = ("transcriber",)
    definitions: ClassVar[Mapping[str, str]] = {
        "free": "free decoding",
        "free_grid": "free decoding, of GRID's sentences alone",
        "grammar": "decoding constrained to GRID's sentences",
        "teacher_forced": "each character read with the true ones before it given",
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
        if self.definition == "teacher_forced":
            return self._forced_rates(views, reference, [part.values for part in parts])
        self._check(reference.text)
        understood = self._read([part.values for part in parts])
        return self.rates(views, reference, understood, self._reader().text)

    def update(self, frames: Tensor, text: str, regions: Tensor | None = None) -> None:
        """Add one utterance.

        Args:
            frames: uint8 (T, 3, h, w) RGB at 25 fps, as the lip reader's `crop` cuts them.
            text: What was said.
            regions: float32 (T, ...), for a lip reader that takes whole frames.

        Raises:
            Unscorable: Normalisation leaves nothing of the text; for `free_grid` and `grammar`, it
                is no sentence of GRID's; for `grammar`, none fits into so few frames; for
                `teacher_forced`, the lip reader cannot write it; for both, it does not offer it.
        """
        self._check(text)
        inputs = [side.to(self.device) for side in (frames, regions) if side is not None]
        with torch.inference_mode():
            mouths = self._prepare(*inputs)
        if self.definition == "teacher_forced":
            self._add_forced(text, mouths)
        else:
            self.add(text, self._read([mouths]), self._reader().text)

    def _check(self, text: str) -> None:
        """Raise Unscorable where the definition scores GRID's sentences alone and this is none."""
        if self.definition in GRID_ALONE and not is_sentence(text):
            raise Unscorable(
                "the reference is no sentence of GRID's grammar, such as 'place red at a two now', "
                f"and wer.{self.definition} scores no other; take wer.free"
            )

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

    def _read_forced(self, parts: Sequence[Tensor], text: str) -> Errors:
        judge = self._judge()
        reader: ForcedReader = judge.module
        if not hasattr(reader, "read_forced"):
            raise Unscorable(
                f"wer.teacher_forced needs a lip reader that can be told the true characters, and "
                f"{judge.name} only decodes freely; take wer.free, or conformer.talklip"
            )
        said = plain(text)
        if not said:
            raise Unscorable(f"the reference text {text!r} has no word")
        try:
            with torch.inference_mode():
                understood = reader.read_forced(torch.cat(tuple(parts)).to(self.device), said)
        except InputError as error:
            raise Unscorable(str(error)) from error
        return count_forced(said, understood)

    def _forced_rates(
        self, views: Views, reference: Transcript, parts: Sequence[Tensor]
    ) -> tuple[Score, ...]:
        """Make rows whose denominators are 1, so that the ratio of their sums is their mean."""
        errors = self._read_forced(parts, reference.text)
        known = reference.source == DATASET
        origin = "reference of the data set" if known else HEARD + reference.source
        note = f"{origin}; its characters told to the reader; not normalised"
        return tuple(
            Score(
                views.case,
                "clip",
                column.name,
                views.cluster,
                value=rate,
                numerator=rate,
                denominator=1.0,
                note=note,
            )
            for column, rate in zip(self.columns, _percent(errors), strict=True)
        )

    def _add_forced(self, text: str, mouths: Tensor) -> None:
        by_word, by_character = _percent(self._read_forced([mouths], text))
        row = [by_word / 100, 1.0, by_character / 100, 1.0]
        self.counts.append(torch.tensor([row], dtype=torch.float64))

    def _prepare(self, *inputs: Tensor) -> Tensor:
        return self._reader().prepare(*inputs)

    def _reader(self) -> LipReader:
        reader: LipReader = self._judge().module
        return reader


def plain(text: str) -> str:
    """Write a text as it is told to a reader: lower case, no sign but apostrophes of words."""
    said = re.findall(r"[^\W_]+(?:'[^\W_]+)*'?", text.lower().replace("\u2019", "'"))
    return " ".join(said)


def count_forced(said: str, understood: str) -> Errors:
    """Count the edits from what a reader was told to what it saw, as TalkLip does.

    Args:
        said: Words with one space between them.
        understood: Of `read_forced`. Empty words count only at the beginning.

    Returns:
        Edits and lengths of `said`, spaces being characters.
    """
    first, *others = understood.split(" ")
    read = [first, *(word for word in others if word)]
    by_word = edit_distance(said.split(" "), read)
    return Errors(by_word, len(said.split(" ")), edit_distance(said, understood), len(said))


def is_sentence(text: str) -> bool:
    """Tell whether a text is a sentence of GRID's grammar; case and punctuation do not matter."""
    said = re.findall(r"[\w']+", text.lower())
    places = GRAMMAR.values()
    return len(said) == len(places) and all(
        word in words for word, words in zip(said, places, strict=True)
    )


def _percent(errors: Errors) -> tuple[float, float]:
    return 100 * errors.words / errors.n_words, 100 * errors.characters / errors.n_characters


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
