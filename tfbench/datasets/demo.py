"""Three short clips of a talking face that the package makes by itself.

For trying the tool on a machine that has no data: the photograph of Eileen Collins that
scikit-image ships (NASA, public domain) with its mouth opened and closed by the loudness of a
synthetic voice. Lips and sound agree in time; neither is speech, so nothing can be concluded
about a method from it. The clips are written to the cache folder at first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.signal import lfilter
from skimage import data
from torch.nn import functional as F

from tfbench.core.paths import cache_dir
from tfbench.core.types import FPS, SAMPLE_RATE, Sample, Speech
from tfbench.datasets.base import Dataset, Row
from tfbench.media.video import open_clip, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

__all__ = ["Demo", "DemoConfig"]

SIZE = 320
HEAD = (slice(0, 256), slice(96, 352))
MOUTH = (160.0, 183.0)
FORMANTS = ((700.0, 1200.0, 2600.0), (300.0, 2200.0, 2900.0), (500.0, 900.0, 2400.0))


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the data set `demo`.

    Attributes:
        n_frames: Length of each clip, at 25 fps.
    """

    n_frames: int = 120


class Demo(Dataset):
    """Three clips of one talking photograph.

    Args:
        config: How long they are.
    """

    name = "demo"
    Config = DemoConfig

    def __init__(self, config: DemoConfig | None = None) -> None:
        self.config = config or DemoConfig()

    def index(self) -> tuple[Row, ...]:
        """Return the three rows."""
        stamp = f"{self.config.n_frames} frames"
        return tuple(Row(f"clip-{n}", "eileen-collins", stamp) for n in range(len(FORMANTS)))

    def sample(self, row: Row) -> Sample:
        """Make the clip if it is not there, and decode it."""
        folder = cache_dir() / f"demo-v{self.version}-{self.config.n_frames}"
        path = folder / f"{row.id}.mp4"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._make(path, int(row.id.removeprefix("clip-")))
        return Sample(row.id, open_clip(path), row.identity)

    def _make(self, path: Path, number: int) -> None:
        opening = _opening(self.config.n_frames, number)
        speech = Speech(torch.from_numpy(_voice(opening, number)), SAMPLE_RATE)
        write_video(path, self._frames(opening, number), FPS, speech, comment="tfbench demo")

    def _frames(self, opening: np.ndarray, number: int) -> Iterator[Tensor]:
        for k, amount in enumerate(opening):
            sway = 3.0 * np.sin(2 * np.pi * (k / 90 + number / 3))
            yield _pose(self._photograph, float(amount), float(sway))

    @cached_property
    def _photograph(self) -> Tensor:
        """float32 (1, 3, SIZE, SIZE), 0 to 255."""
        head = torch.from_numpy(data.astronaut()[HEAD].copy()).permute(2, 0, 1)[None].float()
        return F.interpolate(head, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 255)


def _opening(n: int, number: int) -> np.ndarray:
    """Mouth opening of each frame, 0 to 1: syllables of uneven length between pauses."""
    draw = np.random.default_rng(number)
    curve = np.zeros(n)
    at = 3
    while at < n:
        length = int(draw.integers(4, 9))
        syllable = draw.uniform(0.4, 1.0) * np.hanning(length + 2)[1:-1]
        end = min(at + length, n)
        curve[at:end] = syllable[: end - at]
        at += length + (int(draw.integers(4, 10)) if draw.random() < 0.2 else 0)
    return curve


def _voice(opening: np.ndarray, number: int) -> np.ndarray:
    """Pulse train through three resonances, as loud as the mouth is open; float32 (S,)."""
    n = len(opening) * SAMPLE_RATE // int(FPS)
    loudness = np.interp(np.arange(n) / SAMPLE_RATE * float(FPS), np.arange(len(opening)), opening)
    pitch = 120.0 * (1 + 0.1 * np.sin(2 * np.pi * np.arange(n) / SAMPLE_RATE))
    phase = np.cumsum(pitch / SAMPLE_RATE)
    sound = np.diff(np.floor(phase), prepend=0.0)
    for formant in FORMANTS[number]:
        radius = np.exp(-np.pi * 90.0 / SAMPLE_RATE)
        angle = 2 * np.pi * formant / SAMPLE_RATE
        sound = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], sound)
    sound = sound / np.abs(sound).max() * loudness
    return (0.6 * sound).astype(np.float32)


def _pose(photograph: Tensor, opening: float, sway: float) -> Tensor:
    """Open the mouth and shift the head; uint8 (1, 3, SIZE, SIZE)."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    x = x + sway
    across = torch.exp(-(((x - MOUTH[0]) / 22.0) ** 4))
    below = (y - MOUTH[1]).clamp(min=0)
    drop = 14.0 * opening * across
    y_source = torch.where(y > MOUTH[1], y - drop * torch.exp(-below / 60.0), y)
    grid = torch.stack([x, y_source], -1)[None] * (2 / SIZE) - 1
    warped = F.grid_sample(photograph, grid, padding_mode="border", align_corners=False)
    inside = ((y > MOUTH[1]) & (y < MOUTH[1] + drop)).float() * (across > 0.3)
    dark = torch.tensor([60.0, 20.0, 20.0]).reshape(1, 3, 1, 1)
    return (warped * (1 - inside) + dark * inside).round().clamp(0, 255).to(torch.uint8)
