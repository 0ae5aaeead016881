"""What `tfbench score` and `tfbench eval` share: options, the run itself, and its report."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from tfbench.core.registry import Name
    from tfbench.datasets.base import Dataset
    from tfbench.evaluation.evaluators import Chosen
    from tfbench.evaluation.protocol import Protocol
    from tfbench.evaluation.result import Result
    from tfbench.evaluation.run import Evaluation
    from tfbench.methods.base import Generator

MetricsOption = Annotated[
    str | None,
    typer.Option(help="Names with commas, such as psnr,lse.syncnet_short; default: all that fit."),
]
EvaluatorsOption = Annotated[
    str,
    typer.Option(
        help="Set of networks that judge: official, offline, auto (official where it is on this "
        "machine, else offline), or one with changes, such as auto+efd=emotion_fan.ferplus."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option(help="Run folder; continued if it exists. Default: below runs/.")
]
LeaderboardsOption = Annotated[
    Path, typer.Option(help="Folder of results and pages; the new result is added there.")
]
DevicesOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes: a GPU each, or on CPUs a core each; default: one GPU, or all cores."
    ),
]
AcceleratorOption = Annotated[str, typer.Option(help="auto, cpu or gpu.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most this many cases.")]

console = Console()
notes = Console(stderr=True)


def names(text: str | None) -> list[str] | None:
    """Split a list with commas; None stays None."""
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def build(kind: str, name: str, settings: list[str]) -> Any:
    """Build a plugin by its name, with settings `key=value`."""
    from tfbench.core.config import load_config

    plugin, parsed = find(kind, name)
    if kind == "datasets":
        _check_root(str(parsed), plugin, settings)
    built = plugin(load_config(plugin.Config, kind, parsed, settings))
    if hasattr(built, "named"):
        built.named = str(parsed)
    return built


def _check_root(name: str, plugin: Any, settings: Sequence[str]) -> None:
    """Say by which option the folder of a data set is given, where it has to be."""
    from tfbench.core.errors import ConfigError

    wanted = {field.name for field in fields(plugin.Config) if field.default is MISSING}
    if "root" in wanted and not any(word.startswith("root=") for word in settings):
        raise ConfigError(f"{name} lies on disk: say in which folder by --root FOLDER")


def find(kind: str, name: str) -> tuple[Any, Name]:
    """Load a plugin's class; a name without a variant gets the one that the plugin calls usual."""
    from tfbench.core.registry import parse_name, registry

    parsed = parse_name(name)
    plugin = registry(kind).load(parsed.stem)
    stem = registry(kind).find(parsed.stem).name
    variant = parsed.variant or getattr(plugin, "usual", None)
    return plugin, replace(parsed, stem=stem, variant=variant)


def given(key: str, value: Path | None) -> list[str]:
    """Make a setting of an option that was given."""
    return [] if value is None else [f"{key}={value}"]


def check_words(
    generator: Generator, dataset: Dataset, metrics: str | None, evaluators: str
) -> None:
    """Refuse what no clip can make right, before any clip is made or read."""
    from tfbench.evaluation.evaluators import check_names

    generator.ready()
    check_names(names(metrics), evaluators, dataset.evaluators)


def plan(
    generator: Generator,
    dataset: Dataset,
    protocol: Protocol,
    metrics: str | None,
    evaluators: str,
    *,
    folder: Path | None,
    seed: int = 0,
    limit: int | None = None,
) -> Evaluation:
    """Choose evaluators and metrics, telling what is taken and what is not, and the run folder."""
    from tfbench.evaluation.evaluators import choose, longest_clip
    from tfbench.evaluation.result import run_name
    from tfbench.evaluation.run import Evaluation

    chosen = choose(
        names(metrics),
        evaluators,
        protocol,
        longest_clip(dataset, min(limit or 20, 20)),
        own=dataset.evaluators,
        supervisors=generator.supervisors,
    )
    say_judges(chosen, evaluators)
    say_left_out(chosen)
    run = run_name(protocol.name, evaluators)
    usual = Path("runs", dataset.label, generator.label, run)
    return Evaluation(
        generator=generator,
        dataset=dataset,
        protocol=protocol,
        metrics=chosen.metrics,
        evaluators=evaluators,
        folder=folder or usual,
        seed=seed,
        limit=limit,
    )


