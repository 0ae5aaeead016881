"""What weighs pixels and faces in the training of small networks."""

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from tfbench.methods._pixel_loss import evened, unlike
from tfbench.methods._wav2lip_nets import weighted_difference


def faces(seed: int) -> Tensor:
    return torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(seed))


def test_structure_is_compared_as_scikit_image_does():
    real, drawn = faces(0), 0.6 * faces(0) + 0.4 * faces(1)
    ours = 1 - unlike(drawn, real)
    for k in range(2):
        theirs = structural_similarity(
            real[k].double().numpy(),
            drawn[k].double().numpy(),
            win_size=7,
            data_range=1.0,
            channel_axis=0,
            use_sample_covariance=False,
            full=True,
        )[1]
        inside = (..., slice(3, -3), slice(3, -3))
        torch.testing.assert_close(
            ours[k][inside].double(), torch.from_numpy(theirs)[inside], rtol=0, atol=1e-5
        )


def test_structure_does_not_mind_a_batchs_shape_and_never_lacks_a_gradient():
    real = torch.stack([faces(0), faces(1)])
    flat = real.new_full(real.shape, 0.5).requires_grad_()
    off = unlike(flat, real)
    assert torch.equal(off[1], unlike(flat[1], real[1]))
    off.mean().backward()
    assert bool(flat.grad.isfinite().all())
    assert bool(flat.grad.any())
    assert float(unlike(real, real).abs().max()) < 1e-5


@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_a_lost_edge_is_as_wrong_in_a_dark_face(gain: float):
    edge = torch.full((1, 3, 24, 24), 0.4)
    edge[..., 12:, :] = 0.8
    lost = float(unlike(torch.full_like(edge, 0.6) * gain, edge * gain)[..., 10:14, 8:16].mean())
    assert lost > 0.75
    # The absolute difference is a matter of light.
    assert float((0.6 - edge).abs().mean() * gain) == pytest.approx(0.2 * gain)


def test_weights_of_faces_fall_with_their_brightness():
    light = faces(0) / 2 + 0.5
    weights = evened(torch.cat([light, 0.25 * light]), 0.75)
    assert float(weights.mean()) == pytest.approx(1.0)
    torch.testing.assert_close(weights[2:], 4 * weights[:2])


def test_the_mouth_counts_more_and_the_mean_weight_is_one():
    real = torch.zeros(1, 3, 24, 24)
    everywhere = torch.full_like(real, 0.5)
    assert float(weighted_difference(everywhere, real, 20)) == pytest.approx(0.5)
    spots = {}
    for name, row in (("mouth", int(0.75 * 24)), ("eyes", int(0.3 * 24))):
        drawn = real.clone()
        drawn[..., row, 12] = 1
        weighed, plain = (float(weighted_difference(drawn, real, w)) for w in (20, 0))
        spots[name] = weighed / plain
    assert spots["mouth"] > 5 > 1 > spots["eyes"]


@pytest.mark.parametrize(("relative", "wanted"), [(False, 0.4 / 1.4), (True, 0.5)])
def test_dark_faces_count_as_much_as_light_ones(relative: bool, wanted: float):
    light = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) / 2 + 0.5
    dark = 0.4 * light
    real = torch.cat([light, dark])
    losses = [
        float(weighted_difference(torch.cat(drawn), real, 20, relative=relative))
        for drawn in ((0.9 * light, dark), (light, 0.9 * dark))
    ]
    assert losses[1] / sum(losses) == pytest.approx(wanted, rel=1e-3)
