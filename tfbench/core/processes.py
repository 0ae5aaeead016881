"""Processes that work for this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from multiprocessing.process import BaseProcess

__all__ = ["begin_worker", "end_workers", "worker_context"]

PATIENCE_S = 5.0
"""For cleaning up."""


def worker_context(preload: Sequence[str]) -> Any:
    """Choose how workers start: where it can be, as copies of one that has imported everything.

    Args:
        preload: Modules to import once for all of them; must start no thread.

    Returns:
        A context of `multiprocessing`.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def begin_worker() -> None:
    """Prepare this process: Ctrl-C is the parent's to answer, and without it nothing goes on.

    When it is told to end, what runs now is left as by an exception, so that it can clean up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def end_workers(workers: Iterable[BaseProcess]) -> None:
    """End processes that `begin_worker` has prepared: first let them clean up, then by force."""
    running = list(workers)
    for worker in running:
        worker.terminate()
    for worker in running:
        worker.join(PATIENCE_S)
        if worker.is_alive():
            worker.kill()


def _leave(_signal: int, _frame: object) -> None:
    raise SystemExit(1)


def _leave_with_parent() -> None:
    """End this process when the one that hands out work was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_S)
        os._exit(1)
