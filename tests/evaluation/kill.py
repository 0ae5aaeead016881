"""Run as a script: kill an evaluation with -9 at random moments, continue it, print digests.

Children are forked after all imports and before torch has started a thread, so that each of them
costs only the evaluation itself.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.evaluation.world import build, digest
from tfbench.evaluation.run import evaluate

KILLS = 10


def start(clips: Path, run: Path) -> int:
    child = os.fork()
    if child == 0:
        evaluate(build(clips, run), accelerator="cpu")
        os._exit(0)
    return child


def main(clips: Path, folder: Path) -> None:
    begun = time.monotonic()
    _, status = os.waitpid(start(clips, folder / "whole"), 0)
    seconds = time.monotonic() - begun
    draw = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        child = start(clips, folder / "killed")
        time.sleep(draw.uniform(0, seconds / 4))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
    _, status = os.waitpid(start(clips, folder / "killed"), 0)
    print(digest(folder / "whole"), digest(folder / "killed"), killed, status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
