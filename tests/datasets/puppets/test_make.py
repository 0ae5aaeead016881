import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.core.plugins import REPOSITORY
from tests.datasets.puppets.fakes import N_FRAMES, Fake, RefuseUpTo, accept, jobs
from tfbench.core.errors import GenerationError, StorageError
from tfbench.datasets.demo import Demo, DemoConfig
from tfbench.datasets.puppets import make, pool
from tfbench.datasets.puppets.make import Faces, content_sha256, find_made, make_clip
from tfbench.datasets.puppets.pool import make_clips
from tfbench.media.video import open_clip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def test_a_clip_is_whole_and_made_once(tmp_path: Path, log: Path):
    (job,) = jobs(tmp_path, 1)
    made = make_clip(job, Fake(log), accept)
    assert made == find_made(job.folder) == make_clip(job, Fake(log), accept)
    assert len(list(log.iterdir())) == 1
    assert made.n_frames == N_FRAMES
    assert made.words == ((job.spec.text, 0.0, 0.24),)
    assert made.phones == (("SIL", 0.0, 0.24),)
    assert made.truth()["landmarks"].shape == (N_FRAMES, 68, 2)
    assert open_clip(made.video).video.n_frames == N_FRAMES
    assert {path.name for path in job.folder.iterdir()} == {
        *("clip.mp4", "truth.npz", "record.json", "lock"),
    }


def test_same_bits_in_this_process_and_in_workers(tmp_path: Path):
    here = make_clips(jobs(tmp_path / "a", 4), render=Fake(), check=accept, workers=1)
    there = make_clips(jobs(tmp_path / "b", 4), render=Fake(), check=accept, workers=2)
    assert [clip.sha256 for clip in here] == [clip.sha256 for clip in there]
    assert len({clip.sha256 for clip in here}) == 4
    for one, other in zip(here, there, strict=True):
        for path in one.folder.iterdir():
            assert path.read_bytes() == (other.folder / path.name).read_bytes()


