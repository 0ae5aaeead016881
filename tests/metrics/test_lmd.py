import math

import pytest
import torch
from torch import nn

from tests.metrics.fake_views import FakeViews
from tfbench.core.errors import InputError, UnknownName, Unscorable
from tfbench.faces.crop import FaceInFrame
from tfbench.metrics.lmd import LMD, lmd_atvg, lmd_eat, lmd_ipd, lmd_vico
from tfbench.nets.frozen import Frozen

FUNCTIONS = (lmd_ipd, lmd_atvg, lmd_eat, lmd_vico)


def face(n: int = 3) -> torch.Tensor:
    """All points at the origin but the eyes, whose centres lie 40 pixels apart."""
    points = torch.zeros(n, 68, 2)
    points[:, 36:42] = torch.tensor([-20.0, -10.0])
    points[:, 42:48] = torch.tensor([20.0, -10.0])
    return points


def noisy(seed: int, n: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return face(n) + 3 * torch.randn(n, 68, 2, generator=generator)


def opened() -> torch.Tensor:
    """A face with half of the mouth's points 3 to the left and 4 up, half the opposite."""
    points = face()
    points[:, 48:58] += torch.tensor([-3.0, -4.0])
    points[:, 58:68] += torch.tensor([3.0, 4.0])
    return points


def test_hand_worked_values():
    """Each of 20 mouth points is 5 pixels away; the mouth's and the face's means do not move."""
    assert lmd_atvg(opened(), face()).item() == pytest.approx(100)
    assert lmd_ipd(opened(), face()).item() == pytest.approx(5 / 40)
    assert lmd_vico(opened(), face()).item() == pytest.approx(3.5)
    assert lmd_eat(opened(), face()).tolist() == pytest.approx([5, 20 * 5 / 68])


def test_hand_worked_values_of_one_moved_point():
    """One point 20 px to the right moves the mouth's mean by 1 and the face's by 20 / 68."""
    moved = face()
    moved[:, 60, 0] += 20
    assert lmd_atvg(moved, face()).item() == pytest.approx(19 + 19 * 1)
    assert lmd_ipd(moved, face()).item() == pytest.approx(38 / 20 / 40)
    assert lmd_vico(moved, face()).item() == pytest.approx(20 / 40)
    shift = 20 / 68
    assert lmd_eat(moved, face()).tolist() == pytest.approx([1.9, ((20 - shift) + 67 * shift) / 68])


def test_frames_are_averaged():
    pred, ref = face(4), face(4)
    pred[:2] = opened()[:2]
    assert lmd_atvg(pred, ref).item() == pytest.approx(50)
    assert lmd_ipd(pred, ref).item() == pytest.approx(5 / 40 / 2)


def test_loops_as_in_the_literature_give_the_same():
    """The published scripts' arithmetic, written out point by point."""
    pred, ref = noisy(0).double(), noisy(1).double()
    sums = {"mouth": 0.0, "face": 0.0}
    for p, r in zip(pred, ref, strict=True):
        for part, rows in (("mouth", range(48, 68)), ("face", range(68))):
            one, other = (
                [[x[k][c].item() - sum(x[j][c].item() for j in rows) / len(rows) for c in (0, 1)]
                 for k in rows]
                for x in (p, r)
            )  # fmt: skip
            sums[part] += sum(math.dist(a, b) for a, b in zip(one, other, strict=True))
    assert lmd_atvg(pred, ref).item() == pytest.approx(sums["mouth"] / 5)
    wanted = [sums["mouth"] / (5 * 20), sums["face"] / (5 * 68)]
    assert lmd_eat(pred, ref).tolist() == pytest.approx(wanted)


def test_the_default_does_not_depend_on_size_or_place():
    pred, ref = noisy(0), noisy(1)
    wanted = lmd_ipd(pred, ref).item()
    assert lmd_ipd(4 * pred + 100, 4 * ref).item() == pytest.approx(wanted, rel=1e-5)
    assert lmd_ipd(pred, 0.5 * ref - 7).item() == pytest.approx(wanted, rel=1e-5)
    assert lmd_atvg(pred + 100, ref).item() == pytest.approx(lmd_atvg(pred, ref).item(), rel=1e-5)
    assert lmd_vico(pred + 10, pred).item() == pytest.approx(10, rel=1e-5)


def test_a_blink_does_not_move_the_mouth():
    blink = opened()
    blink[1, 36:48] += torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    assert lmd_ipd(blink, face()).item() == pytest.approx(5 / 40)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_same_landmarks_are_zero_and_more_noise_is_worse(function):
    ref = noisy(0)
    assert function(ref, ref).abs().max() == 0
    noise = torch.randn(ref.shape, generator=torch.Generator().manual_seed(2))
    values = [function(ref + s * noise, ref).sum().item() for s in (0.5, 1, 2)]
    assert values == sorted(values)
    assert function(ref, ref + noise).sum() > 0


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [(4, 68, 2), (5, 67, 2), (5, 68, 3), (68, 2), (0, 68, 2)])
def test_other_shapes_are_refused(function, shape: tuple[int, ...]):
    other = torch.zeros(shape)
    with pytest.raises(InputError, match=r"landmarks \(T, 68, 2\) of the same frames"):
        function(other, other if shape[0] in {0, 68} or shape[1:] != (68, 2) else noisy(0))


