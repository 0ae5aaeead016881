"""Changes in time: sound that is shifted against the picture, and frames that are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tfbench.core.types import FPS, Speech
from tfbench.validation.change import Change, Claim, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["SoundShift", "Stutter"]

SAME_PICTURE = "not one pixel is touched"


class SoundShift(Change):
    """Sound that comes too early or too late."""

    name = "sound_shift"
    title = "Sound shifted against the picture"
    unit = "frames early"
    about = (
        "The sound is moved by whole frames of 40 ms, silence fills the gap; a negative level is "
        "late sound. The strength is the size of the level."
    )
    levels = (-2, 2, -5, 5, -10, 10)
    responds = (
        Claim("lse", "it is the measured shift", "AV offset", follows=True),
        Claim("lse", "readers take it for how far lips and sound are apart", "LSE-D"),
        Claim("lse", "readers take it for how well lips and sound agree", "LSE-C"),
    )
    ignores = tuple(
        Claim(name, SAME_PICTURE)
        for name in (
            *("psnr", "ssim", "lpips", "frechet", "csim", "efd", "lmd", "wer"),
            *("temporal_flickering", "frame_consistency"),
        )
    )

    def strength(self, level: float) -> float:
        """Return by how many frames sound and picture are apart."""
        return abs(level)

    def speech(self, subject: Subject, level: float) -> Speech | None:
        """Return the shifted sound, as long as before."""
        speech = subject.clip.speech
        if speech is None:
            return None
        samples = round(level * speech.sample_rate / FPS)
        shifted = torch.roll(speech.waveform, -samples)
        if samples > 0:
            shifted[-samples:] = 0
        elif samples < 0:
            shifted[:-samples] = 0
        return Speech(shifted, speech.sample_rate)


class Stutter(Change):
    """Dropped frames, in whose place the frame before is repeated."""

    name = "stutter"
    title = "Dropped and repeated frames"
    unit = "% of the frames"
    about = "Frames drawn by chance are dropped and the frame before is shown for longer."
    levels = (10, 20, 40, 80)
    responds = (
        Claim("psnr", "a repeated frame is not the true one"),
        Claim("ssim", "a repeated frame is not the true one"),
        Claim("lpips", "a repeated frame is not the true one"),
        Claim("lmd", "in a repeated frame the lips are where they were before"),
        Claim("lse", "lips that stand still do not go with the sound", "LSE-D"),
        Claim("lse", "lips that stand still do not go with the sound", "LSE-C"),
    )
    ignores = (
        Claim("speech_wer", "the sound is not touched"),
        Claim("csim", "the person is the same"),
        Claim("frechet", "every frame is a real one"),
    )

    def frames(self, subject: Subject, level: float) -> Iterator[Tensor]:
        """Yield frames of which some are repeated; those of a level are also in the next."""
        video = subject.clip.video
        candidates = subject.draws().permutation(max(video.n_frames - 1, 0)) + 1
        dropped = set(candidates[: round(level / 100 * len(candidates))].tolist())
        shown: Tensor | None = None
        first = 0
        for frames in video.frames():
            made = []
            for k, frame in enumerate(frames, first):
                if shown is None or k not in dropped:
                    shown = frame
                made.append(shown)
            yield torch.stack(made)
            first += len(frames)
