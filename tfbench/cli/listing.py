"""`tfbench list`: what there is by name."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

KINDS = ("methods", "metrics", "datasets", "protocols", "evaluators", "networks")


def list_command(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}.")] = None,
) -> None:
    """List methods, metrics, data sets, protocols, trainable evaluators and networks."""
    from tfbench.core.errors import UnknownName
    from tfbench.core.registry import registry

    if kind is not None and kind not in KINDS:
        raise UnknownName(f"no kind '{kind}'; there are {', '.join(KINDS)}")
    console = Console()
    for name in KINDS if kind is None else (kind,):
        table = Table(title=name, title_justify="left", show_header=False, box=None)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for entry in registry(name).entries():
            other = f" (also {', '.join(entry.aliases)})" if entry.aliases else ""
            source = "" if entry.source == "tfbench" else f" [{entry.source}]"
            what = f"broken: {entry.error}" if entry.error else entry.summary
            table.add_row(entry.name, f"{what}{other}{source}".replace("[", "\\["))
        console.print(table)
        console.print()
