"""Moments of the data set `puppets`: a few frames of each clip, spread over its length, no sound.

What is learnt from single faces, such as who is seen or which emotion is shown, needs many people
and few frames of each. A clip here costs about a sixth of a whole one. The people, words, emotions
and settings are those of `puppets`: moments of its clip k have this data set's id k. Frames are not
looked at by a detector before they are kept, so a few show no face that can be found. The data card
is docs/datasets/puppets.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tfbench.core.config import fingerprint, to_plain
from tfbench.core.errors import ConfigError
from tfbench.datasets.puppets.dataset import Puppets, PuppetsConfig
from tfbench.datasets.puppets.make import render_puppets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from tfbench.core.types import Sample
    from tfbench.datasets.base import Row
    from tfbench.datasets.puppets.clip import RenderedClip
    from tfbench.datasets.puppets.make import Check, Renderer
    from tfbench.datasets.puppets.spec import ClipSpec

__all__ = ["PuppetsStills", "PuppetsStillsConfig"]


@dataclass(frozen=True)
class PuppetsStillsConfig(PuppetsConfig):
    """Settings of the data set `puppets_stills`; those of `puppets`, and one more.

    Attributes:
        split: As in `puppets`.
        size: How many clips; None takes the split's own number.
        resolution: Height and width of the frames, pixels: even, 64 to 512.
        seed: Another one gives other people, sentences and settings.
        kind: "grammar", "open", or "mixed", half of each.
        emotions: Those that occur; where neutral is one of several, half of the clips are neutral.
        frames: How many of each clip, 1 or more; a shorter clip gives all that it has.
    """

    frames: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 1:
            raise ConfigError(f"a still needs 1 frame or more; got {self.frames}")


class PuppetsStills(Puppets):
    """A few moments of many puppets.

    Args:
        config: Which clips.
        render: Draws them; None takes the puppets' own renderer.
        check: Refuses frames; a clip with a refused frame is drawn anew.
    """

    name = "puppets_stills"
    Config = PuppetsStillsConfig

    config: PuppetsStillsConfig

    def __init__(
        self,
        config: PuppetsStillsConfig | None = None,
        render: Renderer | None = None,
        check: Check | None = None,
    ) -> None:
        config = config or PuppetsStillsConfig()
        super().__init__(config, render or Moments(config.frames), check or _take_all)

    @property
    def label(self) -> str:
        """As that of `puppets`, and the number of frames."""
        return f"{super().label}-{self.config.frames}frames"

    def sample(self, row: Row) -> Sample:
        """Decode a clip; nothing is said in it."""
        return replace(super().sample(row), transcript=None, word_times=None, phone_times=None)

    def _fingerprint(self, spec: ClipSpec) -> str:
        config = self.config
        own = [self.name, self.version, config.resolution, config.frames]
        return fingerprint([*own, to_plain(spec)])


@dataclass(frozen=True)
class Moments:
    """Renders some frames of a puppet's clip.

    Attributes:
        frames: How many.
    """

    frames: int

    def __call__(self, spec: ClipSpec, size: int) -> Any:
        """Prepare the moments; see `make.Renderer`."""
        whole: Any = render_puppets(spec, size)
        return _Rendered(whole, self.frames)


class _Rendered:
    """Some frames of a clip, in the form of `make.Rendered`.

    Args:
        whole: The clip.
        n: How many of its frames.
    """

    utterance = SimpleNamespace(words=(), phones=())
    speech = None

    def __init__(self, whole: RenderedClip, n: int) -> None:
        self.whole = whole
        n = min(n, whole.n_frames)
        # The middles of n equal pieces.
        self.chosen = [int((k + 0.5) * whole.n_frames / n) for k in range(n)]

    @cached_property
    def truth(self) -> dict[str, NDArray[Any]]:
        return {name: values[self.chosen] for name, values in self.whole.truth.items()}

    def frames(self, chunk: int = 8) -> Iterator[Tensor]:
        yield from self.whole.frames(chunk, self.chosen)


def _take_all(_frames: Tensor, _attempt: int = 0) -> None:
    return None
