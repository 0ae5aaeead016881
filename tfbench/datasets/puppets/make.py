"""Making a clip: whole or not there, and never twice.

A clip is a folder of its own, named by its fingerprint:

- `truth.npz`: arrays of what is known of each frame;
- `record.json`: words, phones, refused attempts, the sizes of the files and the sha256 of what the
  video shows and sounds like;
- `clip.mp4`: written last, so that a video that is there, with the sizes of the record, is whole;
- `lock`: held by the process that makes the clip. A process that meets a held lock goes on to the
  next clip; the lock of a process that died is free.

Nothing heavy is imported here: the process that hands out the work does not render.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tfbench.core.config import canonical_json
from tfbench.core.errors import GenerationError, InputError, StorageError
from tfbench.core.files import storage_errors, write_atomically
from tfbench.core.types import FPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from facenet_pytorch import MTCNN
    from numpy.typing import NDArray
    from torch import Tensor

    from tfbench.core.types import Speech
    from tfbench.datasets.puppets.spec import ClipSpec
    from tfbench.faces.detect import FaceDetector

__all__ = [
    "Faces",
    "Job",
    "Made",
    "ONE_FACE",
    "content_sha256",
    "find_made",
    "forget_damaged",
    "make_clip",
    "render_puppets",
]

ATTEMPTS, STRICT = 32, 16
"""How often a refused clip is drawn anew before that is an error."""

CHUNK = 8
"""Frames that are drawn, checked and encoded at once."""

LEAST_SCORE, LATE_SCORE, SURE = 0.95, 0.85, 0.95
CLIP, TRUTH, RECORD, LOCK = "clip.mp4", "truth.npz", "record.json", "lock"
MAKING = "making.mp4"


class Rendered(Protocol):
    """What a renderer gives; see `clip.RenderedClip`."""

    @property
    def utterance(self) -> Any:
        """Has `words` and `phones`."""

    @property
    def speech(self) -> Speech:
        """The sound."""

    @property
    def truth(self) -> Mapping[str, NDArray[Any]]:
        """Arrays of what is known of every frame."""

    def frames(self, chunk: int = 8) -> Iterator[Tensor]:
        """Yield uint8 (t, 3, H, W)."""


if TYPE_CHECKING:
    Renderer = Callable[[ClipSpec, int], Rendered]
    Check = Callable[[Tensor, int], str | None]


@dataclass(frozen=True)
class Job:
    """A clip to make.

    Attributes:
        spec: What decides it.
        size: Height of its frames, pixels.
        folder: Where it lies; its name is the clip's fingerprint.
    """

    spec: ClipSpec
    size: int
    folder: Path


@dataclass(frozen=True)
class Made:
    """A clip that is there.

    Attributes:
        folder: Where it lies.
        n_frames: Its length, at 25 fps.
        sha256: Of what the video decodes to: pixels and sound.
        refusals: Why earlier attempts were refused.
        words: (word, start, end), seconds.
        phones: (ARPAbet symbol, start, end), seconds.
    """

    folder: Path
    n_frames: int
    sha256: str
    refusals: tuple[str, ...]
    words: tuple[tuple[str, float, float], ...]
    phones: tuple[tuple[str, float, float], ...]

    @property
    def video(self) -> Path:
        """The clip's video."""
        return self.folder / CLIP

    def truth(self) -> dict[str, NDArray[Any]]:
        """Read the arrays of what is known of every frame."""
        with np.load(self.folder / TRUTH, allow_pickle=False) as arrays:
            return dict(arrays)


def render_puppets(spec: ClipSpec, size: int) -> Rendered:
    """Render with the puppets' own renderer, which is imported when it is first used."""
    from tfbench.datasets.puppets.clip import render_clip

    return render_clip(spec, size)


@dataclass(frozen=True)
class Faces:
    """A check: facenet-pytorch's MTCNN finds this many faces in each frame, all with certainty.

    tfbench's own detector, five times as fast and more doubtful, looks first: a frame in which it
    is `SURE` needs no second look.

    Some faces seldom please it: after `STRICT` attempts a score above `LATE_SCORE` will do.

    Attributes:
        n: How many.
    """

    n: int = 1

    def __call__(self, frames: Tensor, attempt: int = 0) -> str | None:
        """Return what is wrong with uint8 (t, 3, H, W) frames; None where nothing is."""
        least = LEAST_SCORE if attempt < STRICT else LATE_SCORE
        quick, thorough = _detectors()
        found = quick.detect(frames)
        sure = [len(d) == self.n and float(d.scores.min()) > SURE for d in found]
        doubtful = frames[[not well for well in sure]]
        if len(doubtful) == 0:
            return None
        for row in thorough.detect(doubtful.permute(0, 2, 3, 1).numpy())[1]:
            scores = [float(score) for score in row if score is not None]
            if len(scores) != self.n:
                return f"MTCNN finds {len(scores)} faces instead of {self.n}"
            if min(scores) <= least:
                return f"MTCNN's score is {min(scores):.3f}"
        return None


ONE_FACE = Faces()


