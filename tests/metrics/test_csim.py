"""CSIM against cosines worked out by hand and by SciPy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from tests.metrics.fake_views import FakeViews, Means
from tfbench.core.errors import InputError, Unscorable
from tfbench.faces.crop import FaceBox
from tfbench.metrics.csim import CSIM
from tfbench.nets.frozen import Frozen


@pytest.fixture
def judge() -> Frozen:
    return Frozen(Means(FaceBox(size=8)), "means.test")


def test_paired_is_the_mean_cosine_of_the_same_frames(judge: Frozen):
    draw = torch.Generator().manual_seed(0)
    pred, ref = torch.randn(7, 5, generator=draw), torch.randn(7, 5, generator=draw)
    (row,) = CSIM("paired", judge).measure(FakeViews({"pred": [pred], "ref": [ref]}))
    wanted = np.mean([1 - cosine(a, b) for a, b in zip(pred.numpy(), ref.numpy(), strict=True)])
    assert row.value == pytest.approx(wanted, abs=1e-6)
    assert row.part == "track-0"


def test_one_shot_compares_each_frame_with_each_still(judge: Frozen):
    pred = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    stills = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    views = FakeViews({"pred": [pred], "identity": [stills]})
    (row,) = CSIM("one_shot", judge).measure(views)
    assert row.value == pytest.approx((1 + 0 + 0 + 1 + 2 * 2**-0.5) / 6)


def test_a_clip_against_itself_is_1_and_against_its_negative_minus_1(judge: Frozen):
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    for other, wanted in ((values, 1.0), (-values, -1.0)):
        (row,) = CSIM("paired", judge).measure(FakeViews({"pred": [values], "ref": [other]}))
        assert row.value == pytest.approx(wanted)


def test_features_that_are_not_numbers_are_refused(judge: Frozen):
    values = torch.ones(3, 4)
    views = FakeViews({"pred": [values * float("nan")], "ref": [values]})
    with pytest.raises(Unscorable, match=r"means.test gave values that are not finite"):
        CSIM("paired", judge).measure(views)


def test_as_a_library(judge: Frozen):
    red = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 200
    both = red.clone()
    both[:, 1] = 200
    metric = CSIM("paired", judge)
    metric.update(red, red)
    metric.update(red, both)
    assert float(metric.compute()) == pytest.approx((1 + 2**-0.5) / 2)
    with pytest.raises(InputError, match="2 scored and 1 true"):
        metric.update(red, red[:1])
    one_shot = CSIM("one_shot", judge)
    one_shot.update(red, both[:1])
    assert float(one_shot.compute()) == pytest.approx(2**-0.5)


def test_the_views_are_shared_with_any_metric_of_the_same_network(judge: Frozen):
    pred, ref = CSIM("paired", judge).needs
    assert (pred.side, ref.side) == ("pred", "ref")
    assert pred == CSIM("one_shot", judge).needs[0]
    assert pred.crop == FaceBox(size=8)
