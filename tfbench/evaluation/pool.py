"""The cases of an evaluation in several processes, each with a device of its own."""

from __future__ import annotations

import os
import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tfbench.core.errors import TfbenchError
from tfbench.core.processes import begin_worker, end_workers, worker_context
from tfbench.evaluation.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import Queue

    from tfbench.evaluation.protocol import Pair
    from tfbench.evaluation.task import Evaluation
    from tfbench.evaluation.worker import Settled

__all__ = ["in_processes"]

_waiting: list[tuple[Path, int, str]] = []
"""In a process that works: what is to be done, and its rank and device."""
_mine: list[Worker] = []
"""Its worker, from the first case on."""


def in_processes(
    evaluation: Evaluation,
    pairs: Sequence[Pair],
    devices: Sequence[torch.device],
    progress: Callable[[str, str], None] | None,
) -> dict[str, Settled]:
    """Do all cases, each in the process that is free.

    Args:
        evaluation: What to do.
        pairs: Its cases.
        devices: Of the processes.
        progress: Called here with (case, state) after each case.

    Returns:
        Case -> what became of it.

    Raises:
        TfbenchError: A process was killed, or what is to be done cannot be sent to one.
    """
    context = worker_context(["tfbench.evaluation.worker", "tfbench.methods.base"])
    places = context.Queue()
    for rank, device in enumerate(devices):
        places.put((rank, str(device)))
    others = set(active_children())
    settled: dict[str, Settled] = {}
    with tempfile.TemporaryDirectory(prefix="tfbench-eval-") as folder:
        packed = Path(folder, "evaluation")
        _pack(evaluation, packed)
        begin = (packed, places, torch.get_num_threads())
        with ProcessPoolExecutor(len(devices), context, _begin, begin) as pool:
            try:
                futures = {pool.submit(_do, pair): pair for pair in pairs}
                for future in as_completed(futures):
                    case = futures[future].id
                    settled[case] = future.result()
                    if progress is not None:
                        progress(case, settled[case].state)
            except BrokenProcessPool as error:
                raise TfbenchError(
                    "a process of the evaluation ended early: killed, perhaps for want of memory "
                    "(--devices 1 needs least), or started by a script without "
                    '`if __name__ == "__main__":`; what is done is kept, and the same command '
                    "continues"
                ) from error
            finally:
                # What is done is on disk; waiting for what is not would only take time.
                if len(settled) < len(pairs):
                    end_workers(set(active_children()) - others)
    return settled


def _pack(evaluation: Evaluation, path: Path) -> None:
    # Packed here, tensors go by value; `multiprocessing` would open a file for each.
    try:
        path.write_bytes(pickle.dumps(evaluation))
    except OSError:
        raise
    except Exception as error:
        raise TfbenchError(
            f"{evaluation.generator.label} or a metric cannot be sent to another process: {error}; "
            "take one process (--devices 1, devices=1)"
        ) from error


def _begin(packed: Path, places: Queue[tuple[int, str]], threads: int) -> None:
    begin_worker()
    torch.set_num_threads(threads)
    _waiting[:] = [(packed, *places.get())]


def _do(pair: Pair) -> Settled:
    # Made with the first case, so that what goes wrong is told as it is with one process.
    if not _mine:
        ((packed, rank, device),) = _waiting
        evaluation: Evaluation = pickle.loads(packed.read_bytes())  # noqa: S301
        _mine.append(Worker(evaluation, torch.device(device), rank))
    try:
        return _mine[0].do(pair)
    except SystemExit:
        # Told to end, and cleaned up; the pool would take it for a result and go on.
        os._exit(1)
