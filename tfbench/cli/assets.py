"""`tfbench assets`: list, get and verify the official networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress

    from tfbench.core.assets import Asset, State

app = typer.Typer(
    no_args_is_help=True,
    help="The official networks that metrics and methods use: what is here, and how to get more.",
)

_STYLES = {"present": "green", "missing": "", "damaged": "bold red", "gated": "yellow"}


@app.command("list")
def list_assets(
    used_by: Annotated[
        str, typer.Option("--used-by", help="Only what this metric or method uses.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all fields.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are known but not read by anything yet.")
    ] = False,
) -> None:
    """Show every network: name, size, licence and whether it is here."""
    from tfbench.core import assets

    entries = _used_by(used_by) if used_by else list(assets.manifest().values())
    entries = [entry for entry in entries if entry.read or everything or used_by]
    states = {entry.name: assets.state(entry.name) for entry in entries}
    if as_json:
        _print_json(entries, states)
    else:
        _print_table(entries, states)


@app.command()
def get(names: Annotated[list[str], typer.Argument(help="Networks to fetch.")]) -> None:
    """Download networks, with a progress bar; a broken download continues."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from tfbench.core import assets
    from tfbench.core.download import StoppedError
    from tfbench.core.errors import AssetError

    for name in names:
        if not assets.asset(name).read:
            typer.echo(f"{name}: nothing in this version reads it yet", err=True)
    failures: list[AssetError] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as progress:
        for name in names:
            try:
                progress.console.print(
                    f"{name}: {_get(name, progress)}", highlight=False, soft_wrap=True
                )
            except StoppedError:
                raise
            except AssetError as error:
                failures.append(error)
    if failures:
        raise failures[0] if len(failures) == 1 else AssetError("\n".join(map(str, failures)))


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks to check; all that are here if none.")
    ] = None,
) -> None:
    """Check size and sha256 of networks; exit code 1 if one is damaged or not here."""
    from tfbench.core import assets
    from tfbench.core.errors import AssetError

    chosen = names or [name for name in assets.manifest() if assets.path(name).is_file()]
    bad = 0
    for name in chosen:
        try:
            file = assets.locate(name)
        except AssetError as error:
            bad += 1
            typer.echo(f"{name}: {error}")
        else:
            kind = "ok" if assets.asset(name).pinned else "unchanged since first seen"
            typer.echo(f"{name}: {kind} ({file})")
    if not chosen:
        typer.echo("no network is here yet; `tfbench assets list` shows what there is")
    if bad:
        raise typer.Exit(1)


@app.command("path")
def show_path(name: Annotated[str, typer.Argument(help="Of a network.")]) -> None:
    """Print where a network lies, or where it belongs."""
    from tfbench.core import assets

    typer.echo(str(assets.path(name)))


def _used_by(user: str) -> list[Asset]:
    import difflib

    from tfbench.core import assets
    from tfbench.core.errors import UnknownName

    entries = [entry for entry in assets.manifest().values() if user in entry.used_by]
    if not entries:
        users = sorted({name for entry in assets.manifest().values() for name in entry.used_by})
        close = difflib.get_close_matches(user, users, n=1)
        hint = f"did you mean {close[0]}?" if close else f"these do: {', '.join(users)}"
        raise UnknownName(f"no network is used by {user!r}; {hint}")
    return entries


def _print_json(entries: list[Asset], states: dict[str, State]) -> None:
    import dataclasses
    import json

    from tfbench.core import assets

    rows = [
        dataclasses.asdict(entry)
        | {"state": states[entry.name], "path": str(assets.path(entry.name))}
        for entry in entries
    ]
    typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def _print_table(entries: list[Asset], states: dict[str, State]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tfbench.core.download import human_size
    from tfbench.core.paths import assets_dir

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("licence")
    table.add_column("used by")
    for entry in entries:
        state = states[entry.name]
        table.add_row(
            entry.name,
            human_size(entry.size) if entry.size else "?",
            Text(state, style=_STYLES[state]),
            Text(entry.licence),
            ", ".join(entry.used_by) + ("" if entry.read else " (not read yet)"),
        )
    console = Console()
    console.print(table)
    here = sum(state == "present" for state in states.values())
    console.print(
        f"{here} of {len(entries)} are in {assets_dir()}; `tfbench assets get NAME` fetches one. "
        "A gated one is fetched by hand from its page; --all shows also what nothing reads yet.",
        highlight=False,
        soft_wrap=True,
    )


def _get(name: str, progress: Progress) -> Path:
    from tfbench.core import assets

    task = progress.add_task(name, total=assets.asset(name).size)

    def show(done: int, total: int | None) -> None:
        progress.update(task, completed=done, total=total)

    try:
        return assets.fetch(name, show)
    finally:
        progress.remove_task(task)
