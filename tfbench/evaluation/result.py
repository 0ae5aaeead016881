"""What an evaluation says in the end: one JSON file, and the rows that it stands on.

A result holds no time, rank or path: the same evaluation gives the same bytes, however often it
was killed and on however many processes it ran.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfbench import __version__
from tfbench.core.config import canonical_json, fingerprint
from tfbench.core.errors import InputError
from tfbench.core.files import write_atomically
from tfbench.evaluation.statistics import interval

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from torch import Tensor

    from tfbench.core.types import Score
    from tfbench.metrics.base import TalkingFaceMetric

__all__ = [
    "SCHEMA",
    "Cell",
    "Result",
    "cells_of",
    "provenance",
    "read_result",
    "run_name",
    "scores_digest",
]

SCHEMA = 1
SEEN = "judge seen in training: the method has learnt what {} finds in true clips"
PACKAGES = ("torch", "torchvision", "torchmetrics", "av", "numpy", "scipy", "facenet-pytorch")


def run_name(protocol: str, evaluators: str) -> str:
    """Name a run's folder or file by its protocol and evaluator set.

    Args:
        protocol: Name of the protocol.
        evaluators: Name of the set. Slashes of bundles' paths in it become hyphens, and eight
            digits of a checksum keep such a name apart from others.
    """
    name = f"{protocol}-{evaluators}"
    plain = re.sub(r"[/\\]+", "-", name)
    return name if plain == name else f"{plain}-{fingerprint(evaluators)[:8]}"


@dataclass(frozen=True)
class Cell:
    """One number of a result, with everything that defines it.

    Attributes:
        column: As printed.
        unit: Of the value.
        higher_is_better: None where neither direction is.
        metric: The registry's name.
        definition: How it was computed.
        version: Of the metric's code.
        crop: What of each frame was read.
        evaluator: The network that judged, "" where none did.
        evaluator_sha256: Of that network's parameters.
        reference_set: For a set metric, sha256 over the real clips it compares with; else "".
        value: The number; None where no clip could be scored.
        low: Lower end of the 95 % interval, or None.
        high: Upper end.
        interval: How the interval was found, or why there is none.
        n: Clips that the number stands on.
        n_failed: Clips that could not be scored.
        n_clusters: Independent groups of clips.
        n_samples: Frames behind a set metric, else None.
        warning: Why to read the number with care.
        reasons: Reason -> how many clips it kept from being scored.
    """

    column: str
    unit: str
    higher_is_better: bool | None
    metric: str
    definition: str
    version: int
    crop: str
    evaluator: str
    evaluator_sha256: str
    reference_set: str
    value: float | None
    low: float | None
    high: float | None
    interval: str
    n: int
    n_failed: int
    n_clusters: int
    n_samples: int | None
    warning: str
    reasons: dict[str, int]

    def key(self) -> tuple[str, ...]:
        """Return what makes this a column of its own."""
        fields = (self.column, self.definition, str(self.version), self.crop, self.evaluator)
        return (*fields, self.evaluator_sha256, self.reference_set)


@dataclass(frozen=True)
class Result:
    """One evaluation.

    Attributes:
        method: Name, version and settings of the generator.
        dataset: Label of the data set.
        split_checksum: sha256 of its rows.
        protocol: Name of the pairing.
        protocol_settings: Its version and settings.
        evaluators: Name of the evaluator set.
        seed: Of the generator.
        device: Kind of device, "cpu" or "cuda".
        n_cases: Cases in all.
        scores_sha256: Of the file with all rows.
        cells: The numbers.
        provenance: Versions of the code; not part of any key.
        schema: Version of this file format.
    """

    method: dict[str, Any]
    dataset: str
    split_checksum: str
    protocol: str
    protocol_settings: dict[str, str]
    evaluators: str
    seed: int
    device: str
    n_cases: int
    scores_sha256: str
    cells: tuple[Cell, ...]
    provenance: dict[str, str]
    schema: int = SCHEMA

    @property
    def scored(self) -> bool:
        """Whether anything at all could be scored."""
        return any(cell.n for cell in self.cells)

    def to_json(self) -> str:
        """Return the result as readable JSON; infinite values are the string "inf"."""
        plain = json.loads(canonical_json(asdict(self)))
        return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def file_name(self) -> str:
        """Return where the result belongs below the results folder."""
        run = run_name(self.protocol, self.evaluators)
        return f"{self.dataset}/{self.method['name']}/{run}.json"

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all."""
        write_atomically(path, self.to_json().encode())


def read_result(path: Path) -> Result:
    """Read a result.

    Raises:
        InputError: The file is not a result of a schema that this version reads.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["schema"] != SCHEMA:
            raise InputError(
                f"{path} has schema {plain['schema']}; this version of tfbench reads {SCHEMA}"
            )
        cells = tuple(_cell(entry) for entry in plain.pop("cells"))
        return Result(cells=cells, **plain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a result of tfbench: {error!r}") from error


def cells_of(
    metric: TalkingFaceMetric,
    scores: Sequence[Score],
    load: Callable[[str], Tensor],
    reference_set: str,
    taught_by: Collection[str] = (),
) -> tuple[Cell, ...]:
    """Aggregate the rows of one metric.

    Args:
        metric: Reduces the rows.
        scores: Its rows, sorted by case.
        load: Finds stored features.
        reference_set: sha256 over the real clips of a set metric.
        taught_by: sha256 of the networks whose findings the method has learnt to tell.
    """
    info = metric.info
    columns = {column.name: column for column in info.columns}
    seen = SEEN.format(info.evaluator) if info.evaluator_sha256 in taught_by else ""
    cells = []
    for aggregate in metric.aggregate(scores, load):
        column = columns[aggregate.column]
        own = [score for score in scores if score.column == column.name]
        scored = {score.case for score in own if score.reason is None}
        failed = {s.case: s.reason for s in own if s.reason is not None and s.case not in scored}
        spread = interval(metric, column.name, scores, load, aggregate.value)
        cells.append(
            Cell(
                column=column.name,
                unit=column.unit,
                higher_is_better=column.higher_is_better,
                metric=info.name,
                definition=info.definition,
                version=info.version,
                crop=info.crop,
                evaluator=info.evaluator,
                evaluator_sha256=info.evaluator_sha256,
                reference_set=reference_set if info.reduction == "set" else "",
                value=aggregate.value,
                low=spread.low,
                high=spread.high,
                interval=spread.method,
                n=aggregate.n,
                n_failed=len(failed),
                n_clusters=spread.n_clusters,
                n_samples=aggregate.n_samples,
                warning="; ".join(filter(None, (aggregate.warning, seen))),
                reasons=dict(sorted(Counter(str(r) for r in failed.values()).items())),
            )
        )
    return tuple(cells)


def provenance() -> dict[str, str]:
    """Return the versions behind a result: tfbench, its git commit, Python and packages."""
    found = {"tfbench": __version__, "python": platform.python_version(), "git": _commit()}
    for package in PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def scores_digest(text: str) -> str:
    """Return the sha256 of the rows' file."""
    return hashlib.sha256(text.encode()).hexdigest()


def _commit() -> str:
    """Return the commit of the checkout that this code runs from, "" where it is none."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def _cell(entry: dict[str, Any]) -> Cell:
    for name in ("value", "low", "high"):
        if entry[name] is not None:
            entry[name] = float(entry[name])
    return Cell(**entry)
