"""Requests with a real face for tests of methods: scikit-image's astronaut, and noise."""

from __future__ import annotations

import functools
from fractions import Fraction

import torch
from skimage import data

from tfbench.core.types import Clip, Request, Speech, TensorVideo

SIDE = 160


@functools.cache
def photograph() -> torch.Tensor:
    """The astronaut's head, uint8 (1, 3, 160, 160)."""
    picture = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None]
    return picture[:, :, 30 : 30 + SIDE, 150 : 150 + SIDE].contiguous()


def speech(seconds: float) -> Speech:
    noise = torch.randn(round(16_000 * seconds), generator=torch.Generator().manual_seed(3))
    return Speech((0.2 * noise).clamp(-1, 1))


def of_still(seconds: float = 0.4, fps: Fraction | int = 25, **more) -> Request:
    """A request to animate the photograph."""
    still = more.pop("identity", photograph())
    return Request("case", speech=speech(seconds), identity=still, fps=Fraction(fps), **more)


def of_video(n: int, seconds: float, absent: tuple[int, ...] = (), **more) -> Request:
    """A request to edit a video that moves right by a pixel a frame; some frames are gray."""
    frames = torch.cat([photograph().roll(k, 3) for k in range(n)])
    for k in absent:
        frames[k] = 128
    source = Clip(TensorVideo(frames))
    return Request("case", speech=speech(seconds), identity=photograph(), source=source, **more)
