from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.metrics.fake_views import FakeViews
from tfbench.core.errors import InputError
from tfbench.media.video import VideoFile
from tfbench.metrics.temporal_flickering import TemporalFlickering, stillness


def levels(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8).reshape(-1, 1, 1, 1).repeat(1, 3, 6, 8)


def by_definition(frames: torch.Tensor) -> float:
    """VBench's formula in numpy, on BGR images of float64."""
    images = frames.flip(1).permute(0, 2, 3, 1).numpy().astype(np.float64)
    changes = [np.abs(a - b).mean() for a, b in pairwise(images)]
    return (255 - np.mean(changes)) / 255


def test_by_hand_without_wrap_around():
    assert stillness(levels(0, 255, 204, 204)).tolist() == pytest.approx([0, 0.8, 1])


def test_equals_the_formula_on_a_real_clip(shared_data: Path):
    frames = next(VideoFile(shared_data / "hdtf" / "unnamed_25fps.mp4").frames(stop=5))
    got = stillness(frames)
    assert got.dtype == torch.float64
    assert got.shape == (4,)
    assert got.mean().item() == pytest.approx(by_definition(frames), abs=1e-12)


def test_more_noise_is_worse():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(5, 3, 20, 20, generator=generator)
    values = [stillness((128 + s * noise).byte()).mean().item() for s in (0, 4, 20)]
    assert values[0] == 1
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("frames", [levels(1), levels(1, 2).float(), levels(1, 2)[:, 0]])
def test_what_has_no_pair_of_frames_is_refused(frames: torch.Tensor):
    with pytest.raises(InputError, match="consecutive uint8 frames"):
        stillness(frames)


def test_views_and_rows():
    metric = TemporalFlickering()
    (key,) = metric.needs
    assert (key.name, key.side, key.crop.name, key.context) == ("stillness", "pred", "frame", 1)
    assert key.extract is not None
    (row,) = metric.measure(FakeViews({"pred": [torch.tensor([0.9, 0.7]).double()]}))
    assert (row.column, row.value) == ("Flickering", pytest.approx(0.8))


def test_library_use_averages_clips():
    metric = TemporalFlickering()
    metric.update(levels(0, 255, 255))
    metric.update(levels(7, 7))
    assert metric.compute().item() == pytest.approx((0.5 + 1) / 2)
