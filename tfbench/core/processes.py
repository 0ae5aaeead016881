"""Processes that work for this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["begin_worker", "worker_context"]


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
    """Prepare this process: Ctrl-C is the parent's to answer, and without it nothing goes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the one that hands out work was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
