"""What can be asked for by name: methods, metrics, data sets, protocols, evaluators, networks.

Nothing is imported to be listed. A file of a kind's folder is a plugin if its name does not begin
with an underscore, is not `base`, and:

- the first name of its literal `__all__` is a class of the file (of a folder: a class that its
  `__init__.py` defines or imports); or,
- for networks, it has a function `load` and a table `VARIANTS`: the plugin is the module.

The file's stem is the name; a literal tuple `ALIASES` holds further names. Other packages add
plugins by entry points in the groups `tfbench.methods`, `tfbench.metrics`, ...: the entry point's
name is the plugin's name, its value is `module:Class`, or `module`, which means the same as a file
here. Names are found without regard to case, `-` and `_`.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfbench.core.errors import ConfigError, TfbenchError, UnknownName
from tfbench.core.source import Source, find_source, read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint

__all__ = [
    "KINDS",
    "Entry",
    "Kind",
    "Name",
    "Registry",
    "clear_cache",
    "closest",
    "lazy_attributes",
    "parse_name",
    "public_names",
    "registry",
]

OWN = "tfbench"
PACKAGE_FOLDER = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Kind:
    """A kind of plugin.

    Attributes:
        package: Where the plugins of this project are.
        singular: For messages.
        is_module: Whether the plugin is a module, not a class.
    """

    package: str
    singular: str
    is_module: bool = False

    @property
    def folder(self) -> Path:
        """Where the package lies, found without importing it."""
        return PACKAGE_FOLDER.joinpath(*self.package.split(".")[1:])


KINDS = {
    "methods": Kind("tfbench.methods", "method"),
    "metrics": Kind("tfbench.metrics", "metric"),
    "datasets": Kind("tfbench.datasets", "data set"),
    "protocols": Kind("tfbench.evaluation.protocols", "protocol"),
    "evaluators": Kind("tfbench.evaluators", "evaluator"),
    "networks": Kind("tfbench.nets", "network", is_module=True),
}

_NAME = re.compile(
    r"(?P<stem>[A-Za-z0-9][\w-]*)(?:\.(?P<variant>[A-Za-z0-9][\w.-]*))?(?P<overlays>(?:\+[\w-]+)*)",
    re.ASCII,
)
_STEM = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)
_TARGET = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.\w+)*)\s*(?::\s*(?P<name>\w+))?(?:\s*\[.*\])?")


@dataclass(frozen=True)
class Name:
    """What a user writes to name a plugin and its settings: `stem[.variant][+overlay...]`.

    Attributes:
        stem: The plugin's name.
        variant: Its set of settings; None for the defaults.
        overlays: Changes on top of the variant, in this order.
    """

    stem: str
    variant: str | None = None
    overlays: tuple[str, ...] = ()

    def __str__(self) -> str:
        variant = "" if self.variant is None else f".{self.variant}"
        return self.stem + variant + "".join(f"+{overlay}" for overlay in self.overlays)


def parse_name(text: str) -> Name:
    """Read a name such as `joygen.tiny+no_depth`.

    Args:
        text: Letters, digits, `_` and `-`; the variant may hold dots.

    Raises:
        ConfigError: Not of the form `stem[.variant][+overlay...]`, or an overlay is named twice.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"'{text}' is not a name; wanted stem[.variant][+overlay...], "
            "such as joygen.tiny+no_depth"
        )
    overlays = tuple(match["overlays"].split("+")[1:])
    if len(set(overlays)) < len(overlays):
        raise ConfigError(f"'{text}' names an overlay twice; name each once")
    return Name(match["stem"], match["variant"], overlays)


@dataclass(frozen=True)
class Entry:
    """One plugin, not imported.

    Attributes:
        name: The registry's name.
        aliases: Further names.
        summary: First line of the file's docstring.
        source: "tfbench", or the name of the distribution that brings it.
        class_name: The plugin class; "" where the plugin is the module itself.
        error: Why it cannot be loaded, as far as that shows without importing it; else None.
        module: Where it is imported from.
        path: Its file; None where there is no Python file.
    """

    name: str
    aliases: tuple[str, ...]
    summary: str
    source: str
    class_name: str
    error: str | None
    module: str
    path: Path | None


