"""What a method costs: parameters, memory and time for each frame, on a named device.

These belong to a model and a machine, not to a clip, so they stand apart from the metrics. The
clock runs while `Generator.frames` makes frames for one clip, decoding of the inputs included and
encoding of the output not; after one run that is not counted, the median of several.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tfbench.core.config import canonical_json, fingerprint
from tfbench.core.errors import GenerationError, InputError
from tfbench.core.files import write_atomically
from tfbench.evaluation.result import provenance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfbench.core.types import Request
    from tfbench.methods.base import Generator

__all__ = ["SCHEMA", "Cost", "Run", "measure_cost", "read_cost"]

SCHEMA = 1
BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Run:
    """One batch size.

    Attributes:
        batch: Frames that pass through the networks at once; None where the method has no choice.
        ms_per_frame: Milliseconds, median over the repeats.
        first_ms: Milliseconds until the first chunk of frames is there.
        peak_memory_gb: GiB, the most that was held: allocated on a GPU, resident in the whole
            process on a CPU; None where the system does not tell.
    """

    batch: int | None
    ms_per_frame: float
    first_ms: float
    peak_memory_gb: float | None


@dataclass(frozen=True)
class Cost:
    """What one method costs on one machine.

    Attributes:
        method: Name, version and settings.
        device: Name of the GPU, or of the processor with its number of threads.
        height: Of the frames made, pixels.
        width: Pixels.
        fps: Frames per second of the clip.
        n_frames: Frames made in each run.
        repeats: Runs that count.
        parameters: Of all networks that generate; None where there are none.
        runs: One for each batch size tried.
        provenance: Versions of the code.
        schema: Version of this file format.
    """

    method: dict[str, Any]
    device: str
    height: int
    width: int
    fps: float
    n_frames: int
    repeats: int
    parameters: int | None
    runs: tuple[Run, ...]
    provenance: dict[str, str]
    schema: int = SCHEMA

    @property
    def best(self) -> Run:
        """The fastest run for each frame."""
        return min(self.runs, key=lambda run: run.ms_per_frame)

    def real_time_factor(self, run: Run) -> float:
        """Return seconds of work for each second of video; below 1 keeps up with it."""
        return run.ms_per_frame * self.fps / 1000

    def file_name(self) -> str:
        """Return where it belongs below the folder of costs."""
        key = fingerprint([self.method, self.device, self.height, self.width])
        return f"{self.method['name']}/{key[:12]}.json"

    def write(self, path: Path) -> None:
        """Write JSON, whole or not at all."""
        plain = json.loads(canonical_json(asdict(self)))
        write_atomically(path, (json.dumps(plain, indent=1, sort_keys=True) + "\n").encode())


def read_cost(path: Path) -> Cost:
    """Read what `Cost.write` wrote.

    Raises:
        InputError: The file is no cost of a schema that this version reads.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {plain['schema']}; wanted is {SCHEMA}")
        return Cost(runs=tuple(Run(**run) for run in plain.pop("runs")), **plain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no measured cost of tfbench: {error!r}") from error


def measure_cost(
    generator: Generator, request: Request, device: torch.device, repeats: int = 3
) -> Cost:
    """Measure a method on one request.

    Args:
        generator: Its networks are moved to the device. Networks that were not trained take as long
            as others and are measured, too.
        request: A clip of a few seconds.
        device: Where to measure.
        repeats: Runs of each batch size that count.

    Raises:
        GenerationError: The request lacks something, or the method makes no frame.
        InputError: `repeats` is below 1.
    """
    if repeats < 1:
        raise InputError(f"at least one run has to count; got {repeats}")
    generator.check_request(request)
    if isinstance(generator, torch.nn.Module):
        generator.to(device).eval()
    runs, shape = [], (0, 0, 0)
    usual = generator.batch
    for batch in (None,) if usual is None else BATCHES:
        generator.batch = batch
        run, shape = _run(generator, request, device, repeats)
        runs.append(run)
    generator.batch = usual
    return Cost(
        method=generator.provenance() | {"name": generator.label},
        device=_device_name(device),
        height=shape[1],
        width=shape[2],
        fps=float(request.fps),
        n_frames=shape[0],
        repeats=repeats,
        parameters=generator.n_parameters,
        runs=tuple(runs),
        provenance=provenance(),
    )


def _run(
    generator: Generator, request: Request, device: torch.device, repeats: int
) -> tuple[Run, tuple[int, int, int]]:
    """Measure one batch size; also returns frames, height and width."""
    _once(generator, request, device)
    with _peak(device) as memory:
        timed = [_once(generator, request, device) for _ in range(repeats)]
    shape = timed[0][2]
    total = statistics.median(seconds for seconds, _, _ in timed)
    first = statistics.median(seconds for _, seconds, _ in timed)
    run = Run(generator.batch, 1000 * total / shape[0], 1000 * first, memory.get("gb"))
    return run, shape


def _once(
    generator: Generator, request: Request, device: torch.device
) -> tuple[float, float, tuple[int, int, int]]:
    """Make all frames; returns seconds in all, until the first chunk, and what was made."""
    n, size, first = 0, (0, 0), 0.0
    start = time.perf_counter()
    for frames in generator.frames(request):
        if n == 0:
            _wait(device)
            first = time.perf_counter() - start
        n, size = n + int(frames.shape[0]), (int(frames.shape[2]), int(frames.shape[3]))
    _wait(device)
    seconds = time.perf_counter() - start
    if n == 0:
        raise GenerationError(f"{generator.label} made no frame for '{request.id}'")
    return seconds, first, (n, *size)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _peak(device: torch.device) -> Iterator[dict[str, float]]:
    """Fill in "gb", the most memory held inside the block, where the system tells."""
    found: dict[str, float] = {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found["gb"] = torch.cuda.max_memory_allocated(device) / 2**30
        return
    known = _reset_resident()
    yield found
    if known:
        found["gb"] = _resident_peak() / 2**20


def _reset_resident() -> bool:
    """Make Linux forget the largest resident size so far; False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident_peak() -> int:
    """Return Linux's largest resident size, KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
