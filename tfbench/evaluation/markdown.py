"""Markdown of leaderboards: tables as GitHub shows them, and tables that papers print.

Text that people wrote goes through `escape`, so that a bar never opens a column and a star never
starts bold print. Notes of a published table carry letters, since papers number their references.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from tfbench.evaluation.published import printed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tfbench.evaluation.published import Paper, PaperColumn, PaperRow, PaperTable

__all__ = [
    "ARROWS",
    "LEGEND",
    "Notes",
    "escape",
    "label_of",
    "link",
    "make_table",
    "published_table",
]

ARROWS = {True: " ↑", False: " ↓", None: ""}
KINDS = {
    "comparison": "Comparison",
    "ablation": "Ablation",
    "efficiency": "Efficiency",
    "study": "User study",
    "data": "Data",
}
LEGEND = (
    "As printed in the papers, not measured here. **Bold**: the best number of a column, "
    "computed from the printed numbers, not copied from the paper's own marks; ground truth "
    "never wins. *Italic*: what the paper proposes. ↑ higher is better, ↓ lower is better. "
    "Letters in brackets lead to the notes below a table; numbers in brackets are the paper's "
    "references.\n"
)


def escape(text: str) -> str:
    """Make text mean itself in markdown, in a table or out of it, on one line.

    Args:
        text: Anything; what stands between backticks stays code.
    """
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(
        part.replace("|", "\\|") if n % 2 else _escape_prose(part) for n, part in enumerate(parts)
    )


def _escape_prose(text: str) -> str:
    text = re.sub(r"\\(?=[!-/:-@\[-`{-~])", r"\\\\", text)
    text = re.sub(r"[|*~]|(?<![^\W_])_|_(?![^\W_])|(?<=\])(?=\()", r"\\\g<0>", text)
    return text.replace("<", "&lt;")


def link(text: str, target: str) -> str:
    """Return a link to a file; spaces and the like are encoded."""
    return f"[{escape(text)}]({quote(target)})"


def make_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = (0,)
) -> str:
    """Return a table.

    Args:
        heads: Of the columns, escaped.
        rows: One cell a column, escaped.
        left: Columns that are aligned to the left, the others to the right.
    """
    left = set(left)
    rules = ["---" if n in left else "---:" for n in range(len(heads))]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


class Notes:
    """Notes below a table, each under one mark, however often it is referred to."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, note: str) -> str:
        """Return the mark of a note, such as `[a]`; "" for an empty note."""
        if not note:
            return ""
        return self._marks.setdefault(note, f"[{_letters(len(self._marks))}]")

    def lines(self) -> list[str]:
        """Return all notes in the order of their marks, one a line."""
        return [f"{mark} {note}  " for note, mark in self._marks.items()]


def _letters(n: int) -> str:
    """Return a, b, ..., z, aa, ab, ..."""
    return (_letters(n // 26 - 1) if n >= 26 else "") + chr(ord("a") + n % 26)


def label_of(paper: Paper, shown: PaperTable) -> str:
    """Return a table's label, and which part it is where its paper's table was divided."""
    parts = [
        table.id
        for table in paper.tables
        if (table.label, table.dataset) == (shown.label, shown.dataset)
    ]
    if len(parts) == 1:
        return escape(shown.label)
    return f"{escape(shown.label)}, part {parts.index(shown.id) + 1} of {len(parts)}"


def published_table(shown: PaperTable, title: str) -> str:
    """Return a published table with its notes.

    Args:
        shown: The table.
        title: Heading, escaped.
    """
    notes = Notes()
    definitions = _definitions(shown)
    heads = [_head(column, notes.mark(definitions[column.name])) for column in shown.columns]
    rows = [_row(shown, row, notes) for row in shown.rows]
    left = (0, *(n + 1 for n in range(len(heads)) if _has_words(shown, n)))
    return "\n".join(
        [
            f"### {title}\n",
            f"{_about(shown)}\n",
            make_table([_first_head(shown), *heads], rows, left),
            "",
            *notes.lines(),
            "",
            *(f"- {escape(note)}" for note in shown.footnotes),
            *(f"- {note}" for note in _marks_that_differ(shown)),
            "",
        ]
    )


def _about(shown: PaperTable) -> str:
    """Say what a table is: its kind, unless that is its first word, its protocol, and the line."""
    kind = KINDS[shown.kind]
    words = [] if shown.about.casefold().startswith(kind.casefold()) else [kind]
    if shown.dataset:
        protocol = f"`{shown.protocol}`" if shown.protocol else "not stated"
        words.append(f"protocol {protocol}")
    facts = ", ".join(words)
    return f"{facts[0].upper()}{facts[1:]}. {escape(shown.about)}" if facts else escape(shown.about)


def _definitions(shown: PaperTable) -> dict[str, str]:
    """Return the note of each column; columns that are defined alike share one."""
    groups: dict[str, list[PaperColumn]] = {}
    for column in shown.columns:
        groups.setdefault(column.definition, []).append(column)
    notes: dict[str, str] = {}
    for definition, columns in groups.items():
        names = ", ".join(_name_and_print(column) for column in columns)
        notes |= {column.name: f"{names}: {escape(definition)}" for column in columns}
    return notes


def _name_and_print(column: PaperColumn) -> str:
    """Return a column's name, and the table's own head where that says something else."""
    head = " ".join(re.sub(r"[$↑↓]|\\(up|down)arrow|\^\{\}", " ", column.printed).split())
    same = head.replace(" ", "") in {"", column.name.replace(" ", "")}
    absent = re.fullmatch(r"\(.*\)", head)  # such as "(running text)"
    return escape(column.name) + ("" if same or absent else f" (printed “{escape(head)}”)")


def _first_head(shown: PaperTable) -> str:
    return "item" if shown.kind == "data" else "method"


def _head(column: PaperColumn, mark: str) -> str:
    unit = f" ({escape(column.unit)})" if column.unit else ""
    return f"{escape(column.name)}{unit}{ARROWS[column.higher_is_better]} {mark}"


def _row(shown: PaperTable, row: PaperRow, notes: Notes) -> list[str]:
    name = f"*{escape(row.method)}*" if row.ours else escape(row.method)
    mark = notes.mark(escape(row.note))
    cells = [f"{name} {mark}" if mark else name]
    for place, value in enumerate(row.values):
        text = escape(value)
        cells.append(f"**{text}**" if row in shown.best(place) else text)
    return cells


def _has_words(shown: PaperTable, place: int) -> bool:
    cells = [printed(row.values[place]) for row in shown.rows]
    return any(cell.number is None and any(map(str.isalpha, cell.text)) for cell in cells)


def _marks_that_differ(shown: PaperTable) -> Iterator[str]:
    """Say where the paper's own bold marks are not on the best rows."""
    if not shown.shows_bold:
        return
    for place, column in enumerate(shown.columns):
        marked, best = shown.marked(place), shown.best(place)
        if marked == best:
            continue
        paper = f"the paper prints {_named(marked, place) if marked else 'nothing'} in bold"
        found = f"the best number is that of {_named(best, place)}" if best else "none is best here"
        yield f"{escape(column.name)}: {paper}; {found}."


def _named(rows: Sequence[PaperRow], place: int) -> str:
    return " and ".join(f"{escape(row.method)} ({escape(row.values[place])})" for row in rows)
