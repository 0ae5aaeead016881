"""Video files: decoding to upright RGB at a constant rate, and writing.

Decoding streams: never more than one chunk of frames is held. Colours are converted by swscale's
default path, so frames are bit-equal to what `ffmpeg -pix_fmt rgb24` and the readers built on it
give.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from tfbench.core.errors import InputError
from tfbench.core.files import temporary
from tfbench.core.types import FPS, Clip, Speech, Video
from tfbench.media.audio import read_speech
from tfbench.media.timing import Ticker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

__all__ = ["WRITER", "VideoFile", "open_clip", "read_comment", "write_video"]

MARK = "AI-generated (synthetic) video of a talking face; made by tfbench"
CRF = 10
ENCODER_THREADS = 4
REPEATABLE = "cpu-independent=1"
"""Without it x264's macroblock tree is computed by instructions of the CPU at hand: by its own word
for this option, results then differ between CPUs, and here they did from one time to the next."""
WRITER = 2
"""Changes with every change of what `write_video` makes of the same frames."""
AUDIO_CHUNK = 1024


class VideoFile(Video):
    """A video file, read as upright RGB frames at a constant rate.

    Args:
        path: Any file that FFmpeg reads.
        fps: Frames per second to deliver, by presentation time; None delivers every decoded
            frame once, at the file's average rate.

    Raises:
        InputError: There is no such file, or no video in it.
    """

    def __init__(self, path: Path | str, fps: Fraction | int | None = FPS) -> None:
        self.path = Path(path)
        with _opened(self.path) as (container, stream):
            first = next(_decode(self.path, container, stream), None)
            if first is None:
                raise InputError(f"{self.path} holds no video frame; give a video with frames")
            self.height, self.width = _upright_size(first)
            native = Fraction(stream.average_rate or stream.guessed_rate or FPS)
        self._resample = fps is not None
        self.fps = native if fps is None else Fraction(fps)

    @cached_property
    def n_frames(self) -> int:
        """How many frames `frames()` yields; read from the packets' times where they are sound."""
        with _opened(self.path) as (container, stream):
            times = _packet_times(container, stream)
        if times is None:
            return sum(1 for _ in self._ticks(_count))
        if not self._resample:
            return len(times)
        ticker: Ticker[int] = Ticker(self.fps)
        n = sum(1 for time, duration in times for _ in ticker.push(0, time, duration))
        return n + sum(1 for _ in ticker.finish())

    def frames(self, start: int = 0, stop: int | None = None, chunk: int = 32) -> Iterator[Tensor]:
        """Yield frames; see `Video.frames`.

        Raises:
            InputError: The file is damaged or cut off.
        """
        held: list[Tensor] = []
        picture = partial(_Picture, converter=VideoReformatter())
        for tick, frame in enumerate(self._ticks(picture)):
            if stop is not None and tick >= stop:
                break
            if tick < start:
                continue
            held.append(frame.tensor)
            if len(held) == chunk:
                yield torch.stack(held)
                held = []
        if held:
            yield torch.stack(held)

    def _ticks(self, make: Any) -> Iterator[Any]:
        """Yield what `make` makes of the decoded frame that each tick shows."""
        with _opened(self.path) as (container, stream):
            ticker: Ticker[Any] = Ticker(self.fps)
            usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or FPS)
            base = stream.time_base or Fraction(1, 1000)
            seen = 0
            for frame in _decode(self.path, container, stream):
                made = make(frame)
                if not self._resample:
                    yield made
                else:
                    time = base * frame.pts if frame.pts is not None else usual * seen
                    duration = base * frame.duration if frame.duration else usual
                    yield from ticker.push(made, time, duration)
                seen += 1
            _check_whole(self.path, stream, seen)
            if self._resample:
                yield from ticker.finish()


def open_clip(path: Path | str, fps: Fraction | int | None = FPS) -> Clip:
    """Open a video with its sound.

    Args:
        path: The file.
        fps: See `VideoFile`.

    Returns:
        The frames, decoded when they are asked for, and the speech at 16 kHz, which starts at the
        first frame; None where the file has no audio stream.

    Raises:
        InputError: The file cannot be used.
    """
    video = VideoFile(path, fps)
    return Clip(video, read_speech(path), Path(path))


def write_video(
    path: Path,
    frames: Iterable[Tensor],
    fps: Fraction | int,
    speech: Speech | None,
    *,
    comment: str,
    crf: int = CRF,
) -> int:
    """Write H.264 and AAC into an mp4 file that is marked as synthetic.

    The file appears whole or not at all. Same inputs and versions give the same bytes on any
    number of cores.

    Args:
        path: Where to; the folder must exist.
        frames: Chunks of uint8 (t, 3, H, W) RGB, all of one size.
        fps: Frames per second.
        speech: The sound from the first frame on, or None.
        comment: Goes into the metadata behind the mark.
        crf: Quality of x264, 0 (lossless) to 51.

    Returns:
        How many frames were written.

    Raises:
        InputError: There is no frame, or a chunk is not what it should be.
    """
    path = Path(path)
    part = temporary(path.with_suffix(".mp4"))
    try:
        n = _encode(str(part), frames, Fraction(fps), speech, f"{MARK}; {comment}", crf)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return n


def read_comment(path: Path) -> str:
    """Return the comment in a file's metadata, "" where there is none or the file is unreadable."""
    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment", "")
    except (OSError, av.FFmpegError):
        return ""