def device_of(accelerator: str) -> torch.device:
    """Return the device of an accelerator; one that this machine lacks is refused by name."""
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from tfbench.core.errors import ConfigError

    try:
        return Fabric(accelerator=accelerator, devices=1).device
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"--accelerator {accelerator} cannot be used: {error}") from error


def say_judges(chosen: Chosen, evaluators: str) -> None:
    """Tell which network judges for which metric."""
    judges = (metric.info for metric in chosen.metrics if metric.judge_has)
    said = ", ".join(f"{info.definition} by {info.evaluator}" for info in judges)
    notes.print(f"evaluators '{evaluators}': {said or 'none'}", highlight=False, soft_wrap=True)


def say_left_out(chosen: Chosen) -> None:
    """Tell which metrics are not measured, and why."""
    for name, why in chosen.left_out.items():
        notes.print(f"[yellow]not measured:[/] {name}: ", end="")
        notes.print(why, markup=False, highlight=False, soft_wrap=True)


def run_and_report(
    evaluation: Evaluation, *, accelerator: str, devices: int | None, leaderboards: Path
) -> None:
    """Evaluate, print a table, add the result to the leaderboards.

    Raises:
        typer.Exit: With 1 where nothing could be scored, 130 after Ctrl-C.
    """
    from tfbench.evaluation import leaderboard
    from tfbench.evaluation.run import evaluate, usual_devices

    total = len(evaluation.pairs())
    device_of(accelerator)
    devices = devices or usual_devices(accelerator, total)
    notes.print(f"{total} cases; run folder {evaluation.folder}", highlight=False, soft_wrap=True)
    with _interruptible(evaluation.folder), _progress(total) as advance:
        result = evaluate(evaluation, accelerator=accelerator, devices=devices, progress=advance)
    report(result)
    if not result.scored:
        notes.print("[red]nothing could be scored[/]")
        raise typer.Exit(1)
    path = leaderboards / "results" / result.file_name()
    result.write(path)
    leaderboard.write(leaderboard.build(leaderboards))
    page = leaderboards / f"{result.dataset}.md"
    notes.print(f"result {path}; leaderboard {page}", highlight=False, soft_wrap=True)


def report(result: Result) -> None:
    """Print the numbers of a result, and why clips are missing from them."""
    title = f"{result.method['name']} on {result.dataset}, protocol {result.protocol}"
    table = Table(title=f"{title}, evaluators {result.evaluators}", title_justify="left")
    for head in ("metric", "value", "95 % interval", "clips", "definition", "evaluator"):
        table.add_column(head, justify="right" if head in {"value", "clips"} else "left")
    for cell in result.cells:
        arrow = {True: " ↑", False: " ↓", None: ""}[cell.higher_is_better]
        unit = f" ({cell.unit})" if cell.unit else ""
        value = "—" if cell.value is None else f"{cell.value:.4f}"
        span = "—" if cell.low is None else f"{cell.low:.4f} to {cell.high:.4f}"
        clips = f"{cell.n}/{cell.n + cell.n_failed}"
        judge = f"{cell.evaluator} {cell.evaluator_sha256[:8]}".strip()
        name = f"{cell.column}{unit}{arrow}"
        table.add_row(name, value, span, clips, cell.definition, judge)
    console.print(table)
    columns: dict[tuple[str, int], list[str]] = defaultdict(list)
    for cell in result.cells:
        for why, n in cell.reasons.items():
            columns[why, n].append(cell.column)
    for (why, n), names in columns.items():
        notes.print(f"[yellow]{', '.join(dict.fromkeys(names))}[/], {n} not scored: ", end="")
        notes.print(why, markup=False, highlight=False, soft_wrap=True)
    for cell in result.cells:
        if cell.warning:
            notes.print(f"[yellow]{cell.column}:[/] {cell.warning}", highlight=False)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[str, str], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task("scoring", total=total)

        def advance(case: str, state: str) -> None:
            bar.update(task, advance=1, description=f"{case}: {state}")

        yield advance


@contextlib.contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        notes.print(
            f"interrupted; what is done is kept in {folder}: the same command continues there"
        )
        raise typer.Exit(130) from None
