"""Changes of where the picture lies in the frame, which a face detector has to follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from tfbench.validation.change import Change, Claim, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["Jitter", "Move", "Shrink"]

PIXELS = (
    Claim("psnr", "no pixel is where it was"),
    Claim("ssim", "no pixel is where it was"),
)
FOLLOWED = (
    Claim("csim", "the face is cut out where the detector finds it"),
    Claim("efd", "the face is cut out where the detector finds it"),
    Claim("lmd", "landmarks are taken relative to the mouth's middle and the eyes' distance"),
    Claim("wer", "the mouth is cut out where the detector finds it"),
    Claim("speech_wer", "the sound is not touched"),
    Claim("lse", "the lips move at the same time as before", "AV offset"),
    Claim("lse", "the lips are cut out where the detector finds them", "LSE-D"),
    Claim("lse", "the lips are cut out where the detector finds them", "LSE-C"),
)


class Jitter(Change):
    """The whole picture shakes."""

    name = "jitter"
    title = "Whole-frame jitter"
    unit = "largest shift, % of the frame's height"
    about = (
        "Every frame is moved by a whole number of pixels, drawn by chance up to the level on "
        "either axis; edges are repeated."
    )
    levels = (1, 2, 4, 6)
    responds = (
        *PIXELS,
        Claim("temporal_flickering", "consecutive frames differ by the shaking"),
        Claim("frame_consistency", "consecutive frames differ by the shaking"),
    )
    ignores = FOLLOWED

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield shaken frames; two levels shake the same way, one farther than the other."""
        video = subject.clip.video
        draws = subject.draws().uniform(-1, 1, (video.n_frames, 2))
        shifts = np.rint(draws * level / 100 * video.height).astype(int)
        first = 0
        for frames in video.frames():
            here = shifts[first : first + len(frames)]
            pairs = zip(frames, here.tolist(), strict=True)
            yield torch.stack([_moved(frame[None], *shift)[0] for frame, shift in pairs])
            first += len(frames)


class Move(Change):
    """The whole picture lies elsewhere in the frame."""

    name = "move"
    title = "Picture moved within the frame"
    unit = "% of the frame's height"
    about = "The whole clip is moved to the right and down; edges are repeated."
    levels = (2, 4, 6, 8)
    responds = PIXELS
    ignores = FOLLOWED

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield moved frames."""
        shift = round(level / 100 * subject.clip.video.height)
        for frames in subject.clip.video.frames():
            yield _moved(frames, shift, shift)


class Shrink(Change):
    """The whole picture is smaller."""

    name = "shrink"
    title = "Picture made smaller within the frame"
    unit = "% smaller"
    about = "The whole clip is made smaller around the frame's middle; edges are repeated."
    levels = (5, 10, 20, 30)
    responds = PIXELS
    ignores = FOLLOWED

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield smaller pictures in frames of the old size."""
        video = subject.clip.video
        inner = [max(1, round(side * (1 - level / 100))) for side in (video.height, video.width)]
        rest = [side - own for side, own in zip((video.height, video.width), inner, strict=True)]
        top, left = rest[0] // 2, rest[1] // 2
        pad = (left, rest[1] - left, top, rest[0] - top)
        for frames in video.frames():
            small = F.interpolate(frames.float(), inner, mode="bilinear", antialias=True)
            whole = F.pad(small, pad, mode="replicate")
            yield whole.round().clamp(0, 255).to(torch.uint8)


def _moved(frames: Tensor, down: int, right: int) -> Tensor:
    """Move uint8 (t, 3, H, W) frames by whole pixels and repeat the edges."""
    height, width = frames.shape[2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return frames[:, :, rows][:, :, :, columns]
