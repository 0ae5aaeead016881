import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfbench.cli.app import app
from tfbench.core.errors import InputError
from tfbench.evaluation.cost import Cost, Run
from tfbench.evaluation.leaderboard import (
    build,
    costs_page,
    orphaned,
    page,
    paper_page,
    stale,
    write,
)
from tfbench.evaluation.markdown import Notes, escape, label_of, published_table
from tfbench.evaluation.published import Paper, PaperColumn, PaperRow, PaperTable
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
    assert "- a: LSE-D: 2 not scored: no face was found" in text
    assert "| b | — |" in text


def test_one_reason_is_said_once_for_all_methods_and_columns():
    failed = replace(CELL, n=8, n_failed=2, reasons={"no face was found": 2})
    both = [failed, replace(failed, column="LSE-C")]
    text = page("hdtf", [result("a", *both), result("b", *both), result("c", failed)])
    assert text.count("no face was found") == 2
    assert "- a, b: LSE-D, LSE-C: 2 not scored: no face was found" in text
    assert "- c: LSE-D: 2 not scored: no face was found" in text


def test_columns_of_one_name_say_that_they_do_not_compare():
    text = page("hdtf", [result("a"), result("b", replace(CELL, reference_set="f" * 64))])
    assert "Columns of one name do not compare" in text
    assert "Columns of one name" not in page("hdtf", [result("a"), result("b")])


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


LSE_C = PaperColumn("LSE-C", "Sync \\uparrow", True, "SyncNet, crop not stated", metric="lse")
LSE_D = PaperColumn("LSE-D", "LSE-D", False, "SyncNet, crop not stated", metric="lse")
TRUTH = PaperRow("GT", "ground_truth", ("9.0", "5.0"))
RIVAL = PaperRow("A|b [43]*", "a", ("8.0", "7.00"), bold=(0,))
OURS = PaperRow("Ours", "c", ("8.5", "7.10"), ours=True, bold=(1,), note="Of the text|form.")


def published(**changes) -> PaperTable:
    whole = PaperTable(
        id="table-1",
        label="Table 1",
        about="Two methods.",
        kind="comparison",
        dataset="hdtf",
        protocol="self",
        columns=(LSE_C, LSE_D),
        rows=(TRUTH, RIVAL, OURS),
        footnotes=("Section 4 says 8.6.",),
    )
    return replace(whole, **changes)


def paper(*tables: PaperTable, name: str = "mock") -> Paper:
    return Paper(name, "A <b>title", "A. Author", "", 2024, "", tables or (published(),), ("Odd.",))


