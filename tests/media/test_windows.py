"""Stretches of features against those of the whole."""

import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.media.spectral import MfccSettings, log_mel, mfcc
from tfbench.media.windows import mel_columns, mfcc_columns

HAMMING = MfccSettings(n_filters=40, low_hz=300, high_hz=3700, window="hamming")


@pytest.fixture
def speech() -> torch.Tensor:
    return 0.3 * torch.randn(16_123, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("settings", [None, HAMMING])
def test_cepstra_of_a_stretch_are_those_of_the_whole(speech, settings):
    whole = mfcc(speech, settings)
    for start, stop in ((1, 4), (17, 52), (60, 98)):
        found = mfcc_columns(speech, start, stop, settings)
        torch.testing.assert_close(found, whole[start:stop])


def test_beyond_the_speech_is_silence(speech):
    padded = mfcc(torch.cat([torch.zeros(3200), speech, torch.zeros(3200)]))
    torch.testing.assert_close(mfcc_columns(speech, -15, 5), padded[5:25])
    torch.testing.assert_close(mfcc_columns(speech, 95, 112), padded[115:132])
    far = mfcc_columns(speech, 200, 210)
    torch.testing.assert_close(far, mfcc_columns(torch.zeros(400), 0, 1).expand(10, -1))
    torch.testing.assert_close(mfcc_columns(speech, -210, -200), far)


def test_mel_of_a_stretch_is_that_of_the_whole(speech):
    whole = log_mel(speech)
    for start, stop in ((0, 16), (1, 3), (30, 46), (len(whole) - 5, len(whole))):
        found = mel_columns(speech, start, stop)
        assert (found - whole[start:stop]).abs().max() < 1e-6


def test_what_there_is_not_is_refused(speech):
    with pytest.raises(InputError, match="columns 0 to 81; asked for 70 to 82"):
        mel_columns(speech, 70, 82)
    with pytest.raises(InputError, match="at least one column"):
        mfcc_columns(speech, 4, 4)
    with pytest.raises(InputError, match="waveform"):
        mel_columns(speech[None], 0, 1)
