import librosa
import numpy as np
import pytest
import python_speech_features as psf
import torch

from tfbench.core.errors import InputError
from tfbench.media.spectral import (
    MelSettings,
    MfccSettings,
    log_filter_banks,
    log_mel,
    mfcc,
    stack_frames,
)


def voice(seconds: float = 1.37) -> torch.Tensor:
    """A chirp with noise and a pause, at exact 16-bit levels."""
    t = np.arange(int(16_000 * seconds)) / 16_000
    draw = np.random.default_rng(0)
    sound = 0.4 * np.sin(2 * np.pi * (150 + 900 * t) * t) + 0.05 * draw.standard_normal(t.size)
    sound[4000:6000] = 0
    levels = np.round(sound.clip(-1, 1) * 32767)
    return torch.from_numpy((levels / 32768).astype(np.float32))


def levels(waveform: torch.Tensor) -> np.ndarray:
    return (waveform.numpy() * 32768).astype(np.int16)


@pytest.mark.parametrize("seconds", [1.37, 1.0, 0.03, 0.01])
def test_mfcc_equals_python_speech_features(seconds: float):
    waveform = voice(seconds)
    wanted = psf.mfcc(levels(waveform), 16_000)
    got = mfcc(waveform).numpy()
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_mfcc_of_speech2vid_equals_python_speech_features():
    settings = MfccSettings(n_filters=40, low_hz=300, high_hz=3700, window="hamming")
    wanted = psf.mfcc(
        levels(voice()), 16_000, nfilt=40, lowfreq=300, highfreq=3700, winfunc=np.hamming
    )
    np.testing.assert_allclose(mfcc(voice(), settings).numpy(), wanted, atol=1e-4)


def test_log_filter_banks_equal_python_speech_features():
    wanted = psf.logfbank(levels(voice()), 16_000)
    np.testing.assert_allclose(log_filter_banks(voice()).numpy(), wanted, atol=1e-4)


def test_digital_silence_gives_finite_values():
    assert torch.isfinite(mfcc(torch.zeros(16_000))).all()


def test_stacking_pads_the_end():
    stacked = stack_frames(torch.ones(6, 26))
    assert stacked.shape == (2, 104)
    assert stacked[1].sum() == 52


@pytest.mark.parametrize(
    "settings", [MelSettings(), MelSettings(n_fft=1280, hop=160, low_hz=125.0)], ids=str
)
def test_log_mel_equals_librosa(settings: MelSettings):
    signal = voice().double().numpy()
    emphasised = np.append(signal[0], signal[1:] - 0.97 * signal[:-1])
    spectrum = np.abs(
        librosa.stft(emphasised, n_fft=settings.n_fft, hop_length=settings.hop, pad_mode="constant")
    )
    filters = librosa.filters.mel(
        sr=16_000, n_fft=settings.n_fft, n_mels=80, fmin=settings.low_hz, fmax=7600, dtype=float
    )
    decibels = 20 * np.log10(np.maximum(1e-5, filters @ spectrum)) - 20
    wanted = np.clip(8 * (decibels + 100) / 100 - 4, -4, 4).T
    np.testing.assert_allclose(log_mel(voice(), settings).numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("waveform", [torch.zeros(0), torch.zeros(2, 100)])
@pytest.mark.parametrize("feature", [mfcc, log_mel, log_filter_banks])
def test_waveforms_of_another_shape_are_refused(feature, waveform: torch.Tensor):
    with pytest.raises(InputError, match="need a waveform"):
        feature(waveform)
