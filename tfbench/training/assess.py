"""Measure a trained evaluator on held-out clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tfbench.core.config import load_config
from tfbench.core.errors import ConfigError
from tfbench.core.registry import Name, parse_name, registry
from tfbench.nets.bundle import WEIGHTS, load_bundle, read_record, shipped_record
from tfbench.preparation.clips import keep_clips

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfbench.datasets.base import Dataset
    from tfbench.evaluators.base import Figure, Trainee

__all__ = ["Assessment", "assess", "load_trained"]


@dataclass(frozen=True)
class Assessment:
    """How good a network is on some clips.

    Attributes:
        dataset: Label of the data set.
        checksum: Of its split.
        n_clips: How many clips could serve.
        n_refused: How many could not.
        figures: What was measured.
    """

    dataset: str
    checksum: str
    n_clips: int
    n_refused: int
    figures: tuple[Figure, ...]


def load_trained(name: str) -> Trainee:
    """Load an evaluator with its trained weights.

    Args:
        name: Of a shipped network, `stem.variant`, or a bundle's folder.

    Raises:
        ConfigError: It is not one that this project has trained.
        AssetError: Its file is not what it should be.
    """
    folder = Path(name)
    if folder.is_dir():
        record, network = read_record(folder / "bundle.json"), load_bundle(folder)
    else:
        own = sorted(path.stem for path in WEIGHTS.glob("*.json"))
        if name not in own:
            raise ConfigError(
                f"'{name}' is no network that this project has trained; there are: "
                f"{', '.join(own) or 'none'}; or give the folder of a bundle"
            )
        parsed = parse_name(name)
        module = registry("networks").load(parsed.stem)
        record, network = shipped_record(name), module.load(parsed.variant)
    return trainee_of(record, network.module)


def trainee_of(record: dict[str, Any], network: torch.nn.Module) -> Trainee:
    """Build the evaluator of a record around its network."""
    kind = registry("evaluators").load(record["name"])
    settings = record["training"]["config"]
    trainee: Trainee = kind(load_config(kind.Config, "evaluators", Name(kind.name), settings))
    trainee.adopt({"net": network})
    return trainee.eval()


def assess(
    trainee: Trainee,
    dataset: Dataset,
    *,
    workers: int | None = None,
    accelerator: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Assessment:
    """Measure an evaluator on a data set.

    Args:
        trainee: With trained weights.
        dataset: Clips that it was not trained on.
        workers: Processes that prepare clips; None takes one for each core.
        accelerator: "auto", "cpu" or "gpu".
        progress: Called with (clips that are prepared, all).

    Raises:
        InputError: No clip can serve.
    """
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    rows = dataset.index()
    dataset.prepare(rows, workers=workers, progress=progress)
    kept = keep_clips(dataset, trainee, rows, workers=workers, device=device, progress=progress)
    with torch.inference_mode():
        figures = trainee.to(device).eval().assess(kept.clips)
    n_refused = len(kept.refused)
    return Assessment(dataset.label, dataset.checksum(), len(kept.clips), n_refused, figures)
