"""Which clips are trained on, and in which order examples are drawn.

Example k of measurement round r is a pure function of (seed, r, k): neither a resume nor the
number of loading processes can change it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.datasets.base import Row
    from tfbench.evaluators.base import Kept, Trainee

__all__ = ["Examples", "half_of"]


def half_of(rows: Sequence[Row], half: str) -> tuple[Row, ...]:
    """Choose the rows that a copy of a network is trained on.

    Args:
        rows: Of the training split.
        half: "all", "a" or "b"; a hash of the person decides, of the clip where all rows show
            one person.
    """
    if half == "all":
        return tuple(rows)
    several = len({row.identity for row in rows}) > 1
    side = {"a": 0, "b": 1}[half]
    return tuple(row for row in rows if _side(row.identity if several else row.id) == side)


def _side(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0] % 2


class Examples(LightningDataModule):
    """Examples of training; Lightning asks for those of one round after the other.

    Args:
        trainee: Draws them.
        clips: What they are drawn from.
        workers: Processes that load; 0 loads in the training process.
    """

    def __init__(self, trainee: Trainee, clips: Sequence[Kept], workers: int = 0) -> None:
        super().__init__()
        self._trainee = trainee
        self._clips = clips
        self._workers = workers

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of the trainer's present round."""
        trainer: Any = self.trainer
        config, done = self._trainee.config, trainer.current_epoch
        steps = min(config.every, config.steps - done * config.every)
        ranks = trainer.world_size
        share = max(config.batch // ranks, 1)
        drawn = _Round(self._trainee, self._clips, done, steps * share, trainer.global_rank, ranks)
        return DataLoader(drawn, share, num_workers=self._workers, collate_fn=self._trainee.collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return one empty batch: held-out clips are measured all together."""
        return DataLoader([0])  # type: ignore[arg-type]


class _Round(Dataset[Any]):
    """The examples between two measurements."""

    def __init__(
        self, trainee: Trainee, clips: Sequence[Kept], number: int, n: int, rank: int, ranks: int
    ) -> None:
        self._trainee = trainee
        self._clips = clips
        self._number = number
        self._n = n
        self._rank = rank
        self._ranks = ranks

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, k: int) -> Any:
        if k >= self._n:
            raise IndexError(k)
        place = k * self._ranks + self._rank
        rng = np.random.default_rng([self._trainee.config.seed, self._number, place])
        return self._trainee.example(self._clips, rng)
