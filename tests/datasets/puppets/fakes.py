"""A renderer that is quick and shows nothing, and checks that refuse as told."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from tfbench.core.types import Speech
from tfbench.datasets.puppets.make import Job
from tfbench.datasets.puppets.plan import plan
from tfbench.datasets.puppets.spec import ClipSpec

N_FRAMES = 6


@dataclass(frozen=True)
class FakeClip:
    spec: ClipSpec
    size: int

    @property
    def utterance(self):
        phone = SimpleNamespace(symbol="SIL", start=0.0, end=np.float64(0.24))
        return SimpleNamespace(words=((self.spec.text, 0.0, 0.24),), phones=(phone,))

    @property
    def speech(self):
        return Speech(torch.sin(torch.arange(N_FRAMES * 640) / (5 + self.spec.seed % 7)) / 2)

    @property
    def truth(self):
        return {
            "landmarks": np.full((N_FRAMES, 68, 2), self.spec.attempt, np.float32),
            "coefficients": np.zeros((N_FRAMES, 5), np.float32),
            "expression": np.zeros((N_FRAMES, 52), np.float32),
        }

    def frames(self, chunk=8):
        rng = np.random.default_rng([self.spec.seed, self.spec.attempt])
        colours = torch.from_numpy(rng.integers(0, 255, (N_FRAMES, 3, 1, 1), np.uint8))
        frames = colours.expand(-1, -1, self.size, self.size).clone()
        frames[:, :, 0, 0] = self.spec.attempt
        yield from frames.split(chunk)


@dataclass(frozen=True)
class Fake:
    """Renders, and leaves a file for each time it did."""

    log: Path | None = None
    delay: float = 0.0

    def __call__(self, spec: ClipSpec, size: int) -> FakeClip:
        if self.log is not None:
            (self.log / f"{spec.id} {spec.attempt} {secrets.token_hex(4)}").touch()
        time.sleep(self.delay)
        return FakeClip(spec, size)


@dataclass(frozen=True)
class RefuseUpTo:
    """Refuses the first attempts."""

    attempts: int

    def __call__(self, frames: torch.Tensor, attempt: int) -> str | None:
        drawn = int(frames[0, 0, 0, 0])
        return f"attempt {drawn} is ugly" if drawn == attempt < self.attempts else None


accept = RefuseUpTo(0)


def jobs(folder: Path, n: int) -> list[Job]:
    return [Job(spec, 64, folder / "clips" / spec.id) for spec in plan("test", n)]
