"""What networks have said of pictures is remembered, since a validation shows the same ones often.

The true clips are the same at every level, and pictures stay the same where only the sound
changes. Values are found by the sha256 of what goes in, so that nothing can be mixed up.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from tfbench.core.views import ViewKey
    from tfbench.metrics.base import TalkingFaceMetric

__all__ = ["MOST_BYTES", "Remembering"]

MOST_BYTES = 256 << 20
"""What one process remembers; what was not asked for the longest time is forgotten first."""

_known: OrderedDict[str, Tensor] = OrderedDict()


class Remembering:
    """A metric whose networks are not asked twice; all else is the metric's own.

    Args:
        metric: Any.
    """

    def __init__(self, metric: TalkingFaceMetric) -> None:
        self.metric = metric

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """The metric's views; those of networks are remembered."""
        return tuple(
            replace(key, extract=_Remembered(key))
            if key.evaluator and key.extract is not None
            else key
            for key in self.metric.needs
        )

    def to(self, device: torch.device) -> Remembering:
        """Move the metric; returns itself."""
        self.metric.to(device)
        return self

    def __getattr__(self, name: str) -> Any:
        # While it is unpickled, `metric` itself is not there yet.
        if name.startswith("__") or name == "metric":
            raise AttributeError(name)
        return getattr(self.metric, name)


class _Remembered:
    """A view's extractor that looks its answer up first."""

    def __init__(self, key: ViewKey) -> None:
        self.what = f"{key.name} {key.evaluator} {key.context}"
        self.extract: Callable[..., Tensor] | None = key.extract

    def __call__(self, *inputs: Tensor) -> Tensor:
        place = self._place(inputs)
        if place in _known:
            _known.move_to_end(place)
        elif self.extract is not None:
            _known[place] = self.extract(*inputs).cpu()
            _forget()
        return _known[place]

    def _place(self, inputs: tuple[Tensor, ...]) -> str:
        digest = hashlib.sha256(self.what.encode())
        for tensor in inputs:
            digest.update(f"{tensor.device.type} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().to("cpu").contiguous().numpy().tobytes())
        return digest.hexdigest()


def _forget() -> None:
    held = sum(values.nbytes for values in _known.values())
    while held > MOST_BYTES and len(_known) > 1:
        held -= _known.popitem(last=False)[1].nbytes
