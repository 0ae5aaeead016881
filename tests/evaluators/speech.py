"""Clips of mouths and sound that say something, without a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tfbench.core.types import Clip, Sample, TensorVideo
from tfbench.evaluators.base import Kept

ENCODER = {
    "layers": 2,
    "dim": 16,
    "ffn": 32,
    "heads": 2,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "widths": (4, 4, 4, 6, 8),
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "input_dropout": 0.0,
    "batch": 2,
    "warmup": 0,
}
"""Of a very small one."""
STILL = {"runs": 0, "turn": 0, "move": 0, "zoom": 0, "gamma": 0, "stretch": 0, "jitter": 0} | {
    "hidden_frames": 0
}


def sample(text: str | None, name: str = "clip", n: int = 12, times: tuple = ()) -> Sample:
    """A sample whose frames nobody looks at."""
    clip = Clip(TensorVideo(torch.zeros(n, 3, 4, 4, dtype=torch.uint8)))
    return Sample(name, clip, name[:1], split="x", transcript=text, word_times=times or None)


def kept(folder: Path, text: str | None, seed: int = 0, n: int = 12, times: tuple = ()) -> Kept:
    """Mouths, sound and cepstra that differ in every frame."""
    draw = np.random.RandomState(seed)
    pixels = draw.randint(0, 256, (n, 12, 12)).astype(np.uint8)
    mouths = torch.from_numpy(pixels).repeat_interleave(8, 1).repeat_interleave(8, 2)
    sound, cepstra = (torch.from_numpy(draw.standard_normal((n, k))).float() for k in (104, 39))
    arrays = {"mouths": mouths, "audio": sound, "mfcc": cepstra}
    name = f"{'abcdef'[seed % 6]}-{seed}"
    return Kept.write(folder / f"{name}.safetensors", sample(text, name, n, times), arrays)
