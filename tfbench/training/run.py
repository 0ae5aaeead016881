"""Train something: prepare clips, fit with Lightning, measure, keep the best as a bundle.

Lightning's epochs are rounds here: `every` steps, then a measurement on held-out clips, then a
checkpoint. A resumed run begins with the round after its checkpoint and gives, on a CPU, the same
bits as one that was never stopped.
"""

from __future__ import annotations

import logging
import os
import signal
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from tfbench.core.config import to_plain
from tfbench.core.errors import InputError, MissingAsset, TrainingError
from tfbench.methods.base import bundle_folder
from tfbench.nets.bundle import read_record
from tfbench.nets.frozen import channels_last
from tfbench.preparation.clips import keep_clips
from tfbench.training.bundle import write_bundle
from tfbench.training.callbacks import FiniteLoss, FixedNorm, Measure, Reseed, StopInTime
from tfbench.training.data import Examples, half_of
from tfbench.training.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytorch_lightning import Callback
    from torch import Tensor

    from tfbench.datasets.base import Dataset
    from tfbench.evaluators.base import Figure, Kept, Trainee
    from tfbench.preparation.clips import KeptClips

__all__ = ["STOPPED", "Outcome", "Told", "Training", "prepare", "train"]

DONE, STOPPED, EARLY, BEFORE = "finished", "out of time", "stopped early", "was finished before"


