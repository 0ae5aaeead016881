"""Networks and clips that the tests of SyncTalklip share."""

from pathlib import Path

import pytest
import torch

from tests.methods.synctalklip.helpers import N, batch, kept_clip, training, write_expert
from tfbench.evaluators.base import Kept
from tfbench.methods.synctalklip import SyncTalklip, SyncTalklipConfig
from tfbench.nets.av_syncnet import seeded
from tfbench.training.bundle import write_bundle


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundle of an expert that has learnt nothing, but whose features differ in time."""
    folder = tmp_path_factory.mktemp("expert") / "bundle"
    folder.mkdir()
    return write_expert(folder, seeded(1))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    folder = tmp_path_factory.mktemp("kept")
    return [kept_clip(folder, 0), kept_clip(folder, 1, N - 9, "place a at")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, expert: str, clips: list[Kept]) -> Path:
    made = training(expert, smooth=3)
    with torch.no_grad():
        # Has seen a batch, as every network that was trained.
        made._pair(given := batch(made, clips), made.hearing(given["sound"], given["padding"]))
        # What is drawn shall differ by more than rounding.
        made.net.output_block[1].weight *= 100
        made.hearing.audio_map.weight *= 30
    folder = tmp_path_factory.mktemp("run") / "bundle"
    write_bundle(folder, made.eval(), {"config": {}}, ())
    return folder


@pytest.fixture(scope="module")
def method(bundle: Path) -> SyncTalklip:
    return SyncTalklip(SyncTalklipConfig(weights=str(bundle), frames_at_once=4)).eval()
