"""An expert that has learnt nothing, clips of noise, and what a loss reaches."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tfbench.core.types import Clip, Request, Sample, TensorVideo
from tfbench.evaluators.base import Kept
from tfbench.methods.synctalklip import SyncTalklip, SyncTalklipConfig
from tfbench.nets.av_syncnet import AVSyncNet
from tfbench.training.bundle import write_network

SIDE, N = 64, 40
SMALL = SyncTalklipConfig(
    width=2,
    decoder_width=2,
    most=8,
    side=SIDE,
    critic_width=2,
    batch=2,
    groups=2,
    frames_at_once=4,
)


def write_expert(folder: Path, net: AVSyncNet) -> str:
    parts = {"net": write_network(folder / "net.safetensors", net)}
    (folder / "bundle.json").write_text(json.dumps({"name": "av_syncnet", "parts": parts}))
    return str(folder)


def kept_clip(
    folder: Path, k: int, n: int = N, words: str = "set blue", start: int = 0, **facts
) -> Kept:
    """Random faces and mouths, and a map that puts the mouth into the lower half of the face."""
    draw = torch.Generator().manual_seed(k)
    maps = torch.tensor([0.5, 0.0, 10.0, 0.0, 0.4, 30.0]).repeat(n, 1)
    arrays = {
        "faces": torch.randint(0, 256, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=draw),
        "mouths": torch.randint(0, 256, (n, 88, 88), dtype=torch.uint8, generator=draw),
        "maps": maps,
        "lips": torch.randn(n, 40, generator=draw),
        "sound": torch.randn(n, 104, generator=draw),
        "start": torch.tensor([start]),
    }
    video = TensorVideo(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    sample = Sample(f"c{k}", Clip(video), "p", transcript=words or None, **facts)
    return Kept.write(folder / f"{k}.safetensors", sample, arrays)


def training(expert: str, clips: Sequence[Kept] = (), **changes) -> SyncTalklip:
    torch.manual_seed(0)
    made = SyncTalklip(replace(SMALL, expert=expert, **changes))
    made.log = lambda *_, **__: None
    made.gather()
    made.fit_to(clips)
    return made.train()


def batch(made: SyncTalklip, clips: list[Kept], seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    return made.collate([made.example([clip], rng) for clip in clips])


def named(made: SyncTalklip) -> dict[str, nn.Module]:
    """Every part that has parameters."""
    return {
        "net": made.net,
        "encoder": made.hearing.encoder,
        "audio_map": made.hearing.audio_map,
        "critic": made.critic,
        "scale": made.scale,
        "projection": made.projection,
        "expert": made.expert.module,
    }


def reached(made: SyncTalklip, loss: Tensor) -> set[str]:
    """Names of the parts that a loss reaches, each as a whole."""
    made.zero_grad()
    loss.backward()
    found = set()
    for name, part in named(made).items():
        gradients = [p.grad for p in part.parameters()]
        if all(g is None or not g.any() for g in gradients):
            continue
        assert all(g is not None for g in gradients), name
        found.add(name)
    return found


GENERATOR = {"net", "encoder", "audio_map"}


def video(method: SyncTalklip, request: Request) -> Tensor:
    method.check(request)
    return torch.cat(list(method.frames(request)))
