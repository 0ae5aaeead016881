from pathlib import Path

import numpy as np
import pytest
import torch

from tests.media.clips import ffmpeg
from tfbench.core.errors import InputError
from tfbench.core.types import Speech
from tfbench.media.audio import read_speech, resample, to_int16, write_wav
from tfbench.media.video import open_clip


def by_ffmpeg(path: Path) -> np.ndarray:
    data = ffmpeg("-i", path, "-vn", "-ac", "1", "-ar", "16000", "-f", "s16le", "-")
    return np.frombuffer(data, np.int16)


@pytest.mark.parametrize(
    "name",
    [
        "hdtf/unnamed_25fps.mp4",
        "voxceleb2/Input_00010.mp4",
        "lrs3/test/OzA6jRYjVQs/00004.mp4",
        "audio/jfk.flac",
        "audio/RD_Radio31_000.wav",
        "grid/multi/bbaf2n.mpg",
    ],
)
def test_real_sound_equals_ffmpegs(shared_data: Path, name: str):
    got, wanted = to_int16(read_speech(shared_data / name).waveform), by_ffmpeg(shared_data / name)
    assert len(got) == len(wanted)
    # One level of rounding where 44.1 kHz is resampled, nothing elsewhere.
    assert np.abs(got.numpy().astype(int) - wanted).max() <= 1


def clip_with_offset(tmp_path: Path, picture: float, sound: float) -> Path:
    """A clip whose sound is silent but for a click half a second after its own start."""
    path = tmp_path / "clip.mkv"
    click = "aevalsrc='if(between(t,0.5,0.51),0.9,0)':d=2:s=16000"
    ffmpeg(
        *("-itsoffset", picture, "-f", "lavfi", "-i", "testsrc=d=2:r=25:s=64x64"),
        *("-itsoffset", sound, "-f", "lavfi", "-i", click),
        *("-c:v", "ffv1", "-c:a", "pcm_s16le", "-copyts", path),
    )
    return path


@pytest.mark.parametrize(("picture", "sound"), [(0.0, 0.0), (0.0, 0.3), (0.32, 0.0), (0.2, 0.25)])
def test_sample_zero_is_the_first_video_frame(tmp_path: Path, picture: float, sound: float):
    waveform = open_clip(clip_with_offset(tmp_path, picture, sound)).speech.waveform
    first = int((waveform.abs() > 0.4).nonzero()[0]) / 16_000
    assert first == pytest.approx(0.5 + sound - picture, abs=0.002)


def test_a_hole_is_filled_with_silence(tmp_path: Path):
    path = tmp_path / "hole.mkv"
    cut = "aselect='not(between(t,0.5,0.99))'"
    source = "sine=frequency=440:duration=2:sample_rate=16000"
    ffmpeg("-f", "lavfi", "-i", source, "-af", cut, "-c:a", "pcm_s16le", path)
    waveform = read_speech(path).waveform
    assert len(waveform) == pytest.approx(32_000, abs=1100)
    assert waveform[9000:15_000].abs().max() == 0
    assert waveform[20_000:31_000].abs().max() > 0.05


def test_stereo_is_averaged(tmp_path: Path):
    path = tmp_path / "stereo.wav"
    ffmpeg("-f", "lavfi", "-i", "aevalsrc=0.5|0.1:d=0.5:s=16000", path)
    assert read_speech(path).waveform[4000].item() == pytest.approx(0.3, abs=1e-3)


def test_wav_comes_back_exactly(tmp_path: Path):
    levels = torch.randint(-32768, 32768, (5000,))
    speech = Speech((levels / 32768).float())
    write_wav(tmp_path / "a.wav", speech)
    assert torch.equal(to_int16(read_speech(tmp_path / "a.wav").waveform), levels.to(torch.int16))


def test_full_scale_does_not_wrap():
    assert to_int16(torch.tensor([1.0, -1.0])).tolist() == [32767, -32768]


def test_resampling_keeps_a_tone():
    t = torch.arange(44_100) / 44_100
    got = resample(Speech(torch.sin(2 * torch.pi * 440 * t), 44_100), 16_000)
    wanted = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    assert got.sample_rate == 16_000
    assert float((got.waveform[500:15_000] - wanted[500:15_000]).abs().max()) < 5e-3


def test_a_silent_film_has_no_speech(tmp_path: Path):
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:r=25:s=64x64", path)
    assert read_speech(path) is None


def test_bad_files_are_named(tmp_path: Path):
    (tmp_path / "a.wav").write_text("no sound in here")
    with pytest.raises(InputError, match=r"a\.wav cannot be read"):
        read_speech(tmp_path / "a.wav")
    write_wav(tmp_path / "empty.wav", Speech(torch.zeros(0)))
    with pytest.raises(InputError, match=r"holds no sample|cannot be read"):
        read_speech(tmp_path / "empty.wav")
