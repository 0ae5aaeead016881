"""Tables that papers print, transcribed into YAML files.

One file a paper, `published/<paper>.yaml`; `leaderboards/published/README.md` explains every key.
A value is kept as it is printed, and read as a number only to find the best row of a column:
papers sometimes mark another row, and then the page says so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from tfbench.core.config import load_mapping
from tfbench.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "UNRANKED",
    "Paper",
    "PaperColumn",
    "PaperRow",
    "PaperTable",
    "Printed",
    "load_paper",
    "load_papers",
    "printed",
]

UNRANKED = frozenset({"still", "ground_truth"})
"""Floor and ceiling: rows that are shown and never win."""

_STRICT = ConfigDict(strict=True, extra="forbid")
_Text = Annotated[str, Field(min_length=1)]
_Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")]
_MaybeSlug = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9._+-]*)?$")]
_UNITS = "%|dB|ms|s|min|h|hours?|days?|[KMG]?B|[KMG]|k?Hz|fps|px|x"
_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?"
_PRINTED = re.compile(rf"({_NUMBER})(?: ?(?:±|\+/-) ?{_NUMBER})? ?({_UNITS})?[*†‡]*")


@dataclass(frozen=True)
class Printed:
    """One cell of a paper's table.

    Attributes:
        text: As printed.
        number: What it says, without spread and unit; None where it is not one plain number.
        unit: Printed behind the number, else "".
    """

    text: str
    number: float | None
    unit: str = ""


def printed(text: str) -> Printed:
    """Read a printed value: "8.81", "3.2±0.1", "26ms", "93.1%", "150,000", "-".

    Args:
        text: As printed. Ranges, products and estimates ("4 × V100", "~26") are no numbers.
    """
    found = _PRINTED.fullmatch(text.strip().replace("\u2212", "-"))
    if found is None or not any(character.isdigit() for character in found[1]):
        return Printed(text, None)
    return Printed(text, float(found[1].replace(",", "")), found[2] or "")


@dataclass(frozen=True)
class PaperColumn:
    """One column of a published table.

    Attributes:
        name: Canonical, such as LSE-C.
        printed: The table's own head.
        higher_is_better: None where neither direction is.
        definition: What the paper says of how it was computed, or "not stated".
        unit: Of the values, "" where there is none.
        metric: Stem of the metric here that it is to be compared with, "" where there is none.
    """

    name: _Text
    printed: str
    higher_is_better: bool | None
    definition: _Text
    unit: str = ""
    metric: _MaybeSlug = ""
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True)
class PaperRow:
    """One row of a published table.

    Attributes:
        method: As printed.
        id: The registry's name of the method, or a name in that style.
        values: As printed, one a column.
        ours: Whether this is what the paper proposes.
        bold: Places of the values that the paper prints bold, as far as that is known.
        note: On this row.
    """

    method: _Text
    id: _Slug
    values: tuple[str, ...]
    ours: bool = False
    bold: tuple[Annotated[int, Field(ge=0)], ...] = ()
    note: str = ""
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True)
class PaperTable:
    """One published table on one data set, or on none.

    Attributes:
        id: Unique in its paper.
        label: What the paper calls it.
        about: What is compared, on what, how.
        kind: What sort of table.
        dataset: Label of the data set, "" where the table belongs to none.
        protocol: Name of the pairing, "" where the paper does not say.
        columns: All but the one of the methods.
        rows: In the paper's order.
        footnotes: Contradictions and doubts.
    """

    id: _Slug
    label: _Text
    about: _Text
    kind: Literal["comparison", "ablation", "efficiency", "study", "data"]
    dataset: _MaybeSlug
    protocol: Literal["self", "cross", "one_shot", "scene", ""]
    columns: Annotated[tuple[PaperColumn, ...], Field(min_length=1)]
    rows: Annotated[tuple[PaperRow, ...], Field(min_length=1)]
    footnotes: tuple[_Text, ...] = ()
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    @property
    def shows_bold(self) -> bool:
        """Whether the paper's bold marks are known."""
        return any(row.bold for row in self.rows)

    def marked(self, place: int) -> tuple[PaperRow, ...]:
        """Return the rows that the paper prints bold in a column."""
        return tuple(row for row in self.rows if place in row.bold)

    def best(self, place: int) -> tuple[PaperRow, ...]:
        """Return the best rows of a column by their numbers, more than one where they tie.

        Args:
            place: Of the column. There is no best where its direction is unknown, where fewer
                than two rows compete, or where the values carry different units.
        """
        higher = self.columns[place].higher_is_better
        cells = [(row, printed(row.values[place])) for row in self.rows if row.id not in UNRANKED]
        rivals = [(row, cell.number) for row, cell in cells if cell.number is not None]
        units = {cell.unit for _, cell in cells if cell.number is not None}
        if higher is None or len(rivals) < 2 or len(units) > 1:
            return ()
        top = (max if higher else min)(number for _, number in rivals)
        return tuple(row for row, number in rivals if number == top)


