"""`tfbench list`: what there is by name, and what one thing can be set to."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from tfbench.core.registry import Name

KINDS = ("methods", "metrics", "datasets", "protocols", "evaluators", "networks")
SHOWN = 40
"""Characters of a value that are shown."""


def list_command(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}.")] = None,
    name: Annotated[
        str | None,
        typer.Argument(help="One of them, such as synctalklip or synctalklip.tiny+no_lip."),
    ] = None,
) -> None:
    """List what there is; of one, such as `methods wav2lip`, also its variants and settings."""
    from tfbench.core.errors import UnknownName

    if kind is not None and kind not in KINDS:
        raise UnknownName(f"no kind '{kind}'; there are {', '.join(KINDS)}")
    console = Console()
    if kind is not None and name is not None:
        tables = _one(kind, name)
    else:
        tables = {one: _all(one) for one in (KINDS if kind is None else (kind,))}
    for title, table in tables.items():
        console.print(f"[italic]{title}[/]")
        console.print(table)
        console.print()


def _all(kind: str) -> Table:
    from tfbench.core.registry import registry

    table = _table(2)
    for entry in registry(kind).entries():
        other = f" (also {', '.join(entry.aliases)})" if entry.aliases else ""
        source = "" if entry.source == "tfbench" else f" [{entry.source}]"
        what = f"broken: {entry.error}" if entry.error else entry.summary
        table.add_row(entry.name, _plain(f"{what}{other}{source}"))
    return table


def _one(kind: str, name: str) -> dict[str, Table]:
    """Show a plugin: what it is, the names of its variants, and its settings."""
    from tfbench.cli.common import find
    from tfbench.core.registry import registry

    plugin, parsed = find(kind, name)
    what = _table(2)
    what.add_row(parsed.stem, _plain(registry(kind).find(parsed.stem).summary))
    found = {kind: what, **_names(kind, parsed.stem, plugin)}
    config = getattr(plugin, "Config", None)
    if config and dataclasses.fields(config):
        found[f"settings of {parsed}"] = _settings(kind, parsed, config)
    return found


def _names(kind: str, stem: str, plugin: Any) -> dict[str, Table]:
    from tfbench.core.config import named_files

    table = _table(2)
    for definition in getattr(plugin, "definitions", ()):
        table.add_row(f"{stem}.{definition}")
    for variant, asset in getattr(plugin, "VARIANTS", {}).items():
        where = f"tfbench assets get {asset}" if asset else "ships with this package"
        table.add_row(f"{stem}.{variant}", where)
    for label, path in named_files(kind, stem).items():
        usual = " (usual)" if label == f"{stem}.{getattr(plugin, 'usual', None)}" else ""
        table.add_row(label + usual, _plain(_remark(path)))
    head = "definitions" if kind == "metrics" else "variants (.) and overlays (+)"
    return {head: table} if table.row_count else {}


def _settings(kind: str, name: Name, config: Any) -> Table:
    from tfbench.core.config import files_of, load_mapping

    changed: dict[str, Any] = {}
    for path in files_of(kind, name):
        changed |= load_mapping(path)
    said = meanings(config)
    table = _table(3)
    for field in dataclasses.fields(config):
        default = field.default_factory() if callable(field.default_factory) else field.default
        value = changed.get(field.name, default)
        shown = "has to be given" if value is dataclasses.MISSING else _value(value)
        table.add_row(field.name, _plain(shown), _plain(said.get(field.name, "")))
    return table


def meanings(config: type[Any]) -> dict[str, str]:
    """Read what the docstrings of a class and of its bases say of each setting."""
    from docstring_parser import DocstringStyle, parse

    found: dict[str, str] = {}
    for base in config.__mro__:
        if dataclasses.is_dataclass(base):
            for one in parse(base.__doc__ or "", DocstringStyle.GOOGLE).params:
                found.setdefault(one.arg_name, " ".join((one.description or "").split()))
    return found


def _remark(path: Path) -> str:
    """Return the remark that a file of settings begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.lstrip("# ") for line in first)


def _value(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _table(columns: int) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    for _ in range(columns - 1):
        table.add_column()
    return table


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
