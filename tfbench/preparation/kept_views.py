"""Views that outlive a run: per-frame values that are small and slow to find, such as landmarks.

They lie below the cache beside the faces that they belong to, found again by all that they depend
on, so that metrics, methods and trainings of later runs share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tfbench.core.config import fingerprint
from tfbench.core.views import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.core.views import ViewKey
    from tfbench.preparation.arrays import Arrays

__all__ = ["KeptViews"]


@dataclass(frozen=True)
class KeptViews:
    """The values of views on disk; see `ViewKey.kept`.

    Attributes:
        arrays: Where they lie; None keeps nothing.
        detector: Version of the face detector that places the crops.
    """

    arrays: Arrays | None
    detector: str

    def get(self, key: ViewKey, sha256: str) -> tuple[Part, ...] | None:
        """Return the values of a clip's view, bit for bit those put; None where there are none."""
        found = self.arrays.get(self._name(key, sha256)) if self.arrays else None
        if found is None:
            return None
        frame = (int(found["frame"][0]), int(found["frame"][1]))
        return tuple(
            Part(f"track-{n}", start, stop, found[f"values-{n}"], frame)
            for n, (start, stop) in zip(
                *(found[k].tolist() for k in ("tracks", "spans")), strict=True
            )
        )

    def put(self, key: ViewKey, sha256: str, parts: Sequence[Part]) -> None:
        """Keep the values of a clip's view, which are those of tracks; others are not kept."""
        if self.arrays is None or any(_track(part) is None for part in parts):
            return
        tensors = {f"values-{_track(part)}": part.values for part in parts}
        tensors["tracks"] = torch.tensor([_track(part) for part in parts])
        tensors["spans"] = torch.tensor([(part.start, part.stop) for part in parts])
        tensors["frame"] = torch.tensor(parts[0].frame)
        self.arrays.put(self._name(key, sha256), tensors)

    def _name(self, key: ViewKey, sha256: str) -> str:
        made = [key.name, key.kept, key.crop.name, key.evaluator, key.context, self.detector]
        return f"{sha256}-{fingerprint(made)[:16]}-{key.name}"


def _track(part: Part) -> int | None:
    number = part.name.removeprefix("track-")
    return int(number) if number.isdecimal() else None
