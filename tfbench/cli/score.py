"""`tfbench score`: finished videos, with or without the true clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfbench.cli import common

if TYPE_CHECKING:
    from tfbench.datasets.folder import Folder
    from tfbench.methods.files import Files


def score(
    pred: Annotated[Path, typer.Option(help="Folder of the videos to score, or one video.")],
    ref: Annotated[
        Path | None, typer.Option(help="Folder of the true clips with the same names, or one.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the method; default: the folder's name.")
    ] = None,
    dataset_name: Annotated[
        str | None, typer.Option(help="Name of the data; default: that of the reference folder.")
    ] = None,
    metrics: common.MetricsOption = None,
    evaluators: common.EvaluatorsOption = "auto",
    out: common.OutOption = None,
    leaderboards: common.LeaderboardsOption = Path("leaderboards"),
    accelerator: common.AcceleratorOption = "auto",
    devices: common.DevicesOption = None,
    limit: common.LimitOption = None,
) -> None:
    """Score videos that any method made.

    Files are matched by their path below the folder without the ending. Without --ref only
    metrics that need no truth are measured.
    """
    from tfbench.datasets.folder import Folder, FolderConfig
    from tfbench.evaluation.protocols.alone import AloneProtocol
    from tfbench.evaluation.protocols.self import SelfProtocol
    from tfbench.methods.files import Files, FilesConfig

    dataset = Folder(FolderConfig(ref or pred, label=dataset_name))
    protocol = SelfProtocol() if ref else AloneProtocol()
    generator = Files(FilesConfig(pred, label=name))
    common.check_words(generator, dataset, metrics, evaluators)
    _compare(dataset, generator, pred, ref)
    evaluation = common.plan(
        generator, dataset, protocol, metrics, evaluators, folder=out, limit=limit
    )
    common.run_and_report(
        evaluation, accelerator=accelerator, devices=devices, leaderboards=leaderboards
    )


def _compare(dataset: Folder, generator: Files, pred: Path, ref: Path | None) -> None:
    """Tell which files have no partner; refuse when none has."""
    from tfbench.core.errors import InputError

    if ref is None:
        return
    if pred.is_file() != ref.is_file():
        raise InputError(f"{pred} and {ref} are a file and a folder; give two folders or two files")
    if pred.is_file():
        return
    wanted, given = {row.id for row in dataset.index()}, generator.ids()
    if not wanted & given:
        raise InputError(
            f"no file of {pred} has the name of a file of {ref}: the first there is "
            f"'{min(given)}', the first here '{min(wanted)}'; names must be equal"
        )
    if given - wanted:
        extra = sorted(given - wanted)
        common.notes.print(
            f"[yellow]{len(extra)} of {len(given)} videos have no reference[/] and are not scored, "
            f"the first is '{extra[0]}'",
            highlight=False,
        )
    if wanted - given:
        common.notes.print(
            f"[yellow]{len(wanted - given)} of {len(wanted)} references have no video[/]; "
            "they count as not scored",
            highlight=False,
        )
