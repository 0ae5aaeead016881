import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.evaluation.kill import KILLS
from tests.evaluation.world import build, digest, make_clips
from tfbench.core.errors import GenerationError, InputError, StorageError, TfbenchError
from tfbench.core.types import Need
from tfbench.evaluation.result import read_result, run_name
from tfbench.evaluation.run import evaluate
from tfbench.methods.base import Generator
from tfbench.methods.files import Files, FilesConfig
from tfbench.methods.ground_truth import GroundTruth

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("clips"))


def cell(result, column):
    return next(cell for cell in result.cells if cell.column == column)


def test_rows_aggregates_and_result_agree(clips: Path, tmp_path: Path):
    result = evaluate(build(clips, tmp_path / "run"), accelerator="cpu")
    rows = [json.loads(line) for line in (tmp_path / "run/scores.jsonl").open()]
    values = [row["value"] for row in rows if row["metric"] == "psnr.frame"]
    psnr = cell(result, "PSNR")
    assert psnr.n == len(values) == 4
    assert psnr.value == pytest.approx(sum(values) / 4)
    assert psnr.low < psnr.value < psnr.high
    distance = cell(result, "FD (means)")
    assert distance.n_samples == 48
    assert distance.low < distance.value < distance.high
    assert distance.interval.startswith("delete-group jackknife")
    assert read_result(tmp_path / "run/result.json") == result


