"""Training from clips to bundle, stopped, killed and continued, on a network of 25 numbers."""

import fcntl
import json
import math
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training import small
from tests.training.small import Grey, GreyConfig, Line, LineConfig, Weight
from tfbench.core.errors import InputError, MissingAsset, TrainingError
from tfbench.core.registry import registry
from tfbench.nets.bundle import load_bundle, read_record
from tfbench.training.run import Outcome, Told, Training, train


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TFBENCH_HOME", str(tmp_path_factory.mktemp("home")))
    module = ModuleType("small_network")
    module.VARIANTS = {}
    module.build = lambda settings: Weight(**settings)
    load = registry("networks").load
    monkeypatch.setattr(
        type(registry("networks")),
        "load",
        lambda self, name: module if name == small.__name__.rpartition(".")[2] else load(name),
    )
    monkeypatch.setattr(Line, "failing", None)


def run(folder: Path, told: list[str] | None = None, resume=False, seconds=None, **settings):
    training = Training(
        Line,
        LineConfig(**settings),
        Grey(GreyConfig("train")),
        Grey(GreyConfig("val")),
        folder,
        "tfbench train line",
    )
    said = [] if told is None else told
    return train(
        training,
        Told(said.append),
        resume=resume,
        max_seconds=seconds,
        accelerator="cpu",
        workers=1,
    )


def weights(outcome: Outcome) -> dict[str, torch.Tensor]:
    return load_file(outcome.bundle / "net.safetensors")


def state(folder: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    return saved["state_dict"] | saved.get("current_model_state", {})


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_it_learns_logs_and_leaves_a_bundle(tmp_path: Path):
    told: list[str] = []
    outcome = run(tmp_path / "run", told, steps=60, every=2, lr=0.01)
    assert (outcome.state, outcome.step) == ("finished", 60)
    errors = [float(line.split("error ")[1]) for line in told if line.startswith("step")]
    assert errors[-1] < 0.5 * errors[0]
    assert told[0] == "grey-train: 5 clips, 1 left out"
    assert told[1] == "  left out: train-5: the clip is black"
    record = json.loads((outcome.bundle / "bundle.json").read_bytes())
    assert record["training"]["command"] == "tfbench train line"
    assert record["training"]["clips"] == {"trained on": 5, "held out": 6}
    assert record["training"]["config"]["steps"] == 60
    assert record["held_out"][0]["name"] == "error"
    rows = (tmp_path / "run/logs/csv/from-step-000000/metrics.csv").read_text().splitlines()
    assert "held out/error" in rows[0]
    frozen = load_bundle(outcome.bundle)
    assert frozen.sha256 == record["parts"]["net"]["sha256"]
    value = torch.tensor([[0.5]])
    assert abs(float(frozen.module.line(value)) - 0.5) < 0.2


def test_a_bundle_tells_what_the_training_began_with(tmp_path: Path):
    first = run(tmp_path / "first")
    second = run(tmp_path / "second", init=str(first.bundle))
    third = run(tmp_path / "third", init=str(second.bundle))
    made_by = read_record(third.bundle / "bundle.json")["training"]
    assert made_by["began_with"] == read_record(second.bundle / "bundle.json")["training"]
    assert made_by["began_with"]["began_with"]["config"]["init"] == ""
    assert "began_with" not in made_by["began_with"]["began_with"]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_stopped_in_time_goes_on_with_the_same_bits(tmp_path: Path, ema: float):
    whole = run(tmp_path / "whole", ema=ema)
    first = run(tmp_path / "parts", ema=ema, seconds=0.0)
    assert (first.state, first.step) == ("out of time", 3)
    second = run(tmp_path / "parts", ema=ema, seconds=0.0, resume=True)
    assert second.step == 6
    third = run(tmp_path / "parts", ema=ema, resume=True)
    assert (third.state, third.step) == ("finished", 9)
    assert same(weights(whole), weights(third))
    assert same(state(tmp_path / "whole"), state(tmp_path / "parts"))
    again = run(tmp_path / "parts", ema=ema, resume=True)
    assert (again.state, again.step) == ("was finished before", 9)
    assert len(list((tmp_path / "parts/logs/csv").iterdir())) == 3


@pytest.mark.parametrize("error", [RuntimeError("power cut"), KeyboardInterrupt()])
def test_a_run_that_died_between_checkpoints_goes_on_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    before = signal.getsignal(signal.SIGINT)
    whole = run(tmp_path / "whole", bad_at=99)
    monkeypatch.setattr(Line, "failing", error)
    loss = Line.loss

    def dies_at_seven(self, batch):
        if self.trainer.global_step == 7:
            raise error
        return loss(self, batch)

    monkeypatch.setattr(Line, "loss", dies_at_seven)
    with pytest.raises(type(error)):
        run(tmp_path / "died", bad_at=99)
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr(Line, "loss", loss)
    told: list[str] = []
    after = run(tmp_path / "died", told, resume=True, bad_at=99)
    assert "going on at step 6" in told
    assert same(weights(whole), weights(after))
    assert same(state(tmp_path / "whole"), state(tmp_path / "died"))


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path: Path):
    with pytest.raises(TrainingError, match="the loss is nan at step 4; the last checkpoint is"):
        run(tmp_path / "run", bad_at=4)
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] == 3


