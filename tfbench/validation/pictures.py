"""Changes of the picture's quality: blur, noise, compression and resolution."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from tfbench.media.video import VideoFile, write_video
from tfbench.validation.change import Change, Claim, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["Blur", "H264", "Jpeg", "Noise", "Resolution"]

DAMAGED = (
    Claim("psnr", "the pixels differ more and more from the true ones"),
    Claim("ssim", "local structure is lost"),
    Claim("lpips", "the loss is plain to see"),
)
SAME_SPEECH = (
    Claim("speech_wer", "the sound is not touched"),
    Claim("lse", "the lips still move at the same time as the sound", "AV offset"),
)
SAME_FACE = (
    Claim("csim", "the person is the same"),
    Claim("lmd", "the lips are where they were"),
)
UNREAL = Claim("frechet", "faces of worse quality are unlike real ones")


class Blur(Change):
    """Gaussian blur."""

    name = "blur"
    title = "Gaussian blur"
    unit = "sigma, % of the frame's height"
    about = "Every frame passes a Gaussian filter."
    levels = (0.4, 0.8, 1.6, 3.2)
    responds = (*DAMAGED, UNREAL)
    ignores = (*SAME_SPEECH, *SAME_FACE)

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield blurred frames."""
        sigma = level / 100 * subject.clip.video.height
        for frames in subject.clip.video.frames():
            smooth = ndimage.gaussian_filter(
                frames.numpy().astype(np.float32), (0, 0, sigma, sigma), mode="nearest"
            )
            yield _to_bytes(torch.from_numpy(smooth))


class Noise(Change):
    """Gaussian noise, drawn anew for every frame."""

    name = "noise"
    title = "Gaussian noise"
    unit = "sigma, 8-bit grey levels"
    about = "Independent noise is added to every pixel and channel of every frame."
    levels = (4, 8, 16, 32)
    responds = (
        *DAMAGED,
        UNREAL,
        Claim("temporal_flickering", "each frame has noise of its own"),
        Claim("frame_consistency", "each frame has noise of its own"),
    )
    ignores = (*SAME_SPEECH, *SAME_FACE)

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield noisy frames; the noise of two levels differs by a factor alone."""
        draws = subject.draws()
        for frames in subject.clip.video.frames():
            noise = draws.standard_normal(frames.shape, dtype=np.float32)
            yield _to_bytes(frames.float() + level * torch.from_numpy(noise))


class Jpeg(Change):
    """JPEG compression of every frame."""

    name = "jpeg"
    title = "JPEG compression"
    unit = "quality"
    about = "Every frame is written as a JPEG of this quality (4:2:0) and read again."
    levels = (75, 40, 20, 8)
    untouched = 100
    responds = (*DAMAGED, UNREAL)
    ignores = (*SAME_SPEECH, *SAME_FACE)

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield compressed frames."""
        for frames in subject.clip.video.frames():
            yield torch.stack([_jpeg(frame, round(level)) for frame in frames])


class H264(Change):
    """H.264 compression."""

    name = "h264"
    title = "H.264 compression"
    unit = "CRF of x264"
    about = "The clip is encoded once with this quality; untouched is the common writer's own 10."
    levels = (20, 28, 36, 44)
    untouched = 10
    responds = (*DAMAGED, UNREAL)
    ignores = (*SAME_SPEECH, *SAME_FACE)

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield frames that were encoded and decoded."""
        video = subject.clip.video
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            write_video(path, video.frames(), video.fps, None, comment=self.name, crf=round(level))
            yield from VideoFile(path, video.fps).frames()


class Resolution(Change):
    """Fewer pixels, then the old size again."""

    name = "resolution"
    title = "Resolution"
    unit = "times fewer pixels a side"
    about = "Every frame is made smaller with antialiasing and enlarged again, both bilinearly."
    levels = (1.5, 2, 3, 4)
    untouched = 1
    responds = (*DAMAGED, UNREAL)
    ignores = (*SAME_SPEECH, *SAME_FACE)

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield coarse frames of the old size."""
        video = subject.clip.video
        size = [max(1, round(side / level)) for side in (video.height, video.width)]
        for frames in video.frames():
            small = F.interpolate(frames.float(), size, mode="bilinear", antialias=True)
            yield _to_bytes(F.interpolate(small, (video.height, video.width), mode="bilinear"))


def _jpeg(frame: Tensor, quality: int) -> Tensor:
    from PIL import Image

    held = io.BytesIO()
    picture = Image.fromarray(frame.permute(1, 2, 0).numpy())
    picture.save(held, "JPEG", quality=quality, subsampling="4:2:0")
    return torch.from_numpy(np.array(Image.open(held))).permute(2, 0, 1).contiguous()


def _to_bytes(frames: Tensor) -> Tensor:
    return frames.round().clamp(0, 255).to(torch.uint8)