class Registry:
    """All plugins of one kind.

    Args:
        kind: A key of `KINDS`.

    Raises:
        UnknownName: There is no such kind.
        ConfigError: Two plugins claim one name.
    """

    def __init__(self, kind: str) -> None:
        if kind not in KINDS:
            raise UnknownName(f"no kind of plugin '{kind}'; there are {', '.join(KINDS)}")
        self.kind = KINDS[kind]
        found = [*_own(self.kind), *_foreign(kind)]
        self._entries = tuple(sorted(found, key=lambda entry: entry.name))
        self._keys = self._index()

    def names(self) -> tuple[str, ...]:
        """Return the names of all plugins, sorted, without aliases."""
        return tuple(entry.name for entry in self._entries)

    def entries(self) -> tuple[Entry, ...]:
        """Return all plugins, sorted by name; one that is broken carries its error."""
        return self._entries

    def find(self, name: str) -> Entry:
        """Find a plugin by its name or alias; case, `-` and `_` do not matter.

        Raises:
            UnknownName: Nothing has this name; says what was probably meant, and what there is.
        """
        found = self._keys.get(_key(name))
        if found is not None:
            return found[1]
        known = ", ".join(self.names()) or "none"
        hint = closest(name, (spelling for spelling, _ in self._keys.values()))
        raise UnknownName(f"no {self.kind.singular} '{name}'{hint}; there are: {known}")

    def load(self, name: str) -> Any:
        """Import a plugin.

        Returns:
            The class, or the module where the kind's plugins are modules.

        Raises:
            UnknownName: Nothing has this name.
            ConfigError: The plugin is broken; what broke it is the cause.
        """
        entry = self.find(name)
        what = f"the {self.kind.singular} '{entry.name}' of {entry.source}"
        if entry.error is not None:
            raise ConfigError(f"{what} cannot be loaded: {entry.error}")
        plugin = _import(entry, what)
        own_name = getattr(plugin, "name", None)
        if isinstance(plugin, type) and isinstance(own_name, str) and own_name != entry.name:
            raise ConfigError(
                f"{what} calls itself '{own_name}' in {entry.module}; both names must be the same"
            )
        return plugin

    def _index(self) -> dict[str, tuple[str, Entry]]:
        keys: dict[str, tuple[str, Entry]] = {}
        for entry in self._entries:
            for spelling in (entry.name, *entry.aliases):
                spelling_of_other, other = keys.setdefault(_key(spelling), (spelling, entry))
                if other is not entry:
                    raise ConfigError(
                        f"two plugins claim one name: '{spelling_of_other}' of {_place(other)} and "
                        f"'{spelling}' of {_place(entry)}; rename or uninstall one"
                    )
        return keys


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _place(entry: Entry) -> str:
    return f"{entry.module} ({entry.source})"