@dataclass(frozen=True, eq=False)
class Training:
    """A training.

    Attributes:
        kind: Class of the trainee.
        config: Its settings.
        dataset: What is trained on.
        held_out: What it is measured on meanwhile.
        folder: The run's folder.
        command: What the user wrote; goes into the bundle.
    """

    kind: type[Trainee]
    config: Any
    dataset: Dataset
    held_out: Dataset
    folder: Path
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a call of `train` came to.

    Attributes:
        state: "finished", "out of time", "stopped early" or "was finished before".
        step: Steps done in all.
        figures: Of the last measurement; empty where nothing was done.
        bundle: Folder of the best network.
    """

    state: str
    step: int
    figures: tuple[Figure, ...]
    bundle: Path


@dataclass(frozen=True)
class Told:
    """Who is told what while a training runs.

    Attributes:
        line: Called with what a user should know.
        preparing: Called with (clips that are done, all).
        bar: Whether to show Lightning's progress bar.
    """

    line: Callable[[str], None]
    preparing: Callable[[int, int], None] | None = None
    bar: bool = False


def train(
    training: Training,
    told: Told,
    *,
    resume: bool = False,
    max_seconds: float | None = None,
    accelerator: str = "auto",
    workers: int | None = None,
) -> Outcome:
    """Run, or continue, a training.

    Args:
        training: What to do.
        told: Who is told what.
        resume: Go on with the run in the folder.
        max_seconds: Stop at the last checkpoint before this time is over.
        accelerator: Lightning's name of the kind of device: "auto", "cpu", "gpu".
        workers: Processes that prepare clips; None takes one for each core.

    Raises:
        TrainingError: The folder holds another run, or the loss is no number.
        InputError: There is nothing to train on.
        KeyboardInterrupt: Ctrl-C was pressed; the run can be continued.
    """
    folder = RunFolder(training.folder)
    with folder.locked():
        folder.begin(_run(training), resume=resume)
        trainee, kept = prepare(training, told, accelerator=accelerator, workers=workers)
        return _fit(training, trainee, folder, kept, told, max_seconds, accelerator)


def prepare(
    training: Training, told: Told, *, accelerator: str = "auto", workers: int | None = None
) -> tuple[Trainee, list[KeptClips]]:
    """Do all that comes before the first step, which refuses what cannot be trained on.

    Args:
        training: What to do.
        told: As for `train`.
        accelerator: As for `train`.
        workers: As for `train`.

    Returns:
        What is trained, and the clips that it is trained on and measured on.

    Raises:
        InputError: There is nothing to train on, or held-out clips are trained on as well.
    """
    seed_everything(training.config.seed, verbose=False)
    trainee = training.kind(training.config)
    trainee.gather()
    device = "cpu" if accelerator == "cpu" or not torch.cuda.is_available() else "cuda"
    # What is drawn afterwards must not depend on whether clips were kept already.
    with torch.random.fork_rng(devices=[]):
        kept = [
            _kept(dataset, trainee, half, told, device, workers)
            for dataset, half in (
                (training.dataset, training.config.half),
                (training.held_out, "all"),
            )
        ]
    _refuse_shared(*(one.clips for one in kept))
    trainee.fit_to(kept[0].clips)
    return trainee, kept


def _run(training: Training) -> dict[str, Any]:
    return {
        "trainee": training.kind.name,
        "config": to_plain(training.config),
        "dataset": {"label": training.dataset.label, "checksum": training.dataset.checksum()},
        "held_out": {"label": training.held_out.label, "checksum": training.held_out.checksum()},
    }


def _kept(
    dataset: Dataset,
    trainee: Trainee,
    half: str,
    told: Told,
    device: str,
    workers: int | None,
) -> KeptClips:
    rows = half_of(dataset.index(), half)
    if not rows:
        raise InputError(f"half '{half}' of the data set {dataset.label} has no clip")
    dataset.prepare(rows, workers=workers, progress=told.preparing)
    kept = keep_clips(
        dataset, trainee, rows, workers=workers, device=device, progress=told.preparing
    )
    left_out = f", {len(kept.refused)} left out" if kept.refused else ""
    told.line(f"{dataset.label}: {len(kept.clips)} clips{left_out}")
    for name, why in list(kept.refused.items())[:3]:
        told.line(f"  left out: {name}: {why}")
    return kept


def _refuse_shared(one: Sequence[Kept], other: Sequence[Kept]) -> None:
    shared = {clip.path for clip in one} & {clip.path for clip in other}
    if shared:
        raise InputError(
            f"{len(shared)} held-out clips are trained on as well; give held-out clips of another "
            "split, such as --held-out split=val"
        )


def _fit(
    training: Training,
    trainee: Trainee,
    folder: RunFolder,
    kept: Sequence[KeptClips],
    told: Told,
    max_seconds: float | None,
    accelerator: str,
) -> Outcome:
    config = training.config
    last: list[tuple[Figure, ...]] = [()]
    sources = (getattr(config, name, "") for name in ("init", "faces_from"))
    began_with = _began_with(next(filter(None, sources), ""))

    def keep(step: int, figures: Sequence[Figure]) -> None:
        made_by = _made_by(training, kept, step) | began_with
        write_bundle(folder.bundle, trainee, made_by, figures)

    def say(step: int, loss: float, figures: Sequence[Figure]) -> None:
        last[0] = tuple(figures)
        shown = ", ".join(f"{f.name} {f.value:.4g}{f.unit}" for f in figures)
        told.line(f"step {step} of {config.steps}: loss {loss:.4g}; held out: {shown}")

    timer = [] if max_seconds is None else [StopInTime(max_seconds)]
    callbacks = _callbacks(config, trainee, folder, Measure(kept[1].clips, keep, say))
    trainer = _trainer(config, folder, [*callbacks, *timer], accelerator, bar=told.bar)
    begun = _step_of(folder)
    if begun >= config.steps:
        return Outcome(BEFORE, begun, (), folder.bundle)
    data = Examples(trainee, kept[0].clips)
    # Networks that were loaded come in evaluation mode, and Lightning leaves modes as they are.
    channels_last(trainee).train()
    resumed = folder.checkpoint if folder.checkpoint.is_file() else None
    if resumed:
        told.line(f"going on at step {begun}")
    _run_trainer(trainer, trainee, data, resumed)
    unfinished = STOPPED if any(t.stopped for t in timer) else EARLY
    state = unfinished if trainer.global_step < config.steps else DONE
    return Outcome(state, trainer.global_step, last[0], folder.bundle)


def _callbacks(
    config: Any, trainee: Trainee, folder: RunFolder, measure: Measure
) -> list[Callback]:
    """Return the callbacks in the order in which they must run."""
    fixed = FixedNorm(config.fix_norm)
    callbacks: list[Callback] = [Reseed(config.seed), fixed, FiniteLoss(), measure]
    if config.ema:
        callbacks.append(WeightAveraging(avg_fn=_moving_average(config.ema)))
    if config.patience:
        mode = "max" if trainee.higher_is_better else "min"
        name = f"held out/{trainee.monitor}"
        callbacks.append(EarlyStopping(name, patience=config.patience, mode=mode))
    callbacks.append(
        ModelCheckpoint(
            folder.path,
            filename="last",
            monitor=None,
            save_top_k=1,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    )
    return callbacks


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the update of an average whose memory grows with the steps, up to the decay."""

    def update(average: Tensor, new: Tensor, n: Tensor) -> Tensor:
        return average + (new - average) * (1 - min(decay, (1 + int(n)) / (10 + int(n))))

    return update


