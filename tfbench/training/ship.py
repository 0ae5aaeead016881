"""Puts a trained network among those that the package ships, with its model card's figures.

`python -m tfbench.training.ship RUN stem.variant --test "puppets split=test" ...` rounds the
weights of a run's best network to half precision, measures them as they will be loaded on every
held-out data set that is named, and writes
`tfbench/nets/weights/<stem>.<variant>.{safetensors,json}`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfbench.core.config import load_config
from tfbench.core.errors import ConfigError, TfbenchError
from tfbench.core.files import write_atomically
from tfbench.core.registry import parse_name, registry
from tfbench.nets.bundle import WEIGHTS, load_bundle, load_shipped, read_record
from tfbench.training.assess import Assessment, assess, trainee_of
from tfbench.training.bundle import write_network

__all__ = ["main", "ship"]

LARGEST = 8_000_000
"""Bytes of one shipped network."""

MACHINE = {"--out", "--workers", "--accelerator", "--max-time"}
"""Options that say where a training ran, not what it made."""


def ship(run: Path, name: str, tests: list[str], folder: Path = WEIGHTS) -> tuple[Assessment, ...]:
    """Ship the best network of a run.

    Args:
        run: The run's folder, which holds `bundle`.
        name: `stem.variant` that it will have.
        tests: Held-out data sets, `name key=value ...` each.
        folder: Where to.

    Returns:
        What was measured, which the record holds as well.

    Raises:
        ConfigError: The network is too large.
    """
    record = read_record(run / "bundle" / "bundle.json")
    network = load_bundle(run / "bundle")
    path = folder / f"{name}.safetensors"
    record["parts"]["net"] = write_network(path, network.module, half=True)
    if path.stat().st_size > LARGEST:
        path.unlink()
        raise ConfigError(f"{name} would have more than {LARGEST:,} bytes; ship a smaller one")
    record["precision"] = "float16"
    record["training"]["command"] = _for_others(record["training"]["command"])
    record["tests"] = []
    _write(folder, name, record)
    build = registry("networks").load(parse_name(name).stem).build
    shipped = load_shipped(name, build, folder)
    found = []
    for words in tests:
        dataset, *settings = shlex.split(words)
        plugin = registry("datasets").load(dataset)
        data = plugin(load_config(plugin.Config, "datasets", parse_name(dataset), settings))
        found.append(assess(trainee_of(record, shipped.module), data))
        record["tests"].append(_plain(found[-1]))
        _write(folder, name, record)
    return tuple(found)


def _for_others(command: str) -> str:
    """Return a command without what differs from machine to machine."""
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        if word in MACHINE:
            next(words, None)
        elif word == "--root":
            kept += [word, Path(next(words, "")).name]
        else:
            kept.append(word)
    return shlex.join(kept)


def _plain(assessment: Assessment) -> dict[str, Any]:
    return asdict(assessment)


def _write(folder: Path, name: str, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=1) + "\n"
    write_atomically(folder / f"{name}.json", text.encode())


def main(arguments: list[str] | None = None) -> int:
    """Ship a network; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tfbench.training.ship", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="stem.variant")
    parser.add_argument("--test", action="append", default=[], help="data set and its settings")
    given = parser.parse_args(arguments)
    try:
        for one in ship(given.run, given.name, given.test):
            for figure in one.figures:
                print(
                    f"{one.dataset}: {figure.name} {figure.value:.4g}{figure.unit} (n {figure.n})"
                )
    except TfbenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
