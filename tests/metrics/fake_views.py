"""Views that hold what a test gives them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tfbench.core.errors import Unscorable
from tfbench.core.types import Speech, Transcript
from tfbench.core.views import Part, ViewKey


@dataclass
class FakeViews:
    """Answers with the same values for every key of a side.

    Attributes:
        values: Side -> one tensor for each part.
        sound: Side -> waveform.
        words: The transcript; None where there is none.
        frames: Side -> height and width of its frames.
    """

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    sound: dict[str, Tensor] = field(default_factory=dict)
    words: str | None = None
    case: str = "case"
    cluster: str = "cluster"
    kept: dict[str, Tensor] = field(default_factory=dict)
    frames: dict[str, tuple[int, int]] = field(default_factory=dict)

    def parts(self, key: ViewKey) -> tuple[Part, ...]:
        if key.side not in self.values:
            raise Unscorable(f"nothing for {key.side}")
        return tuple(
            Part(
                f"track-{n}",
                0,
                len(values) + key.context,
                values,
                self.frames.get(key.side, (0, 0)),
            )
            for n, values in enumerate(self.values[key.side])
        )

    def pairs(self, pred: ViewKey, ref: ViewKey) -> tuple[tuple[Part, Part], ...]:
        return tuple(zip(self.parts(pred), self.parts(ref), strict=True))

    def speech(self, side: str = "pred") -> Speech:
        if side not in self.sound:
            raise Unscorable(f"no sound for {side}")
        return Speech(self.sound[side])

    def transcript(self) -> Transcript:
        if self.words is None:
            raise Unscorable("the data set has no transcript of the driving speech")
        return Transcript(self.words)

    def keep(self, values: Tensor) -> str:
        name = str(len(self.kept))
        self.kept[name] = values
        return name


class Means(torch.nn.Module):
    """A feature network whose three features are the mean colour."""

    def __init__(self, crop: object) -> None:
        super().__init__()
        self.crop = crop

    def embed(self, frames: Tensor) -> Tensor:
        return frames.float().mean((2, 3))
