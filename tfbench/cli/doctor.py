"""`tfbench doctor`: what works on this machine and what is missing."""

from __future__ import annotations

import os
import platform

from rich.console import Console
from rich.table import Table

GOOD, BAD = "[green]yes[/]", "[red]no[/]"


def doctor() -> None:
    """Show versions, devices, codecs, folders, and which metric works with which evaluator set."""
    console = Console()
    console.print(_machine())
    console.print(_metrics())


def _machine() -> Table:
    import av
    import torch

    from tfbench import __version__
    from tfbench.core.paths import configs_dir, home

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    table = Table(title="machine", title_justify="left", show_header=False)
    table.add_row("tfbench", __version__)
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    table.add_row("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    table.add_row("GPU", gpu)
    table.add_row("PyAV", av.__version__)
    for codec in ("libx264", "aac"):
        table.add_row(f"writes {codec}", GOOD if codec in av.codecs_available else BAD)
    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    table.add_row("assets and caches", f"{folder} (writable: {_yes(os.access(existing, os.W_OK))})")
    table.add_row("configs", str(configs_dir()))
    return table


def _metrics() -> Table:
    from tfbench.core.errors import TfbenchError
    from tfbench.core.registry import registry
    from tfbench.evaluation.evaluators import build_metric, evaluator_set, evaluator_sets

    table = Table(title="metrics", title_justify="left")
    for head in ("metric", "evaluators", "works", "network, or what is missing"):
        table.add_column(head)
    for name in registry("metrics").names():
        for choice in evaluator_sets():
            try:
                metric = build_metric(name, evaluator_set(choice))
            except TfbenchError as error:
                table.add_row(name, choice, BAD, str(error).replace("[", "\\["))
            else:
                judge = metric.info.evaluator or "needs no network"
                table.add_row(name, choice, GOOD, judge)
    return table


def _yes(value: bool) -> str:
    return GOOD if value else BAD
