"""Poisson blending against a relaxation of the equation itself."""

import pytest
import torch

from tfbench.core.errors import ConfigError
from tfbench.methods._blending import PoissonBlend, face_region


def relaxed(new: torch.Tensor, old: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """Solve the discrete Poisson equation by Jacobi's iteration, float64."""
    f = old.double().clone()
    new = new.double()

    def around(x: torch.Tensor) -> torch.Tensor:
        return x.roll(1, 0) + x.roll(-1, 0) + x.roll(1, 1) + x.roll(-1, 1)

    guide = 4 * new - around(new)
    for _ in range(3000):
        f = torch.where(region, (around(f) + guide) / 4, f)
    return f


def test_it_solves_poissons_equation():
    draw = torch.Generator().manual_seed(2)
    new, old = (torch.rand(20, 20, generator=draw) for _ in range(2))
    region = torch.zeros(20, 20, dtype=torch.bool)
    region[4:15, 3:12] = True
    region[8:10, 5:8] = False  # with a hole
    blended = PoissonBlend(region)(new[None, None], old[None, None])[0, 0]
    assert (blended.double() - relaxed(new, old, region)).abs().max() < 1e-5
    assert torch.equal(blended[~region], old[~region])


def test_a_constant_difference_vanishes():
    region = face_region(48, whole=True)
    old = torch.rand(2, 3, 48, 48)
    assert (PoissonBlend(region)(old + 0.4, old) - old).abs().max() < 1e-5


def test_the_lower_half_is_part_of_the_whole():
    whole, lower = (face_region(64, whole=flag) for flag in (True, False))
    assert (lower & ~whole).sum() == 0
    assert lower[:25].sum() == 0
    assert 0.5 < float(lower.sum() / whole.sum()) < 0.8


def test_a_region_at_the_edge_or_without_a_pixel_is_refused():
    for region in (torch.ones(8, 8), torch.zeros(8, 8)):
        with pytest.raises(ConfigError, match="none at the edge"):
            PoissonBlend(region.bool())
