"""`tfbench assess`: how good a trained evaluator is on held-out clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tfbench.cli import common, datasets


def assess_command(
    network: Annotated[str, typer.Argument(help="Such as syncnet.puppets, or a bundle's folder.")],
    dataset: Annotated[str, typer.Option(help="Such as puppets, grid, folder.")] = "puppets",
    root: Annotated[Path | None, typer.Option(help="Where the data set lies on disk.")] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="A setting of the data set, key=value.")
    ] = None,
    accelerator: common.AcceleratorOption = "auto",
    workers: datasets.WorkersOption = None,
) -> None:
    """Measure an evaluator that `tfbench train` has made on clips it was not trained on."""
    from tfbench.training.assess import assess, load_trained

    samples = common.build("datasets", dataset, (data or []) + common.given("root", root))
    trainee = load_trained(network)
    with datasets.interruptible(), datasets.progress("preparing clips") as advance:
        found = assess(trainee, samples, workers=workers, accelerator=accelerator, progress=advance)
    left_out = f", {found.n_refused} left out" if found.n_refused else ""
    title = f"{network} on {found.dataset}, {found.n_clips} clips{left_out}"
    table = Table(title=title, title_justify="left")
    for head in ("figure", "value", "95 % interval", "stands on"):
        table.add_column(head, justify="right" if head == "value" else "left")
    for f in found.figures:
        span = "—" if f.low is None or f.high is None else f"{f.low:.4g} to {f.high:.4g}"
        table.add_row(f.name, f"{f.value:.4g} {f.unit}".strip(), span, f"{f.n} {f.of}")
    common.console.print(table)
