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
    table, wrong = _metrics()
    console.print(table)
    for network, why in wrong.items():
        console.print(f"[red]{network}[/]: ", end="")
        console.print(why, markup=False, highlight=False, soft_wrap=True)


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


def _metrics() -> tuple[Table, dict[str, str]]:
    """Return which network judges in which set, and what keeps a network from working."""
    from tfbench.core.registry import registry
    from tfbench.evaluation.evaluators import evaluator_set, evaluator_sets

    table = Table(title="metrics", title_justify="left", caption_justify="left")
    table.caption = "✓ works   ✗ does not, for the reason below   — not in this set"
    sets = {name: evaluator_set(name) for name in evaluator_sets()}
    for head in ("metric", *sets):
        table.add_column(head)
    wrong: dict[str, str] = {}
    for name in registry("metrics").names():
        table.add_row(name, *(_judge(name, networks, wrong) for networks in sets.values()))
    return table, wrong


def _judge(name: str, networks: dict[str, str], wrong: dict[str, str]) -> str:
    """Try one metric with one set; what goes wrong is added by network."""
    from tfbench.core.errors import TfbenchError
    from tfbench.core.registry import registry
    from tfbench.evaluation.evaluators import load_network

    if not registry("metrics").load(name).judge_has:
        return "[green]✓[/] no network"
    if name not in networks:
        return "—"
    network = networks[name]
    if network not in wrong:
        try:
            load_network(network)
        except TfbenchError as error:
            wrong[network] = str(error)
    return f"[red]✗[/] {network}" if network in wrong else f"[green]✓[/] {network}"


def _yes(value: bool) -> str:
    return GOOD if value else BAD
