"""Training as a user types it, on talking photographs: train, go on, assess, judge."""

import json
from pathlib import Path

import pytest

from tfbench.datasets.demo import Demo, DemoConfig
from tfbench.media.video import write_video

SMALL = (
    "steps=2",
    "every=1",
    "batch=2",
    "stretch=8",
    "dimensions=8",
    "sound=[8,8,8,8,8,8]",
    "lips=[8,8,8,8,8,8]",
)
TINY = (
    "steps=2",
    "every=2",
    "batch=2",
    "size=32",
    "far=5",
    "audio=[4,4,4,4,4]",
    "identity=[4,4,4,4,4]",
    "decoder=[8,8,4,4]",
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("clips")
    patch.setenv("TFBENCH_HOME", str(folder / "home"))
    demo = Demo(DemoConfig(30))
    clip = demo.sample(demo.index()[0]).clip
    for name in ("one", "two"):
        frames = clip.video.frames()
        write_video(folder / f"{name}.mp4", frames, clip.video.fps, clip.speech, comment=name)
    (folder / "clips.csv").write_text("file,split\none.mp4,train\ntwo.mp4,val\n")
    patch.undo()
    return folder


@pytest.fixture
def run(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TFBENCH_HOME", str(tmp_path / "home"))
    return run


def test_train_go_on_assess_and_judge(run, clips: Path, tmp_path: Path):
    data = ("--dataset", "folder", "--root", clips, "--accelerator", "cpu")
    train = ("train", "syncnet", *SMALL, *data, "--workers", 1)
    code, said = run(*train, "--max-time", "0s")
    assert code == 0, said
    folder = Path("runs/train/syncnet-folder-seed0")
    assert f"run folder {folder}" in said
    assert "out of time at step 1" in said
    assert "--resume goes on" in said
    code, said = run(*train)
    assert (code, "--resume goes on with it" in said) == (1, True)
    code, said = run(*train, "--resume")
    assert code == 0, said
    assert "finished at step 2" in said
    bundle = tmp_path / folder / "bundle"
    held_out = ("--dataset", "folder", "--root", clips, "--data", "split=val", "--workers", 1)
    code, said = run("assess", bundle, *held_out, "--accelerator", "cpu")
    assert code == 0, said
    assert "offset within 1 frame" in said
    judge = ("--metrics", "lse.any_face", "--evaluators", f"offline+lse={bundle}")
    code, said = run("score", "--pred", clips / "two.mp4", *judge, "--accelerator", "cpu")
    assert code == 0, said
    assert "lse.any_face by syncnet.syncnet-folder-seed0" in said


def test_a_method_is_trained_and_evaluated_with_what_it_became(run, clips: Path):
    data = ("--dataset", "folder", "--root", clips, "--accelerator", "cpu")
    code, said = run("train", "speech2vid", *TINY, *data, "--workers", 1)
    assert code == 0, said
    bundle = Path("runs/train/speech2vid.tiny-folder-seed0/bundle")
    assert f"best network: {bundle}" in said
    words = ("eval", "--method", "speech2vid", "--set", f"weights={bundle}", "--metrics", "psnr")
    code, said = run(*words, *data, "--limit", 1)
    assert code == 0, said
    label = "speech2vid.tiny-folder-seed0"
    (result,) = Path("leaderboards/results").glob(f"*/{label}/*.json")
    record = json.loads(result.read_text())
    assert record["method"]["name"] == label
    trained = json.loads((bundle / "bundle.json").read_bytes())["parts"]
    assert record["method"]["weights"] == {n: part["sha256"] for n, part in trained.items()}
    (cell,) = record["cells"]
    assert (cell["n"], cell["value"] > 20) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "sincnet"), "nothing to train is called 'sincnet'; did you mean 'syncnet'?"),
        (("train", "still"), "'still' has nothing to train"),
        (("train", "syncnet", "stops=3"), "unknown key 'stops'; did you mean 'steps'?"),
        (("train", "syncnet", "half=c"), "half: got \"c\", wanted 'all', 'a' or 'b'"),
        (("train", "syncnet.huge"), "no variant 'syncnet.huge'; there are: syncnet.official"),
        (("train", "syncnet", "--max-time", "soon"), "--max-time is a number and s, m, h or d"),
        (("train", "syncnet", "--resume"), "there is no run in"),
        (("assess", "syncnet.v2"), "'syncnet.v2' is no network that this project has trained"),
        (("assess", "onet.mtcnn"), "'onet.mtcnn' is no network that this project has trained"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(run, words: tuple[str, ...], message: str):
    code, said = run(*words)
    assert code == 1
    assert message in said


def test_runs_come_before_a_training_where_settings_say_so(run, clips: Path, tmp_path: Path):
    data = ("--dataset", "folder", "--root", clips, "--accelerator", "cpu", "--workers", 1)
    (tmp_path / "chain.yaml").write_text("before: [steps=1 lr=0.002, every=1 seed=3]\n")
    words = ("train", "speech2vid", *TINY, "--config", "chain.yaml", *data)
    folder = Path("runs/train/speech2vid.tiny-folder-seed0")
    config = lambda at: json.loads((at / "run.json").read_bytes())["config"]  # noqa: E731
    code, said = run(*words, "--max-time", "0s")
    assert code == 0, said
    assert f"run 1 of 3, steps=1 lr=0.002: run folder {folder}/before-1" in said
    # The first run was over before its time was.
    assert f"run 2 of 3, every=1 seed=3: run folder {folder}/before-2" in said
    assert "out of time at step 1" in said
    assert "run 3" not in said
    code, said = run(*words)
    assert (code, f"{folder}/before-1 holds a run; --resume goes on" in said) == (1, True)
    code, said = run(*words, "--resume")
    assert code == 0, said
    assert "was finished before at step 1" in said
    assert f"run 3 of 3: run folder {folder} " in said
    first, second, last = (config(at) for at in (folder / "before-1", folder / "before-2", folder))
    assert (first["steps"], first["lr"], first["batch"], first["init"]) == (1, 0.002, 2, "")
    assert second["init"] == f"{folder}/before-1/bundle"
    assert (second["seed"], second["every"], second["before"]) == (3, 1, [])
    assert (last["init"], last["seed"]) == (f"{folder}/before-2/bundle", 0)
    made = json.loads((folder / "bundle" / "bundle.json").read_bytes())["training"]
    assert made["began_with"]["began_with"]["config"]["lr"] == 0.002
    code, said = run(*words, f"init={folder}/bundle", "--out", "again")
    assert code == 0, said
    assert "before-1" not in said
    (tmp_path / "chain.yaml").write_text("before: [+no_skips steps=1]\n")
    code, said = run(*words, "--out", "new")
    assert (code, "no overlay 'speech2vid+no_skips'; did you mean" in said) == (1, True)
    (tmp_path / "chain.yaml").write_text("before: [stps=1]\n")
    code, said = run(*words, "--out", "new")
    assert (code, "before, 'stps=1': command line: unknown key" in said) == (1, True)
    assert not Path("new").exists()


def test_what_the_last_run_refuses_is_told_before_the_first(run, clips: Path, tmp_path: Path):
    (tmp_path / "chain.yaml").write_text("before: [lip_weight=0 contrast=none steps=1]\n")
    small = ("width=2", "decoder_width=2", "most=8", "critic_width=2", "batch=2", "faces_from=")
    words = ("train", "synctalklip.tiny", *small, "fix_norm=2000", "--config", "chain.yaml")
    data = ("--dataset", "folder", "--root", clips, "--accelerator", "cpu", "--workers", 1)
    code, said = run(*words, *data)
    assert code == 1
    assert "it has no transcript" in said
    assert "step 1" not in said
    # Words that mean nothing are told before any clip is prepared.
    for option, value, message in (
        ("--accelerator", "gpus", "--accelerator gpus cannot be used"),
        ("--max-time", "30", "30"),
        ("--resume", None, "there is no run in"),
    ):
        given = [option] if value is None else [option, value]
        code, said = run(*words, "--dataset", "folder", "--root", clips, *given)
        assert code != 0
        assert message in said
        assert "preparing" not in said
