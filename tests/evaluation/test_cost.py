"""Costs of methods whose cost is known."""

import time
from pathlib import Path

import pytest
import torch

from tests.methods.faces import photograph
from tfbench.core.errors import GenerationError, InputError
from tfbench.core.types import Request, Speech
from tfbench.evaluation.cost import BATCHES, measure_cost, read_cost
from tfbench.methods.base import Generator
from tfbench.methods.still import Still
from tfbench.methods.synctalklip import SyncTalklip, SyncTalklipConfig
from tfbench.methods.wav2lip import Wav2Lip, Wav2LipConfig

CPU = torch.device("cpu")


class Sleeper(torch.nn.Module, Generator):
    """Sleeps 2 ms for a batch, whatever its size, and holds 12 numbers."""

    name = "sleeper"
    needs = frozenset()
    batch = 4

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.config = self.Config()
        self.layer = torch.nn.Linear(3, 3)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def frames(self, request: Request):
        for start in range(0, 16, self.batch):
            time.sleep(0.002)
            yield torch.zeros(min(self.batch, 16 - start), 3, 6, 8, dtype=torch.uint8)


class Nothing(Sleeper):
    def frames(self, request: Request):
        yield from ()


def request() -> Request:
    still = torch.zeros(1, 3, 40, 60, dtype=torch.uint8)
    return Request("a", speech=Speech(torch.zeros(16_000)), identity=still)


def test_time_falls_with_the_batch_and_parameters_are_counted():
    generator = Sleeper()
    cost = measure_cost(generator, request(), CPU, repeats=2)
    assert [run.batch for run in cost.runs] == list(BATCHES)
    assert cost.parameters == 12
    assert (cost.n_frames, cost.height, cost.width) == (16, 6, 8)
    one, best = cost.runs[0], cost.best
    assert one.ms_per_frame > 2.0
    assert best.batch >= 8
    assert cost.real_time_factor(one) == pytest.approx(one.ms_per_frame * 25 / 1000)
    assert generator.batch == 4


def test_a_method_without_networks_or_batches():
    cost = measure_cost(Still(), request(), CPU, repeats=1)
    (run,) = cost.runs
    assert (cost.parameters, run.batch, cost.n_frames) == (None, None, 25)
    assert run.peak_memory_gb is None or 0.05 < run.peak_memory_gb < 64


def test_networks_that_were_not_trained_cost_the_same():
    talking = Request("a", speech=Speech(torch.rand(1600)), identity=photograph())
    made = Wav2Lip(Wav2LipConfig(width=2, decoder_width=2, most=4, side=64, critic_width=2))
    with pytest.raises(GenerationError, match="no trained weights"):
        made.check(talking)
    cost = measure_cost(made, talking, CPU, repeats=1)
    # The discriminator does not generate.
    assert cost.parameters == sum(p.numel() for p in made.net.parameters())
    with pytest.raises(GenerationError, match="no trained weights"):
        measure_cost(SyncTalklip(SyncTalklipConfig(width=2, most=4, side=64)), talking, CPU)


def test_it_survives_the_disk(tmp_path: Path):
    cost = measure_cost(Still(), request(), CPU, repeats=1)
    path = tmp_path / cost.file_name()
    cost.write(path)
    assert read_cost(path) == cost
    path.write_text("{}")
    with pytest.raises(InputError, match="no measured cost"):
        read_cost(path)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(GenerationError, match="made no frame"):
        measure_cost(Nothing(), request(), CPU)
    with pytest.raises(GenerationError, match="needs identity"):
        measure_cost(Still(), Request("a", speech=Speech(torch.zeros(99))), CPU)
    with pytest.raises(InputError, match="at least one run"):
        measure_cost(Still(), request(), CPU, repeats=0)
