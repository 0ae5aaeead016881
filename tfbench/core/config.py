"""Strict settings: a frozen, flat dataclass, filled from files and the command line.

`joygen.tiny+no_depth` means the dataclass's defaults, then `configs/methods/joygen.tiny.yaml`,
then `configs/methods/joygen+no_depth.yaml`, then `key=value` words. A file holds settings and
nothing else: it never names another file. Every layer is checked by itself, so that an unknown
key, a wrong type or a value out of range is reported with the place where it stands, even where a
later layer would replace it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from tfbench.core.errors import ConfigError, UnknownName
from tfbench.core.paths import configs_dir
from tfbench.core.registry import KINDS, Name, closest, registry
from tfbench.core.yaml12 import parse_yaml

__all__ = [
    "NoConfig",
    "canonical_json",
    "files_of",
    "fingerprint",
    "load_config",
    "load_mapping",
    "named_files",
    "to_plain",
]

T = TypeVar("T")
COMMAND_LINE = "command line"
_SHOWN = 80
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class NoConfig:
    """Settings of a plugin that has none."""


def load_config(
    cls: type[T],
    kind: str,
    name: Name,
    settings: Mapping[str, Any] | Sequence[str] = (),
    roots: Sequence[Path] = (),
    files: Sequence[Path] = (),
) -> T:
    """Build the settings of a plugin.

    A field may be a bool, int, float, str, Path, Fraction, Enum, Literal, tuple or union of these,
    narrowed by `typing.Annotated` with pydantic's `Field`. Nothing is converted but what YAML
    cannot write: text becomes a Path, Enum or Fraction, a list a tuple, an int a float.

    Args:
        cls: A frozen dataclass.
        kind: Folder below the configs, such as "methods".
        name: Stem (or alias), variant and overlays.
        settings: `key=value` words, or a mapping; they win over all files. A word's value is read
            as YAML where that gives a value that the field takes, and word for word otherwise.
        roots: Further folders of configs. The folder `configs` in the package of a plugin that
            another distribution brings is always looked into.
        files: Further files of settings; they win over those of the name.

    Raises:
        ConfigError: Names the file or the command line, the key, what came and what is allowed.
        UnknownName: There is no such plugin, variant or overlay; lists those that exist.
    """
    fields = _fields(cls)
    values: dict[str, Any] = {}
    for path in (*files_of(kind, name, roots), *files):
        values |= _checked(fields, load_mapping(path), str(path))
    if isinstance(settings, Mapping):
        values |= _checked(fields, settings, "settings")
    else:
        values |= _words(fields, settings)
    absent = [
        field.name for field in _settable(cls) if field.name not in values and _required(field)
    ]
    if absent:
        raise ConfigError(
            f"{name} needs the setting '{absent[0]}'; give {absent[0]}=VALUE "
            f"(allowed keys: {', '.join(fields)})"
        )
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"the settings of {name} do not fit together: {error}") from error


def load_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; an empty file is an empty mapping.

    Args:
        path: The file, UTF-8, with YAML 1.2 scalars.

    Raises:
        ConfigError: Names the file and what is wrong with it.
    """
    try:
        value = parse_yaml(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path} holds {_show(value)}; wanted a mapping, one `key: value` to a line"
        )
    return value


