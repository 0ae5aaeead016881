"""Word and character error rate of a speech recogniser on the scored clip's own sound.

It measures sound, not lips: whether a method that makes or changes speech keeps its words. A
method that passes the driving speech on has the rate of that speech, whatever its lips do; the
lips are judged by `wer`. Lower is better, and above 100 % is possible.

The reference is the data set's transcript alone. A reference that a recogniser wrote from the
driving speech would be compared with what a recogniser hears in the same speech, which is
circular, so that such clips are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tfbench.core.errors import Unscorable
from tfbench.core.types import Column, Score
from tfbench.core.views import ViewKey, Views
from tfbench.metrics._error_rates import DATASET, ErrorRates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tfbench.media.text import Rules

__all__ = ["SpeechWER", "SpeechWerSettings"]


@dataclass(frozen=True)
class SpeechWerSettings:
    """How a definition hears and compares.

    Attributes:
        language: Spoken in all clips; None lets the network decide for each clip.
        rules: How both texts are normalised.
    """

    language: str | None
    rules: Rules


class SpeechWER(ErrorRates):
    """Error rates of what a network hears.

    Definitions: `english`, English speech and Whisper's English normaliser; `multilingual`, the
    language that the network detects and Whisper's basic normaliser, for which networks that know
    English only are refused.

    Args:
        definition: `english` or `multilingual`.
        network: A Whisper such as `whisper.large_v3`.
    """

    name = "speech_wer"
    judge_has = ("transcribe",)
    definitions: ClassVar[Mapping[str, SpeechWerSettings]] = {
        "english": SpeechWerSettings("en", "english"),
        "multilingual": SpeechWerSettings(None, "basic"),
    }
    columns = (
        Column("speech WER", "%", higher_is_better=False),
        Column("speech CER", "%", higher_is_better=False),
    )

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """No frames, only the sound."""
        return ()

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Hear the clip and compare with what was said."""
        reference = views.transcript()
        if reference.source != DATASET:
            raise Unscorable(
                f"the transcript was written by {reference.source}; comparing it with what a "
                "network hears would be circular, and speech_wer takes the data set's own only"
            )
        heard = self._hear(views.speech("pred").waveform)
        return self.rates(views, reference, heard, self.settings.rules)

    def update(self, waveform: Tensor, text: str) -> None:
        """Add one utterance.

        Args:
            waveform: float32 (S,) at 16 kHz, in [-1, 1].
            text: What was said.

        Raises:
            InputError: The sound is empty or silent.
            Unscorable: Normalisation leaves nothing of the text.
        """
        self.add(text, self._hear(waveform), self.settings.rules)

    def _hear(self, waveform: Tensor) -> str:
        heard: str = self._judge().module.transcribe(
            waveform.to(self.device), self.settings.language
        )
        return heard
