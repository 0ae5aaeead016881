"""The documentation's pages are up to date and their code runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import DOCS, blocks
from tfbench.evaluation.leaderboard import build, orphaned, stale


def test_the_page_of_metrics_is_up_to_date():
    command = [sys.executable, DOCS / "build.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_library_page_runs_from_top_to_bottom(capsys: pytest.CaptureFixture):
    space: dict = {"__name__": "library"}
    for _, code in blocks("library.md"):
        exec(compile(code, "library.md", "exec"), space)
    said = capsys.readouterr().out
    assert "psnr.frame" in said
    assert "FD (onet)" in said
    assert "syncnet-v2" in said
    assert "1 of 6" in said


def test_the_page_of_lip_readers_runs(capsys: pytest.CaptureFixture):
    pytest.importorskip("matplotlib")
    space: dict = {"__name__": "lip-readers"}
    for _, code in blocks("lip-readers.md"):
        exec(compile(code, "lip-readers.md", "exec"), space)
    assert "% by chance" in capsys.readouterr().out


def test_the_code_of_the_puppets_card_runs():
    space: dict = {"__name__": "card"}
    for _, code in blocks("datasets/puppets.md"):
        exec(compile(code, "puppets.md", "exec"), space)
    assert space["truth"].depth.shape == (128, 128)
    assert space["coefficients"].expression.shape == (space["clip"].n_frames, 52)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path):
    for part in page.read_text("utf-8").split("](")[1:]:
        target = part.partition(")")[0]
        if not target.startswith("http"):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_the_leaderboards_are_up_to_date():
    """`tfbench leaderboard` makes them anew."""
    folder = DOCS.parent / "leaderboards"
    pages = build(folder)
    assert not stale(pages)
    assert not orphaned(folder, pages)