def rows(text: str) -> list[list[str]]:
    """Cells of all lines of tables; an escaped bar opens no cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_published_tables_are_as_printed_and_the_best_is_computed():
    text = page("hdtf", [], [paper()])
    assert rows(text)[2:] == [
        ["GT", "9.0", "5.0"],
        [r"A\|b [43]\*", "8.0", "**7.00**"],
        ["*Ours* [b]", "**8.5**", "7.10"],
    ]
    assert rows(text)[0] == ["method", "LSE-C ↑ [a]", "LSE-D ↓ [a]"]
    assert "[a] LSE-C (printed “Sync”), LSE-D: SyncNet, crop not stated" in text
    assert r"[b] Of the text\|form." in text
    assert "- Section 4 says 8.6." in text
    assert "Comparison, protocol `self`. Two methods." in text
    assert "[mock](papers/mock.md), Table 1" in text


def test_bold_marks_on_other_rows_are_told():
    text = page("hdtf", [], [paper()])
    assert (
        r"- LSE-C: the paper prints A\|b [43]\* (8.0) in bold; "
        "the best number is that of Ours (8.5)." in text
    )
    assert "- LSE-D: the paper prints Ours (7.10) in bold; the best number is that of A" in text


def test_bold_marks_that_agree_or_are_unknown_are_not_told():
    agreeing = published(rows=(TRUTH, replace(RIVAL, bold=(1,)), replace(OURS, bold=(0,))))
    unknown = published(rows=(TRUTH, replace(RIVAL, bold=()), replace(OURS, bold=())))
    for shown in (agreeing, unknown):
        assert "in bold" not in page("hdtf", [], [paper(shown)])


def test_tables_of_other_data_sets_stay_on_their_page():
    text = page("hdtf", [], [paper(published(), published(id="table-2", dataset="lrs2"))])
    assert text.count("| method |") == 1


def test_published_and_measured_stand_side_by_side():
    text = page("hdtf", [result("a"), result("z")], [paper()])
    (line,) = [cells for cells in rows(text) if len(cells) == 5 and cells[0] == "a"]
    assert line == [
        "a",
        "LSE-D ↓",
        "`self`",
        r"7.00 ([mock](papers/mock.md), Table 1, “A\|b [43]\*”) [a]",
        "7.250 (7.000 to 7.500) [b]",
    ]
    assert "[a] Published, mock, LSE-D: SyncNet, crop not stated" in text
    assert "[b] Measured, LSE-D: `lse.syncnet_short` v1, crop `syncnet`, evaluator" in text
    assert "10 cases of split `bbbbbbbb`" in text


@pytest.mark.parametrize(
    "shown",
    [
        published(protocol="cross"),
        published(protocol=""),
        published(dataset="lrs2"),
        published(columns=(replace(LSE_C, metric=""), replace(LSE_D, metric=""))),
        published(columns=(LSE_C, replace(LSE_D, name="LSE-D of parts"))),
        published(rows=(TRUTH, replace(RIVAL, values=("8.0", "-")), OURS)),
        published(rows=(TRUTH, replace(RIVAL, id="b"), OURS)),
    ],
)
def test_what_does_not_match_is_not_put_side_by_side(shown: PaperTable):
    assert "beside measured" not in page("hdtf", [result("a")], [paper(shown)])


@pytest.mark.parametrize("overlays", ["", "+no_lip"])
def test_a_variant_stands_beside_its_published_method(overlays: str):
    shown = published(rows=(TRUTH, replace(RIVAL, id=f"a{overlays}"), OURS))
    names = [f"a.tiny{overlays}", f"a.my-run{overlays}", "a.tiny+other", "ab.tiny"]
    text = page("hdtf", [result(name) for name in names], [paper(shown)])
    (line,) = [cells for cells in rows(text) if len(cells) == 5 and cells[0] == f"a{overlays}"]
    here = line[4].split("<br>")
    assert [number.partition(" (a.")[2].partition(")")[0] for number in here] == [
        f"tiny{overlays}",
        f"my-run{overlays}",
    ]


def test_two_published_numbers_of_one_method_share_a_line():
    again = published(
        id="table-2", label="Table 2", rows=(replace(RIVAL, values=("8.1", "6.9")), OURS)
    )
    text = page("hdtf", [result("a")], [paper(published(), again)])
    (line,) = [cells for cells in rows(text) if len(cells) == 5 and cells[0] == "a"]
    first, second = line[3].split("<br>")
    assert first.startswith("7.00 (")
    assert second.startswith("6.9 (")


def test_columns_that_differ_in_parentheses_have_a_line_each():
    columns = (replace(LSE_C, name="LSE-D (face)"), replace(LSE_C, name="LSE-D (scene)"))
    text = page("hdtf", [result("a")], [paper(published(columns=columns))])
    lines = [cells for cells in rows(text) if len(cells) == 5 and cells[0] == "a"]
    assert [line[1] for line in lines] == ["LSE-D (face) ↑", "LSE-D (scene) ↑"]


def test_parts_of_one_table_are_told_apart():
    whole = paper(published(), published(id="table-1b"), published(id="x", dataset="lrs2"))
    assert [label_of(whole, shown) for shown in whole.tables] == [
        "Table 1, part 1 of 2",
        "Table 1, part 2 of 2",
        "Table 1",
    ]


def test_tables_of_settings_hold_items_and_words_to_the_left():
    settings = PaperTable(
        id="table-3",
        label="Table 3",
        about="Data and sizes.",
        kind="data",
        dataset="",
        protocol="",
        columns=(
            PaperColumn("Value", "(no head)", None, "Settings."),
            PaperColumn("Epochs", "", None, "Counted."),
        ),
        rows=(
            PaperRow("Schedule", "schedule", ("linear", "8 87")),
            PaperRow("Steps", "steps", ("1000", "5")),
        ),
    )
    text = published_table(settings, "Table 3")
    assert text.splitlines()[2] == "Data and sizes."
    assert "| item | Value [a] | Epochs [b] |\n|---|---|---:|" in text
    assert "[a] Value: Settings." in text


def test_a_page_of_a_paper_holds_all_its_tables():
    speed = published(id="table-2", label="Table 2", kind="efficiency", dataset="", protocol="")
    text = paper_page(paper(published(), speed), ["hdtf"])
    assert "# A &lt;b>title" in text
    assert "- Odd." in text
    assert "### Table 1, [hdtf](../hdtf.md)" in text
    assert "### Table 2\n" in text
    assert "Efficiency. Two methods." in text
    assert text.count("| method |") == 2


PUBLISHED = """
paper: mock
title: "A title"
authors: "A. Author"
venue: ""
year: 2024
source: ""
tables:
  - id: table-1
    label: "Table 1"
    about: "Two methods."
    kind: comparison
    dataset: grid
    protocol: self
    columns: [{name: PSNR, printed: PSNR, higher_is_better: true, definition: "not stated"}]
    rows: [{method: "a", id: a, values: ["30.1"]}]
