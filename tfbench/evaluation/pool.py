"""The cases of an evaluation in several processes, each with a device of its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children
from typing import TYPE_CHECKING

import torch

from tfbench.core.errors import TfbenchError
from tfbench.core.processes import begin_worker, worker_context
from tfbench.evaluation.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import Queue

    from tfbench.evaluation.protocol import Pair
    from tfbench.evaluation.task import Evaluation
    from tfbench.evaluation.worker import Settled

__all__ = ["in_processes"]

_mine: list[Worker] = []
"""The worker of this process."""


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
        TfbenchError: A process was killed.
    """
    context = worker_context(["tfbench.evaluation.worker", "tfbench.methods.base"])
    places = context.Queue()
    for rank, device in enumerate(devices):
        places.put((rank, str(device)))
    settled: dict[str, Settled] = {}
    with ProcessPoolExecutor(len(devices), context, _begin, (evaluation, places)) as pool:
        try:
            futures = {pool.submit(_do, pair): pair for pair in pairs}
            for future in as_completed(futures):
                case = futures[future].id
                settled[case] = future.result()
                if progress is not None:
                    progress(case, settled[case].state)
        except BaseException as error:
            # What is done is on disk; waiting for what is not would only take time.
            for child in active_children():
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise TfbenchError(
                    "a process of the evaluation ended early: killed, perhaps for want of memory "
                    "(--devices 1 needs least), or started by a script without "
                    '`if __name__ == "__main__":`; what is done is kept, and the same command '
                    "continues"
                ) from error
            raise
    return settled


def _begin(evaluation: Evaluation, places: Queue[tuple[int, str]]) -> None:
    begin_worker()
    torch.set_num_threads(1)
    rank, device = places.get()
    _mine[:] = [Worker(evaluation, torch.device(device), rank)]


def _do(pair: Pair) -> Settled:
    (worker,) = _mine
    return worker.do(pair)
