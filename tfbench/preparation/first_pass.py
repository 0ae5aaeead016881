"""The first pass over a clip: faces and changes of content, cached by the content of the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tfbench.faces.detect import Detections, FaceDetector
from tfbench.faces.shots import ContentChange

if TYPE_CHECKING:
    from torch import Tensor

    from tfbench.core.types import Video
    from tfbench.preparation.arrays import Arrays

__all__ = ["FaceFinder", "Faces", "frames_at_once"]

CHUNK = 32
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Faces:
    """What the first pass finds in one clip.

    Attributes:
        detections: One entry a frame.
        changes: How much each frame differs from the one before; see `tfbench.faces.shots`.
    """

    detections: tuple[Detections, ...]
    changes: tuple[float, ...]


class FaceFinder:
    """The first pass, cached on disk by the content of the clip.

    Args:
        detector: Finds faces in frames.
        cache: Where results are kept; None keeps nothing.
    """

    def __init__(self, detector: FaceDetector, cache: Arrays | None = None) -> None:
        self.detector = detector
        self.cache = cache

    def find(self, video: Video, sha256: str) -> Faces:
        """Detect faces and changes of content in a whole clip.

        Args:
            video: The frames.
            sha256: Of the clip; the key of the cache.
        """
        name = f"{sha256}-{self.detector.version}-changes"
        stored = self.cache.get(name) if self.cache else None
        if stored is not None:
            return _unpack(stored)
        change = ContentChange()
        detections: list[Detections] = []
        for frames in video.frames(chunk=frames_at_once(video)):
            detections.extend(self.detector.detect(frames))
            change.feed(frames)
        faces = Faces(tuple(detections), tuple(change.values))
        if self.cache:
            self.cache.put(name, _pack(faces))
        return faces


def frames_at_once(video: Video) -> int:
    """Return how many frames to hold at once; it depends on the frame's size alone."""
    return max(1, min(CHUNK, CHUNK_BYTES // (3 * video.height * video.width)))


def _pack(faces: Faces) -> dict[str, Tensor]:
    return {
        "counts": torch.tensor([len(d.scores) for d in faces.detections], dtype=torch.int64),
        "boxes": torch.cat([torch.zeros(0, 4)] + [d.boxes for d in faces.detections]),
        "points": torch.cat([torch.zeros(0, 5, 2)] + [d.points for d in faces.detections]),
        "scores": torch.cat([torch.zeros(0)] + [d.scores for d in faces.detections]),
        "changes": torch.tensor(faces.changes, dtype=torch.float64),
    }


def _unpack(stored: dict[str, Tensor]) -> Faces:
    counts = stored["counts"].tolist()
    pieces = zip(*(stored[k].split(counts) for k in ("boxes", "points", "scores")), strict=True)
    detections = tuple(Detections(*piece) for piece in pieces)
    return Faces(detections, tuple(stored["changes"].tolist()))