def test_progress_counts_what_was_there(tmp_path: Path):
    said = []
    make_clips(jobs(tmp_path, 2), render=Fake(), check=accept, workers=1)
    make_clips(
        jobs(tmp_path, 4),
        render=Fake(),
        check=accept,
        workers=1,
        progress=lambda done, total: said.append((done, total)),
    )
    assert said == [(2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("name", ["clip.mp4", "truth.npz"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_half_written_clip_is_made_again(tmp_path: Path, log: Path, name: str, harm: str):
    (job,) = jobs(tmp_path, 1)
    before = make_clip(job, Fake(), accept)
    path = job.folder / name
    whole = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    assert find_made(job.folder) is None
    assert make_clip(job, Fake(log), accept) == before
    assert path.read_bytes() == whole
    assert len(list(log.iterdir())) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sizes": 3}'])
def test_a_broken_record_is_no_clip(tmp_path: Path, text: str):
    (job,) = jobs(tmp_path, 1)
    before = make_clip(job, Fake(), accept)
    (job.folder / "record.json").write_text(text)
    assert find_made(job.folder) is None
    assert make_clip(job, Fake(), accept) == before


def test_verify_sees_damage_that_sizes_do_not(tmp_path: Path, log: Path):
    todo = jobs(tmp_path, 2)
    first, second = make_clips(todo, render=Fake(), check=accept, workers=1)
    shutil.copyfile(second.video, first.video)
    record = json.loads((first.folder / "record.json").read_bytes())
    record["sizes"]["clip.mp4"] = first.video.stat().st_size
    (first.folder / "record.json").write_text(json.dumps(record))
    make_clips(todo, render=Fake(log), check=accept, workers=1)
    assert not list(log.iterdir())
    again = make_clips(todo, render=Fake(log), check=accept, workers=1, verify=True)
    assert again == (first, second)
    assert len(list(log.iterdir())) == 1
    assert content_sha256(first.video) == first.sha256


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path):
    (job,) = jobs(tmp_path, 1)
    job.folder.mkdir(parents=True)
    for name in (".making.abc.mp4", "making.mp4", "truth.npz", ".record.1.json"):
        (job.folder / name).write_bytes(b"half")
    make_clip(job, Fake(), accept)
    assert len(list(job.folder.iterdir())) == 4


def test_refused_clips_are_drawn_anew_and_it_is_recorded(tmp_path: Path):
    (job,) = jobs(tmp_path, 1)
    made = make_clip(job, Fake(), RefuseUpTo(3))
    assert made.refusals == tuple(f"frames 0 to 5: attempt {k} is ugly" for k in range(3))
    assert float(made.truth()["landmarks"].max()) == 3


def test_a_clip_that_is_always_refused_is_an_error_and_leaves_nothing(tmp_path: Path):
    (job,) = jobs(tmp_path, 1)
    with pytest.raises(GenerationError, match=r"test-000000 was refused 32 times.*attempt 31 is"):
        make_clip(job, Fake(), RefuseUpTo(40))
    assert [path.name for path in job.folder.iterdir()] == ["lock"]
    with pytest.raises(GenerationError, match="refused 32 times"):
        make_clips(jobs(tmp_path, 3), render=Fake(), check=RefuseUpTo(40), workers=2)


def test_a_disk_that_is_too_small_is_told_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(pool.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"20 clips need up to 2 MB in .*clips, and 0 MB"):
        make_clips(jobs(tmp_path, 20), render=Fake(), check=accept)
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize("where", ["video", "truth"])
def test_a_disk_that_runs_full_leaves_no_half_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    (job,) = jobs(tmp_path, 1)
    with monkeypatch.context() as patched:
        if where == "video":
            patched.setattr("tfbench.media.video.write_video", full)
        else:
            patched.setattr(make, "write_atomically", full)
        with pytest.raises(StorageError, match=r"no space left for writing to .*test-000000"):
            make_clip(job, Fake(), accept)
    assert [path.name for path in job.folder.iterdir()] == ["lock"]
    assert make_clip(job, Fake(), accept) is not None


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(StorageError, match="cannot write to"):
        make_clips(jobs(tmp_path, 1), render=Fake(), check=accept)


MAKER = """
import sys
from pathlib import Path
from tests.datasets.puppets.fakes import Fake, accept, jobs
from tfbench.datasets.puppets.pool import make_clips
if __name__ == "__main__":
    folder, workers, delay = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    made = make_clips(
        jobs(folder, 8), render=Fake(folder / "log", delay), check=accept, workers=workers
    )
    print(*(clip.sha256 for clip in made))
"""


def maker(folder: Path, workers: int, delay: float) -> subprocess.Popen:
    script = folder / "maker.py"
    script.write_text(MAKER)
    return subprocess.Popen(
        [sys.executable, script, folder, str(workers), str(delay)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_the_work(tmp_path: Path, log: Path):
    both = [maker(tmp_path, 1, 0.1) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert said[0] == said[1]
    assert len(said[0].split()) == 8
    rendered = [path.name.split()[0] for path in log.iterdir()]
    assert len(rendered) == len(set(rendered)) == 8


def test_a_process_that_is_killed_leaves_its_lock_to_the_next(tmp_path: Path, log: Path):
    process = maker(tmp_path, 2, 0.3)
    while not list((tmp_path / "clips").glob("*/clip.mp4")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    made = make_clips(jobs(tmp_path, 8), render=Fake(), check=accept, workers=1)
    assert [find_made(clip.folder, verify=True) for clip in made] == list(made)


def test_work_that_is_given_up_stops_at_once_and_goes_on_later(tmp_path: Path):
    def give_up(done: int, _total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_clips(jobs(tmp_path, 30), render=Fake(), check=accept, workers=2, progress=give_up)
    n = len(list((tmp_path / "clips").glob("*/clip.mp4")))
    assert 1 <= n < 20
    assert not list((tmp_path / "clips").glob("*/*making*"))
    assert len(make_clips(jobs(tmp_path, 30), render=Fake(), check=accept, workers=2)) == 30


def test_faces_are_counted():
    frames = next(iter(Demo(DemoConfig(3))[0].clip.video.frames()))
    assert Faces()(frames) is None
    assert Faces(2)(frames, 31) == "MTCNN finds 1 faces instead of 2"
    assert Faces()(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).startswith("MTCNN finds 0")


def test_truth_is_read_without_running_code(tmp_path: Path):
    (job,) = jobs(tmp_path, 1)
    made = make_clip(job, Fake(), accept)
    np.savez(made.folder / "truth.npz", x=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        made.truth()
