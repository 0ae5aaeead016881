"""Spectral features of speech: MFCC, mel spectrograms and log filter banks.

Each follows one reference implementation: python_speech_features for `mfcc` and
`log_filter_banks`, librosa as Wav2Lip calls it for `log_mel`. All run on CPU and GPU, in float64
inside, and return float32.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import InputError

__all__ = ["MelSettings", "MfccSettings", "log_filter_banks", "log_mel", "mfcc", "stack_frames"]

SMALLEST = 2.220446049250313e-16
"""Zero energies become float64's epsilon before a logarithm, as in python_speech_features."""


@dataclass(frozen=True)
class MfccSettings:
    """How cepstra are computed; defaults are those of python_speech_features, as SyncNet uses them.

    Attributes:
        sample_rate: Of the waveform, Hz.
        window_ms: Length of a frame.
        step_ms: Step between frames.
        n_cepstra: Coefficients kept.
        n_filters: Triangular mel filters.
        n_fft: Length of the transform, samples.
        low_hz: Lower edge of the first filter.
        high_hz: Upper edge of the last filter; None is half the sample rate.
        preemphasis: Coefficient of the first difference.
        lifter: Sinusoidal liftering of the cepstra; 0 for none.
        append_energy: Replace the first coefficient by the log of the frame's energy.
        window: "rectangular" or "hamming".
    """

    sample_rate: int = 16_000
    window_ms: float = 25.0
    step_ms: float = 10.0
    n_cepstra: int = 13
    n_filters: int = 26
    n_fft: int = 512
    low_hz: float = 0.0
    high_hz: float | None = None
    preemphasis: float = 0.97
    lifter: int = 22
    append_energy: bool = True
    window: Literal["rectangular", "hamming"] = "rectangular"


@dataclass(frozen=True)
class MelSettings:
    """How a mel spectrogram is computed; defaults are Wav2Lip's (`hparams.py`).

    Attributes:
        sample_rate: Of the waveform, Hz.
        n_mels: Slaney-normalised mel filters.
        n_fft: Length of the transform and of its Hann window, samples.
        hop: Step between frames, samples.
        low_hz: Lower edge of the first filter.
        high_hz: Upper edge of the last filter.
        preemphasis: Coefficient of the first difference.
        min_db: Level that maps to `-limit`, decibels.
        ref_db: Level that is subtracted, decibels.
        limit: Values are scaled to [-limit, limit] and clipped.
    """

    sample_rate: int = 16_000
    n_mels: int = 80
    n_fft: int = 800
    hop: int = 200
    low_hz: float = 55.0
    high_hz: float = 7600.0
    preemphasis: float = 0.97
    min_db: float = -100.0
    ref_db: float = 20.0
    limit: float = 4.0


def mfcc(waveform: Tensor, settings: MfccSettings | None = None) -> Tensor:
    """Mel-frequency cepstral coefficients.

    Args:
        waveform: float (S,) in [-1, 1]; scaled to 16-bit levels inside, as reference code reads
            wav files.
        settings: See `MfccSettings`.

    Returns:
        float32 (T, n_cepstra), one row every `step_ms`; the last frame is padded with zeros.

    Raises:
        InputError: The waveform is not one-dimensional or is empty.
    """
    chosen = settings or MfccSettings()
    banks, energy = _filter_energies(waveform, chosen)
    cepstra = torch.log(banks) @ _dct(chosen, banks.device).T
    if chosen.lifter > 0:
        n = torch.arange(chosen.n_cepstra, dtype=torch.float64, device=banks.device)
        lift = 1 + chosen.lifter / 2 * torch.sin(math.pi * n / chosen.lifter)
        cepstra = cepstra * lift
    if chosen.append_energy:
        cepstra[:, 0] = torch.log(energy)
    return cepstra.to(torch.float32)


def log_filter_banks(waveform: Tensor, settings: MfccSettings | None = None) -> Tensor:
    """Logarithm of the mel filter energies; AV-HuBERT's audio input before stacking.

    Args:
        waveform: float (S,) in [-1, 1].
        settings: See `MfccSettings`; cepstral settings are not used.

    Returns:
        float32 (T, n_filters), 100 frames per second by default.
    """
    banks, _ = _filter_energies(waveform, settings or MfccSettings())
    return torch.log(banks).to(torch.float32)


def stack_frames(features: Tensor, n: int = 4) -> Tensor:
    """Join each n consecutive feature frames into one, padding the end with zeros.

    With n = 4, 26 filter banks at 100 Hz become AV-HuBERT's 104 values at 25 Hz.

    Args:
        features: (T, D).
        n: Frames in each group.

    Returns:
        (ceil(T / n), n * D).
    """
    missing = -features.shape[0] % n
    padded = F.pad(features, (0, 0, 0, missing))
    return padded.reshape(-1, n * features.shape[1])


