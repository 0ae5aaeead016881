"""Any program that makes a talking-face video, run once for each case.

The command is a list of words, or one line that is split into words as a shell would, with
placeholders: `{audio}` (16 kHz mono wav), `{image}` (PNG of the identity), `{video}` (the source
clip, mp4), `{out}` (where the program must put its video), `{seed}`, `{fps}`. It runs without a
shell, in a folder of its own that is removed afterwards, and is stopped, with every process it
started, when the timeout passes.
"""

from __future__ import annotations

import os
import shlex
import signal
import string
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from skimage.io import imsave

from tfbench.core.errors import ConfigError, GenerationError
from tfbench.core.types import Need, Request
from tfbench.media.audio import write_wav
from tfbench.media.video import VideoFile, write_video
from tfbench.methods.base import Generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["External", "ExternalConfig"]

PLACEHOLDERS = {
    "audio": Need.SPEECH,
    "image": Need.IDENTITY,
    "video": Need.SOURCE,
    "out": None,
    "seed": None,
    "fps": None,
}
TAIL = 400


@dataclass(frozen=True)
class ExternalConfig:
    """Settings of the generator `external`.

    Attributes:
        command: The command line with placeholders; `{out}` is required.
        label: Name of the method on leaderboards.
        release: Version of the program; another one is another row.
        timeout_s: Longest run for one case, seconds.
    """

    command: str
    label: str
    release: str
    timeout_s: Annotated[float, Field(gt=0)] = 600.0


class External(Generator):
    """Run a command line for each case.

    Args:
        config: The command, its name and version.
    """

    name = "external"
    needs = frozenset()
    Config = ExternalConfig

    def __init__(self, config: ExternalConfig) -> None:
        super().__init__(config)
        self.words = _split(config.command)
        used = {name for word in self.words for name in _placeholders(word)}
        unknown = sorted(used - set(PLACEHOLDERS))
        if unknown or "out" not in used:
            raise ConfigError(
                f"the command '{config.command}' "
                + (f"has the unknown placeholder {{{unknown[0]}}}" if unknown else "lacks {out}")
                + f"; known are {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}"
            )
        self.used = used
        wanted = (PLACEHOLDERS[name] for name in used)
        self.needs = frozenset(need for need in wanted if need is not None)  # type: ignore[misc]

    @property
    def label(self) -> str:
        """The name that results carry."""
        return str(self.config.label)

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Run the program and yield the frames of the video that it made."""
        with tempfile.TemporaryDirectory(prefix="tfbench-external-") as name:
            folder = Path(name)
            out = folder / "out.mp4"
            values = self._inputs(request, folder) | {"out": out}
            self._run([word.format_map(values) for word in self.words], folder)
            if not out.is_file():
                raise GenerationError(
                    f"{self.label} ended without an error but wrote no video to {{out}}"
                )
            yield from VideoFile(out, fps=request.fps).frames()

    def _inputs(self, request: Request, folder: Path) -> dict[str, Any]:
        values: dict[str, Any] = {"seed": request.seed, "fps": _decimal(request.fps)}
        if "audio" in self.used and request.speech is not None:
            values["audio"] = folder / "audio.wav"
            write_wav(values["audio"], request.speech)
        if "image" in self.used and request.identity is not None:
            values["image"] = folder / "image.png"
            picture = request.identity[0].permute(1, 2, 0).numpy()
            imsave(values["image"], picture, check_contrast=False)
        if "video" in self.used and request.source is not None:
            values["video"] = folder / "video.mp4"
            source = request.source
            frames, fps = source.video.frames(), source.video.fps
            write_video(values["video"], frames, fps, source.speech, comment="input")
        return values

    def _run(self, command: list[str], folder: Path) -> None:
        log = folder / "log.txt"
        try:
            with log.open("wb") as sink:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise GenerationError(
                f"{self.label}: '{command[0]}' cannot be run: {error.strerror}"
            ) from error
        try:
            code = process.wait(timeout=self.config.timeout_s)
        except subprocess.TimeoutExpired as error:
            raise GenerationError(
                f"{self.label} was stopped after its timeout of {self.config.timeout_s:g} s"
            ) from error
        finally:
            _stop(process)
        if code != 0:
            said = log.read_text(errors="replace").strip()[-TAIL:] or "nothing"
            raise GenerationError(f"{self.label} ended with exit code {code}; it said: {said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the program and whatever it left running in its process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the command '{command}' cannot be split into words: {error}") from error
    if not words:
        raise ConfigError("the command is empty; give a program with placeholders such as {out}")
    return words


def _placeholders(word: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(word) if name is not None]
    except ValueError as error:
        raise ConfigError(
            f"the word '{word}' of the command has an unmatched brace; "
            "write {{ and }} where braces are meant"
        ) from error


def _decimal(fps: Fraction) -> str:
    return f"{float(fps):g}"
