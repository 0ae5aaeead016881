"""What a Python file says about itself, read without importing it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Source", "find_source", "read_source"]

_FIRST_BLOCK = re.compile(r"^(?:class |def |async def |@)", re.MULTILINE)
_LATE = re.compile(r"^(?:ALIASES|__all__)\b", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """Facts of one file.

    Attributes:
        path: The file; None where there is none to read.
        summary: First line of the docstring.
        public: The literal `__all__`; empty where there is none.
        aliases: The literal `ALIASES`; empty where there is none.
        error: Why the file cannot be read; None where it can.
        imported: Names that a folder's `__init__.py` imports.
        text: The file's text.
    """

    path: Path | None
    summary: str = ""
    public: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    error: str | None = None
    imported: frozenset[str] = frozenset()
    text: str = field(default="", repr=False)

    def has_class(self, name: str) -> bool:
        """Whether the file defines this class, or its folder's `__init__.py` imports the name."""
        return self._says(rf"class {name}\b") or name in self.imported

    def has(self, name: str) -> bool:
        """Whether the file defines this function or variable, or its folder imports it."""
        return self._says(rf"(?:def {name}\b|{name}\s*[:=])") or name in self.imported

    def with_first(self, name: str) -> Source:
        """Return the same facts with this name as the first public one."""
        return replace(self, public=(name, *(other for other in self.public if other != name)))

    def _says(self, pattern: str) -> bool:
        return re.search(f"^{pattern}", self.text, re.MULTILINE) is not None


def read_source(path: Path) -> Source:
    """Read the docstring, `__all__` and `ALIASES` of a file.

    Args:
        path: A Python file.

    Returns:
        The facts; a file that cannot be read or parsed gives one with an error.
    """
    try:
        text = path.read_text("utf-8")
        tree = _parse_head(text)
        public, aliases = _literal(tree, "__all__"), _literal(tree, "ALIASES")
    except (OSError, SyntaxError, ValueError) as error:
        return Source(path, error=f"{path}: {error}")
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    imported = _imported(tree) if path.name == "__init__.py" else frozenset()
    return Source(path, summary, public, aliases, None, imported, text)


def _parse_head(text: str) -> ast.Module:
    """Parse a file up to its first class or function, which is all of it that is needed.

    Parsing takes most of the time of listing. The whole file is parsed where a name that is read
    comes later, or where what looked like a class was a line of the docstring.
    """
    start = _FIRST_BLOCK.search(text)
    if start is None or _LATE.search(text, start.start()):
        return ast.parse(text)
    try:
        return ast.parse(text[: start.start()])
    except SyntaxError:
        return ast.parse(text)


def _literal(tree: ast.Module, name: str) -> tuple[str, ...]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return _words(statement.value, name)
    return ()


def _words(node: ast.expr | None, name: str) -> tuple[str, ...]:
    wanted = f"{name} must be a literal tuple or list of names"
    try:
        value = ast.literal_eval(node) if node is not None else None
    except ValueError as error:
        raise ValueError(wanted) from error
    if not isinstance(value, tuple | list) or not all(isinstance(word, str) for word in value):
        raise ValueError(wanted)
    return tuple(value)


def _imported(tree: ast.Module) -> frozenset[str]:
    return frozenset(
        alias.asname or alias.name
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    )


def find_source(module: str) -> Path | None:
    """Find the file of a module without importing it or its packages.

    Args:
        module: Dotted name.

    Returns:
        The Python file; None where the module is compiled.

    Raises:
        ImportError: There is no such module.
        ValueError: Something half imported stands in its place.
    """
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None:
        raise ImportError(f"no module named '{top}'")
    if not rest:
        return _python(Path(spec.origin)) if spec.origin else None
    for location in spec.submodule_search_locations or ():
        place = Path(location, *rest)
        files = [place / "__init__.py", *(Path(f"{place}{suffix}") for suffix in all_suffixes())]
        for file in files:
            if file.is_file():
                return _python(file)
    raise ImportError(f"no module named '{module}'")


def _python(path: Path) -> Path | None:
    return path if path.suffix == ".py" else None