def to_plain(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as a dict that JSON can hold.

    Args:
        config: A dataclass instance. A Path, Fraction or Enum becomes text, a tuple a list, an
            infinity "inf" or "-inf".

    Raises:
        ConfigError: A value is NaN or of a type that JSON cannot hold.
    """
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, floats that round-trip.

    Args:
        value: Anything that `to_plain` accepts, or a dict, list or scalar of it.

    Raises:
        ConfigError: A value is NaN or of a type that JSON cannot hold.
    """
    text = json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    # Names of files that are not UTF-8 hold lone surrogates, which no encoding would take.
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def fingerprint(value: Any) -> str:
    """Return the sha256, in hex, of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _plain_float(value)
    if isinstance(value, Path | Fraction):
        return str(value)
    return _plain_many(value)


def _plain_many(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_text_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=canonical_json)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain(value)
    raise ConfigError(f"{value!r} is a {type(value).__name__}, which settings cannot hold")


def _plain_float(value: float) -> float | str:
    if math.isnan(value):
        raise ConfigError("a value is NaN; only numbers and infinities can be written")
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def _text_key(key: Any) -> str:
    plain = _plain(key)
    if not isinstance(plain, str):
        raise ConfigError(f"the key {key!r} is not text")
    return plain


@dataclasses.dataclass(frozen=True)
class _Field:
    """One setting and the check of its type and range."""

    name: str
    adapter: TypeAdapter[Any]

    def check(self, value: Any, where: str) -> Any:
        """Return the value as the field holds it, or raise a ConfigError."""
        try:
            return self._convert(value)
        except ValidationError as error:
            wanted = self._wanted(error)
        except ConfigError as error:
            wanted = str(error)
        raise ConfigError(f"{where}: {self.name}: got {_show(value)}, {wanted}")

    def check_word(self, text: str, where: str) -> Any:
        """Return what a word of the command line means for this field."""
        try:
            value = parse_yaml(text)
        except ValueError:
            value = text
        if isinstance(value, str) and text.strip()[:1] not in {'"', "'"}:
            # YAML would cut text at ` #` and drop anchors, which paths and commands may hold.
            value = text
        if self._takes(value) or not self._takes(text):
            return self.check(value, where)
        return self.check(text, where)

    def _takes(self, value: Any) -> bool:
        try:
            self._convert(value)
        except (ValidationError, ConfigError):
            return False
        return True

    def _convert(self, value: Any) -> Any:
        # Strict JSON is the mode that takes text for paths and enums, lists for tuples and ints
        # for floats, and converts nothing else.
        return self.adapter.validate_json(json.dumps(_numbers(value)))

    def _wanted(self, error: ValidationError) -> str:
        reasons = []
        for one in error.errors(include_url=False):
            place = "".join(f"[{step}]" for step in one["loc"] if isinstance(step, int))
            reason = re.sub(r"^Input should be (a valid )?", "", one["msg"])
            reasons.append(f"{place}: {reason}" if place else reason)
        if self._takes(None):
            reasons.append("null")
        return f"wanted {' or '.join(dict.fromkeys(reasons))}"


def _numbers(value: Any) -> Any:
    """Return plain values in which infinities are still numbers."""
    if isinstance(value, float) and math.isinf(value):
        return value
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    return _plain(value)


def _fields(cls: type[Any]) -> Mapping[str, _Field]:
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise ConfigError(f"{_place(cls)} is not a frozen dataclass, as settings must be")
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"{_place(cls)}: {error}; import the types of settings outside of TYPE_CHECKING"
        ) from error
    return {field.name: _field(cls, field.name, hints[field.name]) for field in _settable(cls)}


def _field(cls: type[Any], name: str, hint: Any) -> _Field:
    if any(dataclasses.is_dataclass(part) for part in (hint, *get_args(hint))):
        raise ConfigError(f"{_place(cls)}.{name} holds a dataclass; settings are flat")
    try:
        return _Field(name, TypeAdapter(hint, config=ConfigDict(strict=True)))
    except PydanticUserError as error:
        raise ConfigError(f"{_place(cls)}.{name} cannot be a setting: {error}") from error


def _settable(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(cls) if field.init)


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _place(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _known(fields: Mapping[str, _Field], key: Any, where: str) -> _Field:
    if key in fields:
        return fields[key]
    allowed = ", ".join(fields) or "none"
    hint = closest(str(key), fields)
    raise ConfigError(f"{where}: unknown key '{key}'{hint}; allowed keys: {allowed}")


def _checked(fields: Mapping[str, _Field], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {key: _known(fields, key, where).check(value, where) for key, value in given.items()}


def _words(fields: Mapping[str, _Field], words: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{COMMAND_LINE}: '{word}' is not a setting; wanted key=value")
        if key in values:
            raise ConfigError(f"{COMMAND_LINE}: '{key}' is given twice; give it once")
        values[key] = _known(fields, key, COMMAND_LINE).check_word(text, COMMAND_LINE)
    return values


def files_of(kind: str, name: Name, roots: Sequence[Path] = ()) -> list[Path]:
    """Find the files of a variant and its overlays, in the order in which they apply.

    Args:
        kind: As for `load_config`.
        name: As for `load_config`.
        roots: As for `load_config`.

    Raises:
        UnknownName: There is no such plugin, variant or overlay; lists those that exist.
    """
    stem = registry(kind).find(name.stem).name if kind in KINDS else name.stem
    folders = _folders(kind, stem, roots)
    there = named_files(kind, stem, roots)
    wanted = [] if name.variant is None else [("variant", f"{stem}.", name.variant)]
    wanted += [("overlay", f"{stem}+", overlay) for overlay in name.overlays]
    return [_file(there, folders, *what) for what in wanted]


def named_files(kind: str, stem: str, roots: Sequence[Path] = ()) -> dict[str, Path]:
    """Find the files of a plugin's variants and overlays, by name: `stem.variant`, `stem+overlay`.

    Args:
        kind: As for `load_config`.
        stem: The plugin's name.
        roots: As for `load_config`.
    """
    there: dict[str, Path] = {}
    for folder in _folders(kind, stem, roots):
        for path in sorted(folder.glob("*.yaml")):
            if path.stem.startswith((f"{stem}.", f"{stem}+")):
                there.setdefault(path.stem, path)
    return there


def _folders(kind: str, stem: str, roots: Sequence[Path]) -> list[Path]:
    return [root / kind for root in (configs_dir(), *_own_configs(kind, stem), *roots)]


def _file(
    there: Mapping[str, Path], folders: Sequence[Path], what: str, prefix: str, word: str
) -> Path:
    path = there.get(prefix + word)
    if path is not None:
        return path
    known = {stem.removeprefix(prefix): stem for stem in there if stem.startswith(prefix)}
    hint = closest(word, known)
    raise UnknownName(
        f"no {what} '{prefix}{word}'{hint}; there are: {', '.join(known.values()) or 'none'} "
        f"(in {', '.join(map(str, folders))})"
    )


def _own_configs(kind: str, stem: str) -> list[Path]:
    """Return the folders `configs` beside a plugin of another distribution, innermost first."""
    entry = registry(kind).find(stem) if kind in KINDS else None
    if entry is None or entry.source == "tfbench" or entry.path is None:
        return []
    is_folder = entry.path.name == "__init__.py"
    depth = entry.module.count(".") + is_folder
    return [parent / "configs" for parent in entry.path.parents[:depth]]


def _show(value: Any) -> str:
    try:
        text = json.dumps(_numbers(value), ensure_ascii=False)
    except ConfigError:
        text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
