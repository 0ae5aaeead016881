"""Puts what was trained among what the package ships, with its model card's figures.

`python -m tfbench.training.ship RUN stem.variant --test "puppets split=test" ...` rounds the
weights of a run's best network to half precision, measures them as they will be loaded on every
held-out data set that is named, and writes
`tfbench/nets/weights/<stem>.<variant>.{safetensors,json}`, or, for a method, the bundle
`tfbench/methods/weights/<stem>.<variant>/`. `--again` in the place of RUN measures anew what is
shipped, where a data set or a measure has changed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfbench.core.config import load_config
from tfbench.core.errors import ConfigError, TfbenchError
from tfbench.core.files import write_atomically
from tfbench.core.registry import Name, parse_name, registry
from tfbench.methods.base import SHIPPED
from tfbench.nets.bundle import WEIGHTS, load_bundle, load_part, load_shipped, read_record
from tfbench.training.assess import Assessment, assess, trainee_of
from tfbench.training.bundle import write_network

if TYPE_CHECKING:
    from torch import nn

    from tfbench.evaluators.base import Trainee

__all__ = ["main", "measure", "ship"]

LARGEST = 8_000_000
"""Bytes of one shipped network."""

MACHINE = {"--out", "--workers", "--accelerator", "--max-time"}
"""Options that say where a training ran, not what it made."""


def ship(
    run: Path, name: str, tests: list[str], folder: Path | None = None
) -> tuple[Assessment, ...]:
    """Ship the best networks of a run.

    Args:
        run: The run's folder, which holds `bundle`.
        name: `stem.variant` that it will have.
        tests: Held-out data sets, `name key=value ...` each.
        folder: Where to; None is where the package looks for them.

    Returns:
        What was measured, which the record holds as well.

    Raises:
        ConfigError: A network is too large.
    """
    record = read_record(run / "bundle" / "bundle.json")
    place = _place(name, folder)
    for part in record["parts"]:
        path = place.weights(part)
        record["parts"][part] = write_network(path, place.network(run, record, part), half=True)
        if path.stat().st_size > LARGEST:
            path.unlink()
            raise ConfigError(f"{path.name} would have over {LARGEST:,} bytes; ship a smaller one")
    record["precision"] = "float16"
    training = record["training"]
    while training:
        training["command"] = _for_others(training["command"])
        training = training.get("began_with")
    record["tests"] = []
    _write(place.record, record)
    return measure(name, tests, folder)


def measure(name: str, tests: list[str], folder: Path | None = None) -> tuple[Assessment, ...]:
    """Measure what is shipped; figures on data sets that are not named stay.

    Args:
        name: Its `stem.variant`.
        tests: Held-out data sets, `name key=value ...` each.
        folder: Where it is; None is where the package looks.

    Returns:
        What was measured, which the record then holds as well.
    """
    place = _place(name, folder)
    record = read_record(place.record)
    found = []
    for words in tests:
        dataset, *settings = shlex.split(words)
        plugin = registry("datasets").load(dataset)
        data = plugin(load_config(plugin.Config, "datasets", parse_name(dataset), settings))
        found.append(assess(place.trainee(record), data))
        new = _plain(found[-1])
        known = [old["dataset"] for old in record["tests"]]
        if new["dataset"] in known:
            record["tests"][known.index(new["dataset"])] = new
        else:
            record["tests"].append(new)
        _write(place.record, record)
    return tuple(found)


def _place(name: str, folder: Path | None) -> _Place:
    """Return where a network or a method is shipped."""
    if parse_name(name).stem in registry("methods").names():
        return _MethodPlace(name, folder or SHIPPED)
    return _Place(name, folder or WEIGHTS)


class _Place:
    """Where an evaluator's network is shipped, and how it is read."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.record = folder / f"{name}.json"

    def weights(self, _part: str) -> Path:
        return self.folder / f"{self.name}.safetensors"

    def network(self, run: Path, _record: dict[str, Any], part: str) -> nn.Module:
        network: nn.Module = load_bundle(run / "bundle", part).module
        return network

    def trainee(self, record: dict[str, Any]) -> Trainee:
        build = registry("networks").load(parse_name(self.name).stem).build
        return trainee_of(record, load_shipped(self.name, build, self.folder).module)


class _MethodPlace(_Place):
    """Where a method's bundle is shipped."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder / name)
        self.record = self.folder / "bundle.json"

    def weights(self, part: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{part}.safetensors"

    def network(self, run: Path, record: dict[str, Any], part: str) -> nn.Module:
        kind = registry("methods").load(record["name"]).PARTS[part]
        build = lambda settings: kind(**settings)  # noqa: E731
        network: nn.Module = load_part(run / "bundle", record, part, build).module
        return network

    def trainee(self, record: dict[str, Any]) -> Trainee:
        kind = registry("methods").load(record["name"])
        settings = record["training"]["config"] | {"weights": str(self.folder), "init": ""}
        method: Trainee = kind(load_config(kind.Config, "methods", Name(kind.name), settings))
        return method.eval()


def _for_others(command: str) -> str:
    """Return a command without what differs from machine to machine."""
    # `--out=X` is the same as `--out X`, a setting `key=value` is not.
    parted = (w.split("=", 1) if w.startswith("--") else [w] for w in shlex.split(command))
    words = itertools.chain.from_iterable(parted)
    kept = []
    for word in words:
        if word in MACHINE:
            next(words, None)
        elif word == "--root":
            kept += [word, Path(next(words, "")).name]
        elif word != "--resume":
            # A run that was stopped ends as one that was not.
            kept.append(word)
    return shlex.join(kept)


def _plain(assessment: Assessment) -> dict[str, Any]:
    return asdict(assessment)


def _write(path: Path, record: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


def main(arguments: list[str] | None = None) -> int:
    """Ship a network; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tfbench.training.ship", description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="folder of the run")
    parser.add_argument("--again", action="store_true", help="measure what is shipped; no run")
    parser.add_argument("name", help="stem.variant")
    parser.add_argument("--test", action="append", default=[], help="data set and its settings")
    given = parser.parse_args(arguments)
    if given.again == (given.run is not None):
        parser.error("name either a run or --again")
    try:
        step = measure if given.again else partial(ship, given.run)
        for one in step(given.name, given.test):
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
