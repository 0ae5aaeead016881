"""`tfbench leaderboard`: pages from results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfbench.cli import common


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Holds results/; pages are written there.")] = Path(
        "leaderboards"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a page is stale.")
    ] = False,
) -> None:
    """Write the leaderboard pages from the results below a folder."""
    from tfbench.evaluation.leaderboard import build, stale, write

    pages = build(folder)
    old = stale(pages)
    if check:
        for path in old:
            common.notes.print(f"stale: {path}", highlight=False)
        raise typer.Exit(1 if old else 0)
    write(pages)
    for path in pages:
        common.console.print(
            f"{'written' if path in old else 'unchanged'}: {path}", highlight=False
        )
