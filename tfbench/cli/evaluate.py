"""`tfbench eval`: a method on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfbench.cli import common, datasets


def evaluate_command(
    method: Annotated[str, typer.Option(help="Such as still, wav2lip, synctalklip+grid.")],
    dataset: Annotated[str, typer.Option(help="Such as puppets, folder.")],
    root: Annotated[Path | None, typer.Option(help="Where the data set lies on disk.")] = None,
    protocol: Annotated[str, typer.Option(help="How clips are paired: self, cross, ...")] = "self",
    pairs: Annotated[
        Path | None, typer.Option(help="For cross: a list of `audio_id video_id` lines.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, key=value.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="A setting of the data set, key=value.")
    ] = None,
    metrics: common.MetricsOption = None,
    evaluators: common.EvaluatorsOption = "auto",
    seed: Annotated[int, typer.Option(help="Of the method's random draws.")] = 0,
    out: common.OutOption = None,
    leaderboards: common.LeaderboardsOption = Path("leaderboards"),
    accelerator: common.AcceleratorOption = "auto",
    devices: common.DevicesOption = None,
    limit: common.LimitOption = None,
) -> None:
    """Evaluate a method on a data set: make the videos, score them, update the leaderboard."""
    generator = common.build("methods", method, setting or [])
    samples = common.build("datasets", dataset, (data or []) + common.given("root", root))
    common.check_words(generator, samples, metrics, evaluators)
    pairing = common.build("protocols", protocol, common.given("pairs", pairs))
    used = pairing.pairs(samples)[:limit]
    datasets.prepare(samples, sorted({row for p in used for row in (p.driving, p.appearance)}))
    evaluation = common.plan(
        generator, samples, pairing, metrics, evaluators, folder=out, seed=seed, limit=limit
    )
    common.run_and_report(
        evaluation, accelerator=accelerator, devices=devices, leaderboards=leaderboards
    )
