"""What happens around the steps: measuring, refusing what is not a number, stopping in time."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning import Callback, seed_everything
from torch import nn

from tfbench.core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytorch_lightning import LightningModule, Trainer
    from torch import Tensor

    from tfbench.evaluators.base import Figure, Kept, Trainee

__all__ = ["FiniteLoss", "FixedNorm", "Measure", "Reseed", "StopInTime"]


class Reseed(Callback):
    """Seeds every round by its number, so that a resumed run draws what a whole one draws.

    Args:
        seed: Of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Seed the generators of Python, NumPy and torch."""
        place = (self.seed, trainer.current_epoch, trainer.global_rank)
        mixed = int(np.random.SeedSequence(place).generate_state(1)[0])
        seed_everything(mixed, verbose=False)


class FiniteLoss(Callback):
    """Stops before a loss that is no number damages the weights."""

    def on_before_backward(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002
        loss: Tensor,
    ) -> None:
        """Look at the loss.

        Raises:
            TrainingError: It is infinite or not a number.
        """
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"the loss is {loss.item()} at step {trainer.global_step}; the last checkpoint is "
                "kept: try a smaller lr, or clip=1, in a new run"
            )


class FixedNorm(Callback):
    """Lets batch normalisation train with its running means, as it is used afterwards.

    Args:
        start: Step from which it does; 0 for never.
    """

    def __init__(self, start: int) -> None:
        self.start = start

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Fix them; every measurement and every round lets them go again."""
        del batch, batch_idx
        if 0 < self.start <= trainer.global_step:
            for layer in pl_module.modules():
                if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
                    layer.eval()


class StopInTime(Callback):
    """Ends a run at a checkpoint, before its time is over.

    Args:
        seconds: That this call may take.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.began: float | None = None
        self.longest = 0.0
        self.stopped = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note when a round begins."""
        self.began = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Stop where the next round would not end in time."""
        if self.began is None:
            # After a resume Lightning ends once more the round that the checkpoint had ended.
            return
        now = time.monotonic()
        self.longest = max(self.longest, now - self.began)
        self.began = None
        if now + self.longest > self.end and not trainer.should_stop:
            self.stopped = trainer.should_stop = True


class Measure(Callback):
    """Measures the network on held-out clips, and keeps the best.

    It stands before the averaging of weights in the list of callbacks, so that it sees the averaged
    ones.

    Args:
        clips: Held-out clips.
        keep: Called with the step and the figures whenever no earlier network was better.
        say: Called with (step, loss, figures) after every measurement.
    """

    def __init__(
        self,
        clips: Sequence[Kept],
        keep: Callable[[int, Sequence[Figure]], None],
        say: Callable[[int, float, Sequence[Figure]], None],
    ) -> None:
        self.clips = clips
        self.keep = keep
        self.say = say
        self.best: float | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, log, and keep the network if it is the best so far."""
        trainee: Trainee = pl_module  # type: ignore[assignment]
        with torch.inference_mode():
            figures = trainee.assess(self.clips)
        for figure in figures:
            trainee.log(f"held out/{figure.name}", figure.value, rank_zero_only=False)
        (value,) = (float(f.value) for f in figures if f.name == trainee.monitor)
        if math.isnan(value):
            raise TrainingError(f"'{trainee.monitor}' on held-out clips is not a number")
        # Of equals the later one is kept: it has learnt longer where the figure is at its end.
        better = self.best is None or (
            value >= self.best if trainee.higher_is_better else value <= self.best
        )
        if trainer.is_global_zero:
            if better:
                self.keep(trainer.global_step, figures)
            loss = trainer.callback_metrics.get("loss")
            self.say(trainer.global_step, math.nan if loss is None else float(loss), figures)
        if better:
            self.best = value

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best = state_dict["best"]