@dataclass(frozen=True)
class Paper:
    """One paper with all its tables.

    Attributes:
        paper: Short name, the file's stem.
        title: Of the paper.
        authors: The first one et al.
        venue: Where it was published, "" where that is not known.
        year: Of publication.
        source: An arXiv id or a DOI, "" where none is known.
        tables: In the paper's order.
        notes: On the paper as a whole.
    """

    paper: _Slug
    title: _Text
    authors: _Text
    venue: str
    year: int
    source: str
    tables: Annotated[tuple[PaperTable, ...], Field(min_length=1)]
    notes: tuple[_Text, ...] = ()
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


def load_papers(folder: Path) -> tuple[Paper, ...]:
    """Read all papers of a folder, oldest first; none where there is no folder.

    Raises:
        ConfigError: A file is not as the schema wants it.
    """
    papers = [load_paper(path) for path in sorted(folder.glob("*.yaml"))]
    return tuple(sorted(papers, key=lambda paper: (paper.year, paper.paper)))


def load_paper(path: Path) -> Paper:
    """Read the tables of one paper.

    Args:
        path: A YAML file; its stem is the paper's short name.

    Raises:
        ConfigError: Names the file, the table, the row or column, and what is wrong.
    """
    plain = load_mapping(path)
    try:
        # Strict JSON takes lists for tuples and converts nothing else: 8.81 is not "8.81".
        paper = _adapter().validate_json(json.dumps(plain))
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error, plain)}") from error
    problem = next(_problems(paper, path.stem), None)
    if problem is not None:
        raise ConfigError(f"{path}: {problem}")
    return paper


@cache
def _adapter() -> TypeAdapter[Paper]:
    return TypeAdapter(Paper)


def _first(error: ValidationError, plain: dict[str, Any]) -> str:
    """Describe the first of pydantic's complaints, and count the others."""
    complaints = error.errors(include_url=False)
    first = complaints[0]
    *parents, last = first["loc"] or ("file",)
    if "unexpected" in first["type"]:
        reason = f"unknown key '{last}'"
    elif "missing" in first["type"]:
        reason = f"the key '{last}' is missing"
    else:
        parents = list(first["loc"])
        reason = f"got {json.dumps(first['input'])[:80]}: {first['msg']}"
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return ": ".join([*_where(parents, plain), reason]) + more


def _where(steps: Sequence[int | str], plain: Any) -> list[str]:
    """Name the table, row and column that a path of keys leads to."""
    names = {"tables": ("table", "id"), "rows": ("row", "method"), "columns": ("column", "name")}
    places: list[str] = []
    kind = ""
    for step in steps:
        if not isinstance(step, int):
            plain = plain.get(step) if isinstance(plain, dict) else None
            kind = step
            places += [] if step in names else [step]
            continue
        plain = plain[step] if isinstance(plain, list) else None
        if kind in names:
            word, key = names[kind]
            name = plain.get(key) if isinstance(plain, dict) else None
            places.append(f"{word} {name or step + 1}")
        else:
            places[-1] += f"[{step}]"
    return places


def _problems(paper: Paper, stem: str) -> Iterator[str]:
    """Find what the types alone do not show."""
    if paper.paper != stem:
        yield f"paper is '{paper.paper}'; it must be the file's stem, '{stem}'"
    yield from _twice("the table id", (table.id for table in paper.tables))
    for table in paper.tables:
        here = f"table {table.id}"
        yield from _twice(f"{here}: the column", (column.name for column in table.columns))
        yield from _twice(f"{here}: the row", (row.method for row in table.rows))
        n = len(table.columns)
        for row in table.rows:
            if len(row.values) != n:
                yield f"{here}: row {row.method}: {len(row.values)} values for {n} columns"
            elif any(place >= n for place in row.bold):
                yield f"{here}: row {row.method}: bold {list(row.bold)}; places are 0 to {n - 1}"


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    for name, n in Counter(names).items():
        if n > 1:
            yield f"{what} '{name}' stands {n} times"
