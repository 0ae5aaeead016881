"""`tfbench train`: an evaluator or a method."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfbench.cli import common, datasets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfbench.datasets.base import Dataset
    from tfbench.training.run import Outcome, Told

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
KINDS = ("methods", "evaluators")
RESUME = "the same command with --resume goes on at the last checkpoint"


def train_command(
    name: Annotated[str, typer.Argument(help="Such as syncnet, lipreader, syncnet.official.")],
    setting: Annotated[
        list[str] | None, typer.Argument(help="Settings, key=value: steps=2000 seed=1 half=a ...")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Such as puppets, grid, folder.")] = "puppets",
    root: Annotated[Path | None, typer.Option(help="Where the data set lies on disk.")] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="A setting of the data set, key=value.")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", help="A setting of the held-out data set alone, key=value."),
    ] = None,
    config: Annotated[
        list[Path] | None, typer.Option("--config", help="A YAML file of settings.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. Default: runs/train/.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder.")
    ] = False,
    max_time: Annotated[
        str | None, typer.Option(help="Stop at a checkpoint before that: 90s, 30m, 2h.")
    ] = None,
    accelerator: common.AcceleratorOption = "auto",
    workers: datasets.WorkersOption = None,
) -> None:
    """Train an evaluator or a method; stopped at any moment, --resume goes on."""
    from tfbench.core.errors import TrainingError
    from tfbench.core.registry import parse_name
    from tfbench.training.folder import RunFolder
    from tfbench.training.run import STOPPED, Training, prepare, train
    from tfbench.training.stages import stages

    kind = _kind_of(parse_name(name).stem)
    trainee, parsed = common.find(kind, name)
    _refuse_untrainable(trainee)
    runs = stages(trainee.Config, kind, parsed, setting or [], config or [])
    words = (data or []) + common.given("root", root)
    whole = Training(
        kind=trainee,
        config=runs[-1].config,
        dataset=_split(dataset, words, "train"),
        held_out=_split(dataset, _replaced(words, held_out or []), "val"),
        folder=out or _usual(str(parsed), dataset, runs[-1].config),
        command=shlex.join(["tfbench", *sys.argv[1:]]),
    )
    folders = [RunFolder(whole.folder / run.folder) for run in runs]
    seconds = None if max_time is None else _seconds(max_time)
    common.device_of(accelerator)
    if not resume:
        for folder in folders:
            folder.refuse_another()
    elif not folders[0].begun:
        raise TrainingError(f"there is no run in {folders[0].path} to go on with")
    if len(runs) > 1 and not resume:
        # What only the last run refuses should not be told after hours of those before it.
        afterwards = "the same command begins again, with the clips that were prepared"
        typer.echo(f"{whole.dataset.label}: preparing clips, looking what {len(runs)} runs need")
        with _preparing(lambda _: None, afterwards) as told:
            prepare(whole, told, accelerator=accelerator, workers=workers)
    until = None if seconds is None else time.monotonic() + seconds
    outcome: Outcome | None = None
    for run, folder in zip(runs, folders, strict=True):
        settings = run.beginning_with(outcome.bundle) if outcome else run.config
        typer.echo(f"{run.title}run folder {folder.path}")
        with _preparing(typer.echo, RESUME) as told:
            outcome = train(
                replace(whole, config=settings, folder=folder.path),
                told,
                resume=resume and (outcome is None or folder.begun),
                max_seconds=None if until is None else max(until - time.monotonic(), 0.0),
                accelerator=accelerator,
                workers=workers,
            )
        _report(outcome)
        if outcome.state == STOPPED:
            typer.echo("the same command with --resume goes on")
            return


@contextlib.contextmanager
def _preparing(line: Callable[[str], None], afterwards: str) -> Iterator[Told]:
    """Show how far clips are prepared; after Ctrl-C say how to go on, and end the command."""
    from tfbench.training.run import Told

    with datasets.progress("preparing clips") as advance:
        try:
            yield Told(line, advance, bar=common.console.is_terminal)
        except KeyboardInterrupt:
            typer.echo(f"interrupted; {afterwards}")
            raise typer.Exit(130) from None


def _kind_of(stem: str) -> str:
    """Return whose registry knows a name; the error for an unknown one names both kinds."""
    from tfbench.core.errors import UnknownName
    from tfbench.core.registry import closest, registry

    for kind in KINDS:
        try:
            registry(kind).find(stem)
        except UnknownName:
            continue
        return kind
    known = [n for kind in reversed(KINDS) for n in registry(kind).names()]
    raise UnknownName(
        f"nothing to train is called '{stem}'{closest(stem, known)}; there are: {', '.join(known)}"
    )


def _refuse_untrainable(plugin: Any) -> None:
    from tfbench.core.errors import ConfigError
    from tfbench.evaluators.base import Trainee

    if not issubclass(plugin, Trainee):
        raise ConfigError(f"'{plugin.name}' has nothing to train")


def _split(dataset: str, words: Sequence[str], split: str) -> Dataset:
    """Build a data set, of a split unless the words name one."""
    from tfbench.core.registry import parse_name, registry

    plugin = registry("datasets").load(parse_name(dataset).stem)
    has_splits = any(field.name == "split" for field in fields(plugin.Config))
    named = any(word.startswith("split=") for word in words)
    own = [] if named or not has_splits else [f"split={split}"]
    built: Dataset = common.build("datasets", dataset, [*words, *own])
    return built


def _replaced(words: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Return words without those of training's split and size, and with changes."""
    keys = {word.partition("=")[0] for word in changes} | {"split", "size"}
    return [word for word in words if word.partition("=")[0] not in keys] + list(changes)


def _usual(name: str, dataset: str, settings: Any) -> Path:
    half = "" if settings.half == "all" else f"-{settings.half}"
    return Path("runs", "train", f"{name}-{dataset}{half}-seed{settings.seed}")


def _seconds(text: str) -> float:
    from tfbench.core.errors import ConfigError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise ConfigError(f"--max-time is a number and s, m, h or d, such as 30m; got '{text}'")
    return float(match[1]) * UNITS[match[2]]


def _report(outcome: Outcome) -> None:
    typer.echo(f"{outcome.state} at step {outcome.step}; best network: {outcome.bundle}")
