"""`tfbench datasets`: make the clips of a generated data set, and look at any data set."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfbench.cli import common

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfbench.datasets.base import Dataset, Prepared, Row

app = typer.Typer(no_args_is_help=True, help="Make generated data sets; look at any data set.")

NameArgument = Annotated[str, typer.Argument(help="Such as puppets; `tfbench list datasets`.")]
SplitOption = Annotated[str | None, typer.Option(help="Such as train, val, test.")]
SizeOption = Annotated[int | None, typer.Option(help="How many clips; default: the split's own.")]
ResolutionOption = Annotated[int | None, typer.Option(help="Height of the frames, pixels.")]
RootOption = Annotated[Path | None, typer.Option(help="Where the data set lies on disk.")]
DataOption = Annotated[
    list[str] | None, typer.Option("--data", help="A setting of the data set, key=value.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes; default: one for each core.")
]


@app.command("make")
def make_command(
    name: NameArgument,
    split: SplitOption = None,
    size: SizeOption = None,
    resolution: ResolutionOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode clips that are there; make damaged ones anew.")
    ] = False,
) -> None:
    """Make the clips of a data set that are not there yet; go on where it was stopped."""
    words = _words(data, split=split, size=size, resolution=resolution)
    dataset = common.build("datasets", name, words)
    start = time.monotonic()
    with interruptible():
        prepared, n_new = prepare(dataset, workers=workers, verify=verify)
    if prepared is None:
        from tfbench.core.errors import InputError

        raise InputError(
            f"the data set '{dataset.name}' is not generated: it has nothing to make; 'puppets' has"
        )
    _report(dataset, prepared, n_new, time.monotonic() - start)


@app.command("show")
def show_command(
    name: NameArgument,
    split: SplitOption = None,
    size: SizeOption = None,
    resolution: ResolutionOption = None,
    root: RootOption = None,
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pictures. Default: below show/.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="At most this many on the sheet.")] = 12,
    videos: Annotated[int, typer.Option(min=0, help="At most this many videos.")] = 4,
    workers: WorkersOption = None,
) -> None:
    """Write a contact sheet and some videos of a data set."""
    words = _words(data, split=split, size=size, resolution=resolution, root=root)
    dataset = common.build("datasets", name, words)
    from tfbench.datasets._sheet import choose_rows, show

    with interruptible():
        prepare(dataset, choose_rows(dataset.index(), clips), workers=workers)
        shown = show(dataset, out or Path("show", dataset.label), n_rows=clips, n_videos=videos)
    for path in (shown.sheet, *shown.videos):
        typer.echo(path)


def prepare(
    dataset: Dataset,
    rows: Sequence[Row] | None = None,
    *,
    workers: int | None = None,
    verify: bool = False,
) -> tuple[Prepared | None, int]:
    """Make clips that are not there, with a bar; returns also how many were made just now."""
    before: list[int] = []
    with progress(f"making clips of {dataset.label}") as advance:

        def say(done: int, total: int) -> None:
            before.append(done)
            advance(done, total)

        prepared = dataset.prepare(rows, workers=workers, verify=verify, progress=say)
    return prepared, before[-1] - before[0] if before else 0


def _words(data: list[str] | None, **options: str | int | Path | None) -> list[str]:
    """Join settings and the options that stand for some of them."""
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    return [*(data or []), *given]


def _report(dataset: Dataset, prepared: Prepared, n_new: int, seconds: float) -> None:
    length = prepared.n_frames / 25
    pace = f" in {seconds:.0f} s, {60 * n_new / seconds:.0f} a minute" if n_new else ""
    lines = (
        f"{prepared.n_clips} clips of {dataset.label}, {length:.0f} s of video; "
        f"{n_new} made now{pace}",
        f"{prepared.n_refused} attempts were refused and drawn anew",
        f"folder   {prepared.folder}",
        f"checksum {dataset.checksum()} (of the list of clips)",
        f"sha256   {prepared.sha256} (of what they show and sound like)",
    )
    for line in lines:
        typer.echo(line)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; yields what is called with (done, all)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=common.notes, transient=True) as bar:
        task = bar.add_task(what, total=None, visible=False)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield advance


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C into a line and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        common.notes.print("interrupted; what is done is kept: the same command goes on there")
        raise typer.Exit(130) from None
