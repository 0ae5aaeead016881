"""`tfbench cost`: parameters, memory and time of a method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfbench.cli import common

if TYPE_CHECKING:
    from tfbench.evaluation.cost import Cost


def cost_command(
    method: Annotated[str, typer.Option(help="Such as still, wav2lip, synctalklip+grid.")],
    dataset: Annotated[str, typer.Option(help="Its first clip is what the method is given.")] = (
        "demo"
    ),
    root: Annotated[Path | None, typer.Option(help="Where the data set lies on disk.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, key=value.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs that count.")] = 3,
    leaderboards: common.LeaderboardsOption = Path("leaderboards"),
    accelerator: common.AcceleratorOption = "auto",
) -> None:
    """Measure what a method costs on this machine, and add it to the leaderboards."""
    from tfbench.core.errors import InputError
    from tfbench.core.registry import registry
    from tfbench.evaluation import leaderboard
    from tfbench.evaluation.cost import measure_cost

    generator = common.build("methods", method, setting or [])
    samples = common.build("datasets", dataset, common.given("root", root))
    protocol = registry("protocols").load("self")()
    pairs = protocol.pairs(samples)
    if not pairs:
        raise InputError(f"the data set {samples.label} has no clip")
    request = protocol.case(samples, pairs[0], 0).request
    device = common.device_of(accelerator)
    cost = measure_cost(generator, request, device, repeats)
    _report(cost)
    path = leaderboards / "costs" / cost.file_name()
    cost.write(path)
    leaderboard.write(leaderboard.build(leaderboards))
    common.notes.print(f"result {path}", highlight=False, soft_wrap=True)


def _report(cost: Cost) -> None:
    from rich.table import Table

    size = f"{cost.n_frames} frames of {cost.width}x{cost.height}"
    table = Table(title=f"{cost.method['name']}, {size}, {cost.device}", title_justify="left")
    heads = ("parameters (M)", "batch", "ms a frame", "first frames (ms)", "memory (GiB)", "RTF")
    for head in heads:
        table.add_column(head, justify="right")
    parameters = "—" if cost.parameters is None else f"{cost.parameters / 1e6:.2f}"
    for run in cost.runs:
        memory = "—" if run.peak_memory_gb is None else f"{run.peak_memory_gb:.2f}"
        row = (f"{run.ms_per_frame:.2f}", f"{run.first_ms:.1f}", memory)
        rtf = f"{cost.real_time_factor(run):.3f}"
        table.add_row(parameters, str(run.batch or "—"), *row, rtf)
    common.console.print(table)
