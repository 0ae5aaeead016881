"""Writes changed clips the way the videos of methods are written."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tfbench.core.config import fingerprint
from tfbench.core.errors import GenerationError
from tfbench.core.paths import cache_dir
from tfbench.core.types import Clip, Need
from tfbench.faces.detect import FaceDetector
from tfbench.methods.base import Generator
from tfbench.preparation.arrays import Arrays, clip_sha256
from tfbench.preparation.first_pass import FaceFinder
from tfbench.validation.change import Change, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from tfbench.core.types import Request, Speech
    from tfbench.validation.select import Cases

__all__ = ["Changed", "face_points"]


class Changed(Generator):
    """Return the true clip with one change at one level.

    Args:
        change: What is done.
        level: How much of it.
        cases: Knows the clips that the change takes something from.
    """

    name = "changed"
    needs = frozenset({Need.SOURCE})

    def __init__(self, change: Change, level: float, cases: Cases) -> None:
        super().__init__()
        self.change = change
        self.level = level
        self.cases = cases

    @property
    def label(self) -> str:
        """The change and its level."""
        return f"{self.change.name}-{self.level:g}"

    def provenance(self) -> dict[str, Any]:
        """Return the change, its version and level, and which clips it takes something from."""
        others = self.cases.others.get(self.change.partner, {})
        rows = {key: [[row.id, row.stamp] for row in found] for key, found in others.items()}
        config = {"level": self.level, "others": fingerprint(rows) if rows else ""}
        return {
            "name": self.change.name,
            "version": f"{self.version}.{self.change.version}",
            "config": config,
        }

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the changed frames."""
        yield from self.change.frames(self._subject(request), self.level)

    def generate(self, request: Request, out: Path, comment: str = "") -> Clip:
        """Write the changed frames with the changed sound."""
        self.check(request)
        changed = replace(request, speech=self._speech(request))
        return super().generate(changed, out, comment)

    def _speech(self, request: Request) -> Speech | None:
        return self.change.speech(self._subject(request), self.level)

    def _subject(self, request: Request) -> Subject:
        if request.source is None:
            raise GenerationError(f"the request '{request.id}' has no clip to change")
        rows = self.cases.others.get(self.change.partner, {}).get(request.id, ())
        if self.change.partner != "none" and not rows:
            raise GenerationError(f"{self.change.name}: no other clip was found for {request.id}")
        others = tuple(self.cases.selection.dataset.sample(row).clip for row in rows)
        return Subject(request.id, request.source, request.seed, others, face_points)


def face_points(clip: Clip) -> np.ndarray:
    """Find the five points of the most certain face in every frame of a clip.

    Detections come from the cache that evaluations fill. Frames without a face take the points
    between those of their neighbours in time.

    Returns:
        float64 (T, 5, 2), pixels from the first one's edge.

    Raises:
        GenerationError: No frame shows a face.
    """
    found = _finder().find(clip.video, clip_sha256(clip)).detections
    seen = [k for k, frame in enumerate(found) if len(frame)]
    if not seen:
        raise GenerationError("no face is found in the clip, so that nothing can be put into it")
    points = torch.stack([found[k].points[0] for k in seen]).double().numpy()
    flat = points.reshape(len(seen), -1)
    filled = [np.interp(np.arange(len(found)), seen, column) for column in flat.T]
    return np.stack(filled, axis=1).reshape(len(found), 5, 2)


@functools.cache
def _finder() -> FaceFinder:
    return FaceFinder(FaceDetector(), Arrays(cache_dir() / "faces"))
