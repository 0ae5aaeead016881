"""Imported by the process that workers are copies of: what they need, loaded once and shared.

A worker so begins at once, and the memory of libraries, networks and the head is there once.
Nothing here starts a thread: a copy of a process has only the one that asked for it.
"""

import contextlib

import torch

from tfbench.datasets.puppets.clip import render_clip
from tfbench.datasets.puppets.make import ONE_FACE
from tfbench.datasets.puppets.plan import plan
from tfbench.media import video

__all__ = ["video"]

torch.set_num_threads(1)
# What fails here fails again in the worker that needs it, and is told there.
with contextlib.suppress(Exception):
    ONE_FACE(next(render_clip(plan("train", 1)[0], 64).frames(2)))
