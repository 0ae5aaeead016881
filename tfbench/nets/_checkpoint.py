"""Reading published checkpoints, so that nothing missing or unknown passes in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tfbench.core.errors import AssetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["fill", "read_state"]

COUNTER = "num_batches_tracked"


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running code that the file may hold.

    Args:
        path: A safetensors file, by its ending, or what `torch.save` wrote.

    Returns:
        name -> tensor, on the CPU.

    Raises:
        AssetError: The file cannot be read or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a cut-off file raises whatever its last bytes happen to mean
        raise AssetError(f"{path} is no readable checkpoint (cut off?): {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise AssetError(f"{path} holds a {type(state).__name__}, not a state dict of tensors")
    return state


def fill(net: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dict that has every parameter and buffer of a network and no other.

    Counters of batches are left at zero: old checkpoints lack them, nothing is computed from them,
    and the same weights shall have the same hash.

    Args:
        net: Is changed in place.
        state: name -> tensor; types are converted.
        what: The file and the network, for messages.

    Raises:
        AssetError: Names or shapes differ; names the first that does.
    """
    wanted = {name: value for name, value in net.state_dict().items() if not _counts(name)}
    given = {name: value for name, value in state.items() if not _counts(name)}
    both = wanted.keys() & given.keys()
    for names, problem in (
        ([name for name in wanted if name not in both], "lacks"),
        ([name for name in given if name not in both], "has the unknown"),
        ([n for n in wanted if n in both and given[n].shape != wanted[n].shape], "has a misshapen"),
    ):
        if names:
            raise AssetError(f"{what}: it {problem} parameter '{names[0]}' ({len(names)} in all)")
    net.load_state_dict({**net.state_dict(), **given})


def _counts(name: str) -> bool:
    return name.endswith(COUNTER)