class Doubled(nn.Module):
    """Stands for a detector whose points have to be turned into 68."""

    crop = FaceInFrame()
    located = True
    n_points = 136

    def extract(self, frames: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        return regions[:, None, :2].repeat(1, 136, 1)

    def as_68(self, points: torch.Tensor) -> torch.Tensor:
        return points[:, ::2]


def build(definition: str | None = None) -> LMD:
    return LMD(definition, Frozen(Doubled(), "landmarks.test", sha256="f" * 64))


def test_needs_landmarks_of_both_clips():
    metric = build()
    pred, ref = metric.needs
    assert (pred.side, ref.side) == ("pred", "ref")
    assert pred.located
    assert pred.name == "landmarks.landmarks.test"
    assert pred.evaluator == "f" * 64
    assert metric.info.evaluator == "landmarks.test"
    assert pred.extract(torch.zeros(2, 3, 8, 8), torch.ones(2, 4)).shape == (2, 136, 2)


def test_scores_every_face():
    wide = [points.repeat_interleave(2, 1) for points in (opened(), face(), opened())]
    views = FakeViews({"pred": wide[:2], "ref": wide[1:]})
    rows = build("eat").measure(views)
    assert [(row.part, row.column) for row in rows] == [
        ("track-0", "M-LMD"),
        ("track-0", "F-LMD"),
        ("track-1", "M-LMD"),
        ("track-1", "F-LMD"),
    ]
    assert [row.value for row in rows] == pytest.approx([5, 100 / 68] * 2)
    (row, _) = build().measure(views)
    assert row.value == pytest.approx(1 / 8)
    assert build().columns[0].unit == "IPD"


def test_landmarks_that_are_no_numbers_become_a_reason():
    broken = face().repeat_interleave(2, 1)
    broken[0, 100] = torch.nan
    (row,) = build("atvg").measure(FakeViews({"pred": [broken], "ref": [broken]}))
    assert row.value is None
    assert "not a number" in row.reason


def test_as_a_torchmetrics_metric_it_averages_clips():
    metric = build("eat")
    metric.update(opened(), face())
    metric.update(face(9), face(9))
    assert {k: v.item() for k, v in metric.compute().items()} == pytest.approx(
        {"M-LMD": 2.5, "F-LMD": 50 / 68}
    )
    single = build()
    single.update(opened(), face())
    assert single.compute()["LMD"].item() == pytest.approx(1 / 8)


def test_names_and_networks():
    with pytest.raises(UnknownName, match="it has ipd, atvg, eat, vico"):
        LMD("lip")
    with pytest.raises(Unscorable, match="without its network"):
        LMD().measure(FakeViews())


@pytest.mark.parametrize("definition", ["atvg", "eat", "vico"])
def test_definitions_in_pixels_refuse_frames_of_two_sizes(definition: str):
    points = [face().repeat_interleave(2, 1)]
    views = FakeViews({"pred": points, "ref": points})
    views.frames = {"pred": (96, 128), "ref": (192, 256)}
    with pytest.raises(Unscorable, match="frames of 128x96 and 256x192"):
        build(definition).measure(views)
    assert build("ipd").measure(views)[0].value == 0
