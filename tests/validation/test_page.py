import dataclasses
import re
from pathlib import Path

import pytest

from tfbench.nets.bundle import load_network
from tfbench.validation.page import compose, write_page
from tfbench.validation.study import Findings

pytest.importorskip("matplotlib")


@pytest.fixture
def findings(finished) -> Findings:
    return finished[1]


def test_the_page_has_every_number_a_verdict_and_plots(findings: Findings, tmp_path: Path):
    page, *plots = write_page(tmp_path / "validity.md", [findings])
    text = page.read_text("utf-8")
    noise = next(r for r in findings.responses if (r.change, r.column) == ("noise", "PSNR"))
    row = next(line for line in text.splitlines() if line.startswith("| PSNR (dB) |"))
    for point in noise.points:
        assert f"{point.value:.4g}" in text
    assert "responds ✓" in text
    assert row.count("|") >= 8
    assert [p.name for p in plots] == re.findall(r"\(validity/(.*?\.svg)\)", text)
    assert all(p.exists() for p in plots)


def test_links_to_changes_lead_to_headings(findings: Findings):
    text, _ = compose([findings], "plots")
    headings = {
        re.sub(r"[^a-z0-9 _-]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("### ")
    }
    targets = re.findall(r"\(#(.*?)\)", text)
    assert targets
    assert set(targets) <= headings


def test_the_same_findings_give_the_same_bytes(findings: Findings, tmp_path: Path):
    one, other = (write_page(tmp_path / name / "page.md", [findings]) for name in "ab")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in other]


def test_a_plot_that_is_no_longer_drawn_goes(findings: Findings, tmp_path: Path):
    write_page(tmp_path / "page.md", [findings])
    (tmp_path / "page" / "old.svg").write_text("old")
    write_page(tmp_path / "page.md", [findings])
    assert not (tmp_path / "page" / "old.svg").exists()


def test_a_failure_has_its_text_or_is_not_explained_yet(findings: Findings):
    text, _ = compose([findings], "plots")
    assert "**LOUD** under *Sound shifted against the picture* reacts though it must not" in text
    assert "**Not explained yet.**" in text
    known = [dataclasses.replace(r, column="LSE-D") for r in findings.responses if r.failed]
    text, _ = compose([dataclasses.replace(findings, responses=tuple(known))], "plots")
    assert "Not explained yet" not in text
    assert "31 offsets" in text


def test_without_failures_the_page_says_so(findings: Findings):
    good = tuple(r for r in findings.responses if not r.failed)
    text, _ = compose([dataclasses.replace(findings, responses=good)], "plots")
    assert "None: every metric that could be scored did as claimed." in text


def test_where_files_belong_on_a_machine_is_not_told(findings: Findings):
    why = "CLIP (clip-b32; 5 MB) is not on this machine: run `tfbench assets get x`, put at /home/u"
    text, _ = compose([dataclasses.replace(findings, left_out={"clip": why})], "plots")
    assert "- clip: CLIP\n" in text
    assert "/home/u" not in text


def test_the_page_of_the_checkout_is_of_todays_networks():
    page = Path(__file__).resolve().parents[2] / "docs" / "metric-validity.md"
    judges = set(re.findall(r"` by (\S+) ([0-9a-f]{8})[,.]", page.read_text(encoding="utf-8")))
    assert judges
    for name, digits in sorted(judges):
        assert load_network(name).sha256.startswith(digits), name
