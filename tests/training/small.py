"""A training that takes a second: a line through two points, with clips of plain frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from tfbench.core.errors import Unscorable
from tfbench.core.types import Clip, Sample, Speech, TensorVideo
from tfbench.core.views import ViewKey
from tfbench.datasets.base import Dataset, Row
from tfbench.evaluators.base import Figure, TrainConfig, Trainee
from tfbench.faces.crop import WholeFrame

N = 6


@dataclass(frozen=True)
class GreyConfig:
    """Settings of `Grey`."""

    split: str = "train"
    people: int = 4


class Grey(Dataset):
    """Clips of one gray level each; the last person's are black and cannot serve."""

    name = "grey"
    Config = GreyConfig

    def __init__(self, config: GreyConfig) -> None:
        self.config = config

    @property
    def label(self) -> str:
        return f"grey-{self.config.split}"

    def index(self) -> tuple[Row, ...]:
        return tuple(
            Row(f"{self.config.split}-{k}", f"p{k % self.config.people}", "1") for k in range(N)
        )

    def sample(self, row: Row) -> Sample:
        k = int(row.id.rpartition("-")[2])
        level = 0 if row.id == f"train-{N - 1}" else 40 * k + (10 if "val" in row.id else 5)
        frames = torch.full((5, 3, 16, 16), level, dtype=torch.uint8)
        return Sample(row.id, Clip(TensorVideo(frames), Speech(torch.zeros(3200))), row.identity)


@dataclass(frozen=True)
class LineConfig(TrainConfig):
    """Settings of `Line`."""

    steps: int = 9
    every: int = 3
    batch: int = 4
    lr: float = 0.05
    init: str = ""
    warmup: int = 0
    bad_at: int = -1


class Weight(nn.Module):
    """The network; stands for a file of `tfbench.nets`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.settings = {"width": width}
        self.line = nn.Sequential(nn.Linear(1, width), nn.Dropout(0.1), nn.Linear(width, 1))


class Line(Trainee):
    """Learns the gray level."""

    name = "line"
    Config = LineConfig
    monitor: ClassVar[str] = "error"
    higher_is_better: ClassVar[bool] = False
    failing: ClassVar[BaseException | None] = None

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.net = Weight(8)

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        return (ViewKey("level", "pred", WholeFrame(), extract=level),)

    def keep(self, sample, views):
        (part,) = views.parts(self.keys[0])
        if not part.values.any():
            raise Unscorable("the clip is black")
        return {"level": part.values}

    def example(self, clips, rng):
        clip = clips[rng.integers(len(clips))]
        row = int(rng.integers(clip.shapes["level"][0]))
        return clip.array("level", row, row + 1)

    def loss(self, batch):
        if self.trainer.global_step == self.config.bad_at:
            if Line.failing is not None:
                raise Line.failing
            return (self.net.line(batch) * float("nan")).sum()
        return (self.net.line(batch) - batch).square().mean()

    def assess(self, clips):
        values = torch.cat([clip.array("level") for clip in clips]).to(self.device)
        error = (self.net.line(values) - values).abs().mean()
        return (Figure("error", float(error), n=len(values), of="frames"),)

    def parts(self):
        return {"net": self.net}


def level(frames: torch.Tensor) -> torch.Tensor:
    """Mean level of each frame, (t, 1), 0 to 1."""
    return frames.float().mean((1, 2, 3))[:, None] / 255
