"""The program `tfbench`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tfbench import __version__
from tfbench.cli import (
    assess,
    assets,
    cost,
    datasets,
    doctor,
    evaluate,
    generate,
    leaderboard,
    listing,
    score,
    train,
    validate,
)
from tfbench.core.errors import TfbenchError

app = typer.Typer(
    name="tfbench",
    help="One benchmark and model zoo for audio-driven talking-face generation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("score")(score.score)
app.command("generate")(generate.generate_command)
app.command("eval")(evaluate.evaluate_command)
app.command("train")(train.train_command)
app.command("assess")(assess.assess_command)
app.command("validate")(validate.validate_command)
app.command("cost")(cost.cost_command)
app.command("list")(listing.list_command)
app.command("doctor")(doctor.doctor)
app.command("leaderboard")(leaderboard.leaderboard)
app.add_typer(assets.app, name="assets")
app.add_typer(datasets.app, name="datasets")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tfbench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score, evaluate and compare talking-face videos."""


def main() -> None:
    """Run the program; an error that tfbench raised on purpose is one line and exit code 1."""
    try:
        app()
    except TfbenchError as error:
        typer.echo(f"tfbench: {error}", err=True)
        sys.exit(1)
