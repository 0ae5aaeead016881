import pytest
import torch

from tests.metrics.fake_views import FakeViews
from tfbench.core.errors import InputError, Unscorable
from tfbench.metrics.lpips import LPIPS
from tfbench.nets.frozen import Frozen


class Difference(torch.nn.Module):
    """A judge for tests: the mean absolute difference."""

    def distance(self, pred: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        return (pred.float() - ref.float()).abs().mean((1, 2, 3))


@pytest.fixture
def metric() -> LPIPS:
    return LPIPS(network=Frozen(Difference(), "lpips.test", "abc"))


def level(value: int, n: int = 2) -> torch.Tensor:
    return torch.full((n, 3, 40, 40), value, dtype=torch.uint8)


def test_it_averages_frames_then_clips(metric: LPIPS):
    metric.update(torch.cat([level(3), level(9)]), level(1, 4))
    metric.update(level(21), level(1))
    assert metric.compute().item() == pytest.approx(((2 + 8) / 2 + 20) / 2)


def test_views_are_named_by_the_network(metric: LPIPS):
    (key,) = metric.needs
    assert (key.name, key.side, key.crop.name, key.evaluator) == (
        "lpips.lpips.test",
        "pair",
        "frame",
        "abc",
    )
    assert key.extract(level(5), level(1)).tolist() == [4, 4]


def test_each_part_has_a_row(metric: LPIPS):
    rows = metric.measure(FakeViews({"pair": [torch.tensor([0.1, 0.3]), torch.tensor([0.5])]}))
    assert [row.column for row in rows] == ["LPIPS", "LPIPS"]
    assert [row.value for row in rows] == pytest.approx([0.2, 0.5])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_are_refused(metric: LPIPS, bad: float):
    with pytest.raises(Unscorable, match=r"lpips\.test gave values that are not finite"):
        metric.measure(FakeViews({"pair": [torch.tensor([0.1, bad])]}))


def test_nothing_is_kept_of_the_network(metric: LPIPS):
    assert not list(metric.parameters())
    assert not metric.state_dict()


def test_with_the_real_network():
    nets = pytest.importorskip("tfbench.nets.lpips")
    pytest.importorskip("lpips", reason="the package lpips is not installed")
    metric = LPIPS(network=Frozen(nets.seeded(0, "squeeze"), "lpips.seeded"))
    ref = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    metric.update(ref, ref)
    assert metric.compute().item() == 0
    metric.update(255 - ref, ref)
    assert metric.compute().item() > 0
    with pytest.raises(InputError, match="at least 32 pixels"):
        metric.update(ref[..., :20], ref[..., :20])
