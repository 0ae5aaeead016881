"""Unpaired: the speech of another clip drives each face; there is no truth frame by frame.

Wav2Lip's evaluation gives fixed lists, one `audio_id video_id` a line (LRS2 14,239 pairs, LRS3
14,000, LRW 28,000); such a list is used as it is. Without a list every clip is driven by one
other clip of another person where there is one, drawn from a seed.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfbench.core.errors import InputError
from tfbench.core.types import Case
from tfbench.evaluation.protocol import Pair, Protocol, request_for, unique

if TYPE_CHECKING:
    from tfbench.datasets.base import Dataset, Row

__all__ = ["CrossProtocol", "CrossConfig"]


@dataclass(frozen=True)
class CrossConfig:
    """Settings of the protocol `cross`.

    Attributes:
        pairs: A list of `audio_id video_id` lines; None draws one partner a clip.
        pairing_seed: Of that draw.
    """

    pairs: Path | None = None
    pairing_seed: int = 0


class CrossProtocol(Protocol):
    """Each face with another clip's speech."""

    name = "cross"
    has_reference = False
    Config = CrossConfig

    def settings(self) -> dict[str, str]:
        """Return the seed of the draw, or the sha256 of the list."""
        if self.config.pairs is None:
            return super().settings() | {"pairing seed": str(self.config.pairing_seed)}
        sha256 = hashlib.sha256(_read(self.config.pairs).encode()).hexdigest()
        return super().settings() | {"list": sha256[:8]}

    def pairs(self, dataset: Dataset) -> tuple[Pair, ...]:
        """Return the listed cases, or one for every clip."""
        rows = dataset.index()
        couples = self._listed(rows) if self.config.pairs else self._drawn(rows)
        return unique([Pair(f"{driving.id}+{face.id}", driving, face) for driving, face in couples])

    def case(self, dataset: Dataset, pair: Pair, seed: int) -> Case:
        """Decode both clips."""
        driving, appearance = dataset.sample(pair.driving), dataset.sample(pair.appearance)
        request = request_for(pair, driving, appearance, seed)
        return Case(pair.id, request, driving, appearance, None, appearance.identity)

    def _drawn(self, rows: tuple[Row, ...]) -> list[tuple[Row, Row]]:
        if len(rows) < 2:
            raise InputError("the protocol 'cross' needs at least two clips; the data set has one")
        draw = random.Random(self.config.pairing_seed)  # noqa: S311
        couples = []
        for face in rows:
            others = [row for row in rows if row.id != face.id]
            strangers = [row for row in others if row.identity != face.identity]
            couples.append((draw.choice(strangers or others), face))
        return couples

    def _listed(self, rows: tuple[Row, ...]) -> list[tuple[Row, Row]]:
        by_id = {row.id: row for row in rows}
        path: Path = self.config.pairs
        lines = _read(path).splitlines()
        couples = []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words:
                continue
            unknown = [word for word in words if word not in by_id]
            if len(words) != 2 or unknown:
                absent = f"names '{unknown[0]}', which the data set lacks" if unknown else ""
                what = absent if len(words) == 2 else f"has {len(words)} words"
                raise InputError(f"{path}, line {number} {what}; wanted: audio_id video_id")
            couples.append((by_id[words[0]], by_id[words[1]]))
        if not couples:
            raise InputError(f"the list of pairs {path} is empty")
        return couples


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list of pairs {path} cannot be read: {error}") from error
