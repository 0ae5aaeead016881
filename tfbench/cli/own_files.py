"""A request made of one's own pictures, video and sound."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from tfbench.core.types import Clip, Emotion, Request, Speech

USUAL_FPS = Fraction(25)
FPS_BOUNDS = (1, 240)
FINEST = 1001
"""Frame rates are told by fractions of at most this denominator: those of television."""


class Length(StrEnum):
    """What to do where the speech outlasts the source video."""

    LOOP = "loop"
    STOP = "stop"


def request(
    name: str,
    *,
    audio: Path,
    images: Sequence[Path],
    video: Path | None,
    fps: str | None,
    emotion: str | None,
    face: int,
    length: Length,
    seed: int,
) -> Request:
    """Read what a user gives; without pictures the video's first frame shows who is meant.

    Args:
        name: Of the request.
        audio: A file with sound.
        images: Pictures of one size.
        video: What is edited, or whose motion is followed.
        fps: Frames per second; None is the video's own rate, or 25 without a video.
        emotion: Such as "happy".
        face: Which track of the video.
        length: What to do where the speech outlasts the video.
        seed: Of every random draw.

    Raises:
        InputError: A file cannot be used, or the rate makes no sense.
        UnknownName: There is no such emotion.
    """
    from tfbench.core.types import Request

    wanted = None if fps is None else _rate(fps)
    feeling = _emotion(emotion)
    source = None if video is None else _source(video, wanted)
    stills = _stills(images)
    if stills is None and source is not None:
        stills = next(iter(source.video.frames(0, 1)))
    return Request(
        id=name,
        seed=seed,
        speech=_speech(audio),
        identity=stills,
        fps=source.video.fps if source is not None else wanted or USUAL_FPS,
        source=source,
        pose=None if source is None else source.video,
        emotion=feeling,
        face=face,
        length="stop" if length is Length.STOP else "loop",
    )


def _rate(text: str) -> Fraction:
    from tfbench.core.errors import InputError

    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    low, high = FPS_BOUNDS
    if not low <= fps <= high:
        raise InputError(
            f"--fps is a number from {low} to {high}, such as 25, 29.97 or 30000/1001; got '{text}'"
        )
    return fps.limit_denominator(FINEST)


def _speech(path: Path) -> Speech:
    from tfbench.core.errors import InputError
    from tfbench.media.audio import read_speech

    speech = read_speech(path)
    if speech is None:
        raise InputError(f"{path} has no audio stream; give --audio a file with sound")
    return speech


def _stills(paths: Sequence[Path]) -> Tensor | None:
    """Read pictures of one size, uint8 (N, 3, H, W)."""
    import torch

    from tfbench.core.errors import InputError
    from tfbench.media.image import read_image

    pictures = [read_image(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            (_, height, width), (_, first_height, first_width) = picture.shape, pictures[0].shape
            raise InputError(
                f"{path} has {width}x{height} pixels and {paths[0]} {first_width}x{first_height}; "
                "give images of one size"
            )
    return torch.stack(pictures) if pictures else None


def _source(path: Path, fps: Fraction | None) -> Clip:
    """Open the video at the wanted rate, or at its own; a varying one is made constant."""
    from tfbench.core.errors import InputError
    from tfbench.media.video import VideoFile, open_clip

    if fps is not None:
        return open_clip(path, fps)
    native = VideoFile(path, None).fps.limit_denominator(FINEST)
    low, high = FPS_BOUNDS
    if not low <= native <= high:
        raise InputError(f"{path} says it has {float(native):g} frames a second; give --fps")
    return open_clip(path, native)


def _emotion(text: str | None) -> Emotion | None:
    from tfbench.core.errors import UnknownName
    from tfbench.core.registry import closest
    from tfbench.core.types import Emotion
    from tfbench.datasets.puppets.emotions import EMOTIONS

    if text is None:
        return None
    if text.lower() not in EMOTIONS:
        known = ", ".join(EMOTIONS)
        raise UnknownName(f"no emotion '{text}'{closest(text, EMOTIONS)}; there are: {known}")
    return Emotion(text=text.lower())
