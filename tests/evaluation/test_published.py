import re
from pathlib import Path

import pytest

from tfbench.core.errors import ConfigError
from tfbench.evaluation.published import PaperTable, load_paper, load_papers, printed

CHECKOUT = Path(__file__).resolve().parents[2]
PUBLISHED = CHECKOUT / "leaderboards" / "published"
TEXTS = CHECKOUT.parent / "shared" / "papers"
METRICS = {
    "",
    *("lse", "frechet", "csim", "efd", "wer", "psnr", "ssim", "lpips", "lmd"),
    "frame_consistency",
}

PAPER = """
paper: mock
title: "A talking face"
authors: "A. Author et al."
venue: ""
year: 2024
source: ""
tables:
  - id: table-1
    label: "Table 1"
    about: "Two methods."
    kind: comparison
    dataset: hdtf
    protocol: cross
    columns:
      - name: LSE-C
        printed: "LSE-C↑"
        higher_is_better: true
        definition: "not stated"
        metric: lse
      - name: FID
        printed: "FID"
        higher_is_better: false
        definition: "not stated"
        metric: frechet
    rows:
      - method: "Ground Truth"
        id: ground_truth
        values: ["9.00", "-"]
      - method: "Wav2Lip [43]"
        id: wav2lip
        values: ["7.91", "6.66"]
        bold: [1]
      - method: "Ours"
        id: joygen
        ours: true
        values: ["8.81", "6.70"]
        bold: [0]
"""


def write(folder: Path, text: str = PAPER, name: str = "mock") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("8.81", 8.81, ""),
        ("28.65", 28.65, ""),
        (" .97 ", 0.97, ""),
        ("3.2±0.1", 3.2, ""),
        ("4.54 ± 0.47", 4.54, ""),
        ("26ms", 26, "ms"),
        ("93.1%", 93.1, "%"),
        ("25 fps", 25, "fps"),
        ("62.38M", 62.38, "M"),
        ("678,389", 678389, ""),
        ("2e-4", 2e-4, ""),
        ("-0.3163", -0.3163, ""),
        ("\u22120.3163", -0.3163, ""),
        ("113.7*", 113.7, ""),
        ("-", None, ""),
        ("", None, ""),
        ("—", None, ""),
        ("±0.1", None, ""),
        ("4 \u00d7 V100", None, ""),
        ("1,2,4", None, ""),
        ("0.34\u20130.49", None, ""),
        ("~26", None, ""),
        ("%", None, ""),
        ("8 87", None, ""),
        ("LRS2(224h)", None, ""),
    ],
)
def test_printed_values_keep_their_text(text: str, number: float | None, unit: str):
    value = printed(text)
    assert value.text == text
    assert value.number == (None if number is None else pytest.approx(number))
    assert value.unit == unit


def test_a_file_is_read_word_for_word(tmp_path: Path):
    paper = load_paper(write(tmp_path))
    (table,) = paper.tables
    assert table.rows[1].values == ("7.91", "6.66")
    assert table.rows[1].bold == (1,)
    assert table.columns[1].higher_is_better is False
    assert [row.ours for row in table.rows] == [False, False, True]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    kind: comparison", "    sort: comparison", "table table-1: .*'kind' is missing"),
        ("kind: comparison", "kind: beauty", "table table-1: kind: got \"beauty\".*'comparison'"),
        ("protocol: cross", "protocol: crossed", "table table-1: protocol: got .*'one_shot'"),
        ("    about:", "    abuot: x\n    about:", "table table-1: unknown key 'abuot'"),
        ("        bold: [1]", "        blod: [1]", r"row Wav2Lip \[43\]: unknown key 'blod'"),
        ('"7.91"', "7.91", r"table table-1: row Wav2Lip \[43\]: values\[0\]: got 7.91"),
        ('["7.91", "6.66"]', '["7.91"]', r"table-1: row Wav2Lip \[43\]: 1 values for 2 columns"),
        ("bold: [1]", "bold: [2]", r"table-1: row Wav2Lip \[43\]: bold \[2\]; places are 0 to 1"),
        ("year: 2024", 'year: "2024"', 'year: got "2024"'),
        ("year: 2024", "yaer: 2024", "'year' is missing"),
        ("name: FID", "name: LSE-C", "table table-1: the column 'LSE-C' stands 2 times"),
        ('method: "Ours"', 'method: "Ground Truth"', "the row 'Ground Truth' stands 2 times"),
        ("id: joygen", "id: Joy Gen", 'row Ours: id: got "Joy Gen"'),
        ("dataset: hdtf", "dataset: ../hdtf", 'table table-1: dataset: got "../hdtf"'),
        ("higher_is_better: false", 'higher_is_better: "no"', "column FID: higher_is_better: got"),
        ("paper: mock", "paper: other", "must be the file's stem, 'mock'"),
        ("title:", "title: [", "line"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, old: str, new: str, said: str):
    assert PAPER.count(old) >= 1
    path = write(tmp_path, PAPER.replace(old, new, 1))
    with pytest.raises(ConfigError, match=rf"mock\.yaml: .*{said}"):
        load_paper(path)


