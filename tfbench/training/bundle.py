"""Writing what a training has made: a bundle in its run folder, and networks to ship."""

from __future__ import annotations

import copy
import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from tfbench import __version__
from tfbench.core.files import write_atomically
from tfbench.nets._checkpoint import fill
from tfbench.nets.frozen import state_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from tfbench.evaluators.base import Figure, Trainee

__all__ = ["described", "write_bundle", "write_network"]

PACKAGES = ("torch", "pytorch-lightning", "numpy", "av")


def write_bundle(
    folder: Path, trainee: Trainee, training: Mapping[str, Any], figures: Sequence[Figure]
) -> None:
    """Write a trainee's networks and the record of how they were made.

    Args:
        folder: Where to; what is there is replaced, the record last.
        trainee: Its `parts` are written.
        training: What was trained on what.
        figures: How good the networks are on held-out clips.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    parts = {}
    for name, net in trainee.parts().items():
        parts[name] = write_network(folder / f"{name}.safetensors", net)
    record = {
        "name": trainee.name,
        "parts": parts,
        "training": dict(training),
        "held_out": described(figures),
        "supervisors": list(trainee.supervisors),
        "taught_by": list(trainee.taught_by),
        "versions": _versions(),
    }
    write_atomically(folder / "bundle.json", (json.dumps(record, indent=1) + "\n").encode())


def write_network(path: Path, net: nn.Module, *, half: bool = False) -> dict[str, Any]:
    """Write a network's weights.

    Args:
        path: A safetensors file.
        net: Has `settings`.
        half: Round to half precision.

    Returns:
        What a record says of it; the sha256 is that of the weights as they will be loaded.
    """
    state = {name: _stored(value, half=half) for name, value in net.state_dict().items()}
    state = {name: value for name, value in state.items() if not name.endswith("_tracked")}
    settings: dict[str, Any] = net.settings  # type: ignore[assignment]
    loaded = copy.deepcopy(net).cpu()
    # Batches that were counted are not stored, and a network that is loaded has counted none.
    for name, counter in loaded.named_buffers():
        if name.endswith("num_batches_tracked"):
            counter.zero_()
    fill(loaded, state, str(path))
    write_atomically(path, save(state))
    return {
        "network": type(net).__module__.rpartition(".")[2],
        "settings": settings,
        "sha256": state_sha256(loaded.state_dict()),
        "parameters": sum(p.numel() for p in net.parameters()),
    }


def described(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Write figures as JSON holds them."""
    return [asdict(figure) for figure in figures]


def _stored(value: Tensor, *, half: bool) -> Tensor:
    value = value.detach().to("cpu").contiguous()
    return value.half() if half and value.is_floating_point() else value


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in PACKAGES}
    return {
        "tfbench": __version__,
        "python": platform.python_version(),
        **found,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
