"""One clip: who says what and how, and what the camera and the truth show.

A clip is a pure function of its `ClipSpec`, the size and the generator's version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tfbench.core.errors import InputError
from tfbench.core.types import SAMPLE_RATE, Speech
from tfbench.datasets.puppets.actor import (
    Actor,
    Posed,
    Truth,
    draw,
    look,
    project,
    rotation_matrix,
)
from tfbench.datasets.puppets.head import head
from tfbench.datasets.puppets.identity import draw_identity
from tfbench.datasets.puppets.model import texture_coefficients
from tfbench.datasets.puppets.performance import Performance, listen, perform
from tfbench.datasets.puppets.setting import Setting, background, draw_setting
from tfbench.datasets.puppets.spec import ClipSpec, SceneSpec
from tfbench.datasets.puppets.speech import Utterance, draw_voice, synthesise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

__all__ = ["ClipSpec", "Part", "RenderedClip", "SceneSpec", "render_clip", "speak"]

Floats = NDArray[np.float32]

SMALLEST = 16
"""Height of the smallest frames, pixels."""


def speak(spec: ClipSpec) -> Utterance:
    """Synthesise what a clip says, in the voice of its identity."""
    identity = draw_identity(spec.identity)
    voice = draw_voice(np.random.default_rng([spec.identity, 5]), identity.gender)
    return synthesise(spec.text, voice, spec.emotion, spec.level)


@dataclass(frozen=True, eq=False)
class Part:
    """One puppet of a clip.

    Attributes:
        actor: Who it is and where it stands.
        performance: How it moves.
    """

    actor: Actor
    performance: Performance

    def pose(self, frame: int) -> Posed:
        """Pose it as in a frame of the clip."""
        return self.actor.pose(self.performance.expression[frame], self.performance.rotation[frame])


class RenderedClip:
    """A clip whose frames are drawn when they are asked for.

    Attributes:
        spec: What is shown.
        height: Pixels.
        width: Pixels.
        utterance: What is said, with words, phones and their times in seconds.
        setting: Clothes of the speaker, light and place.
        parts: Who is seen, the speaker first.
    """

    def __init__(
        self,
        spec: ClipSpec,
        size: tuple[int, int],
        utterance: Utterance,
        setting: Setting,
        parts: list[Part],
    ) -> None:
        self.spec, self.utterance, self.setting = spec, utterance, setting
        self.height, self.width = size
        self.parts = parts

    @property
    def n_frames(self) -> int:
        """How many frames there are, at 25 fps."""
        return len(self.speaker.performance.expression)

    @property
    def speech(self) -> Speech:
        """The sound."""
        return Speech(torch.from_numpy(self.utterance.waveform), SAMPLE_RATE)

    def frames(self, chunk: int = 8, chosen: Sequence[int] | None = None) -> Iterator[Tensor]:
        """Draw the frames.

        Args:
            chunk: Most frames in one piece.
            chosen: Which ones, None for all.

        Yields:
            uint8 (t, 3, height, width) RGB.
        """
        behind = background(self.setting, self.height, self.width)
        wanted = range(self.n_frames) if chosen is None else chosen
        for start in range(0, len(wanted), chunk):
            piece = wanted[start : start + chunk]
            drawn = np.stack([draw(self._posed(k), behind) for k in piece])
            yield torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()

    def geometry(self, frame: int) -> Truth:
        """Return depth, normals and parts of a frame; actor 0 is the speaker.

        Raises:
            InputError: The clip has no such frame.
        """
        if not 0 <= frame < self.n_frames:
            last = self.n_frames - 1
            raise InputError(f"{self.spec.id} has frames 0 to {last}; frame {frame} was asked for")
        return look(self._posed(frame), self.height, self.width)

    @cached_property
    def truth(self) -> dict[str, NDArray[Any]]:
        """What is known exactly of every frame.

        landmarks float32 (T, 68, 2), pixels; coefficients float32 (T, C), of `model.morphable`;
        expression float32 (T, 52), ARKit weights; rotation float32 (T, 3), pitch, yaw and roll of
        the head in radians; in scenes scene_mask bool (T, H, W), True on the speaker's head.
        """
        speaker = self.speaker
        known = {
            "landmarks": self._landmarks(),
            "coefficients": self._coefficients(),
            "expression": speaker.performance.expression,
            "rotation": speaker.performance.rotation,
        }
        if len(self.parts) > 1:
            known["scene_mask"] = np.stack([self._head(k) for k in range(self.n_frames)])
        return known

    @property
    def speaker(self) -> Part:
        """Who speaks."""
        return self.parts[0]

    def _posed(self, frame: int) -> list[Posed]:
        return [part.pose(frame) for part in self.parts]

    def _head(self, frame: int) -> NDArray[np.bool_]:
        seen = self.geometry(frame)
        return seen.heads & (seen.actors == 0)

    def _landmarks(self) -> Floats:
        actor, performance = self.speaker.actor, self.speaker.performance
        moves = zip(performance.expression, performance.rotation, strict=True)
        posed = (actor.points(head().landmarks, *move) for move in moves)
        return np.stack([project(vertices, self.height, self.width)[0] for vertices in posed])

    def _coefficients(self) -> Floats:
        actor, performance = self.speaker.actor, self.speaker.performance
        identity = actor.body.identity
        pivot = head().pivot
        turned = np.stack([rotation_matrix(angles) @ pivot for angles in performance.rotation])

        def held(values: Floats) -> Floats:
            return np.tile(values.ravel(), (self.n_frames, 1))

        columns = [
            held(identity.shape),
            performance.expression,
            held(texture_coefficients(identity)),
            performance.rotation,
            held(self.setting.gamma),
            actor.at + pivot - turned,
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)


def render_clip(spec: ClipSpec, size: int) -> RenderedClip:
    """Prepare a clip; nothing is drawn yet.

    Args:
        spec: What is shown; a `SceneSpec` is drawn twice as wide as high.
        size: Height of the frames, pixels.

    Returns:
        The clip.

    Raises:
        InputError: The size is below 16.
    """
    if size < SMALLEST:
        raise InputError(f"puppets are drawn at {SMALLEST} pixels or more, not at {size}")
    utterance = speak(spec)
    seed = int(np.random.default_rng([spec.seed, spec.attempt, 6]).integers(2**31))
    setting = draw_setting(spec.seed, spec.attempt)
    if isinstance(spec, SceneSpec):
        parts = _pair(spec, utterance, setting, seed, size)
        return RenderedClip(spec, (size, 2 * size), utterance, setting, parts)
    performance = perform(utterance, spec.emotion, spec.level, seed)
    part = Part(Actor(spec.identity, setting, size), performance)
    return RenderedClip(spec, (size, size), utterance, setting, [part])


def _pair(
    spec: SceneSpec, utterance: Utterance, setting: Setting, seed: int, size: int
) -> list[Part]:
    """Place the speaker and the listener and turn them to each other."""
    rng = np.random.default_rng([spec.seed, spec.attempt, 7])
    toward = -1.0 if spec.side == "left" else 1.0
    apart = rng.uniform(1.9, 2.3)
    near, far = sorted(rng.uniform(-5.0, -3.4, 2))[::-1]
    depths = (near, far) if rng.random() < 0.5 else (far, near)
    turns = toward * rng.uniform(0.35, 0.60, 2)
    speaker_at = np.array([-toward * apart, rng.uniform(-0.2, 0.2), depths[0]], np.float32)
    listener_at = np.array([toward * apart, rng.uniform(-0.2, 0.2), depths[1]], np.float32)
    other = replace(setting, clothes=draw_setting(spec.seed, spec.attempt + 1000).clothes)
    speaker = Actor(spec.identity, setting, size, speaker_at)
    listener = Actor(spec.listener, other, size, listener_at)
    talk = perform(utterance, spec.emotion, spec.level, seed, (float(turns[0]), 0.0))
    attend = listen(len(talk.expression), spec.emotion, 1, seed + 1, (float(-turns[1]), 0.0))
    return [Part(speaker, talk), Part(listener, attend)]
