import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import _compute_fid

from tfbench.core.errors import InputError
from tfbench.core.types import Score
from tfbench.faces.align import SquareFace
from tfbench.faces.crop import FaceBox, WholeFrame
from tfbench.metrics.frechet import FrechetDistance, Moments, frechet_distance
from tfbench.nets.frozen import Frozen


class Flat(torch.nn.Module):
    """A feature network for tests: channel means and standard deviations."""

    def embed(self, frames: torch.Tensor) -> torch.Tensor:
        values = frames.float().flatten(2)
        return torch.cat([values.mean(2), values.std(2)], 1)


def random_sets(n1: int, n2: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(d)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64)
    one = torch.randn(n1, d, generator=generator, dtype=torch.float64) @ mix
    return one, torch.randn(n2, d, generator=generator, dtype=torch.float64) + 0.3


def by_matrix_root(one: torch.Tensor, two: torch.Tensor) -> float:
    """The textbook form, with scipy's matrix square root."""
    a, b = one.numpy(), two.numpy()
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(s1 @ s2).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root))


@pytest.mark.parametrize(("n1", "n2", "d"), [(200, 150, 12), (60, 500, 24), (400, 90, 64)])
def test_equals_the_matrix_square_root(n1: int, n2: int, d: int):
    one, two = random_sets(n1, n2, d)
    got = frechet_distance(Moments([one]), Moments([two]))
    assert got == pytest.approx(by_matrix_root(one, two), rel=1e-9)


@pytest.mark.parametrize(("n1", "n2", "d"), [(500, 400, 64), (3000, 900, 256)])
def test_equals_torchmetrics(n1: int, n2: int, d: int):
    """Its arithmetic of FID, on the same random features."""
    one, two = random_sets(n1, n2, d)
    wanted = _compute_fid(one.mean(0), one.T.cov(), two.mean(0), two.T.cov())
    got = frechet_distance(Moments([one]), Moments([two]))
    assert got == pytest.approx(float(wanted), rel=1e-9)


def test_fewer_samples_than_dimensions_equals_the_full_computation():
    one, two = random_sets(20, 30, 64)
    centred = [x - x.mean(0) for x in (one, two)]
    s1, s2 = (c.T @ c / (len(c) - 1) for c in centred)
    values, vectors = torch.linalg.eigh(s1)
    half = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(half @ s2 @ half).clamp(min=0).sqrt().sum()
    wanted = (one.mean(0) - two.mean(0)).square().sum() + s1.trace() + s2.trace() - 2 * cross
    # The square root turns rounding of 1e-16 in zero eigenvalues into 1e-8: hence 1e-6.
    assert frechet_distance(Moments([one]), Moments([two])) == pytest.approx(
        float(wanted), rel=1e-6
    )


def test_one_dimension_by_hand():
    one, two = torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [9.0]])
    # means 1 and 6, standard deviations sqrt(2) and sqrt(18): 25 + (sqrt(18) - sqrt(2))² = 33
    assert frechet_distance(Moments([one]), Moments([two])) == pytest.approx(33.0)


def test_chunks_do_not_matter():
    one, two = random_sets(500, 400, 16)
    whole = frechet_distance(Moments([one]), Moments([two]))
    pieces = frechet_distance(Moments(one.split(7)), Moments(two.split(33)))
    assert pieces == pytest.approx(whole, rel=1e-12)


def test_a_set_against_itself_is_zero():
    one, _ = random_sets(100, 1, 8)
    assert frechet_distance(Moments([one]), Moments([one])) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(1, 4), "at least 2 samples"),
        (torch.zeros(4), "matrix"),
        (torch.full((3, 4), torch.nan), "not finite"),
    ],
)
def test_bad_features_are_refused(features: torch.Tensor, message: str):
    with pytest.raises(InputError, match=message):
        Moments([features])


def test_widths_must_agree():
    with pytest.raises(InputError, match="4 and 5 dimensions"):
        frechet_distance(Moments([torch.rand(9, 4)]), Moments([torch.rand(9, 5)]))


def judge(name: str = "flat.test") -> Frozen:
    return Frozen(Flat(), name)


def test_it_is_called_fid_only_with_inception():
    assert FrechetDistance(network=judge()).columns[0].name == "FD (flat)"
    assert FrechetDistance(network=judge("inception.test")).columns[0].name == "FID"


def test_library_use():
    metric = FrechetDistance(network=judge())
    frames = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8)
    metric.update(frames[:20], real=True)
    metric.update(frames[20:], real=True)
    metric.update(frames, real=False)
    assert metric.compute().item() == pytest.approx(0.0, abs=1e-6)
    assert not list(metric.parameters())
    assert not metric.state_dict()


def test_a_real_clip_that_serves_two_cases_counts_once():
    one, two = random_sets(30, 30, 4)
    store = {"a": one[:15], "b": one[15:], "real": two}
    metric = FrechetDistance(network=judge())
    scores = [
        Score(case, "clip", "FD (flat)", case, features={"pred": case, "ref": "real"})
        for case in ("a", "b")
    ]
    (got,) = metric.aggregate(scores, store.__getitem__)
    assert got.value == pytest.approx(frechet_distance(Moments([one]), Moments([two])))
    assert (got.n, got.n_samples, got.warning) == (2, 30, "")


def test_too_few_samples_are_said():
    one, two = random_sets(4, 4, 6)
    metric = FrechetDistance(network=judge())
    scores = [Score("a", "clip", "FD (flat)", "a", features={"pred": "p", "ref": "r"})]
    (got,) = metric.aggregate(scores, {"p": one, "r": two}.__getitem__)
    assert "4 frames give no full-rank covariance of 6" in got.warning


def test_nothing_scored_gives_no_number():
    scores = [Score("a", "clip", "FD (flat)", "a", reason="no face")]
    (got,) = FrechetDistance(network=judge()).aggregate(scores, {}.__getitem__)
    assert (got.value, got.n) == (None, 0)


def test_faces_are_cut_as_the_network_wants_them():
    judge = Frozen(Flat(), "flat.test")
    assert FrechetDistance("face", judge).info.crop == FaceBox().name
    judge.module.crop = SquareFace(64)
    assert FrechetDistance("face", judge).info.crop == "square-64"
    assert FrechetDistance("frame", judge).info.crop == WholeFrame().name
