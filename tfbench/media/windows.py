"""Stretches of spectral features, computed where they are needed.

A feature looks at a few hundredths of a second, so that those of a stretch follow from the sound
of that stretch and little around it: however long the speech, memory does not grow, and the values
are those that the whole would give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

from tfbench.core.errors import InputError
from tfbench.media.spectral import MelSettings, MfccSettings, log_mel, mfcc

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["mel_columns", "mfcc_columns"]

AROUND = 3
"""Mel columns on either side that a stretch is computed with."""


def mfcc_columns(
    waveform: Tensor, start: int, stop: int, settings: MfccSettings | None = None
) -> Tensor:
    """Compute the cepstra of a stretch; before and after the speech is digital silence.

    Args:
        waveform: float (S,) in [-1, 1], at the settings' rate.
        start: First column; column j begins j steps after the first sample. May be negative.
        stop: Column after the last one.
        settings: As for `tfbench.media.spectral.mfcc`.

    Returns:
        float32 (stop - start, n_cepstra).

    Raises:
        InputError: The waveform is not one-dimensional or is empty, or there is no column.
    """
    chosen = settings or MfccSettings()
    _check(waveform, start, stop)
    step = round(chosen.step_ms * chosen.sample_rate / 1000)
    width = round(chosen.window_ms * chosen.sample_rate / 1000)
    # One column more in front: pre-emphasis needs the sample before.
    low, high = step * (start - 1), step * (stop - 1) + width
    n = len(waveform)
    inside = waveform[min(max(low, 0), n) : min(max(high, 0), n)]
    before = min(max(-low, 0), high - low - len(inside))
    after = high - low - len(inside) - before
    return mfcc(F.pad(inside, (before, after)), chosen)[1 : 1 + stop - start]


def mel_columns(
    waveform: Tensor, start: int, stop: int, settings: MelSettings | None = None
) -> Tensor:
    """Compute the mel spectrogram of a stretch.

    Args:
        waveform: float (S,) in [-1, 1], at the settings' rate.
        start: First column, at least 0; the middle of column j is j hops after the first sample.
        stop: Column after the last one, at most 1 + S // hop.
        settings: As for `tfbench.media.spectral.log_mel`.

    Returns:
        float32 (stop - start, n_mels), equal to these rows of the whole.

    Raises:
        InputError: The waveform is not one-dimensional or is empty, or there is no such column.
    """
    chosen = settings or MelSettings()
    _check(waveform, start, stop)
    total = 1 + len(waveform) // chosen.hop
    if start < 0 or stop > total:
        raise InputError(f"the speech has mel columns 0 to {total}; asked for {start} to {stop}")
    first = max(start - AROUND, 0)
    last = (stop + AROUND) * chosen.hop
    mel = log_mel(waveform[first * chosen.hop : last], chosen)
    return mel[start - first : stop - first]


def _check(waveform: Tensor, start: int, stop: int) -> None:
    if waveform.ndim != 1 or len(waveform) == 0:
        raise InputError(
            f"spectral features need a waveform (S,) with samples; got {tuple(waveform.shape)}"
        )
    if stop <= start:
        raise InputError(f"a stretch has at least one column; asked for {start} to {stop}")
