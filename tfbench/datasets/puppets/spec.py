"""What decides a clip, as plain values that need no renderer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ClipSpec", "SceneSpec"]


@dataclass(frozen=True)
class ClipSpec:
    """What decides a clip.

    Attributes:
        id: Of the sample.
        identity: Seed of who speaks; face and voice.
        text: What is said.
        kind: "grammar" or "open".
        emotion: One of `emotions.EMOTIONS`.
        level: Strength of the emotion, 1 to 3; neutral has 1.
        seed: Of clothes, light, place and motion.
        attempt: Another number draws the setting and the motion anew.
    """

    id: str
    identity: int
    text: str
    kind: str
    emotion: str
    level: int
    seed: int
    attempt: int = 0


@dataclass(frozen=True)
class SceneSpec(ClipSpec):
    """What decides a scene: a clip whose speaker turns to a listener.

    Attributes:
        listener: Seed of who listens.
        side: Where the listener stands in the picture, "left" or "right".
    """

    listener: int = 0
    side: Literal["left", "right"] = "left"