def test_two_tables_of_one_id_are_refused(tmp_path: Path):
    again = PAPER[PAPER.index("  - id: table-1") :]
    with pytest.raises(ConfigError, match="the table id 'table-1' stands 2 times"):
        load_paper(write(tmp_path, PAPER + again))


def test_papers_are_sorted_by_year(tmp_path: Path):
    write(tmp_path)
    write(tmp_path, PAPER.replace("paper: mock", "paper: old").replace("2024", "2017"), "old")
    assert [paper.paper for paper in load_papers(tmp_path)] == ["old", "mock"]
    assert load_papers(tmp_path / "nowhere") == ()


def table_with(tmp_path: Path, *values: str, higher: str = "true") -> PaperTable:
    head, _ = PAPER.split("    rows:\n")
    text = f"{head}    rows:\n".replace("higher_is_better: true", f"higher_is_better: {higher}")
    for n, value in enumerate(values):
        text += f'      - {{method: "m{n}", id: m{n}, values: ["{value}", "-"]}}\n'
    return load_paper(write(tmp_path, text)).tables[0]


@pytest.mark.parametrize(
    ("values", "higher", "best"),
    [
        (("8.81", "9.29"), "true", ["m1"]),
        (("8.81", "9.29"), "false", ["m0"]),
        (("10.1", "9.29", "-"), "true", ["m0"]),
        (("0.93", "0.93", "0.9"), "true", ["m0", "m1"]),
        (("8.81", "9.29"), "null", []),
        (("8.81", "-"), "true", []),
        (("26ms", "1s"), "false", []),
        (("3.2±0.1", "3.1±0.9"), "true", ["m0"]),
    ],
)
def test_best_rows_are_computed(tmp_path: Path, values, higher: str, best: list[str]):
    table = table_with(tmp_path, *values, higher=higher)
    assert [row.id for row in table.best(0)] == best


def test_ground_truth_never_wins(tmp_path: Path):
    (table,) = load_paper(write(tmp_path)).tables
    assert [row.id for row in table.best(0)] == ["joygen"]
    assert [row.id for row in table.best(1)] == ["wav2lip"]


# What is printed against what is transcribed


every_paper = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(PUBLISHED.glob("*.yaml"))]
)


