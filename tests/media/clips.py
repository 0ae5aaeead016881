"""Clips whose frames can be told apart after any lossless path, and FFmpeg to compare with."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

BASE = Fraction(1, 15360)
SIZE = 64
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def numbered(k: int) -> np.ndarray:
    """A picture that spells k in eight black or white bars."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    for bit in range(8):
        if k >> bit & 1:
            image[8 * bit : 8 * bit + 8] = 255
    return image


def number(image: np.ndarray) -> int:
    """Read the number of a picture (H, W, 3)."""
    return sum(1 << bit for bit in range(8) if image[8 * bit + 4, SIZE // 2].mean() > 127)


def write_numbered(path: Path, times: list[float]) -> Path:
    """Write numbered frames at the given seconds, without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"qp": "0", "bf": "0"}
        stream.time_base = stream.codec_context.time_base = BASE
        ticks = [round(time / BASE) for time in times]
        gaps = [b - a for a, b in pairwise(ticks)]
        durations = dict(zip(ticks, [*gaps, *(gaps[-1:] or [round(0.04 / BASE)])], strict=True))
        for k, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(k), "rgb24")
            frame.pts, frame.time_base = tick, BASE
            _mux(container, stream.encode(frame), durations)
        _mux(container, stream.encode(None), durations)
    return path


def _mux(container: av.container.OutputContainer, packets: list, durations: dict) -> None:
    for packet in packets:
        packet.duration = durations[packet.pts]
        container.mux(packet)


def ffmpeg(*arguments: object) -> bytes:
    """Run FFmpeg and return what it writes to standard output."""
    command = [FFMPEG, "-y", "-v", "error", *(str(a) for a in arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def raw_frames(path: Path, height: int, width: int, *options: str) -> np.ndarray:
    """Decode with FFmpeg to uint8 (T, H, W, 3)."""
    data = ffmpeg("-i", path, *options, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)
