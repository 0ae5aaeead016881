"""torchmetrics habits: two ranks, one of which has seen nothing."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tfbench.core.types import Score
from tfbench.metrics.base import clip_values, mean_of_clips
from tfbench.metrics.psnr import PSNR


def test_parts_are_averaged_before_clips():
    scores = [
        Score("a", "track-0", "LSE-D", "Ann", value=4.0),
        Score("a", "track-1", "LSE-D", "Ann", value=8.0),
        Score("b", "track-0", "LSE-D", "Bob", value=10.0),
        Score("b", "track-1", "LSE-D", "Bob", reason="silent"),
        Score("c", "clip", "LSE-D", "Cyd", reason="no face"),
    ]
    assert clip_values(scores, "LSE-D") == {"a": ("Ann", 6.0), "b": ("Bob", 10.0)}
    assert mean_of_clips(scores, "LSE-D").value == 8.0
    assert mean_of_clips(scores, "LSE-D").n == 2


def rank(number: int, address: str) -> None:
    dist.init_process_group("gloo", init_method=address, rank=number, world_size=2)
    metric = PSNR()
    if number == 0:
        frames = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
        metric.update(frames, frames + 255)
        metric.update(frames, frames + 51)
    value = metric.compute()
    assert float(value) == pytest.approx((0.0 + 13.9794) / 2, abs=1e-4)
    dist.destroy_process_group()


def test_a_rank_that_saw_nothing_takes_part(tmp_path):
    mp.spawn(rank, (f"file://{tmp_path / 'meet'}",), nprocs=2)
