"""Rendered scenes of two people: one speaks, turned to a listener who stands left or right.

The people, voices and sentences are those of the data set `puppets`, in frames twice as wide as
high. Of each clip the speaker's head is known as a mask, and so is the listener's side. The data
card is docs/datasets/puppets.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from tfbench.datasets.puppets.dataset import Puppets, PuppetsConfig
from tfbench.datasets.puppets.make import Faces, render_puppets
from tfbench.datasets.puppets.spec import ClipSpec, SceneSpec

if TYPE_CHECKING:
    from tfbench.core.types import Sample
    from tfbench.datasets.base import Row
    from tfbench.datasets.puppets.make import Check, Renderer

__all__ = ["PuppetsScenes", "PuppetsScenesConfig"]

SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
TWO_FACES = Faces(2)
STRIDE = 7
"""How many people on the listener is found; the clips of one person have several listeners."""


@dataclass(frozen=True)
class PuppetsScenesConfig(PuppetsConfig):
    """Settings of the data set `puppets_scenes`.

    Attributes:
        split: As in `puppets`.
        size: How many clips; None takes the split's own number.
        resolution: Height of the frames, pixels: even, 64 to 512; they are twice as wide.
        seed: Another one gives other people, sentences and settings.
        kind: "grammar", "open", or "mixed", half of each.
        emotions: Those that occur; where neutral is one of several, half of the clips are neutral.
    """

    resolution: int = 192


class PuppetsScenes(Puppets):
    """Scenes of a speaker and a listener.

    Args:
        config: Which clips.
        render: Draws them.
        check: Refuses frames; a clip with a refused frame is drawn anew.
    """

    name = "puppets_scenes"
    Config = PuppetsScenesConfig

    def __init__(
        self,
        config: PuppetsScenesConfig | None = None,
        render: Renderer = render_puppets,
        check: Check = TWO_FACES,
    ) -> None:
        super().__init__(config or PuppetsScenesConfig(), render, check)

    def sample(self, row: Row) -> Sample:
        """Decode a clip; see `Puppets.sample`."""
        spec = cast("SceneSpec", self._spec(row))
        return replace(super().sample(row), listener_side=spec.side)

    def _plan(self) -> tuple[SceneSpec, ...]:
        return tuple(_scene(spec) for spec in super()._plan())


def _scene(spec: ClipSpec) -> SceneSpec:
    rng = np.random.default_rng([spec.seed, 8])
    listener = spec.identity + 1 + int(rng.integers(STRIDE))
    return SceneSpec(**asdict(spec), listener=listener, side=SIDES[int(rng.integers(2))])
