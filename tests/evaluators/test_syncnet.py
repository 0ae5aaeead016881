"""Training of SyncNet on lips that flash with the sound."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbench.core.errors import Unscorable
from tfbench.core.types import Clip, Sample, Speech, TensorVideo
from tfbench.core.views import Part
from tfbench.evaluators.base import Kept
from tfbench.evaluators.syncnet import (
    SyncNetConfig,
    SyncNetTrainee,
    _contrastive,
    _distances,
    _shifted,
)
from tfbench.metrics.lse import lse, sync_distances

CONFIG = SyncNetConfig(
    dimensions=16,
    lips=(8, 8, 8, 8, 8, 8),
    sound=(8, 8, 8, 8, 8, 8),
    hidden=16,
    side=64,
    window=(4, 60, 4, 60),
    margin=2,
    stretch=8,
    batch=4,
)
N = 50


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    """Clips in which brightness and loudness follow one random curve."""
    folder, made = tmp_path_factory.mktemp("kept"), []
    for k in range(6):
        rng = np.random.default_rng(k)
        curve = torch.from_numpy(rng.uniform(0, 1, N)).float()
        lips = (255 * curve)[:, None, None, None].expand(N, 1, 60, 60)
        mfcc = 10 * curve.repeat_interleave(4)[:, None] * torch.ones(13)
        arrays = {"lips": lips.to(torch.uint8), "mfcc": mfcc}
        video = TensorVideo(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        sample = Sample(f"c{k}", Clip(video), "p")
        made.append(Kept.write(folder / f"{k}.safetensors", sample, arrays))
    return made


def trainee(**changes) -> SyncNetTrainee:
    torch.manual_seed(0)
    made = SyncNetTrainee(replace(CONFIG, **changes))
    made.log = lambda *_, **__: None
    return made


def test_an_example_pairs_lips_with_their_sound(clips):
    made = trainee()
    for k in range(20):
        one = made.example(clips, np.random.default_rng(k))
        assert one["lips"].shape == (12, 1, 56, 56)
        assert one["mfcc"].shape == (12, 13, 20)
        assert one["there"].shape == (12,)
        assert one["there"][2:10].all()
        # The curve without the constant that stands for another microphone.
        heard = one["mfcc"][2:10, 5, ::4]
        seen = one["lips"].float().mean((1, 2, 3)).unfold(0, 5, 1)
        heard, seen = heard - heard.mean(), seen - seen.mean()
        together = (heard * seen).sum() / (heard.norm() * seen.norm())
        assert together > 0.999


def test_windows_beyond_the_clip_are_marked(clips):
    made = trainee(stretch=46)
    one = made.example(clips, np.random.default_rng(0))
    assert one["there"].tolist() == [False, False] + [True] * 46 + [False, False]
    assert not one["mfcc"][0, 1:].std(1).any()


def test_distances_are_euclidean():
    a, b = torch.randn(2, 3, 5), torch.randn(2, 4, 5)
    torch.testing.assert_close(_distances(a, b), torch.cdist(a, b), rtol=1e-5, atol=1e-5)


def test_the_contrastive_loss_by_hand():
    distances = torch.tensor([[[1.0, 3.0, 9.0], [2.0, 2.0, 7.0]]])
    there = torch.tensor([[True, True, False]])
    own = torch.tensor([0, 1])
    # Pairs 1 and 2: (1 + 4) / 2; others that are there: 3 and 2 against a margin of 4.
    expected = ((1 + 4) / 2 + ((4 - 3) ** 2 + (4 - 2) ** 2) / 2) / 2
    assert float(_contrastive(distances, there, own, 4.0)) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [-10, -1, 0, 3, 10])
def test_a_shift_is_what_lse_calls_the_offset(shift: int):
    signal = torch.randn(60, 8)
    lips, sound = _shifted(signal, signal, shift)
    assert lse(sync_distances(lips, sound))[2] == shift


@pytest.mark.parametrize("objective", ["multiway", "margin"])
def test_it_learns_to_tell_shifts_apart(clips, objective: str):
    made = trainee(objective=objective, threshold=8.0)
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(25):
        batch = made.collate([made.example(clips, rng) for _ in range(4)])
        loss = made.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_it_is_measured_on_known_shifts(clips):
    made = trainee().eval()
    with torch.inference_mode():
        figures = {figure.name: figure for figure in made.assess(clips)}
    assert made.monitor in figures
    assert figures["offset within 1 frame"].n == 6
    assert figures["offset within 1 frame"].value >= figures["offset exact"].value
    assert figures["LSE-D"].value > 0


class OneView:
    def __init__(self, values: torch.Tensor, waveform: torch.Tensor) -> None:
        self.part = Part("track-0", 3, 3 + len(values), values)
        self.waveform = waveform

    def parts(self, key):
        return (self.part,)

    def speech(self, side):
        return Speech(self.waveform)


def test_lips_are_kept_with_the_sound_of_their_time():
    lips = torch.zeros(30, 1, 60, 60, dtype=torch.uint8)
    sound = torch.linspace(0.1, 1, 640 * 40)
    kept = trainee().keep(None, OneView(lips, sound))
    assert kept["lips"].shape == (30, 1, 60, 60)
    assert kept["mfcc"].shape == (119, 13)
    short = trainee().keep(None, OneView(lips, sound[: 640 * 20]))
    assert len(short["lips"]) == 17
    assert len(short["mfcc"]) == 67


@pytest.mark.parametrize(
    ("n", "sound", "why"),
    [(10, torch.ones(640 * 20), "10 frames of a face"), (30, torch.zeros(640 * 40), "silent")],
)
def test_clips_that_cannot_serve(n: int, sound: torch.Tensor, why: str):
    with pytest.raises(Unscorable, match=why):
        trainee().keep(None, OneView(torch.zeros(n, 1, 60, 60, dtype=torch.uint8), sound))


def test_files_of_kept_clips_are_read_in_slices(clips, tmp_path: Path):
    assert clips[0].shapes == {"lips": (N, 1, 60, 60), "mfcc": (4 * N, 13)}
    assert torch.equal(clips[0].array("lips", 4, 7), clips[0].array("lips")[4:7])
