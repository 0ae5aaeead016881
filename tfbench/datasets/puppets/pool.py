"""Making many clips: on all cores, and together with other processes that make the same ones.

Nothing heavy is imported here: the process that hands out the work does not render.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from tfbench.core.errors import StorageError, TfbenchError
from tfbench.core.machine import cores
from tfbench.core.processes import begin_worker, worker_context
from tfbench.datasets.puppets.make import (
    Faces,
    Job,
    Made,
    find_made,
    forget_damaged,
    make_clip,
    render_puppets,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from torch import Tensor

    from tfbench.datasets.puppets.make import Check, Renderer

__all__ = ["make_clips"]

BYTES_A_PIXEL = 24
"""Of a clip's files, for each pixel of height times height; three seconds take about nine, and a
scene, which is twice as wide, twice that."""

FOR_WORKERS = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""Environment of workers: one thread computes; the encoder's threads have no heaps of their own,
which would keep some forty megabytes."""


def make_clips(
    jobs: Sequence[Job],
    *,
    render: Renderer,
    check: Check,
    workers: int | None = None,
    verify: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Made, ...]:
    """Make all clips that are not there.

    Several processes may do this for the same clips at once: they share the work.

    Args:
        jobs: Which ones.
        render: Draws a spec at a size; pickled for the workers.
        check: Returns why frames of the n-th attempt are refused, or None; pickled for the workers.
        workers: How many processes; None takes one for each core, 1 works in this process.
        verify: Decode the clips that are there, and make damaged ones again.
        progress: Called with (clips that are there, all) at the start and after each one.

    Returns:
        The clips, in the order of the jobs.

    Raises:
        GenerationError: All attempts of a clip were refused.
        StorageError: The disk is full, or the folder cannot be written; what is done is kept.
        TfbenchError: A worker was killed.
    """
    made: dict[Path, Made] = {}
    for job in jobs:
        found = find_made(job.folder, verify=verify)
        if found is not None:
            made[job.folder] = found
        elif verify and job.folder.exists():
            forget_damaged(job)
    todo = [job for job in jobs if job.folder not in made]
    _check_space(todo)
    say = progress or _silent
    say(len(made), len(jobs))
    workers = min(workers or cores(), len(todo))
    do = _alone(todo, render, check) if workers <= 1 else _shared(todo, render, check, workers)
    with contextlib.closing(do):
        for clip in do:
            made[clip.folder] = clip
            say(len(made), len(jobs))
    return tuple(made[job.folder] for job in jobs)


def _silent(_done: int, _all: int) -> None:
    return None


def _check_space(todo: Sequence[Job]) -> None:
    """Refuse to begin what the disk cannot hold."""
    if not todo:
        return
    folder = todo[0].folder
    needed = sum(BYTES_A_PIXEL * job.size**2 for job in todo)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise StorageError(
            f"{len(todo)} clips need up to {needed / 1e6:.0f} MB in {folder.parent}, and "
            f"{free / 1e6:.0f} MB are free there; free some, or let the environment variable "
            "TFBENCH_HOME name a folder on another disk"
        )


def _alone(jobs: Sequence[Job], render: Renderer, check: Check) -> Generator[Made, None, None]:
    """Make clips in this process: those that nobody else makes first, then wait for the others."""
    import torch

    threads = torch.get_num_threads()
    # The number of threads can change the last bits of a sum, and with them a pixel.
    torch.set_num_threads(1)
    try:
        busy = []
        for job in jobs:
            made = make_clip(job, render, check, wait=False)
            if made is None:
                busy.append(job)
            else:
                yield made
        for job in busy:
            made = make_clip(job, render, check)
            if made is not None:
                yield made
    finally:
        torch.set_num_threads(threads)


def _shared(
    jobs: Sequence[Job], render: Renderer, check: Check, workers: int
) -> Generator[Made, None, None]:
    """Make clips in worker processes."""
    own = render is render_puppets and isinstance(check, Faces)
    context = worker_context([f"{__package__}._warm" if own else "tfbench.media.video"])
    stop = context.Event()
    with _environment():
        pool = ProcessPoolExecutor(
            workers, context, initializer=_start, initargs=(render, check, stop)
        )
        try:
            busy: list[Job] = []
            yield from _completed(pool, jobs, busy, wait=False)
            yield from _completed(pool, busy, [], wait=True)
        except BrokenProcessPool as error:
            raise TfbenchError(
                "a process that makes clips ended early: killed, perhaps for want of memory, or "
                "started by a script without `if __name__ == '__main__':`; what is done is kept"
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _completed(
    pool: ProcessPoolExecutor, jobs: Sequence[Job], busy: list[Job], *, wait: bool
) -> Iterator[Made]:
    """Yield clips as they are made; those that another process makes are put into `busy`."""
    futures = {pool.submit(_work, job, wait): job for job in jobs}
    for future in as_completed(futures):
        made = future.result()
        if made is None:
            busy.append(futures[future])
        else:
            yield made


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Let processes that are started meanwhile have what `FOR_WORKERS` says."""
    before = {name: os.environ.get(name) for name in FOR_WORKERS}
    os.environ.update(FOR_WORKERS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_tools: list[Any] = []


class _Stopped(Exception):
    """The work was given up while this clip was being made."""


def _start(render: Renderer, check: Check, stop: Event) -> None:
    """Prepare a worker."""
    import torch

    begin_worker()
    torch.set_num_threads(1)

    def watch(frames: Tensor, attempt: int) -> str | None:
        if stop.is_set():
            raise _Stopped
        return check(frames, attempt)

    _tools[:] = [render, watch]


def _work(job: Job, wait: bool) -> Made | None:
    render, check = _tools
    return make_clip(job, render, check, wait=wait)
