from dataclasses import replace
from pathlib import Path

import pytest

from tfbench.core.errors import InputError
from tfbench.evaluation.leaderboard import build, page, stale, write
from tfbench.evaluation.result import Cell, Result

CELL = Cell(
    column="LSE-D",
    unit="",
    higher_is_better=False,
    metric="lse",
    definition="lse.syncnet_short",
    version=1,
    crop="syncnet",
    evaluator="syncnet.v2",
    evaluator_sha256="a" * 64,
    reference_set="",
    value=7.25,
    low=7.0,
    high=7.5,
    interval="cluster bootstrap",
    n=10,
    n_failed=0,
    n_clusters=5,
    n_samples=None,
    warning="",
    reasons={},
)


def result(name: str, *cells: Cell, **changes) -> Result:
    whole = Result(
        method={"name": name},
        dataset="hdtf",
        split_checksum="b" * 64,
        protocol="self",
        protocol_settings={"version": "1"},
        evaluators="official",
        seed=0,
        device="cpu",
        n_cases=10,
        scores_sha256="c" * 64,
        cells=cells or (CELL,),
        provenance={},
    )
    return replace(whole, **changes)


def columns(text: str) -> int:
    return next(line for line in text.splitlines() if line.startswith("| method")).count("|") - 2


def test_same_key_shares_a_column_and_the_best_is_bold():
    text = page("hdtf", [result("a"), result("b", replace(CELL, value=6.5, low=None, high=None))])
    assert columns(text) == 1
    assert "| b | **6.500** |" in text
    assert "| a | 7.250 (7.000 to 7.500) |" in text


@pytest.mark.parametrize(
    "change",
    [
        {"definition": "lse.wav2lip_lrs"},
        {"evaluator_sha256": "d" * 64},
        {"crop": "frame"},
        {"version": 2},
        {"reference_set": "e" * 64},
    ],
)
def test_different_keys_never_share_a_column(change: dict):
    assert columns(page("hdtf", [result("a"), result("b", replace(CELL, **change))])) == 2


@pytest.mark.parametrize(
    "change", [{"protocol": "cross"}, {"split_checksum": "f" * 64}, {"n_cases": 9}]
)
def test_different_cases_never_share_a_table(change: dict):
    text = page("hdtf", [result("a"), result("b", **change)])
    assert text.count("| method |") == 2


def test_floor_and_ceiling_never_win():
    text = page("hdtf", [result("still", replace(CELL, value=1.0)), result("a")])
    assert "| a | **7.250" in text
    assert "| still | 1.000" in text


def test_failures_are_counted_and_explained():
    failed = replace(CELL, n=8, n_failed=2, reasons={"no face was found": 2})
    nothing = replace(CELL, value=None, low=None, high=None, n=0, n_failed=10)
    text = page("hdtf", [result("a", failed), result("b", nothing)])
    assert "8 of 10" in text
    assert "- a, LSE-D: 2 not scored: no face was found" in text
    assert "| b | — |" in text


def test_pages_are_written_once_and_found_stale(tmp_path: Path):
    saved = result("a")
    saved.write(tmp_path / "results" / saved.file_name())
    pages = build(tmp_path)
    assert stale(pages) == list(pages)
    write(pages)
    assert stale(build(tmp_path)) == []
    (tmp_path / "hdtf.md").write_text("edited by hand")
    assert stale(build(tmp_path)) == [tmp_path / "hdtf.md"]


def test_a_result_survives_the_file(tmp_path: Path):
    from tfbench.evaluation.result import read_result

    saved = result("a", replace(CELL, value=float("inf"), low=None, high=None))
    saved.write(tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == saved


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}'])
def test_files_that_are_no_result_are_named(tmp_path: Path, text: str):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/bad.json").write_text(text)
    with pytest.raises(InputError, match=r"bad\.json"):
        build(tmp_path)


def test_one_method_under_two_evaluator_sets_is_one_row():
    other = replace(CELL, evaluator="syncnet.grid", evaluator_sha256="9" * 64, value=8.0)
    text = page("hdtf", [result("a"), result("a", other, evaluators="grid")])
    assert columns(text) == 2
    assert text.count("| a |") == 1
