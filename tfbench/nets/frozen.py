"""Networks that judge: held beside their user, not inside it."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

__all__ = ["Frozen", "channels_last", "full_precision", "state_sha256"]

M = TypeVar("M", bound=nn.Module)


class Frozen(Generic[M]):
    """A network in evaluation mode that its owner neither trains nor saves.

    It is no `nn.Module`, so a metric or a method that holds one has none of its parameters in
    `parameters()` or `state_dict()`.

    Args:
        module: The network; its parameters stop requiring gradients.
        name: `stem.variant`, such as "syncnet.v2".
        sha256: Of the weights, where they are not in the module's state dict.

    Attributes:
        sha256: Of all parameters and buffers; the same weights give the same hash whatever file
            they came from.
    """

    def __init__(self, module: M, name: str, sha256: str | None = None) -> None:
        self.module = module.eval().requires_grad_(requires_grad=False)
        self.name = name
        self.sha256 = sha256 or state_sha256(module.state_dict())

    def to(self, device: torch.device | str) -> Frozen[M]:
        """Move the network; returns itself."""
        self.module.to(device)
        return self

    def __repr__(self) -> str:
        return f"Frozen({self.name}, {self.sha256[:8]})"


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, types, shapes and bytes of a state dict, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to("cpu").contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def channels_last(net: M) -> M:
    """Lay out the weights of two-dimensional convolutions so that these are fastest; returns it."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep cuDNN from rounding the factors of float32 convolutions to TF32, its default."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    ):
        yield