class _Picture:
    """A decoded frame that is converted at most once, however many ticks show it."""

    def __init__(self, frame: av.VideoFrame, converter: VideoReformatter) -> None:
        self.frame = frame
        self.converter = converter

    @cached_property
    def tensor(self) -> Tensor:
        """uint8 (3, H, W)."""
        array = _rgb(self.frame, self.converter)
        return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def _count(_frame: av.VideoFrame) -> None:
    return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if not path.is_file():
        raise InputError(f"{path} is not a file; give one video")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes)")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened as a video: {_why(error)}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _decode(path: Path, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    try:
        yield from container.decode(stream)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {_why(error)}; make it anew") from error


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _check_whole(path: Path, stream: Any, seen: int) -> None:
    """Refuse a file whose header promises more frames than could be decoded."""
    with _opened(path) as (container, again):
        packets = [packet for packet in container.demux(again) if packet.size]
    kept = sum(not packet.is_discard for packet in packets)
    promised = stream.frames - (len(packets) - kept)
    if seen < max(promised, kept) - 1:
        raise InputError(
            f"{path} is cut off or damaged: {max(promised, kept)} frames are promised, "
            f"{seen} could be decoded; make it anew"
        )


def _packet_times(container: Any, stream: Any) -> list[tuple[Fraction, Fraction]] | None:
    """Presentation time and duration of each frame; None where a packet does not say."""
    base = stream.time_base
    times = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        if packet.pts is None or not packet.duration or base is None:
            return None
        times.append((base * packet.pts, base * packet.duration))
    if stream.frames and len(times) < stream.frames - 1:
        return None
    return sorted(times) or None


def _rgb(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    """Convert to upright RGB, uint8 (H, W, 3)."""
    array = converter.reformat(frame, format="rgb24").to_ndarray()
    turns = round(frame.rotation / 90)
    return np.ascontiguousarray(np.rot90(array, turns)) if turns else array


def _upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    sideways = round(frame.rotation / 90) % 2
    return (frame.width, frame.height) if sideways else (frame.height, frame.width)


def _encode(
    name: str,
    frames: Iterable[Tensor],
    fps: Fraction,
    speech: Speech | None,
    comment: str,
    crf: int,
) -> int:
    options = {"movflags": "+faststart"}
    with av.open(name, "w", format="mp4", options=options) as container:
        container.metadata["comment"] = comment
        audio = _Sound(container, speech) if speech is not None else None
        picture: _Pictures | None = None
        for chunk in frames:
            if picture is None:
                picture = _Pictures(container, chunk, fps, crf)
            picture.add(chunk)
            if audio is not None:
                audio.up_to(picture.n / fps)
        if picture is None or picture.n == 0:
            raise InputError("there is no frame to write; a video needs at least one")
        picture.finish()
        if audio is not None:
            audio.finish()
        return picture.n


class _Pictures:
    """The video stream of a file that is being written."""

    def __init__(self, container: Any, chunk: Tensor, fps: Fraction, crf: int) -> None:
        _check_chunk(chunk, None)
        self.container = container
        self.size = tuple(chunk.shape[2:])
        height, width = self.size
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = height, width
        # 4:2:0 needs even sides; 4:4:4 keeps an odd frame's size.
        stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        context = stream.codec_context
        context.thread_count = ENCODER_THREADS
        context.color_range = 1
        context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1
        stream.options = {"crf": str(crf), "preset": "medium", "x264-params": REPEATABLE}
        self.stream = stream
        self.converter = VideoReformatter()
        self.fps = fps
        self.n = 0

    def add(self, chunk: Tensor) -> None:
        _check_chunk(chunk, self.size)
        for image in chunk.to("cpu").permute(0, 2, 3, 1).contiguous().numpy():
            frame = self.converter.reformat(
                av.VideoFrame.from_ndarray(image, "rgb24"),
                format=self.stream.pix_fmt,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            )
            frame.pts, frame.time_base = self.n, 1 / self.fps
            self.container.mux(self.stream.encode(frame))
            self.n += 1

    def finish(self) -> None:
        self.container.mux(self.stream.encode(None))


class _Sound:
    """The audio stream of a file that is being written."""

    def __init__(self, container: Any, speech: Speech) -> None:
        self.container = container
        self.rate = speech.sample_rate
        self.waveform = speech.waveform.detach().to("cpu", torch.float32).clamp(-1, 1).numpy()
        self.stream = container.add_stream("aac", rate=self.rate, layout="mono")
        self.stream.bit_rate = 128_000
        self.at = 0

    def up_to(self, seconds: Fraction) -> None:
        """Encode the sound up to a time, so that sound and pictures alternate in the file."""
        stop = min(int(seconds * self.rate), len(self.waveform))
        while self.at + AUDIO_CHUNK <= stop:
            self._push(self.at + AUDIO_CHUNK)

    def finish(self) -> None:
        """Encode the rest."""
        while self.at < len(self.waveform):
            self._push(min(self.at + AUDIO_CHUNK, len(self.waveform)))
        self.container.mux(self.stream.encode(None))

    def _push(self, stop: int) -> None:
        samples = np.ascontiguousarray(self.waveform[None, self.at : stop])
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = self.rate
        frame.pts, frame.time_base = self.at, Fraction(1, self.rate)
        self.container.mux(self.stream.encode(frame))
        self.at = stop


def _check_chunk(chunk: Tensor, size: tuple[int, ...] | None) -> None:
    good = chunk.ndim == 4 and chunk.shape[1] == 3 and chunk.dtype == torch.uint8
    if not good or (size is not None and tuple(chunk.shape[2:]) != size):
        wanted = "(t, 3, H, W)" if size is None else f"(t, 3, {size[0]}, {size[1]})"
        raise InputError(
            f"frames to write must be uint8 {wanted}; got {chunk.dtype} {tuple(chunk.shape)}"
        )
