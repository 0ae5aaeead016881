"""What all tests of commands share: running one in an empty folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from typer.testing import CliRunner

from tfbench.cli import app as program
from tfbench.core.errors import TfbenchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Said(NamedTuple):
    """How a command ended and what it printed, with single spaces."""

    code: int
    text: str


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Run `tfbench WORDS...` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Said:
        result = CliRunner().invoke(program.app, [str(word) for word in words])
        text = " ".join(result.output.split())
        if isinstance(result.exception, TfbenchError):
            return Said(1, " ".join(f"{text} tfbench: {result.exception}".split()))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, text)

    return call
