"""What training keeps of a data set: every clip once through `Trainee.keep`, on all cores.

Each clip becomes one file below `<cache>/kept`, found again by everything that its content
depends on, so a killed preparation goes on where it was, and trainings of one kind share it. A
clip that cannot serve leaves its reason.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from tfbench.core.config import fingerprint
from tfbench.core.errors import InputError, TfbenchError, Unscorable
from tfbench.core.files import write_atomically
from tfbench.core.machine import cores
from tfbench.core.paths import cache_dir
from tfbench.evaluators.base import Kept
from tfbench.faces.detect import FaceDetector
from tfbench.preparation.arrays import Arrays, clip_sha256
from tfbench.preparation.first_pass import FaceFinder
from tfbench.preparation.views import ClipViews

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tfbench.core.types import Sample
    from tfbench.core.views import ViewKey
    from tfbench.datasets.base import Dataset, Row
    from tfbench.evaluators.base import Trainee

__all__ = ["KeptClips", "keep_clips"]


@dataclass(frozen=True, eq=False)
class KeptClips:
    """The clips of a data set that training can use.

    Attributes:
        clips: In the order of the rows.
        refused: Id -> why a clip cannot serve.
    """

    clips: tuple[Kept, ...]
    refused: Mapping[str, str]


def keep_clips(
    dataset: Dataset,
    trainee: Trainee,
    rows: Sequence[Row],
    *,
    workers: int | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> KeptClips:
    """Keep what a trainee needs of every clip, unless that is done.

    Args:
        dataset: Where the clips come from.
        trainee: Says what is kept.
        rows: Which clips.
        workers: How many processes; None takes one for each core, 1 works in this process.
        device: Where detectors and networks run; another one than "cpu" works in this process.
        progress: Called with (clips that are done, all) at the start and after each one.

    Raises:
        InputError: No clip is left; tells the most frequent reason.
        StorageError: The disk is full, or the folder cannot be written; what is done is kept.
    """
    worker = _Worker(dataset, type(trainee), trainee.config, device)
    paths = {row.id: worker.path(trainee, row) for row in rows}
    todo = [row for row in rows if not _is_done(paths[row.id])]
    say = progress or _silent
    say(len(rows) - len(todo), len(rows))
    n = 1 if device != "cpu" else min(workers or cores(), len(todo))
    done = len(rows) - len(todo)
    for _ in worker.all(todo) if n <= 1 else _shared(worker, todo, n):
        done += 1
        say(done, len(rows))
    clips, refused = [], {}
    for row in rows:
        if paths[row.id].is_file():
            clips.append(Kept.read(paths[row.id]))
        else:
            refused[row.id] = _reason(paths[row.id]).read_text("utf-8")
    if not clips:
        raise InputError(_nothing_left(dataset, refused))
    return KeptClips(tuple(clips), refused)


class _Worker:
    """Keeps clips one by one; what it needs is made in the process that works.

    Args:
        dataset: Where the clips come from.
        kind: Class of the trainee.
        config: Its settings.
        device: Where detectors and networks run.
    """

    def __init__(self, dataset: Dataset, kind: type[Trainee], config: Any, device: str) -> None:
        self.dataset = dataset
        self.kind = kind
        self.config = config
        self.device = device
        self.detector = FaceDetector().version

    def path(self, trainee: Trainee, row: Row) -> Path:
        """Return where a clip's file belongs."""
        root = getattr(getattr(self.dataset, "config", None), "root", None)
        key = fingerprint(
            {
                "trainee": trainee.name,
                "version": trainee.kept_version,
                "views": [_view(key) for key in trainee.keys],
                "detector": self.detector,
                "dataset": [self.dataset.name, self.dataset.version, str(root and root.resolve())],
                "row": [row.id, row.identity, row.stamp],
            }
        )
        return cache_dir() / "kept" / trainee.name / key[:2] / f"{key}.safetensors"

    def all(self, rows: Sequence[Row]) -> Any:
        """Yield after each clip that is done."""
        trainee, finder = self._tools
        for row in rows:
            path = self.path(trainee, row)
            try:
                self._keep(trainee, finder, self.dataset.sample(row), path)
            except (Unscorable, InputError) as error:
                write_atomically(_reason(path), str(error).encode())
            yield row.id

    @cached_property
    def _tools(self) -> tuple[Trainee, FaceFinder]:
        """Make what loads networks, once in each process that works."""
        finder = FaceFinder(FaceDetector(device=self.device), Arrays(cache_dir() / "faces"))
        return self.kind(self.config).eval(), finder

    def _keep(self, trainee: Trainee, finder: FaceFinder, sample: Sample, path: Path) -> None:
        views = ClipViews(
            sample.id,
            sample.identity,
            {"pred": sample.clip},
            {"pred": clip_sha256(sample.clip)},
            trainee.keys,
            finder,
            Arrays(path.parent),
            torch.device(self.device),
            sample.transcript,
        )
        Kept.write(path, sample, trainee.keep(sample, views))


_worker: list[_Worker] = []


def _begin(worker: _Worker) -> None:
    torch.set_num_threads(1)
    _worker.append(worker)


def _do(row: Row) -> None:
    for _ in _worker[0].all([row]):
        pass


def _shared(worker: _Worker, rows: Sequence[Row], n: int) -> Any:
    """Yield once for each clip that any of n processes has done."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n, context, initializer=_begin, initargs=(worker,)) as pool:
        futures = [pool.submit(_do, row) for row in rows]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise TfbenchError(
                "a process that prepared clips was killed (out of memory?); what is done is kept: "
                "run the same command again, with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _view(key: ViewKey) -> list[Any]:
    """Return what the values of a view depend on."""
    points = getattr(key.crop, "points", None)
    own = [key.name, key.crop.name, key.evaluator, key.context]
    return own if points is None else [*own, _view(points)]


def _is_done(path: Path) -> bool:
    return path.is_file() or _reason(path).is_file()


def _reason(path: Path) -> Path:
    return path.with_suffix(".refused.txt")


def _nothing_left(dataset: Dataset, refused: Mapping[str, str]) -> str:
    if not refused:
        return f"the data set {dataset.label} has no clip to train on"
    reasons = list(refused.values())
    usual = max(set(reasons), key=reasons.count)
    return f"none of the {len(reasons)} clips of {dataset.label} can serve: {usual}"


def _silent(_done: int, _all: int) -> None:
    return None
