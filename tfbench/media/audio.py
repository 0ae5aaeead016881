"""Sound: decoding to mono, resampling, writing."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import SAMPLE_RATE, Speech

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["read_speech", "resample", "to_int16", "write_wav"]

GAP_S = Fraction(1, 10)
"""A hole in the timestamps longer than this is filled with silence, seconds; smaller ones are
rounding of container clocks."""


def read_speech(path: Path | str, sample_rate: int = SAMPLE_RATE) -> Speech | None:
    """Read the sound of an audio or video file, mixed to mono and resampled.

    In a video file sample 0 is the time of the first video frame: sound that starts later is
    preceded by silence, sound that starts earlier is cut, and holes are filled with silence. The
    samples are 16-bit levels, those that `ffmpeg -ac 1 -ar 16000 -acodec pcm_s16le` writes and
    reference implementations read.

    Args:
        path: The file.
        sample_rate: Samples per second to deliver.

    Returns:
        float32 in [-1, 1), multiples of 2^-15; None where the file has no audio stream.

    Raises:
        InputError: The file cannot be read, is damaged, or has no sample.
    """
    path = Path(path)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                return None
            origin = _origin(container)
            pieces = list(_placed(container, sample_rate, origin))
            end = _end(container, origin)
    except (av.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"the sound of {path} cannot be read: {why}") from error
    levels = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if end is not None:
        # Encoders pad the last block; the container says where the sound really ends.
        levels = levels[: max(round(end * sample_rate), 0)]
    if levels.size == 0:
        raise InputError(f"the audio stream of {path} holds no sample")
    return Speech(torch.from_numpy(levels).to(torch.float32) / 32768, sample_rate)


def resample(speech: Speech, sample_rate: int) -> Speech:
    """Change the sample rate.

    Args:
        speech: At any rate.
        sample_rate: Samples per second to deliver.
    """
    if speech.sample_rate == sample_rate:
        return speech
    frame = av.AudioFrame.from_ndarray(
        speech.waveform.detach().to("cpu", torch.float32).numpy()[None], "fltp", "mono"
    )
    frame.sample_rate = speech.sample_rate
    engine = av.AudioResampler("fltp", "mono", sample_rate)
    pieces = [out.to_ndarray()[0] for source in (frame, None) for out in engine.resample(source)]
    return Speech(torch.from_numpy(np.concatenate(pieces).clip(-1, 1)), sample_rate)


def to_int16(waveform: Tensor) -> Tensor:
    """Return the 16-bit samples that reference code reads from a wav file.

    Args:
        waveform: float (S,) in [-1, 1].

    Returns:
        int16 (S,), rounded to the nearest level.
    """
    return (waveform * 32768.0).round().clamp(-32768, 32767).to(torch.int16)


def write_wav(path: Path, speech: Speech) -> None:
    """Write a 16-bit mono wav file.

    Args:
        path: Where to.
        speech: What to write.
    """
    with wave.open(str(path), "wb") as sink:
        sink.setnchannels(1)
        sink.setsampwidth(2)
        sink.setframerate(speech.sample_rate)
        sink.writeframes(to_int16(speech.waveform.cpu()).numpy().tobytes())


def _origin(container: Any) -> Fraction | None:
    """Time of the first video frame in seconds, None where there is no video."""
    if not container.streams.video:
        return None
    stream = container.streams.video[0]
    if stream.start_time is None or stream.time_base is None:
        return Fraction(0)
    return Fraction(stream.time_base * stream.start_time)


def _end(container: Any, origin: Fraction | None) -> Fraction | None:
    """Return how long the sound lasts from the origin on, in seconds; None where it is not said."""
    stream = container.streams.audio[0]
    # Program streams and the like have no duration of their own; FFmpeg guesses it.
    if "mp4" not in container.format.name or not stream.duration or stream.time_base is None:
        return None
    start = stream.start_time or 0
    end = Fraction(stream.time_base * (start + stream.duration))
    return end - (Fraction(stream.time_base * start) if origin is None else origin)


def _placed(container: Any, rate: int, origin: Fraction | None) -> Iterator[np.ndarray]:
    """Yield the resampled sound from the origin on, with holes filled."""
    stream = container.streams.audio[0]
    # Mixing in 16 bits averages the channels; in floats FFmpeg would make the mix 3 dB louder.
    engine = av.AudioResampler("s16p", "mono", rate)
    offset: Fraction | None = None
    expected: Fraction | None = None
    skip = 0
    for frame in container.decode(stream):
        time = _time(frame, expected)
        if offset is None:
            offset = time if origin is None else origin
            lead = round((time - offset) * rate)
            skip = max(-lead, 0)
            if lead > 0:
                yield np.zeros(lead, np.int16)
        elif expected is not None and time - expected > GAP_S:
            yield np.zeros(round((time - expected) * rate), np.int16)
        expected = time + Fraction(frame.samples, frame.sample_rate)
        frame.pts = None
        for out in engine.resample(frame):
            samples = out.to_ndarray()[0]
            yield samples[skip:]
            skip = max(skip - samples.size, 0)
    for out in engine.resample(None):
        yield out.to_ndarray()[0][skip:]


def _time(frame: Any, expected: Fraction | None) -> Fraction:
    if frame.pts is None or frame.time_base is None:
        return expected or Fraction(0)
    return Fraction(frame.time_base * frame.pts)
