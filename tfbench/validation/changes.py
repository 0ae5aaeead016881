"""All changes, in the order of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfbench.core.errors import UnknownName
from tfbench.core.registry import closest
from tfbench.validation.faces import FrozenMouth, OtherEmotion, OtherLips, OtherPerson
from tfbench.validation.framing import Jitter, Move, Shrink
from tfbench.validation.pictures import H264, Blur, Jpeg, Noise, Resolution
from tfbench.validation.timing import SoundShift, Stutter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.validation.change import Change

__all__ = ["CHANGES", "changes_named"]

CHANGES: dict[str, Change] = {
    change.name: change
    for change in (
        *(SoundShift(), FrozenMouth(), OtherLips(), Blur(), Noise(), Jpeg(), H264(), Resolution()),
        *(OtherPerson(), OtherEmotion(), Stutter(), Jitter(), Move(), Shrink()),
    )
}
"""By name."""


def changes_named(names: Sequence[str] | None) -> tuple[Change, ...]:
    """Return the changes of these names, in the order of the page; None takes all.

    Raises:
        UnknownName: There is no such change.
    """
    for name in names or ():
        if name not in CHANGES:
            hint = closest(name, CHANGES)
            raise UnknownName(f"no change '{name}'{hint}; there are: {', '.join(CHANGES)}")
    return tuple(change for name, change in CHANGES.items() if names is None or name in names)
