"""Runs that come before a training, so that one command makes what takes several.

Settings may have `before`: a line for each such run, with overlays and settings as a user types
them. A run begins with the best network of the one before it, the training itself with the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfbench.core.config import files_of, load_config, load_mapping
from tfbench.core.errors import ConfigError, UnknownName
from tfbench.core.registry import Name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Stage", "stages"]

NOT_IN_A_LINE = {"before", "init", "weights"}


@dataclass(frozen=True)
class Stage:
    """One run of a training.

    Attributes:
        title: Such as "run 1 of 3, +hearing steps=700: "; "" where there is but one.
        folder: Its folder below that of the training, "" for the last run.
        config: Its settings.
    """

    title: str
    folder: str
    config: Any

    def beginning_with(self, bundle: Path) -> Any:
        """Return the settings with a network to begin with."""
        return replace(self.config, init=str(bundle))


def stages(
    cls: type[Any], kind: str, name: Name, words: Sequence[str], files: Sequence[Path]
) -> tuple[Stage, ...]:
    """Build the settings of all runs of a training, in order.

    Where settings have an `init` the training has its beginning, and nothing comes before.

    Args:
        cls: Class of the settings.
        kind: "methods" or "evaluators".
        name: What is trained.
        words: `key=value`, of the command line; they hold in all runs, except for what a line's
            overlays and words set.
        files: Further files of settings, of which the same is true.

    Raises:
        ConfigError: As `load_config`; of a line, the line is named.
        UnknownName: There is no such variant or overlay; of a line, the line is named.
    """
    last = load_config(cls, kind, name, words, files=files)
    if kind == "methods":
        # What a variant generates with is not what its training begins with; that is `init`.
        last = replace(last, weights="")
    lines = getattr(last, "before", ())
    if not lines or last.init:
        return (Stage("", "", last),)
    of = f"of {len(lines) + 1}"
    earlier = [
        Stage(
            f"run {number} {of}, {line}: ",
            f"before-{number}",
            replace(_of_line(cls, kind, name, words, files, line), before=(), weights=""),
        )
        for number, line in enumerate(lines, 1)
    ]
    return (*earlier, Stage(f"run {len(lines) + 1} {of}: ", "", last))


def _of_line(
    cls: type[Any],
    kind: str,
    name: Name,
    words: Sequence[str],
    files: Sequence[Path],
    line: str,
) -> Any:
    try:
        overlays, own = _parts(line)
        added = [overlay for overlay in overlays if overlay not in name.overlays]
        whole = Name(name.stem, name.variant, (*name.overlays, *added))
        over = files_of(kind, whole)[len(files_of(kind, name)) :]
        keys = set(own).union(*(load_mapping(path) for path in over))
        rest = [word for word in words if word.partition("=")[0] not in keys]
        return load_config(cls, kind, name, [*rest, *own.values()], files=[*files, *over])
    except (ConfigError, UnknownName) as error:
        raise type(error)(f"before, '{line}': {error}") from error


def _parts(line: str) -> tuple[list[str], dict[str, str]]:
    """Return a line's overlays, and its words by their keys."""
    parts = line.split()
    if not parts:
        raise ConfigError("an empty line; give overlays or settings, or before=[] for no runs")
    own = [part for part in parts if not part.startswith("+")]
    words = {word.partition("=")[0]: word for word in own}
    if len(words) < len(own):
        raise ConfigError("a setting is given twice; give it once")
    if refused := sorted(words.keys() & NOT_IN_A_LINE):
        raise ConfigError(f"'{refused[0]}' cannot be set there; set it for the training")
    return [part.removeprefix("+") for part in parts if part.startswith("+")], words