def _trainer(
    config: Any, folder: RunFolder, callbacks: list[Callback], accelerator: str, *, bar: bool
) -> Trainer:
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    bf16 = config.precision == "bf16" or (config.precision == "auto" and gpu)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    return Trainer(
        default_root_dir=folder.path,
        accelerator=accelerator,
        devices=1,
        precision="bf16-mixed" if bf16 else "32-true",
        max_steps=config.steps,
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        gradient_clip_val=config.clip or None,
        callbacks=[*callbacks, RichProgressBar()] if bar else callbacks,
        enable_progress_bar=bar,
        enable_model_summary=False,
        log_every_n_steps=min(10, config.every, config.steps),
        logger=_loggers(folder),
        use_distributed_sampler=False,
    )


def _loggers(folder: RunFolder) -> list[Any]:
    """Make loggers that overwrite nothing: each start of a run has logs of its own."""
    start = f"from-step-{_step_of(folder):06d}"
    again = len(list((folder.logs / "csv").glob(f"{start}*")))
    start += f"-again-{again}" if again else ""
    loggers: list[Any] = [CSVLogger(folder.logs, "csv", start, flush_logs_every_n_steps=50)]
    try:
        loggers.append(TensorBoardLogger(folder.logs, "tensorboard", start))
    except ModuleNotFoundError:
        # The CSV file holds the same; the extra `tensorboard` brings the other.
        return loggers
    return loggers


def _step_of(folder: RunFolder) -> int:
    """Return how many steps the checkpoint has behind it."""
    if not folder.checkpoint.is_file():
        return 0
    try:
        state = torch.load(folder.checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return int(state["global_step"])
    except Exception as error:  # a cut-off file raises whatever its last bytes happen to mean
        raise TrainingError(
            f"{folder.checkpoint} is no checkpoint of this training ({error}); begin a new run "
            "with another --out"
        ) from error


def _run_trainer(
    trainer: Trainer, trainee: Trainee, data: Examples, checkpoint: Path | None
) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            # Loading processes cost more than they give where clips are read in slices.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            warnings.filterwarnings("ignore", ".*exists and is not empty.*")
            # Lightning 2.6 asks torch 2.15 in a way that is going out of use.
            warnings.filterwarnings("ignore", ".*LeafSpec.*")
            trainer.fit(trainee, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as error:
        # Lightning leaves the program when Ctrl-C is pressed; the caller decides here.
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, before)
    if trainer.interrupted:
        raise KeyboardInterrupt


def _began_with(source: str) -> dict[str, Any]:
    """Return what made the bundle that a training begins with; nothing for any other network."""
    try:
        folder = bundle_folder(source) if source else None
    except MissingAsset:
        folder = None  # an official network, which has its own name
    return {"began_with": read_record(folder / "bundle.json")["training"]} if folder else {}


def _made_by(training: Training, kept: Sequence[KeptClips], step: int) -> dict[str, Any]:
    return {
        **_run(training),
        "clips": {"trained on": len(kept[0].clips), "held out": len(kept[1].clips)},
        "command": training.command,
        "step": step,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }
