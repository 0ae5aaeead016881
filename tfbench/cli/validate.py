"""`tfbench validate`: how each metric responds to graded, known changes of real clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tfbench.cli import common, datasets

if TYPE_CHECKING:
    from tfbench.datasets.base import Dataset
    from tfbench.metrics.base import TalkingFaceMetric
    from tfbench.validation.change import Change
    from tfbench.validation.select import Cases
    from tfbench.validation.study import Findings, Study

MARKS = {
    "responds": "[green]responds[/]",
    "stays": "[green]stays[/]",
    "not scorable": "not scorable",
    "": "",
}


def validate_command(
    dataset: Annotated[str, typer.Option(help="Such as puppets, grid, folder.")] = "puppets",
    root: Annotated[Path | None, typer.Option(help="Where the data set lies on disk.")] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="A setting of the data set, key=value.")
    ] = None,
    metrics: common.MetricsOption = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="A class of your own, package.module.Class, or Class=NETWORK."),
    ] = None,
    changes: Annotated[
        str | None, typer.Option(help="Names with commas, such as blur,noise; default: all.")
    ] = None,
    evaluators: common.EvaluatorsOption = "auto",
    limit: Annotated[int, typer.Option(min=1, help="At most this many clips.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of all random draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the runs; continued if it exists.")] = Path(
        "runs", "validate"
    ),
    page: Annotated[
        Path | None, typer.Option(help="Write a page of all that is stored in the runs' folder.")
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Run nothing; only write the page.")
    ] = False,
    accelerator: common.AcceleratorOption = "auto",
    workers: datasets.WorkersOption = None,
) -> None:
    """Change clips in known ways, little to much, and see what each metric makes of it.

    Clips are those of as many people as possible. Every change at every level is an evaluation of
    the same clips; what is done already is not done again. Alone, --metric measures that metric.
    """
    if not stored:
        samples = common.build("datasets", dataset, (data or []) + common.given("root", root))
        names = common.names(metrics)
        own = [_own_metric(path, evaluators, samples) for path in metric or []]
        if own and names is None:
            names = []
        for study in _studies(samples, names, own, changes, evaluators, limit, seed, out):
            _run(study, accelerator, workers)
    if page is not None:
        _write_page(page, out)


def _studies(
    samples: Dataset,
    names: list[str] | None,
    own: list[TalkingFaceMetric],
    changes: str | None,
    evaluators: str,
    limit: int,
    seed: int,
    out: Path,
) -> list[Study]:
    """Plan the clips' study, and one of emotional clips where a change needs them."""
    from tfbench.validation.changes import changes_named
    from tfbench.validation.select import choose_cases

    chosen = changes_named(common.names(changes))
    with_levels = tuple(change for change in chosen if change.partner == "levels")
    usual = tuple(change for change in chosen if change.partner != "levels")
    plans: list[tuple[Cases, tuple[Change, ...]]] = []
    if usual:
        plans.append((choose_cases(samples, limit), usual))
    emotional = _emotional(samples, limit) if with_levels else None
    if emotional is not None:
        plans.append((emotional, with_levels))
    return [_study(cases, applied, names, own, evaluators, seed, out) for cases, applied in plans]


def _emotional(samples: Dataset, limit: int) -> Cases | None:
    """Choose clips for changes of emotion; tell why where there are none."""
    from tfbench.core.errors import ConfigError
    from tfbench.validation.select import choose_emotional_cases, emotional_data

    try:
        return choose_emotional_cases(emotional_data(samples), limit)
    except ConfigError as error:
        common.notes.print(f"[yellow]no change of emotion:[/] {error}", soft_wrap=True)
        return None


def _study(
    cases: Cases,
    changes: tuple[Change, ...],
    names: list[str] | None,
    own: list[TalkingFaceMetric],
    evaluators: str,
    seed: int,
    out: Path,
) -> Study:
    from tfbench.evaluation.evaluators import choose, longest_clip
    from tfbench.evaluation.protocols.self import SelfProtocol
    from tfbench.validation.study import Study

    selection = cases.selection
    cases.prepare()
    judges = selection.dataset.evaluators
    chosen = choose(names, evaluators, SelfProtocol(), longest_clip(selection), own=judges)
    common.say_judges(chosen, evaluators)
    common.say_left_out(chosen)
    return Study(
        cases=cases,
        changes=changes,
        metrics=(*chosen.metrics, *own),
        evaluators=evaluators,
        # Emotional cases may come from the data set that is validated otherwise, too.
        folder=out / f"{selection.label}{'-levels' if 'levels' in cases.others else ''}",
        left_out=chosen.left_out,
        seed=seed,
    )


def _own_metric(path: str, evaluators: str, samples: Dataset) -> TalkingFaceMetric:
    from tfbench.evaluation.evaluators import evaluator_set
    from tfbench.validation.own import own_metric

    return own_metric(path, evaluator_set(evaluators, samples.evaluators))


def _run(study: Study, accelerator: str, workers: int | None) -> None:
    from tfbench.core.machine import cores
    from tfbench.validation.study import validate

    n = len(study.cases.selection)
    total = len(study.runs())
    common.notes.print(
        f"{total} runs of {n} clips of {study.cases.selection.label}; folder {study.folder}",
        highlight=False,
        soft_wrap=True,
    )
    with datasets.interruptible(), datasets.progress("runs") as advance:
        findings = validate(
            study,
            accelerator=accelerator,
            workers=workers or cores(),
            progress=lambda done, runs, _label: advance(done, runs),
        )
    report(findings)


def report(findings: Findings) -> None:
    """Print how each metric has responded to what something was claimed of, or to everything."""
    from tfbench.validation.changes import CHANGES

    title = f"{findings.dataset}, {findings.n_clips} clips of {findings.n_people} people"
    table = Table(title=f"{title}, evaluators {findings.evaluators}", title_justify="left")
    for head in ("change", "column", "rank correlation", "detected from", "verdict"):
        table.add_column(head, justify="right" if head == "rank correlation" else "left")
    claimed = {r.definition for r in findings.responses if r.claim}
    for r in findings.responses:
        if not r.claim and r.definition in claimed:
            continue
        rho = "—" if r.correlation is None else f"{r.correlation:.2f}"
        unit = CHANGES[r.change].unit
        level = next((p.level for p in r.points if p.strength == r.detected), None)
        detected = "—" if level is None else f"{level:g} ({unit})"
        verdict = MARKS.get(r.verdict, f"[red]{r.verdict}[/]")
        table.add_row(r.change, r.column, rho, detected, verdict)
    common.console.print(table)
    for name, why in findings.not_applied.items():
        common.notes.print(f"[yellow]not applied:[/] {name}: {why}", soft_wrap=True)


def _write_page(page: Path, out: Path) -> None:
    from tfbench.core.errors import InputError
    from tfbench.validation.page import write_page
    from tfbench.validation.study import FINDINGS, read_findings

    paths = sorted(out.glob(f"*/{FINDINGS}"))
    if not paths:
        raise InputError(f"nothing is stored in {out}; run `tfbench validate` without --stored")
    files = write_page(page, [read_findings(path) for path in paths])
    common.notes.print(f"page {page} and {len(files) - 1} plots", highlight=False, soft_wrap=True)
