"""A clip of moving noise with sound, the same bits with every version of every library."""

from pathlib import Path

import av
import numpy as np
import torch

N = 48


def frames() -> torch.Tensor:
    """uint8 (48, 3, 224, 224): coarse noise that drifts and flickers."""
    draw = np.random.RandomState(5)
    coarse = draw.randint(0, 256, (3, 28, 28))
    pattern = coarse.repeat(8, 1).repeat(8, 2)
    gains = draw.randint(64, 129, N)
    moved = [np.roll(pattern, (k * k // 9, 3 * k), (1, 2)) * gains[k] // 128 for k in range(N)]
    return torch.from_numpy(np.stack(moved).astype(np.uint8))


def waveform() -> torch.Tensor:
    """float32 (S,), as long as the frames: noise bursts of changing loudness, at 16-bit levels."""
    draw = np.random.RandomState(6)
    loud = draw.randint(0, 9000, N * 4).repeat(160)
    levels = draw.randint(-1000, 1001, N * 640) * loud // 1000
    return torch.from_numpy((levels / 32768).astype(np.float32))


def write(path: Path) -> None:
    """Write the clip without loss (FFV1 in RGB, PCM), for other programs to read."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width = video.height = 224
        video.pix_fmt = "bgr0"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for image in frames().permute(0, 2, 3, 1).numpy():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        levels = (waveform() * 32768).round().to(torch.int16).numpy()[None]
        sound = av.AudioFrame.from_ndarray(levels, "s16", "mono")
        sound.sample_rate = 16_000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
