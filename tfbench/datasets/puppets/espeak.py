"""Speech with phoneme times from eSpeak NG, bit-identical whatever was said before.

The package `espeakng-loader` brings the library and its data. Each utterance is made by a process
of its own, see `_espeak.py`: 45 ms, and safe in threads and worker processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfbench.core.errors import MissingAsset, TfbenchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PARAMETERS", "Event", "Sound", "speak"]

PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4, "wordgap": 7}
"""eSpeak's numbers (espeak_PARAMETER): rate in words a minute, volume 0 to 200 and 100 normal,
pitch and range 0 to 99 and 50 the voice's own, wordgap in 10 ms."""

_SECONDS = 60.0  # a sentence takes a few hundredths of one


@dataclass(frozen=True)
class Event:
    """A phone begins.

    Attributes:
        place: Index of the text's character at which the phone's word begins.
        sample: Where it begins in the samples.
        ipa: In IPA, with a stress mark before it; "" for a pause.
    """

    place: int
    sample: int
    ipa: str


@dataclass(frozen=True, eq=False)
class Sound:
    """What eSpeak said.

    Attributes:
        samples: int16 (S,).
        sample_rate: Samples per second.
        events: In the order of time.
        alone: The IPA of each phone of each asked token, said alone.
    """

    samples: np.ndarray
    sample_rate: int
    events: tuple[Event, ...]
    alone: tuple[tuple[str, ...], ...]


def speak(
    text: str, voice: str, parameters: Mapping[str, int], tokens: Sequence[str] = ()
) -> Sound:
    """Say a text.

    Args:
        text: What to say; "[[...]]" holds eSpeak's own phoneme names.
        voice: eSpeak's name of a voice, such as "en-us+f2".
        parameters: Names of `PARAMETERS` and their values.
        tokens: Words whose pronunciation alone is wanted too.

    Raises:
        MissingAsset: espeakng-loader is not installed.
        TfbenchError: eSpeak NG failed.
    """
    library, data = _location()
    job = {
        "library": library,
        "data": data,
        "voice": voice,
        "text": text,
        "tokens": list(tokens),
        "parameters": [[PARAMETERS[name], value] for name, value in parameters.items()],
    }
    head, _, samples = _run(json.dumps(job).encode(), f"'{text}' in the voice '{voice}'").partition(
        b"\n"
    )
    answer = json.loads(head)
    return Sound(
        samples=np.frombuffer(samples, np.int16),
        sample_rate=answer["sample_rate"],
        events=tuple(Event(place - 1, sample, ipa) for place, sample, ipa in answer["events"]),
        alone=tuple(tuple(filter(None, ipa.split("_"))) for ipa in answer["alone"]),
    )


def _run(job: bytes, what: str) -> bytes:
    script = Path(__file__).with_name("_espeak.py")
    # -I and -S keep the user's packages and settings out; they would also take most of the time.
    command = [sys.executable, "-I", "-S", str(script)]
    try:
        done = subprocess.run(
            command, input=job, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TfbenchError(f"eSpeak NG took over {_SECONDS:.0f} s to say {what}") from error
    except OSError as error:
        raise TfbenchError(f"the process that runs eSpeak NG cannot start: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise TfbenchError(f"eSpeak NG cannot say {what}: {reason}")
    return done.stdout


@cache
def _location() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingAsset(
            f"puppets speak with eSpeak NG, and espeakng-loader is not installed ({error}); "
            "run `pip install espeakng-loader`"
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
