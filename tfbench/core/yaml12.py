"""YAML with the scalars of YAML 1.2's core schema, strict about mappings.

PyYAML follows YAML 1.1, where `1e-4` is text, `no` is false, `1:30` is 90, `010` is 8 and a date
is a date; here they are a number, text, text, 10 and text (https://yaml.org/spec/1.2.2, section
10.3.2). A key that stands twice is refused, and so is NaN, which is no setting.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

__all__ = ["parse_yaml"]

_TAG = "tag:yaml.org,2002:"
_INT = r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
_FLOAT = (
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _CoreLoader(yaml.SafeLoader):
    """Knows null, bool, int, float, str, seq and map, and nothing else."""


_CoreLoader.yaml_implicit_resolvers = {}
_CoreLoader.yaml_constructors = {}


def _bool(loader: _CoreLoader, node: yaml.ScalarNode) -> bool:
    word = str(loader.construct_scalar(node)).lower()
    if word not in {"true", "false"}:
        raise ConstructorError(None, None, f"'{word}' is neither true nor false", node.start_mark)
    return word == "true"


def _int(loader: _CoreLoader, node: yaml.ScalarNode) -> int:
    word = str(loader.construct_scalar(node))
    base = {"0o": 8, "0x": 16}.get(word[:2], 10)
    if re.fullmatch(_INT, word) is None:
        raise ConstructorError(None, None, f"'{word}' is not an integer", node.start_mark)
    return int(word, base)


def _float(loader: _CoreLoader, node: yaml.ScalarNode) -> float:
    word = str(loader.construct_scalar(node)).lower()
    if re.fullmatch(_FLOAT, word) is None or "nan" in word:
        raise ConstructorError(None, None, f"'{word}' is not a number", node.start_mark)
    return float(word.replace(".inf", "inf"))


def _str(loader: _CoreLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _unknown(_loader: _CoreLoader, node: yaml.Node) -> None:
    raise ConstructorError(None, None, f"the tag {node.tag} is not allowed", node.start_mark)


def _list(loader: _CoreLoader, node: yaml.SequenceNode) -> list[Any]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _map(loader: _CoreLoader, node: yaml.MappingNode) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
        if key in mapping:
            raise ConstructorError(None, None, f"the key '{key}' stands twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_NAMES = {
    "null": (r"null|Null|NULL|~|", ["n", "N", "~", ""], lambda _loader, _node: None),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF"), _bool),
    "int": (_INT, list("-+0123456789"), _int),
    "float": (_FLOAT, list("-+.0123456789"), _float),
}
for _name, (_pattern, _first, _construct) in _NAMES.items():
    _CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})$"), _first)
    _CoreLoader.add_constructor(_TAG + _name, _construct)
_CoreLoader.add_constructor(_TAG + "str", _str)
_CoreLoader.add_constructor(_TAG + "seq", _list)
_CoreLoader.add_constructor(_TAG + "map", _map)
_CoreLoader.add_constructor(None, _unknown)


def parse_yaml(text: str) -> Any:
    """Read one YAML document.

    Args:
        text: The document; anchors are allowed, merge keys and other tags are not.

    Returns:
        None, bool, int, float, str, list or dict with text keys.

    Raises:
        ValueError: Not such a document; one line that says what is wrong, and in which line.
    """
    try:
        return yaml.load(text, Loader=_CoreLoader)  # noqa: S506 - derived from the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ValueError(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