def test_killed_at_random_moments_and_continued_gives_the_same_bytes(clips: Path, tmp_path: Path):
    command = [sys.executable, "-m", "tests.evaluation.kill", str(clips), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    whole, continued, killed, status = done.stdout.split()
    assert status == "0"
    assert int(killed) >= KILLS // 2
    assert whole == continued


def test_two_processes_give_the_same_bytes_as_one(clips: Path, tmp_path: Path):
    for limit in (None, 1):
        one = replace(build(clips, tmp_path / f"one-{limit}"), limit=limit)
        two = replace(build(clips, tmp_path / f"two-{limit}"), limit=limit)
        evaluate(one, accelerator="cpu")
        evaluate(two, accelerator="cpu", devices=2)
        assert digest(one.folder) == digest(two.folder)


def test_each_case_is_told_of_from_all_processes(clips: Path, tmp_path: Path):
    told = []

    def note(case, state):
        told.append((case, state))

    evaluate(build(clips, tmp_path), accelerator="cpu", devices=2, progress=note)
    assert sorted(told) == [(f"clip {k} é", "scored") for k in range(4)]


class Fatal(Generator):
    """Ends its process, as the system does when memory is short."""

    name = "fatal"
    needs = frozenset({Need.SOURCE})

    def frames(self, request):
        os._exit(9)


def test_a_killed_process_is_told_in_a_line(clips: Path, tmp_path: Path):
    evaluation = replace(build(clips, tmp_path), generator=Fatal())
    with pytest.raises(TfbenchError, match=r"ended early: killed.*--devices 1"):
        evaluate(evaluation, accelerator="cpu", devices=2)


class Slow(Generator):
    """Refuses the first clip at once and takes a minute for others, and cleans up."""

    name = "slow"
    needs = frozenset({Need.SOURCE})

    def __init__(self, marker):
        super().__init__()
        self.marker = marker

    def frames(self, request):
        if "clip 0" in request.id:
            raise GenerationError("no")
        try:
            self.marker.with_suffix(".begun").touch()
            time.sleep(60)
        finally:
            self.marker.touch()
        yield from request.source.video.frames()


def test_after_ctrl_c_processes_clean_up_and_others_live(clips: Path, tmp_path: Path):
    slow = Slow(tmp_path / "cleaned")
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()

    def press(_case, _state):
        while not (tmp_path / "cleaned.begun").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    evaluation = replace(build(clips, tmp_path / "run"), generator=slow)
    with pytest.raises(KeyboardInterrupt):
        evaluate(evaluation, accelerator="cpu", devices=2, progress=press)
    assert (tmp_path / "cleaned").exists()
    assert other.is_alive()
    other.kill()


def test_what_goes_wrong_in_a_process_is_told_as_in_one(clips: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    evaluation = build(clips, tmp_path / "file" / "run")
    with pytest.raises(StorageError, match="run"):
        evaluate(evaluation, accelerator="cpu", devices=2)


def test_what_cannot_be_sent_to_a_process_is_named(clips: Path, tmp_path: Path):
    evaluation = replace(build(clips, tmp_path), generator=Slow(lambda: None))
    with pytest.raises(TfbenchError, match="slow or a metric cannot be sent to another process"):
        evaluate(evaluation, accelerator="cpu", devices=2)


def test_a_finished_run_is_not_done_again(clips: Path, tmp_path: Path):
    evaluation = build(clips, tmp_path / "run")
    evaluate(evaluation, accelerator="cpu")
    before = (tmp_path / "run/rows-0.jsonl").read_bytes()
    states = []
    evaluate(evaluation, accelerator="cpu", progress=lambda _, state: states.append(state))
    assert states == ["done before"] * 4
    assert (tmp_path / "run/rows-0.jsonl").read_bytes() == before


def test_videos_of_another_writer_are_made_anew(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    evaluation = replace(build(clips, tmp_path / "run"), generator=GroundTruth())
    made = []
    for writer in (1, 1, 2):
        monkeypatch.setattr("tfbench.evaluation.worker.WRITER", writer)
        evaluate(evaluation, accelerator="cpu")
        videos = sorted((tmp_path / "run/videos").glob("*.mp4"))
        made.append([video.stat().st_mtime_ns for video in videos])
    assert len(made[0]) == 4
    assert made[0] == made[1]
    assert all(new > old for new, old in zip(made[2], made[0], strict=True))


def test_a_torn_last_line_is_dropped_and_done_again(clips: Path, tmp_path: Path):
    evaluation = build(clips, tmp_path / "run")
    evaluate(evaluation, accelerator="cpu")
    wanted = digest(evaluation.folder)
    rows = tmp_path / "run/rows-0.jsonl"
    rows.write_bytes(rows.read_bytes()[:-40])
    evaluate(evaluation, accelerator="cpu")
    assert digest(evaluation.folder) == wanted


def test_other_inputs_in_the_same_folder_are_scored_anew(clips: Path, tmp_path: Path):
    pred = make_clips(tmp_path / "pred")
    files = Files(FilesConfig(pred))
    evaluation = replace(build(clips, tmp_path / "run"), generator=files)
    first = cell(evaluate(evaluation, accelerator="cpu"), "PSNR")
    assert first.value == float("inf")
    assert first.low is None
    noisy = torch.randint(0, 256, (12, 3, 48, 48), dtype=torch.uint8)
    from tfbench.media.video import write_video

    write_video(pred / "clip 0 é.mp4", [noisy], 25, None, comment="test")
    evaluate(evaluation, accelerator="cpu")
    rows = [json.loads(line) for line in (tmp_path / "run/scores.jsonl").open()]
    finite = [row["case"] for row in rows if row["column"] == "PSNR" and row["value"] != "inf"]
    assert finite == ["clip 0 é"]


def test_infinite_values_are_the_string_inf(clips: Path, tmp_path: Path):
    evaluation = replace(build(clips, tmp_path / "run"), generator=Files(FilesConfig(clips)))
    evaluate(evaluation, accelerator="cpu")
    plain = json.loads((tmp_path / "run/result.json").read_text())
    assert plain["cells"][0]["value"] == "inf"


def test_a_missing_video_is_a_row_with_its_reason(clips: Path, tmp_path: Path):
    pred = make_clips(tmp_path / "pred", n=3)
    evaluation = replace(build(clips, tmp_path / "run"), generator=Files(FilesConfig(pred)))
    psnr = cell(evaluate(evaluation, accelerator="cpu"), "PSNR")
    assert (psnr.n, psnr.n_failed) == (3, 1)
    assert list(psnr.reasons) == [f"no video 'clip 3 é' in {pred}"]


def test_a_text_file_named_mp4_does_not_stop_the_rest(clips: Path, tmp_path: Path):
    pred = make_clips(tmp_path / "pred")
    (pred / "clip 1 é.mp4").write_text("this is not a video")
    evaluation = replace(build(clips, tmp_path / "run"), generator=Files(FilesConfig(pred)))
    psnr = cell(evaluate(evaluation, accelerator="cpu"), "PSNR")
    assert (psnr.n, psnr.n_failed) == (3, 1)
    assert "clip 1 é.mp4" in next(iter(psnr.reasons))


class Moody(Generator):
    """Fails on one clip in a way that nobody foresaw."""

    name = "moody"
    needs = frozenset({Need.SOURCE})

    def frames(self, request):
        if "2" in request.id:
            raise ZeroDivisionError("oops")
        yield from request.source.video.frames()


def test_a_generator_that_breaks_on_one_clip_leaves_the_rest(clips: Path, tmp_path: Path):
    evaluation = replace(build(clips, tmp_path / "run"), generator=Moody())
    psnr = cell(evaluate(evaluation, accelerator="cpu"), "PSNR")
    assert (psnr.n, psnr.n_failed) == (3, 1)
    assert psnr.reasons == {"moody failed: ZeroDivisionError('oops')": 1}
    assert not list((tmp_path / "run/videos").glob(".*"))


def test_a_judge_that_has_taught_the_method_is_told(clips: Path, tmp_path: Path):
    evaluation = build(clips, tmp_path / "run")
    judge = evaluation.metrics[1].info.evaluator_sha256
    evaluation.generator.taught_by = (judge,)
    result = evaluate(evaluation, accelerator="cpu")
    assert cell(result, "PSNR").warning == ""
    seen = [cell.warning for cell in result.cells if cell.evaluator_sha256 == judge]
    assert seen
    assert all("judge seen in training" in warning for warning in seen)
    assert "means.test" in seen[0]


def test_ground_truth_is_nearly_perfect_and_impossible_across(clips: Path, tmp_path: Path):
    truth = replace(build(clips, tmp_path / "self"), generator=GroundTruth())
    assert cell(evaluate(truth, accelerator="cpu"), "PSNR").value > 35
    cross = replace(build(clips, tmp_path / "cross", "cross"), generator=GroundTruth())
    result = evaluate(cross, accelerator="cpu")
    assert not result.scored
    assert "has no truth" in next(iter(result.cells[0].reasons))


def test_a_request_that_lacks_something_is_refused_by_name(clips: Path, tmp_path: Path):
    class Emotional(Moody):
        name = "emotional"
        needs = frozenset({Need.EMOTION, Need.SPEECH})

    evaluation = replace(build(clips, tmp_path / "run"), generator=Emotional())
    reasons = evaluate(evaluation, accelerator="cpu").cells[0].reasons
    assert all(reason.startswith("emotional needs emotion, which") for reason in reasons)


def test_a_folder_that_cannot_be_written_stops_the_run(clips: Path, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError, match="cannot write to"):
        evaluate(build(clips, blocked / "run"), accelerator="cpu")


def test_a_full_disk_stops_the_run_and_says_so(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StorageError, match=r"no space left .* run the same command again"):
            evaluate(build(clips, tmp_path / "run"), accelerator="cpu")
    evaluate(build(clips, tmp_path / "run"), accelerator="cpu")
    evaluate(build(clips, tmp_path / "whole"), accelerator="cpu")
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


def test_no_metric_and_no_clip_are_refused(clips: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no metric"):
        evaluate(replace(build(clips, tmp_path), metrics=()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no video in"):
        evaluate(build(tmp_path / "empty", tmp_path / "run"))


def test_ctrl_c_passes_through_and_the_run_continues(clips: Path, tmp_path: Path):
    evaluation = build(clips, tmp_path / "run")

    def stop(case: str, state: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(evaluation, accelerator="cpu", progress=stop)
    states = []
    evaluate(evaluation, accelerator="cpu", progress=lambda _, state: states.append(state))
    assert states == ["done before", "scored", "scored", "scored"]


def test_a_run_is_named_by_its_judges_without_making_folders():
    assert run_name("self", "auto+wer=lipreader.grid") == "self-auto+wer=lipreader.grid"
    one, other = (run_name("self", f"auto+wer=runs{sign}a") for sign in ("/", "-"))
    assert one.startswith("self-auto+wer=runs-a-")
    assert "/" not in one
    assert one != other
