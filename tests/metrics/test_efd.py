"""EFD against distances worked out by hand and by NumPy."""

import numpy as np
import pytest
import torch

from tests.metrics.fake_views import FakeViews, Means
from tfbench.faces.crop import FaceBox
from tfbench.metrics.efd import EFD
from tfbench.nets.frozen import Frozen


@pytest.fixture
def metric() -> EFD:
    return EFD(None, Frozen(Means(FaceBox(size=8)), "means.test"))


def distance(metric: EFD, pred: torch.Tensor, ref: torch.Tensor) -> float:
    (row,) = metric.measure(FakeViews({"pred": [pred], "ref": [ref]}))
    return row.value


def test_the_mean_distance_of_unit_vectors(metric: EFD):
    draw = torch.Generator().manual_seed(0)
    pred, ref = torch.randn(9, 16, generator=draw), torch.randn(9, 16, generator=draw)
    a, b = pred.numpy().astype(float), ref.numpy().astype(float)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    wanted = np.linalg.norm(a - b, axis=1).mean()
    assert distance(metric, pred, ref) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("other", "wanted"), [([3.0, 0.0], 0.0), ([0.0, 5.0], 2**0.5), ([-1.0, 0.0], 2.0)]
)
def test_same_orthogonal_and_opposite_directions(metric: EFD, other: list, wanted: float):
    pred = torch.tensor([[1.0, 0.0]] * 3)
    assert distance(metric, pred, torch.tensor([other] * 3)) == pytest.approx(wanted)


def test_as_a_library(metric: EFD):
    frames = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    metric.update(frames, frames)
    assert float(metric.compute()) == 0.0
