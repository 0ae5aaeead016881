"""Which clips are changed, and which other clips a change takes something from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tfbench.core.errors import ConfigError, InputError
from tfbench.datasets.base import Dataset, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tfbench.core.types import Sample
    from tfbench.datasets.base import Prepared
    from tfbench.validation.change import Partner

__all__ = ["Cases", "Selection", "choose_cases", "choose_emotional_cases", "emotional_data"]

NEUTRAL = "neutral"
EMOTIONAL_SPLITS = {"puppets": "test-emotion"}
"""Data sets that keep clips of one sentence in all emotions in a split of their own."""
PARTNERS = 12
"""Most clips of a person that are asked for their words to find the least alike."""
LOOK_AT = 200
"""Most clips that are opened to find those of one sentence in several emotions."""


class Selection(Dataset):
    """Some clips of a data set, each under an id that may be another one.

    Args:
        dataset: Where they come from.
        rows: Id here -> row there.
    """

    name = "selection"

    def __init__(self, dataset: Dataset, rows: Mapping[str, Row]) -> None:
        self.dataset = dataset
        self.rows = dict(rows)

    @property
    def label(self) -> str:
        """The whole data set's."""
        return self.dataset.label

    def index(self) -> tuple[Row, ...]:
        """Return the chosen rows."""
        return tuple(replace(row, id=key) for key, row in sorted(self.rows.items()))

    def sample(self, row: Row) -> Sample:
        """Decode one clip."""
        return replace(self.dataset.sample(self.rows[row.id]), id=row.id)

    def prepare(self, rows: Sequence[Row] | None = None, **how: Any) -> Prepared | None:
        """Make clips that are not there yet."""
        chosen = self.index() if rows is None else rows
        # The same clip may stand under two ids.
        return self.dataset.prepare(sorted({self.rows[row.id] for row in chosen}), **how)


@dataclass(frozen=True, eq=False)
class Cases:
    """The clips of a validation.

    Attributes:
        selection: Those that are changed.
        others: Kind of partner -> case -> rows of the data set.
        absent: Kind of partner -> why the data set has none.
    """

    selection: Selection
    others: dict[Partner, dict[str, tuple[Row, ...]]] = field(default_factory=dict)
    absent: dict[Partner, str] = field(default_factory=dict)

    def prepare(self, **how: Any) -> None:
        """Make all clips that are not there yet."""
        rows = set(self.selection.rows.values())
        for cases in self.others.values():
            rows |= {row for partners in cases.values() for row in partners}
        self.selection.dataset.prepare(sorted(rows), **how)


def choose_cases(dataset: Dataset, limit: int) -> Cases:
    """Choose clips of as many people as possible, and partners for them.

    Args:
        dataset: Has at least one clip.
        limit: Most clips.

    Raises:
        InputError: The data set is empty.
    """
    people: dict[str, list[Row]] = defaultdict(list)
    for row in dataset.index():
        people[row.identity].append(row)
    if not people:
        raise InputError(f"the data set {dataset.label} has no clip")
    chosen = _round_robin(list(people.values()), limit)
    cases = Cases(Selection(dataset, {row.id: row for row in chosen}))
    _add(cases, "sentence", chosen, lambda row: _same_person(dataset, people, row))
    _add(cases, "person", chosen, lambda row: _other_person(people, row))
    cases.absent["levels"] = (
        f"{dataset.label} has no clips of one sentence of one person in several emotions"
    )
    if not cases.others.get("sentence"):
        cases.absent["sentence"] = f"{dataset.label} has one clip a person"
    if not cases.others.get("person"):
        cases.absent["person"] = f"{dataset.label} has one person"
    return cases


def emotional_data(dataset: Dataset) -> Dataset:
    """Return the data set that has one sentence in several emotions: a split, or itself."""
    split = EMOTIONAL_SPLITS.get(dataset.name)
    if split is None:
        return dataset
    config = dataset.config  # type: ignore[attr-defined]
    return type(dataset)(replace(config, split=split, size=None))  # type: ignore[call-arg]


def choose_emotional_cases(dataset: Dataset, limit: int) -> Cases:
    """Choose neutral clips that the same person also says with an emotion at every level.

    Args:
        dataset: Knows emotions and levels.
        limit: Most clips.

    Returns:
        Cases with the partner "levels": emotions change from case to case.

    Raises:
        ConfigError: There is no such clip among the first ones.
    """
    neutral: dict[tuple[str, str | None], Row] = {}
    found: dict[tuple[str, str | None], dict[str, dict[int, Row]]] = defaultdict(dict)
    rows = dataset.index()[:LOOK_AT]
    if rows and dataset.sample(rows[0]).emotion is not None:
        dataset.prepare(rows)
        for row in rows:
            sample = dataset.sample(row)
            said = (row.identity, sample.transcript)
            if sample.emotion == NEUTRAL:
                neutral.setdefault(said, row)
            elif sample.emotion is not None:
                found[said].setdefault(sample.emotion, {})[sample.level or 1] = row
    sets = [
        [
            (said, emotion, tuple(levels[k] for k in sorted(levels)))
            for emotion, levels in sorted(found[said].items())
            if sorted(levels) == [1, 2, 3]
        ]
        for said in neutral
    ]
    chosen = _round_robin([one for one in sets if one], limit)
    if not chosen:
        raise ConfigError(
            f"{dataset.label} has no sentence that a person says without emotion and in all three "
            "levels of one; puppets have"
        )
    named = {
        f"{neutral[said].id}+{emotion}": (neutral[said], rows) for said, emotion, rows in chosen
    }
    cases = Cases(Selection(dataset, {key: row for key, (row, _) in named.items()}))
    cases.others["levels"] = {key: levels for key, (_, levels) in named.items()}
    return cases


def _round_robin(groups: list[list[Any]], limit: int) -> list[Any]:
    """Take one of each group in turn; each group begins one place later than the one before."""
    longest = max((len(group) for group in groups), default=0)
    drawn = [
        group[(turn + n) % len(group)]
        for turn in range(longest)
        for n, group in enumerate(groups)
        if turn < len(group)
    ]
    return drawn[:limit]


def _add(
    cases: Cases, kind: Partner, chosen: Sequence[Row], find: Callable[[Row], Row | None]
) -> None:
    found = {row.id: find(row) for row in chosen}
    cases.others[kind] = {key: (row,) for key, row in found.items() if row is not None}


def _same_person(dataset: Dataset, people: Mapping[str, list[Row]], row: Row) -> Row | None:
    """Return another clip of the same person, the one with the fewest words in common.

    Neighbours in a corpus may differ in one word only; words that are not known are no hindrance.
    """
    own = people[row.identity]
    at = own.index(row)
    others = [*own[at + 1 :], *own[:at]]
    said = dataset.sample(row).transcript
    if said is None or not others:
        return others[0] if others else None
    tried = others[:: -(-len(others) // PARTNERS)]
    heard = [(other, dataset.sample(other).transcript or "") for other in tried]
    common = [
        (len(set(words.split()) & set(said.split())), n)
        for n, (_, words) in enumerate(heard)
        if words != said
    ]
    return heard[min(common)[1]][0] if common else None


def _other_person(people: Mapping[str, list[Row]], row: Row) -> Row | None:
    """Return the first clip of the next person."""
    names = sorted(people)
    other = names[(names.index(row.identity) + 1) % len(names)]
    return people[other][0] if other != row.identity else None