def log_mel(waveform: Tensor, settings: MelSettings | None = None) -> Tensor:
    """Mel spectrogram in decibels, scaled and clipped as Wav2Lip's `audio.melspectrogram`.

    Args:
        waveform: float (S,) in [-1, 1].
        settings: See `MelSettings`.

    Returns:
        float32 (T, n_mels) with T = 1 + S // hop, in [-limit, limit].

    Raises:
        InputError: The waveform is not one-dimensional or is empty.
    """
    chosen = settings or MelSettings()
    signal = _emphasised(waveform.to(torch.float64), chosen.preemphasis)
    window = torch.hann_window(chosen.n_fft, dtype=torch.float64, device=signal.device)
    half = chosen.n_fft // 2
    padded = F.pad(signal, (half, half))
    frames = padded.unfold(0, chosen.n_fft, chosen.hop) * window
    magnitude = torch.fft.rfft(frames).abs()
    mel = magnitude @ _slaney_filters(chosen, signal.device).T
    floor = 10.0 ** (chosen.min_db / 20.0)
    decibels = 20.0 * torch.log10(mel.clamp(min=floor)) - chosen.ref_db
    scaled = 2 * chosen.limit * (decibels - chosen.min_db) / -chosen.min_db - chosen.limit
    return scaled.clamp(-chosen.limit, chosen.limit).to(torch.float32)


def _emphasised(signal: Tensor, coefficient: float) -> Tensor:
    if signal.ndim != 1 or signal.shape[0] == 0:
        raise InputError(
            f"spectral features need a waveform (S,) with samples; got {tuple(signal.shape)}"
        )
    return torch.cat([signal[:1], signal[1:] - coefficient * signal[:-1]])


def _filter_energies(waveform: Tensor, settings: MfccSettings) -> tuple[Tensor, Tensor]:
    """Energies of the mel filters (T, n_filters) and of the whole frames (T,), float64."""
    levels = (waveform.to(torch.float64) * 32768.0).round().clamp(-32768, 32767)
    frames = _framed(_emphasised(levels, settings.preemphasis), settings)
    power = torch.fft.rfft(frames, settings.n_fft).abs().square() / settings.n_fft
    energy = power.sum(1)
    banks = power @ _htk_filters(settings, power.device).T
    return _no_zeros(banks), _no_zeros(energy)


def _framed(signal: Tensor, settings: MfccSettings) -> Tensor:
    length = _half_up(settings.window_ms * settings.sample_rate / 1000)
    step = _half_up(settings.step_ms * settings.sample_rate / 1000)
    n = 1 + max(0, math.ceil((signal.shape[0] - length) / step))
    padded = F.pad(signal, (0, max(0, (n - 1) * step + length - signal.shape[0])))
    frames = padded.unfold(0, length, step)[:n]
    if settings.window == "hamming":
        frames = frames * torch.hamming_window(
            length, periodic=False, dtype=torch.float64, device=signal.device
        )
    return frames[:, : settings.n_fft]


def _no_zeros(values: Tensor) -> Tensor:
    return torch.where(values == 0, SMALLEST, values)


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


@functools.lru_cache(maxsize=16)
def _htk_filters(settings: MfccSettings, device: torch.device) -> Tensor:
    """Triangles on the HTK mel scale with edges on FFT bins, (n_filters, n_fft // 2 + 1)."""
    high = settings.high_hz or settings.sample_rate / 2
    ends = 2595 * torch.log10(1 + torch.tensor([settings.low_hz, high]).double() / 700)
    steps = torch.arange(settings.n_filters + 2, dtype=torch.float64)
    mel = ends[0] + (ends[1] - ends[0]) * steps / (settings.n_filters + 1)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    edge = torch.floor((settings.n_fft + 1) * hertz / settings.sample_rate)
    k = torch.arange(settings.n_fft // 2 + 1, dtype=torch.float64)
    left, centre, right = edge[:-2, None], edge[1:-1, None], edge[2:, None]
    rising = torch.where((k >= left) & (k < centre), (k - left) / (centre - left), 0.0)
    falling = torch.where((k >= centre) & (k < right), (right - k) / (right - centre), 0.0)
    return (rising + falling).to(device)


@functools.lru_cache(maxsize=16)
def _dct(settings: MfccSettings, device: torch.device) -> Tensor:
    """Orthonormal DCT-II, (n_cepstra, n_filters)."""
    n = torch.arange(settings.n_filters, dtype=torch.float64)
    k = torch.arange(settings.n_cepstra, dtype=torch.float64)[:, None]
    basis = torch.cos(math.pi * k * (2 * n + 1) / (2 * settings.n_filters))
    basis = basis * math.sqrt(2 / settings.n_filters)
    basis[0] /= math.sqrt(2)
    return basis.to(device)


@functools.lru_cache(maxsize=16)
def _slaney_filters(settings: MelSettings, device: torch.device) -> Tensor:
    """Area-normalised triangles on the Slaney mel scale, (n_mels, n_fft // 2 + 1)."""
    low, high = _slaney_mel(settings.low_hz), _slaney_mel(settings.high_hz)
    steps = torch.arange(settings.n_mels + 2, dtype=torch.float64) / (settings.n_mels + 1)
    edge = _slaney_hertz(low + (high - low) * steps)
    k = torch.arange(settings.n_fft // 2 + 1, dtype=torch.float64)
    hertz = k * settings.sample_rate / settings.n_fft
    rising = (hertz - edge[:-2, None]) / (edge[1:-1] - edge[:-2])[:, None]
    falling = (edge[2:, None] - hertz) / (edge[2:] - edge[1:-1])[:, None]
    weights = torch.minimum(rising, falling).clamp(min=0)
    return (weights * (2 / (edge[2:] - edge[:-2]))[:, None]).to(device)


def _slaney_mel(hertz: float) -> float:
    """Linear below 1 kHz (3 mel per 200 Hz), logarithmic above (27 mel per factor 6.4)."""
    if hertz < 1000:
        return hertz * 3 / 200
    return 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _slaney_hertz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))