"""


def test_data_sets_papers_and_the_index_are_built(tmp_path: Path):
    saved = result("a", dataset="folder-my clips")
    saved.write(tmp_path / "results" / saved.file_name())
    (tmp_path / "published").mkdir()
    (tmp_path / "published/mock.yaml").write_text(PUBLISHED)
    (tmp_path / "published/README.md").write_text("rules")
    pages = build(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in pages]
    assert names == ["folder-my clips.md", "grid.md", "papers/mock.md", "README.md"]
    index = rows(pages[tmp_path / "README.md"])
    assert ["[folder-my clips](folder-my%20clips.md)", "1", "1", "0"] in index
    assert ["[grid](grid.md)", "0", "0", "1"] in index
    assert ["[mock](papers/mock.md)", "A title", "2024", "1", "[grid](grid.md)"] in index
    write(pages)
    assert stale(build(tmp_path)) == []
    assert orphaned(tmp_path, pages) == []


def test_generated_pages_without_a_source_are_orphaned(tmp_path: Path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published/mock.yaml").write_text(PUBLISHED)
    (tmp_path / "notes.md").write_text("by hand")
    write(build(tmp_path))
    (tmp_path / "published/mock.yaml").unlink()
    found = orphaned(tmp_path, build(tmp_path))
    assert found == [tmp_path / "grid.md", tmp_path / "papers/mock.md"]


def test_the_command_removes_orphans_and_checks_for_them(tmp_path: Path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published/mock.yaml").write_text(PUBLISHED)
    (tmp_path / "notes.md").write_text("by hand")
    run = CliRunner()
    assert run.invoke(app, ["leaderboard", str(tmp_path)]).exit_code == 0
    assert run.invoke(app, ["leaderboard", str(tmp_path), "--check"]).exit_code == 0
    (tmp_path / "published/mock.yaml").unlink()
    said = run.invoke(app, ["leaderboard", str(tmp_path), "--check"])
    assert said.exit_code == 1
    assert "orphaned: " in said.output
    assert (tmp_path / "grid.md").exists()
    assert run.invoke(app, ["leaderboard", str(tmp_path)]).exit_code == 0
    assert not (tmp_path / "grid.md").exists()
    assert (tmp_path / "notes.md").exists()


def test_a_page_that_is_no_text_is_stale(tmp_path: Path):
    write(build(tmp_path))
    (tmp_path / "README.md").write_bytes(b"\xff\xfe")
    assert stale(build(tmp_path)) == [tmp_path / "README.md"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        (r"w/o \mathcal{L}_{emo}", r"w/o \mathcal{L}\_{emo}"),
        ("two\nlines", "two lines"),
        ("PC-AVS[40]*", r"PC-AVS[40]\*"),
        ("[a](b)", r"[a]\(b)"),
        ("<br>", "&lt;br>"),
        ("ground_truth", "ground_truth"),
        ("_a_", r"\_a\_"),
        ("~26", r"\~26"),
        ("`a*b|<c>` *", r"`a*b\|<c>` \*"),
    ],
)
def test_text_means_itself(text: str, escaped: str):
    assert escape(text) == escaped


def test_notes_are_lettered_once_each():
    notes = Notes()
    marks = [notes.mark(f"note {n}") for n in range(30)]
    assert marks[0] == "[a]"
    assert marks[25:28] == ["[z]", "[aa]", "[ab]"]
    assert notes.mark("note 3") == "[d]"
    assert notes.mark("") == ""
    assert len(notes.lines()) == 30


def test_without_tables_of_its_own_a_folder_shows_the_shipped_ones_of_its_data_sets(tmp_path: Path):
    mead = result("a", dataset="mead")
    mead.write(tmp_path / "results" / mead.file_name())
    own = {path.relative_to(tmp_path).as_posix() for path in build(tmp_path)}
    assert own == {"mead.md", "papers/emotional_clip_3dmm.md", "README.md"}
    unknown = result("a", dataset="nobody-has-this")
    (tmp_path / "results" / mead.file_name()).unlink()
    unknown.write(tmp_path / "results" / unknown.file_name())
    assert {path.name for path in build(tmp_path)} == {"nobody-has-this.md", "README.md"}


def test_costs_have_a_page_with_a_table_for_each_device(tmp_path: Path):
    runs = (Run(1, 40.0, 80.0, 2.5), Run(8, 10.0, 90.0, None))
    cost = Cost({"name": "a"}, "GPU | one", 256, 128, 25.0, 100, 3, 12_500_000, runs, {})
    other = replace(cost, device="CPU", runs=runs[:1], parameters=None)
    for one in (cost, other):
        one.write(tmp_path / "costs" / one.file_name())
    pages = build(tmp_path)
    assert "[Costs of methods](costs.md)" in pages[tmp_path / "README.md"]
    text = pages[tmp_path / "costs.md"]
    assert text.index("## CPU") < text.index(r"## GPU \| one")
    assert "| a | 128x256 | 12.50 | 1 | 40.00 | 80.0 | 2.50 | 1.000 |" in text
    assert "| a | 128x256 | 12.50 | 8 | 10.00 | 90.0 | — | 0.250 |" in text
    assert "| a | 128x256 | — | 1 | 40.00 | 80.0 | 2.50 | 1.000 |" in text
    shown = costs_page([cost], [paper(published(kind="efficiency"))])
    assert "[mock](papers/mock.md), Table 1" in shown


def test_the_pages_of_the_checkout_are_fresh():
    folder = Path(__file__).resolve().parents[2] / "leaderboards"
    pages = build(folder)
    assert stale(pages) + orphaned(folder, pages) == []
