"""`tfbench assets` through typer's runner."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from tests.core.files_server import serve
from tfbench.cli.assets import app
from tfbench.core import assets
from tfbench.core.errors import AssetError, MissingAsset, UnknownName

run = CliRunner().invoke


def put(name: str, content: bytes) -> Path:
    file = assets.path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch):
    """A manifest of one asset that a local server has and one that is gated."""
    monkeypatch.setenv("no_proxy", "*")
    with serve() as server:
        server.files["/net.pt"] = b"weights"
        small = replace(
            assets.asset("casia-webface"), name="small-net", urls=(f"{server.url}/net.pt",)
        )
        entries = {"small-net": small, "bfm-2009": assets.asset("bfm-2009")}
        monkeypatch.setattr(assets, "manifest", lambda: MappingProxyType(entries))
        yield server


def test_list_shows_every_name_and_state() -> None:
    put("syncnet-v2", bytes(824_000))
    assert "bfm-2009" not in run(app, ["list"]).output
    result = run(app, ["list", "--all"])
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.output.splitlines() if line}
    assert set(assets.manifest()) <= set(rows)
    assert "damaged" in rows["syncnet-v2"]
    assert "gated" in rows["bfm-2009"]
    assert "75.6 MB  missing" in rows["whisper-tiny"]


def test_list_as_json() -> None:
    result = run(app, ["list", "--json", "--used-by", "lse"])
    rows = json.loads(result.output)
    assert {row["name"] for row in rows} >= {"syncnet-v2", "s3fd"}
    first = rows[0]
    assert first["state"] == "missing"
    assert first["path"] == str(assets.path("syncnet-v2"))
    assert first["sha256"] == assets.asset("syncnet-v2").sha256


def test_list_of_an_unknown_user() -> None:
    result = run(app, ["list", "--used-by", "joygn"])
    assert isinstance(result.exception, UnknownName)
    assert "did you mean joygen?" in str(result.exception)


def test_get(served) -> None:
    result = run(app, ["get", "small-net"])
    assert result.exit_code == 0, result.exception
    assert str(assets.path("small-net")) in result.output.replace("\n", "")
    assert assets.path("small-net").read_bytes() == b"weights"


def test_get_goes_on_after_a_gated_one_and_reports_it(served) -> None:
    result = run(app, ["get", "bfm-2009", "small-net"])
    assert isinstance(result.exception, MissingAsset)
    assert assets.path("small-net").is_file()


def test_get_reports_all_failures(served) -> None:
    served.files.clear()
    result = run(app, ["get", "bfm-2009", "small-net"])
    assert isinstance(result.exception, AssetError)
    assert "by hand" in str(result.exception)
    assert "404" in str(result.exception)


def test_get_checks_all_names_first(served) -> None:
    result = run(app, ["get", "small-net", "smal-net"])
    assert isinstance(result.exception, UnknownName)
    assert served.asked == []


def test_verify() -> None:
    assert "no network is here yet" in run(app, ["verify"]).output
    put("casia-webface", b"anything")
    result = run(app, ["verify"])
    assert result.exit_code == 0
    assert "casia-webface: unchanged since first seen" in result.output
    put("syncnet-v2", bytes(824_000))
    result = run(app, ["verify"])
    assert result.exit_code == 1
    assert "truncated copy" in result.output
    assert run(app, ["verify", "casia-webface"]).exit_code == 0
    assert run(app, ["verify", "s3fd"]).exit_code == 1


def test_path() -> None:
    result = run(app, ["path", "syncnet-v2"])
    assert result.output.strip() == str(assets.path("syncnet-v2"))


def test_importing_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, tfbench.cli.assets; "
        "print([m for m in ('torch', 'pydantic', 'yaml', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
