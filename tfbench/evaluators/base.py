"""What can be trained: evaluators, and methods, which go through the same door.

A trainee says what is kept of each clip (`keys`, `keep`), draws one example at a time out of the
kept clips, computes the loss of a batch, and measures itself on held-out clips. Data, loop, logs,
checkpoints and bundles are `tfbench.training`.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pytorch_lightning import LightningModule
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tfbench.core.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from tfbench.core.types import Sample
    from tfbench.core.views import ViewKey, Views

__all__ = ["Figure", "Kept", "TrainConfig", "Trainee"]

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class TrainConfig:
    """Settings that every training has.

    Attributes:
        steps: Optimiser steps in all.
        every: Steps between two measurements on held-out clips, each followed by a checkpoint.
        batch: Examples in a step, over all devices.
        lr: Peak learning rate of AdamW.
        warmup: Steps in which the rate rises from zero.
        decay: How it falls afterwards: along a half cosine to zero, or not at all.
        weight_decay: Of AdamW, for weights of more than one dimension.
        clip: Largest norm of the gradient; 0 does not clip.
        ema: Decay of an exponential moving average of the weights, which then is what is measured
            and exported; 0 for none. In the first n steps it is at most (1 + n) / (10 + n).
        patience: Measurements without improvement after which training stops; 0 never stops.
        seed: Of first weights and of every draw.
        half: Train on all clips, or on one of two halves that share no person (no clip, where
            there is one person only): two networks trained on "a" and "b" have seen nothing in
            common.
        precision: Of the layers in a step: "32", or "bf16" where that does no harm; "auto" is the
            latter on a GPU. Some CPUs are faster with "bf16" too. Weights and sums stay at 32.
        fix_norm: Step from which batch normalisation is trained with its running means, as it is
            used afterwards; 0 for never. Means of a small batch are so noisy that a network does
            not learn what is finer than they are.
    """

    steps: Positive = 10_000
    every: Positive = 500
    batch: Positive = 32
    lr: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 200
    decay: Literal["cosine", "none"] = "cosine"
    weight_decay: NonNegative = 0.01
    clip: NonNegative = 0.0
    ema: Share = 0.0
    patience: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0
    half: Literal["all", "a", "b"] = "all"
    precision: Literal["auto", "32", "bf16"] = "auto"
    fix_norm: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Figure:
    """One number that tells how good a network is.

    Attributes:
        name: Such as "offset within 1 frame".
        value: The number.
        low: Lower end of its 95 % interval; None where it has none.
        high: Upper end.
        n: What it stands on, in units of `of`.
        of: Such as "clips" or "pairs".
        unit: Such as "%".
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    of: str = "clips"
    unit: str = ""

    @classmethod
    def share(cls, name: str, hits: int, n: int, of: str = "clips") -> Figure:
        """Make a share of independent trials, in %, with Wilson's interval (Wilson 1927)."""
        z = 1.959964
        p = hits / n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low, high = max(middle - reach, 0.0), min(middle + reach, 1.0)
        return cls(name, 100 * p, 100 * low, 100 * high, n, of, "%")

    @classmethod
    def mean(cls, name: str, values: Sequence[float], of: str = "clips", unit: str = "") -> Figure:
        """Make a mean of independent values, with Student's interval where there are several."""
        from scipy.stats import t

        n = len(values)
        middle = math.fsum(values) / n
        if n < 2:
            return cls(name, middle, n=n, of=of, unit=unit)
        variance = math.fsum((value - middle) ** 2 for value in values) / (n - 1)
        reach = float(t.ppf(0.975, n - 1)) * math.sqrt(variance / n)
        return cls(name, middle, middle - reach, middle + reach, n, of, unit)


