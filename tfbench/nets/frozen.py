"""Holder of a network that judges: never trained, never saved with its owner, known by its hash."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Frozen", "full_precision", "state_sha256"]

M = TypeVar("M", bound=nn.Module)


class Frozen(Generic[M]):
    """A network in eval mode, without gradients, outside its owner's parameters and state.

    It is no `nn.Module`, so an owner that keeps one as an attribute neither trains it nor
    writes it into checkpoints. The owner moves it along by `to`.

    Args:
        module: The network; it is put into eval mode and its parameters stop requiring grad.
        name: Stem and variant, such as "syncnet.v2".

    Attributes:
        module: The network.
        name: As given.
        sha256: Of its parameters and buffers, see `state_sha256`.
    """

    def __init__(self, module: M, name: str) -> None:
        self.module: M = module.eval().requires_grad_(requires_grad=False)
        self.name = name
        self.sha256 = state_sha256(module.state_dict())

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.module.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the network in place."""
        self.module.to(device)
        return self

    def __repr__(self) -> str:
        return f"Frozen({self.name}, sha256 {self.sha256[:12]}, {self.device})"


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash a state dict by content.

    Names in sorted order, each with its dtype, shape and little-endian bytes, so neither the
    file format nor the device nor the memory layout enters.

    Args:
        state: Name -> tensor of any dtype and shape.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep CUDA from rounding float32 products to TF32 inside the block.

    cuDNN rounds convolutions by default, which moves scores in the third digit.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    tf32 = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with cudnn.flags(
            enabled=cudnn.enabled,
            benchmark=cudnn.benchmark,
            deterministic=cudnn.deterministic,
            allow_tf32=False,
        ):
            yield
    finally:
        matmul.allow_tf32 = tf32
