"""The commands as a user types them, on tiny clips."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evaluation.world import make_clips

PSNR = ("--metrics", "psnr", "--evaluators", "offline", "--accelerator", "cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("real") / "my clips", n=3)


def test_score_against_itself(run, clips: Path, tmp_path: Path):
    said = run("score", "--pred", clips, "--ref", clips, *PSNR)
    assert said.code == 0, said.text
    assert "inf" in said.text
    assert "3/3" in said.text
    board = (tmp_path / "leaderboards/folder-my clips.md").read_text()
    assert "| my clips | **inf** |" in board
    assert run("leaderboard", "--check").code == 0


def test_score_one_file_against_another(run, clips: Path):
    one, other = clips / "clip 0 é.mp4", clips / "clip 1 é.mp4"
    said = run("score", "--pred", one, "--ref", other, *PSNR)
    assert said.code == 0, said.text
    assert "1/1" in said.text


def test_a_file_against_a_folder_is_refused(run, clips: Path):
    said = run("score", "--pred", clips / "clip 0 é.mp4", "--ref", clips, *PSNR)
    assert said.code == 1
    assert "two folders or two files" in said.text


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b"])
def test_names_that_would_leave_their_folder_are_refused(run, clips: Path, name: str):
    said = run("score", "--pred", clips, "--ref", clips, "--name", name, *PSNR)
    assert said.code == 1
    assert "cannot name a method" in said.text


def test_score_without_truth_measures_what_needs_none(run, clips: Path):
    said = run("score", "--pred", clips, "--evaluators", "offline")
    assert "psnr.frame compares with the true clip" in said.text
    assert "frechet.face compares with real clips" in said.text
    assert said.code == 0
    assert "Flickering" in said.text


def test_missing_and_surplus_videos_are_told(run, clips: Path, tmp_path: Path):
    pred = make_clips(tmp_path / "pred", n=2)
    (pred / "clip 1 é.mp4").rename(pred / "other.mp4")
    said = run("score", "--pred", pred, "--ref", clips, *PSNR)
    assert said.code == 0
    assert "1 of 2 videos have no reference" in said.text
    assert "2 of 3 references have no video" in said.text
    assert "1/3" in said.text


def test_no_common_name_is_refused(run, clips: Path, tmp_path: Path):
    pred = make_clips(tmp_path / "pred", n=1)
    (pred / "clip 0 é.mp4").rename(pred / "zero.mp4")
    said = run("score", "--pred", pred, "--ref", clips, *PSNR)
    assert said.code == 1
    assert "names must be equal" in said.text


def test_eval_of_the_floor_and_the_ceiling_shares_a_table(run, clips: Path, tmp_path: Path):
    for method in ("still", "ground-truth"):
        words = ("--dataset", "folder", "--root", clips, *PSNR)
        assert run("eval", "--method", method, *words).code == 0
    board = (tmp_path / "leaderboards/folder-my clips.md").read_text()
    assert board.count("| method |") == 1
    assert "| still |" in board
    assert "| ground_truth |" in board


def test_external_program(run, clips: Path, tmp_path: Path):
    script = tmp_path / "copy it.py"
    script.write_text("import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])")
    said = run(
        *("eval", "--method", "external", "--dataset", "folder", "--root", clips, *PSNR),
        *("--set", f"command={sys.executable} '{script}' {{video}} {{out}}"),
        *("--set", "label=copy", "--set", "release=1.2"),
    )
    assert said.code == 0, said.text
    result = json.loads(
        (tmp_path / "leaderboards/results/folder-my clips/copy/self-offline.json").read_text()
    )
    assert result["cells"][0]["value"] > 30
    assert result["method"]["config"]["release"] == "1.2"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no GPU')", "ended with exit code 1; it said: no GPU"),
        ("pass", "wrote no video"),
        ("import time; time.sleep(60)", "stopped after its timeout of 1 s"),
        ("open(OUT, 'w').write('x')", "cannot be opened as a video"),
    ],
)
def test_external_programs_that_fail(run, clips: Path, tmp_path: Path, code: str, reason: str):
    script = tmp_path / "method.py"
    script.write_text(code.replace("OUT", "__import__('sys').argv[1]"))
    said = run(
        *("eval", "--method", "external", "--dataset", "folder", "--root", clips, *PSNR),
        *("--set", f"command={sys.executable} {script} {{out}}", "--limit", 1),
        *("--set", "label=bad", "--set", "release=1", "--set", "timeout_s=1"),
    )
    assert said.code == 1
    assert reason in said.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "stil", "--dataset", "demo"), "still"),
        (("--method", "still", "--dataset", "demoo"), "demo"),
        (("--method", "still", "--dataset", "demo", "--protocol", "selv"), "self"),
        (("--method", "still", "--dataset", "demo", "--metrics", "psnrr"), "psnr"),
        (("--method", "still", "--dataset", "demo", "--metrics", "psnr.x"), "frame, face"),
        (("--method", "still", "--dataset", "demo", "--evaluators", "oficial"), "official"),
        (("--method", "still", "--dataset", "demo", "--data", "frames=3"), "n_frames"),
        (("--method", "still", "--dataset", "demo", "--data", "n_frames=x"), "n_frames"),
        (("--method", "still", "--dataset", "folder"), "in which folder by --root FOLDER"),
        (("--method", "still", "--dataset", "folder", "--root", "nowhere"), "does not exist"),
        (("--method", "external", "--dataset", "demo", "--set", "command=x"), "label"),
        (("--method", "still.tiny", "--dataset", "demo"), "tiny"),
        (("--method", "still", "--dataset", "demo", "--set", "x"), "key=value"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(run, words: tuple[str, ...], message: str):
    said = run("eval", *words)
    assert said.code == 1
    assert message in said.text.partition("tfbench: ")[2]


def test_a_metric_that_was_asked_for_and_lacks_its_network_is_an_error(run, clips: Path):
    words = ("--metrics", "lse", "--evaluators", "official")
    said = run("score", "--pred", clips, "--ref", clips, *words)
    assert said.code == 1
    assert "tfbench assets get syncnet-v2" in said.text


def test_the_truncated_syncnet_that_circulates_is_refused(run, clips: Path):
    folder = Path(os.environ["TFBENCH_HOME"]) / "assets"
    folder.mkdir(parents=True)
    (folder / "syncnet_v2.model").write_bytes(b"x" * 824_000)
    words = ("--metrics", "lse", "--evaluators", "official")
    said = run("score", "--pred", clips, "--ref", clips, *words)
    assert said.code == 1
    assert "824,000" in said.text


def test_an_empty_folder_and_a_folder_of_text(run, tmp_path: Path, clips: Path):
    (tmp_path / "empty").mkdir()
    said = run("score", "--pred", tmp_path / "empty", "--ref", clips, *PSNR)
    assert "no video in" in said.text
    (tmp_path / "text").mkdir()
    (tmp_path / "text/clip 0 é.mp4").write_text("hello")
    said = run("score", "--pred", tmp_path / "text", "--ref", clips, *PSNR)
    assert said.code == 1
    assert "cannot be opened as a video" in said.text
    assert "nothing could be scored" in said.text


def test_list_and_doctor_say_what_there_is(run):
    text = run("list").text
    for name in ("still", "psnr", "frechet", "folder", "cross", "syncnet"):
        assert name in text
    text = run("doctor").text
    assert "libx264" in text
    assert "syncnet-v2" in text


def test_stale_pages_are_found(run, clips: Path, tmp_path: Path):
    run("score", "--pred", clips, "--ref", clips, *PSNR)
    (tmp_path / "leaderboards/README.md").write_text("by hand")
    assert run("leaderboard", "--check").code == 1
    assert run("leaderboard").code == 0
    assert run("leaderboard", "--check").code == 0


def test_errors_are_one_line_and_exit_code_1(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "tfbench", "leaderboard", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr == "tfbench: no folder nowhere; name the one that holds results/\n"


@pytest.fixture
def _as_in_a_terminal() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and so does what that starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt(process: subprocess.Popen) -> str:
    """Press Ctrl-C, again where Python lost it (one that falls into a destructor is ignored)."""
    for _ in range(5):
        process.send_signal(2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=20)[1]
    raise AssertionError("Ctrl-C does not end the program")


@pytest.mark.usefixtures("_as_in_a_terminal")
def test_ctrl_c_says_how_to_go_on_and_the_second_start_does(tmp_path: Path, clips: Path):
    script, first, go_on = (tmp_path / name for name in ("slow.py", "first", "go-on"))
    script.write_text(
        "import pathlib, shutil, sys, time\n"
        f"first, go_on = pathlib.Path({str(first)!r}), pathlib.Path({str(go_on)!r})\n"
        "if first.exists() and not go_on.exists(): time.sleep(120)\n"
        "first.touch()\n"
        "shutil.copy(sys.argv[1], sys.argv[2])\n"
    )
    command = [
        *(sys.executable, "-m", "tfbench", "eval", "--method", "external", "--dataset", "folder"),
        *("--root", str(clips), *PSNR, "--set", "label=slow", "--set", "release=1"),
        *("--set", f"command={sys.executable} {script} {{video}} {{out}}"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    rows = tmp_path / "runs/folder-my clips/slow/self-offline/rows-0.jsonl"
    while process.poll() is None and not (rows.exists() and rows.stat().st_size):
        time.sleep(0.05)
    said = _interrupt(process)
    assert process.returncode == 130
    assert "the same command continues there" in " ".join(said.split())
    before = rows.read_bytes()
    go_on.touch()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert done.returncode == 0
    assert rows.read_bytes().startswith(before)