@pytest.fixture(scope="session")
def lines() -> dict[str, list[str]]:
    """Lines of each paper's text; a row of a table is one of them."""
    if not TEXTS.is_dir():
        pytest.skip(f"the papers' texts are not here: {TEXTS} does not exist")
    return {
        path.stem: [plain(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in TEXTS.glob("*.txt")
    }


@pytest.fixture(scope="session")
def texts(lines: dict[str, list[str]]) -> dict[str, str]:
    return {name: " ".join(" ".join(said).split()) for name, said in lines.items()}


def plain(text: str) -> str:
    """Undo what text extraction adds: tags, LaTeX, unusual characters and spaces."""
    text = re.sub(r"</?\w+>", " ", text)
    for old, new in {"\\pm": "±", "\\times": "\u00d7", "\\%": "%", "\u2212": "-"}.items():
        text = text.replace(old, new)
    return " ".join(re.sub(r"[$*`{}]|\\mathcal", " ", text).split())


def pattern(value: str) -> str:
    """Match a printed value, not inside of a longer number; the text may have lost its point."""
    text = plain(value)
    parts = [re.escape(part) for part in re.findall(r"\w+|[^\w\s]", text)]
    body = r"\s?".join("[. ]" if part == r"\." else part for part in parts)
    before = r"(?<![\d.])" if text[:1].isdigit() else ""
    return before + body + (r"(?!\d|\.\d)" if text[-1:].isdigit() else "")


def ends_in_order(text: str, patterns: list[str], window: int) -> bool:
    """Whether all patterns match one after the other, within a window for each."""
    for first in re.finditer(patterns[0], text):
        end = first.end()
        for one in patterns[1:]:
            found = re.compile(one).search(text, end, end + window)
            if found is None:
                break
            end = found.end()
        else:
            return True
    return False


@every_paper
def test_every_value_stands_in_the_paper(path: Path, texts: dict[str, str]):
    absent = [
        f"{table.id}: {row.method}: {value!r}"
        for table in load_paper(path).tables
        for row in table.rows
        for value in row.values
        if value.strip(" -\u2013—") and not re.search(pattern(value), texts[path.stem])
    ]
    assert absent == []


@every_paper
def test_rows_stand_in_the_paper_in_order(path: Path, texts: dict[str, str]):
    scattered = []
    for table in load_paper(path).tables:
        for row in table.rows:
            numbers = [value for value in row.values if printed(value).number is not None]
            patterns = [pattern(value) for value in numbers]
            if len(numbers) > 1 and not ends_in_order(texts[path.stem], patterns, 60):
                scattered.append(f"{table.id}: {row.method}: {numbers}")
    assert scattered == []


def squeezed(text: str) -> str:
    return re.sub(r"[\W_]", "", plain(text)).casefold()


@every_paper
def test_rows_of_tables_stand_behind_their_method(path: Path, lines: dict[str, list[str]]):
    absent = []
    for table in load_paper(path).tables:
        for row in table.rows:
            patterns = [pattern(value) for value in row.values if value.strip(" -\u2013—")]
            name = squeezed(row.method)
            if (
                patterns
                and table.label.startswith("Table")
                and not any(
                    squeezed(line).startswith(name)
                    and ends_in_order(line[len(name) :], patterns, 60)
                    for line in lines[path.stem]
                )
            ):
                absent.append(f"{table.id}: {row.method}: {row.values}")
    assert absent == []


@every_paper
def test_columns_name_known_metrics(path: Path):
    named = {column.metric for table in load_paper(path).tables for column in table.columns}
    assert named <= METRICS


def test_every_paper_whose_text_is_here_is_transcribed(texts: dict[str, str]):
    assert set(texts) <= {path.stem for path in PUBLISHED.glob("*.yaml")}


@pytest.mark.parametrize(
    ("text", "values", "there"),
    [
        ("Ours\t8.81\t6.27", ["8.81", "6.27"], True),
        ("Ours\t6.27\t8.81", ["8.81", "6.27"], False),
        ("Ours 18.81 6.27", ["8.81", "6.27"], False),
        ("Ours 8.815 6.27", ["8.81", "6.27"], False),
        ("GT 8 87 5.24", ["8.87", "5.24"], True),
        ("<b>4.54 <math>\\pm</math> 0.47</b> 3", ["4.54 ± 0.47", "3"], True),
        ("2.43 $\\pm$ 1.12 5", ["2.43±1.12", "5"], True),
        ("8.81" + 80 * " word" + " 6.27", ["8.81", "6.27"], False),
    ],
)
def test_the_search_itself(text: str, values: list[str], there: bool):
    assert ends_in_order(plain(text), [pattern(value) for value in values], 60) is there