def test_layers_compute_in_the_precision_that_is_asked_for(tmp_path: Path):
    exact, auto, rounded = (
        weights(run(tmp_path / name, precision=name)) for name in ("32", "auto", "bf16")
    )
    assert same(exact, auto)
    assert not same(exact, rounded)
    for name, value in exact.items():
        assert rounded[name].dtype == value.dtype
        torch.testing.assert_close(rounded[name], value, rtol=0.1, atol=0.05)


def test_batch_normalisation_is_fixed_from_the_step_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    free, loss = [], Line.loss

    def begin(self: Line, config: LineConfig | None = None) -> None:
        super(Line, self).__init__(config)
        self.net = Weight(8)
        self.norm = torch.nn.BatchNorm1d(8)

    def seen(self: Line, batch: torch.Tensor) -> torch.Tensor:
        free.append([self.norm.training, self.net.line[1].training])
        return loss(self, batch)

    monkeypatch.setattr(Line, "__init__", begin)
    monkeypatch.setattr(Line, "loss", seen)
    run(tmp_path / "run", fix_norm=4)
    # Measurements and rounds of three steps lie between; what drops out goes on doing so.
    assert free == [[k < 4, True] for k in range(9)]
    free.clear()
    run(tmp_path / "free")
    assert free == [[True, True]] * 9


def test_another_seed_gives_other_weights(tmp_path: Path):
    assert not same(weights(run(tmp_path / "a")), weights(run(tmp_path / "b", seed=1)))


def test_it_stops_early(tmp_path: Path):
    outcome = run(tmp_path / "run", lr=1e-12, weight_decay=0.0, steps=60, patience=2)
    assert outcome.state == "stopped early"
    assert outcome.step < 60


def test_two_runs_never_share_a_folder(tmp_path: Path):
    folder = tmp_path / "run"
    run(folder, seconds=0.0)
    with pytest.raises(TrainingError, match="holds a run; --resume goes on with it"):
        run(folder)
    with pytest.raises(TrainingError, match=r"began with config\.lr = 0\.05, now it is 0\.1"):
        run(folder, lr=0.1, resume=True)
    with pytest.raises(TrainingError, match="no run in"):
        run(tmp_path / "new", resume=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process trains in"):
            run(folder, resume=True)


def test_a_run_that_failed_before_its_first_checkpoint_begins_anew(tmp_path: Path):
    with pytest.raises(TrainingError, match="at step 1"):
        run(tmp_path / "run", bad_at=1)
    assert run(tmp_path / "run", lr=0.01).state == "finished"
    logs = sorted(path.name for path in (tmp_path / "run/logs/csv").iterdir())
    assert logs == ["from-step-000000", "from-step-000000-again-1"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    run(tmp_path / "run", seconds=0.0)
    checkpoint = tmp_path / "run/last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"last\.ckpt is no checkpoint of this training"):
        run(tmp_path / "run", resume=True)


def test_held_out_clips_are_not_trained_on(tmp_path: Path):
    grey = Grey(GreyConfig("train"))
    training = Training(Line, LineConfig(), grey, grey, tmp_path / "run")
    with pytest.raises(InputError, match="5 held-out clips are trained on as well"):
        train(training, Told(lambda line: None), accelerator="cpu", workers=1)


def test_what_is_missing_is_told_before_clips_are_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def gather(self):
        raise MissingAsset("the supervisor is not here")

    prepared = []
    monkeypatch.setattr(Line, "gather", gather)
    monkeypatch.setattr(Grey, "prepare", lambda self, rows, **_: prepared.append(rows))
    with pytest.raises(MissingAsset, match="the supervisor is not here"):
        run(tmp_path / "run")
    assert not prepared


def test_an_empty_half_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Grey, "index", lambda self: ())
    with pytest.raises(InputError, match="half 'all' of the data set grey-train has no clip"):
        run(tmp_path / "run")


def test_the_weights_of_another_network_are_refused(tmp_path: Path):
    bundle = run(tmp_path / "run").bundle
    record = json.loads((bundle / "bundle.json").read_bytes())
    record["parts"]["net"]["settings"]["width"] = 9
    (bundle / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(Exception, match="misshapen parameter 'line"):
        load_bundle(bundle)
    with pytest.raises(MissingAsset, match="has no part 'decoder'; it has net"):
        load_bundle(bundle, "decoder")
    with pytest.raises(MissingAsset, match="a bundle is what `tfbench train` leaves"):
        load_bundle(tmp_path)


def test_a_figure_that_numpy_computed_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assess = Line.assess
    monkeypatch.setattr(
        Line,
        "assess",
        lambda self, clips: (
            replace(assess(self, clips)[0], value=np.float64(assess(self, clips)[0].value)),
        ),
    )
    assert run(tmp_path / "run", seconds=0.0).state == "out of time"
    assert run(tmp_path / "run", resume=True).state == "finished"


def test_best_is_kept_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = iter([0.5, 0.2, 0.9])
    assess = Line.assess
    monkeypatch.setattr(
        Line, "assess", lambda self, clips: (replace(assess(self, clips)[0], value=next(values)),)
    )
    record = json.loads((run(tmp_path / "run").bundle / "bundle.json").read_bytes())
    assert record["training"]["step"] == 6
    assert math.isclose(record["held_out"][0]["value"], 0.2)
    assert sys.modules[small.__name__] is small
