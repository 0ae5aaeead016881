"""What papers print beside what was measured here, for methods that have both.

A published and a measured number stand on one line if they are of one method, metric, column and
protocol, and on one data set. Of a measured method the variant does not count, and overlays do:
`synctalklip.tiny+no_lip` and a user's own `synctalklip.my-run+no_lip` stand beside the published
`synctalklip+no_lip`. They never share a column: the clips, the crop and the judging network differ
more often than not, so each number carries its own definition, and none is best.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfbench.evaluation.markdown import ARROWS, Notes, escape, label_of, link, make_table
from tfbench.evaluation.published import printed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tfbench.evaluation.published import Paper, PaperColumn, PaperRow, PaperTable
    from tfbench.evaluation.result import Cell, Result

__all__ = ["beside"]

ABOUT = (
    "One line for each method and metric that a paper and tfbench both report, under one protocol. "
    "Clips, crops and judging networks differ unless the notes say that they are the same, so "
    "nothing here is ranked.\n"
)
HEADS = ("method", "metric", "protocol", "published (paper, table)", "measured")
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class _Published:
    paper: Paper
    table: PaperTable
    row: PaperRow
    place: int

    @property
    def column(self) -> PaperColumn:
        return self.table.columns[self.place]

    @property
    def key(self) -> Key:
        return self.table.protocol, self.column.metric, self.column.name, self.row.id

    def text(self, notes: Notes) -> str:
        """Return the number, where it stands, and the mark of its definition."""
        label = label_of(self.paper, self.table)
        where = f"{link(self.paper.paper, f'papers/{self.paper.paper}.md')}, {label}"
        note = f"Published, {self.paper.paper}, {_unit(self.column.name, self.column.unit)}: "
        mark = notes.mark(note + escape(self.column.definition))
        value = escape(self.row.values[self.place])
        return f"{value} ({where}, “{escape(self.row.method)}”) {mark}"


@dataclass(frozen=True)
class _Measured:
    result: Result
    cell: Cell

    @property
    def label(self) -> str:
        label: str = self.result.method["name"]
        return label

    @property
    def keys(self) -> set[Key]:
        """Return what it may be published as: under its whole name, or without its variant."""
        name, plus, overlays = self.label.partition("+")
        return {
            (self.result.protocol, self.cell.metric, _base(self.cell.column), method)
            for method in (self.label, name.partition(".")[0] + plus + overlays)
        }

    def text(
        self, method: str, notes: Notes, show: Callable[[Cell], str], define: Callable[[Cell], str]
    ) -> str:
        """Return the number, whose it is if that is another name, and its definition's mark."""
        what = f"Measured, {_unit(self.cell.column, self.cell.unit)}: {define(self.cell)}"
        clips = f"{self.result.n_cases} cases of split `{self.result.split_checksum[:8]}`"
        whose = "" if self.label == method else f" ({escape(self.label)})"
        return f"{show(self.cell)}{whose} {notes.mark(f'{what}, {clips}')}"


def beside(
    dataset: str,
    papers: Iterable[Paper],
    results: Iterable[Result],
    show: Callable[[Cell], str],
    define: Callable[[Cell], str],
) -> str:
    """Return the table of numbers that are both published and measured; "" where none is.

    Args:
        dataset: Label of the data set.
        papers: All papers.
        results: All results on the data set.
        show: Prints a measured number.
        define: Prints what defines a measured number.
    """
    notes = Notes()
    measured = _by_key(_Measured(r, cell) for r in results for cell in r.cells)
    rows = []
    for (protocol, metric, name, method), numbers in sorted(_published(dataset, papers).items()):
        found = measured.get((protocol, metric, _base(name), method), [])
        if found:
            head = escape(name) + ARROWS[numbers[0].column.higher_is_better]
            there = "<br>".join(number.text(notes) for number in numbers)
            here = "<br>".join(number.text(method, notes, show, define) for number in found)
            rows.append([escape(method), head, f"`{protocol}`", there, here])
    if not rows:
        return ""
    whole = make_table(HEADS, rows, range(len(HEADS)))
    return "\n".join(["## Published beside measured\n", ABOUT, whole, "", *notes.lines(), ""])


def _by_key(numbers: Iterable[_Measured]) -> dict[Key, list[_Measured]]:
    found: dict[Key, list[_Measured]] = defaultdict(list)
    for number in numbers:
        if number.cell.value is not None:
            for key in number.keys:
                found[key].append(number)
    return found


def _published(dataset: str, papers: Iterable[Paper]) -> dict[Key, list[_Published]]:
    """Collect the published numbers that could have a measured one."""
    found: dict[Key, list[_Published]] = defaultdict(list)
    for paper in papers:
        for shown in paper.tables:
            if shown.dataset == dataset and shown.protocol:
                for number in _numbers(paper, shown):
                    found[number.key].append(number)
    return found


def _numbers(paper: Paper, shown: PaperTable) -> list[_Published]:
    return [
        _Published(paper, shown, row, place)
        for row in shown.rows
        for place, column in enumerate(shown.columns)
        if column.metric and printed(row.values[place]).number is not None
    ]


def _base(column: str) -> str:
    """Return a column's name without what stands in parentheses, as in FID (face)."""
    return column.partition(" (")[0].casefold()


def _unit(name: str, unit: str) -> str:
    return escape(f"{name} in {unit}" if unit else name)
