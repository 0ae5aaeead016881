"""Whisper: speech to text.

Radford et al. 2023, "Robust speech recognition via large-scale weak supervision". The network,
its tokeniser and its search are those of the package openai-whisper; its official files load.
A text is what `whisper.transcribe` gives with temperature 0 and no fallback to others, greedy
search, float32, and no text of the window before as a prompt: the same sound gives the same text
on one machine. Sound of any length is heard in windows of 30 s that begin where the last complete
segment ended, by the timestamps that the network writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.nets._checkpoint import fill
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VARIANTS", "Transcriber", "load", "load_state", "seeded"]

VARIANTS = {
    "tiny": "whisper-tiny",
    "tiny_en": "whisper-tiny-en",
    "base": "whisper-base",
    "base_en": "whisper-base-en",
    "small": "whisper-small",
    "small_en": "whisper-small-en",
    "medium": "whisper-medium",
    "medium_en": "whisper-medium-en",
    "large_v3": "whisper-large-v3",
    "turbo": "whisper-turbo",
}


class Transcriber(nn.Module):
    """A Whisper network that writes down what it hears.

    Args:
        dims: The fields of `whisper.model.ModelDimensions`.

    Raises:
        MissingAsset: The package openai-whisper is not installed.
        TypeError: Fields are missing or unknown.
    """

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        model = _package().model
        self.net = model.Whisper(model.ModelDimensions(**dims))

    @property
    def english_only(self) -> bool:
        """Whether the network knows no other language."""
        return not self.net.is_multilingual

    def transcribe(self, waveform: Tensor, language: str | None = "en") -> str:
        """Write down the words of a recording.

        Args:
            waveform: float (S,) at 16 kHz, in [-1, 1].
            language: Code such as "en" or "zh"; None lets the network decide by the first 30 s,
                which errs on short or noisy clips.

        Returns:
            The words with the network's punctuation; "" where it hears none.

        Raises:
            InputError: The sound is empty, silent or no waveform, or the network does not know
                the language.
        """
        _check(waveform)
        self._check_language(language)
        # On the CPU wherever the network is, so that every device hears the same spectrogram.
        samples = waveform.detach().to("cpu", torch.float32)
        with full_precision():
            heard = _package().transcribe(
                self.net,
                samples,
                language=language,
                temperature=0.0,
                condition_on_previous_text=False,
                fp16=False,
            )
        return str(heard["text"]).strip()

    def _check_language(self, language: str | None) -> None:
        known = list(_package().tokenizer.LANGUAGES)[: self.net.num_languages]
        if language is not None and language not in known:
            raise InputError(f"Whisper knows no language '{language}'; it has {', '.join(known)}")
        if self.english_only and language != "en":
            wanted = "tell languages apart" if language is None else f"understand '{language}'"
            raise InputError(
                f"this Whisper hears English only and cannot {wanted}; "
                "name a network without '_en', such as whisper.base"
            )


def load(variant: str) -> Frozen[Transcriber]:
    """Load published weights.

    Args:
        variant: A key of `VARIANTS`.

    Raises:
        MissingAsset: The file or the package openai-whisper is not on this machine.
        AssetError: The file is not what it should be.
    """
    from tfbench.core.assets import locate

    return Frozen(load_state(locate(VARIANTS[variant])), f"whisper.{variant}")


def load_state(path: Path) -> Transcriber:
    """Load a file of OpenAI's format: the dimensions, and the parameters in float16 or float32.

    Raises:
        MissingAsset: The package openai-whisper is not installed.
        AssetError: The file cannot be read, or is of another architecture.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a cut-off pickle raises whatever its last bytes happen to mean
        raise AssetError(f"{path} is no readable checkpoint (cut off?): {error}") from error
    if not isinstance(checkpoint, dict) or not {"dims", "model_state_dict"} <= checkpoint.keys():
        raise AssetError(f"{path} is no Whisper of OpenAI: it lacks 'dims' or 'model_state_dict'")
    try:
        net = Transcriber(checkpoint["dims"])
    except TypeError as error:
        raise AssetError(f"{path} is no Whisper of OpenAI: dims: {error}") from error
    fill(net.net, checkpoint["model_state_dict"], f"{path} is no Whisper of its dimensions")
    return net


def seeded(seed: int = 0, *, multilingual: bool = False) -> Transcriber:
    """Make a very small network with random weights for tests; it writes nonsense."""
    net = Transcriber(
        {
            "n_mels": 80,
            "n_audio_ctx": 1500,
            "n_audio_state": 8,
            "n_audio_head": 2,
            "n_audio_layer": 1,
            "n_vocab": 51864 + multilingual,
            "n_text_ctx": 16,
            "n_text_state": 8,
            "n_text_head": 2,
            "n_text_layer": 1,
        }
    )
    draw = np.random.RandomState(seed)
    filled = {
        name: torch.from_numpy(draw.randn(*value.shape)).to(value.dtype)
        for name, value in net.state_dict().items()
    }
    net.load_state_dict(filled)
    return net.eval()


def _package() -> Any:
    try:
        import whisper
    except ImportError as error:
        raise MissingAsset(
            f"openai-whisper is not installed ({error}); run `pip install openai-whisper`"
        ) from error
    return whisper


def _check(waveform: Tensor) -> None:
    if waveform.ndim != 1 or not waveform.is_floating_point():
        raise InputError(
            f"Whisper hears float (S,) at 16 kHz; got {waveform.dtype} {tuple(waveform.shape)}"
        )
    if not bool(waveform.isfinite().all()):
        raise InputError("the sound has samples that are not finite numbers")
    if not bool(waveform.any()):
        raise InputError("the sound is silent" if len(waveform) else "the sound has no sample")
