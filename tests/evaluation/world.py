"""A small world for evaluation tests: tiny clips, a toy feature network, no faces."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from tfbench.core.types import FPS, Speech
from tfbench.datasets.folder import Folder, FolderConfig
from tfbench.evaluation.protocols.cross import CrossProtocol
from tfbench.evaluation.protocols.self import SelfProtocol
from tfbench.evaluation.run import Evaluation
from tfbench.media.video import write_video
from tfbench.methods.still import Still
from tfbench.metrics.frechet import FrechetDistance
from tfbench.metrics.psnr import PSNR
from tfbench.nets.frozen import Frozen


class Means(torch.nn.Module):
    """Feature network: mean colour of each quarter of the frame.

    It has more tensors than files that one process can hand to another at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.ParameterList([torch.zeros(1) for _ in range(300)])

    def embed(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(frames.float(), 2).flatten(1)


def make_clips(folder: Path, n: int = 4, frames: int = 12, size: int = 48) -> Path:
    """Write n clips of moving noise with a tone each."""
    folder.mkdir(exist_ok=True)
    for k in range(n):
        generator = torch.Generator().manual_seed(k)
        base = torch.rand(1, 3, 6, 6, generator=generator) * 255
        big = torch.nn.functional.interpolate(base, (size, size), mode="bilinear")
        video = torch.cat([big.roll(2 * t, 3) for t in range(frames)]).to(torch.uint8)
        time = torch.arange(frames * 640) / 16_000
        tone = 0.3 * torch.sin(2 * torch.pi * (200 + 50 * k) * time)
        write_video(folder / f"clip {k} é.mp4", [video], FPS, Speech(tone), comment="test")
    return folder


def build(clips: Path, run: Path, protocol: str = "self") -> Evaluation:
    """Evaluate `still` with a metric of each reduction that needs no face."""
    judge = Frozen(Means(), "means.test")
    metrics = (PSNR("frame"), FrechetDistance("frame", judge))
    return Evaluation(
        generator=Still(),
        dataset=Folder(FolderConfig(clips, label="world")),
        protocol=SelfProtocol() if protocol == "self" else CrossProtocol(),
        metrics=metrics if protocol == "self" else metrics[1:],
        evaluators="test",
        folder=run,
    )


def digest(run: Path) -> str:
    """sha256 over the aggregates and rows that a run has left."""
    data = (run / "result.json").read_bytes() + (run / "scores.jsonl").read_bytes()
    return hashlib.sha256(data).hexdigest()
