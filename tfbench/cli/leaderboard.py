"""`tfbench leaderboard`: pages from results and from published tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfbench.cli import common

if TYPE_CHECKING:
    from collections.abc import Iterable


def leaderboard(
    folder: Annotated[
        Path, typer.Argument(help="Holds results/ and published/; pages are written there.")
    ] = Path("leaderboards"),
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 if a page is stale or orphaned."),
    ] = False,
) -> None:
    """Write the leaderboard pages from the results and published tables below a folder."""
    from tfbench.evaluation.leaderboard import build, orphaned, stale, write

    pages = build(folder)
    old, surplus = stale(pages), orphaned(folder, pages)
    if check:
        _tell("stale", old)
        _tell("orphaned", surplus)
        raise typer.Exit(1 if old or surplus else 0)
    write(pages)
    for path in surplus:
        path.unlink()
    for path in pages:
        common.console.print(
            f"{'written' if path in old else 'unchanged'}: {path}", highlight=False
        )
    for path in surplus:
        common.console.print(f"removed: {path}", highlight=False)


def _tell(what: str, paths: Iterable[Path]) -> None:
    for path in paths:
        common.notes.print(f"{what}: {path}", highlight=False)