def closest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word most like this one, or "".

    Args:
        word: What was asked for.
        known: What there is.
    """
    spelled = {_key(other): other for other in known}
    near = difflib.get_close_matches(_key(word), spelled, n=1)
    return f"; did you mean '{spelled[near[0]]}'?" if near else ""


def _import(entry: Entry, what: str) -> Any:
    try:
        module = importlib.import_module(entry.module)
    except TfbenchError:
        raise
    except Exception as error:
        raise ConfigError(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error
    if not entry.class_name:
        return module
    plugin = getattr(module, entry.class_name, None)
    if not isinstance(plugin, type):
        raise ConfigError(
            f"{what} cannot be loaded: {entry.module} has no class {entry.class_name}"
        )
    return plugin


def _own(kind: Kind) -> Iterator[Entry]:
    for stem, path in _files(kind.folder):
        if stem == "base":
            continue
        source = read_source(path)
        entry = _entry(stem, f"{kind.package}.{stem}", source, kind)
        if source.error is not None or _is_plugin(source, kind):
            yield entry


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield stem and file of every public module and package of a folder that may be absent."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        file = path / "__init__.py" if path.is_dir() else path
        if not path.name.startswith("_") and file.suffix == ".py" and file.is_file():
            yield path.stem, file


def _is_plugin(source: Source, kind: Kind) -> bool:
    if kind.is_module:
        return source.has("load") and source.has("VARIANTS")
    return bool(source.public) and source.has_class(source.public[0])


def _entry(name: str, module: str, source: Source, kind: Kind, origin: str = OWN) -> Entry:
    class_name = "" if kind.is_module or not source.public else source.public[0]
    summary, aliases, error = source.summary, source.aliases, source.error
    return Entry(name, aliases, summary, origin, class_name, error, module, source.path)


def _foreign(kind: str) -> Iterator[Entry]:
    # Reading the metadata of all distributions takes some time: only who needs a registry pays.
    from importlib.metadata import entry_points

    for point in entry_points(group=f"{OWN}.{kind}"):
        yield _from_entry_point(point, KINDS[kind])


def _from_entry_point(point: EntryPoint, kind: Kind) -> Entry:
    origin = point.dist.name if point.dist is not None else "an unnamed distribution"
    target = _TARGET.fullmatch(point.value)

    def broken(error: str) -> Entry:
        return Entry(point.name, (), "", origin, "", error, point.value, None)

    if _STEM.fullmatch(point.name) is None:
        return broken(f"'{point.name}' is not a name; use letters, digits, '_' and '-'")
    if target is None or (kind.is_module and target["name"]):
        wanted = "module" if kind.is_module else "module:Class"
        return broken(f"the entry point's value is '{point.value}'; wanted {wanted}")
    try:
        path = find_source(target["module"])
    except (ImportError, ValueError) as error:
        return broken(f"{target['module']} is not found: {error}")
    source = read_source(path) if path is not None else Source(None)
    if target["name"]:
        source = source.with_first(target["name"])
    entry = _entry(point.name, target["module"], source, kind, origin)
    if not kind.is_module and not entry.class_name and entry.error is None:
        return broken(f"{target['module']} has no literal __all__ that begins with its class")
    return entry


@cache
def registry(kind: str) -> Registry:
    """Return the registry of one kind, built at the first call.

    Args:
        kind: A key of `KINDS`.

    Raises:
        UnknownName: There is no such kind.
        ConfigError: Two plugins claim one name.
    """
    return Registry(kind)


def clear_cache() -> None:
    """Forget all registries, so that plugins which appeared since are seen."""
    registry.cache_clear()
    public_names.cache_clear()


@cache
def public_names(kind: str) -> dict[str, str]:
    """Return what a kind's package offers by name: each name of each `__all__`, and its module.

    A name that is also a file's stem is left out: there it would depend on the order of imports
    whether the module or its member is found.

    Args:
        kind: A key of `KINDS`.

    Raises:
        ConfigError: Two files offer one name.
    """
    package = KINDS[kind].package
    files = dict(_files(KINDS[kind].folder))
    names: dict[str, str] = {}
    for stem, path in files.items():
        for name in read_source(path).public:
            other = names.setdefault(name, f"{package}.{stem}")
            if other != f"{package}.{stem}":
                raise ConfigError(f"{other} and {package}.{stem} both offer '{name}'; rename one")
    return {name: module for name, module in sorted(names.items()) if name not in files}


def lazy_attributes(kind: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` of a kind's package, which import a file when it is needed.

    Args:
        kind: A key of `KINDS`.
    """
    package = KINDS[kind].package

    def get(name: str) -> Any:
        # Dunders first: the import system asks for some of them on every import.
        module = None if name.startswith("__") else public_names(kind).get(name)
        if module is None:
            raise AttributeError(
                f"module '{package}' has no attribute '{name}'",
                name=name,
                obj=sys.modules[package],
            )
        value = getattr(importlib.import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *public_names(kind)})

    return get, names