@cache
def _detectors() -> tuple[FaceDetector, MTCNN]:
    from facenet_pytorch import MTCNN

    from tfbench.faces.detect import FaceDetector

    return FaceDetector(), MTCNN(keep_all=True)


def find_made(folder: Path, *, verify: bool = False) -> Made | None:
    """Return a clip that is there and whole.

    Args:
        folder: Of the clip.
        verify: Also decode the video and compare what it shows; else files of the right sizes
            are taken for whole.

    Returns:
        The clip; None where it has to be made.
    """
    try:
        record = json.loads((folder / RECORD).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in (CLIP, TRUTH)}
        if sizes != record["sizes"]:
            return None
        made = Made(
            folder=folder,
            n_frames=record["n_frames"],
            sha256=record["sha256"],
            refusals=tuple(record["refusals"]),
            words=tuple((text, start, end) for text, start, end in record["words"]),
            phones=tuple((symbol, start, end) for symbol, start, end in record["phones"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        # Whatever is wrong with the record: the clip is made again.
        return None
    return made if not verify or _shows(made) else None


def _shows(made: Made) -> bool:
    try:
        return content_sha256(made.video) == made.sha256
    except InputError:
        return False


def content_sha256(path: Path) -> str:
    """Return the sha256 of what a video decodes to: its frames, and its sound in 16 bits."""
    from tfbench.media.audio import to_int16
    from tfbench.media.video import open_clip

    clip = open_clip(path)
    digest = hashlib.sha256()
    for frames in clip.video.frames():
        digest.update(frames.numpy().tobytes())
    if clip.speech is not None:
        digest.update(to_int16(clip.speech.waveform).numpy().tobytes())
    return digest.hexdigest()


def forget_damaged(job: Job) -> None:
    """Remove the record of a clip whose files have the right sizes and the wrong content."""
    with storage_errors(job.folder), _locked(job.folder / LOCK, wait=True):
        if find_made(job.folder) is not None and find_made(job.folder, verify=True) is None:
            (job.folder / RECORD).unlink()


def make_clip(job: Job, render: Renderer, check: Check, *, wait: bool = True) -> Made | None:
    """Make a clip, unless it is there.

    Args:
        job: Which one.
        render: Draws a spec at a size.
        check: Returns why frames of the n-th attempt are refused, or None.
        wait: For another process that is making it.

    Returns:
        The clip; None where another process is making it and nobody waits.

    Raises:
        GenerationError: All attempts were refused.
        StorageError: The disk is full, or the folder cannot be written.
    """
    with storage_errors(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
        with _locked(job.folder / LOCK, wait=wait) as mine:
            if not mine:
                return None
            return find_made(job.folder) or _make(job, render, check)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a file's lock, or say that somebody else does."""
    if sys.platform == "win32":
        # No such lock there: two processes may make a clip twice, but never half.
        yield True
        return
    import fcntl

    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


class _Refused(Exception):
    """A chunk of frames did not pass the check."""


def _make(job: Job, render: Renderer, check: Check) -> Made:
    refusals: list[str] = []
    for attempt in range(ATTEMPTS):
        clip = render(replace(job.spec, attempt=job.spec.attempt + attempt), job.size)
        try:
            return _write(job.folder, clip, check, refusals)
        except _Refused as refused:
            refusals.append(str(refused))
        except BaseException:
            _clear(job.folder)
            raise
    raise GenerationError(
        f"the puppets' clip {job.spec.id} was refused {ATTEMPTS} times, at last since "
        f"{refusals[-1]}; this is a fault of the generator"
    )


def _write(folder: Path, clip: Rendered, check: Check, refusals: Sequence[str]) -> Made:
    """Write the files of a clip, the video last."""
    from tfbench.media.video import write_video

    _clear(folder)
    making = folder / MAKING
    frames = _checked(clip.frames(CHUNK), check, len(refusals))
    n = write_video(making, frames, FPS, clip.speech, comment=f"puppets {folder.name}")
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **clip.truth)  # type: ignore[arg-type]
    write_atomically(folder / TRUTH, arrays.getvalue())
    record = {
        "n_frames": n,
        "sha256": content_sha256(making),
        "refusals": list(refusals),
        "words": [[word, float(start), float(end)] for word, start, end in clip.utterance.words],
        "phones": [[p.symbol, float(p.start), float(p.end)] for p in clip.utterance.phones],
        "sizes": {CLIP: making.stat().st_size, TRUTH: len(arrays.getvalue())},
    }
    write_atomically(folder / RECORD, canonical_json(record).encode())
    making.replace(folder / CLIP)
    made = find_made(folder)
    if made is None:
        raise StorageError(f"what was written to {folder} cannot be read back; look at that disk")
    return made


def _checked(chunks: Iterable[Tensor], check: Check, attempt: int) -> Iterator[Tensor]:
    """Pass frames on, and stop at the first chunk that is refused."""
    at = 0
    for frames in chunks:
        why = check(frames, attempt)
        if why is not None:
            raise _Refused(f"frames {at} to {at + len(frames) - 1}: {why}")
        at += len(frames)
        yield frames


def _clear(folder: Path) -> None:
    """Remove what a process that was stopped has left, and a damaged clip, the video first."""
    (folder / CLIP).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()