@dataclass(frozen=True, eq=False)
class Kept:
    """What training keeps of one clip: a file of arrays, read in slices.

    Attributes:
        path: The safetensors file.
        id: Of the clip.
        identity: Who is seen.
        facts: What the data set knows, as JSON holds it: `transcript`, `word_times`, `emotion`,
            `level`; what it does not know is missing.
        shapes: Of the arrays.
    """

    path: Path
    id: str
    identity: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def write(cls, path: Path, sample: Sample, arrays: Mapping[str, Tensor]) -> Kept:
        """Store a clip's arrays and facts.

        Raises:
            StorageError: The disk is full, or the folder cannot be written.
        """
        known = {
            "transcript": sample.transcript,
            "word_times": sample.word_times,
            "emotion": sample.emotion,
            "level": sample.level,
        }
        facts = {name: value for name, value in known.items() if value is not None}
        header = {"id": sample.id, "identity": sample.identity, "facts": json.dumps(facts)}
        whole = {name: value.detach().cpu().contiguous() for name, value in arrays.items()}
        write_atomically(path, save(whole, header))
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Kept:
        """Open a file that `write` has made, without reading its arrays."""
        with safe_open(path, "pt") as source:
            header = source.metadata()
            names = source.keys()
            shapes = {name: tuple(source.get_slice(name).get_shape()) for name in names}
        return cls(path, header["id"], header["identity"], json.loads(header["facts"]), shapes)

    def array(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Read the rows of an array from `start` up to `stop`."""
        with safe_open(self.path, "pt") as source:
            rows: Tensor = source.get_slice(name)[
                start : self.shapes[name][0] if stop is None else stop
            ]
        return rows


class Trainee(LightningModule, ABC):
    """Base of everything that `tfbench train` trains.

    Args:
        config: An instance of the class's `Config`.
    """

    name: ClassVar[str]
    """The registry's name: the file's stem."""
    Config: ClassVar[type[TrainConfig]]
    kept_version: ClassVar[int] = 1
    """Raised when `keep` keeps something else."""
    monitor: ClassVar[str]
    """Name of the figure that decides which weights are best and when training stops."""
    higher_is_better: ClassVar[bool]
    """Whether `monitor` should rise."""
    supervisors: tuple[str, ...] = ()
    """sha256 of the networks whose judgement trains this one; none of them may judge it."""
    taught_by: tuple[str, ...] = ()
    """sha256 of the networks whose findings in true clips this one learns to tell; where one of
    them judges, the result says so."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = self.Config() if config is None else config

    @property
    @abstractmethod
    def keys(self) -> tuple[ViewKey, ...]:
        """The views, of side "pred", that `keep` reads.

        Their names, crops and evaluators enter the fingerprint of what is kept.
        """

    @abstractmethod
    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Choose the arrays that training needs of one clip, time along their first axis.

        Raises:
            Unscorable: The clip cannot serve; it is left out with the reason.
        """

    def gather(self) -> None:
        """Load what training needs beside clips, such as a supervisor, before any is prepared.

        Raises:
            MissingAsset: It is not on this machine.
            ConfigError: It does not fit the settings.
        """

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Learn what must be known before the first step, such as the number of classes.

        Args:
            clips: All that are trained on; the same after every resume.

        Raises:
            InputError: They lack what is trained on, such as transcripts.
        """

    @abstractmethod
    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> Any:
        """Draw one example; everything random comes from `rng`."""

    def collate(self, examples: Sequence[Any]) -> Any:
        """Make a batch of examples; by default each tensor is stacked."""
        return torch.utils.data.default_collate(list(examples))

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """Compute the loss of a batch, (); further values may be logged with `self.log`."""

    @abstractmethod
    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Measure the network, in evaluation mode and without gradients, on held-out clips."""

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Return the networks that a bundle holds, by name.

        Each has `settings`, a dict that JSON can hold and that its class takes as arguments.
        """

    def adopt(self, parts: Mapping[str, nn.Module]) -> None:
        """Take trained networks in the place of its own.

        Args:
            parts: As `parts` names them.
        """
        for name, net in parts.items():
            setattr(self, name, net)

    def training_step(self, batch: Any, _index: int) -> Tensor:
        """Compute and log the loss; Lightning takes the step."""
        value = self.loss(batch)
        self.log("loss", value, prog_bar=True)
        return value

    def validation_step(self, _batch: Any, _index: int) -> None:
        """Do nothing: `tfbench.training` calls `assess` once for all held-out clips."""

    def configure_optimizers(self) -> Any:
        """Make AdamW with warm-up and the chosen fall of the rate; stepped once a batch."""
        config = self.config
        many = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        single = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [
            {"params": many, "weight_decay": config.weight_decay},
            {"params": single, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        """Return the share of the peak learning rate at a step."""
        config = self.config
        if step < config.warmup:
            return (step + 1) / config.warmup
        if config.decay == "none":
            return 1.0
        past = (step - config.warmup) / max(config.steps - config.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(past, 1.0)))
