import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from tfbench.core.errors import InputError, UnknownName
from tfbench.metrics.psnr import PSNR, psnr


def frames(seed: int, n: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 37, 53), generator=generator, dtype=torch.uint8)


def test_equals_scikit_image_on_each_frame():
    pred, ref = frames(0), frames(1)
    wanted = [
        peak_signal_noise_ratio(r.numpy(), p.numpy(), data_range=255)
        for p, r in zip(pred, ref, strict=True)
    ]
    assert psnr(pred, ref).tolist() == pytest.approx(wanted, abs=1e-9)


def test_a_difference_of_one_level_is_48_decibels():
    ref = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    assert psnr(ref + 1, ref).item() == pytest.approx(48.1308, abs=1e-4)


def test_no_wrap_around_in_uint8():
    dark, light = torch.full((2, 1, 3, 4, 4), 0, dtype=torch.uint8).unbind(0)
    light = light + 255
    assert psnr(dark, light).item() == pytest.approx(0.0)
    assert psnr(light, dark).item() == pytest.approx(0.0)


def test_identical_frames_are_infinite():
    assert torch.isinf(psnr(frames(0), frames(0))).all()


def test_identical_frames_are_left_out_where_others_differ():
    pred, ref = frames(0), frames(1)
    pred[1:3] = ref[1:3]
    metric, whole = PSNR(), PSNR()
    metric.update(pred, ref)
    assert metric.compute().item() == pytest.approx(psnr(pred, ref)[[0, 3]].mean().item())
    whole.update(ref, ref)
    assert torch.isinf(whole.compute())


def test_more_noise_is_worse():
    ref = frames(0).clamp(60, 190)
    noise = torch.randn(ref.shape, generator=torch.Generator().manual_seed(0))
    values = [psnr((ref + s * noise).round().byte(), ref).mean().item() for s in (1, 4, 16)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    "other", [torch.zeros(4, 3, 37, 52, dtype=torch.uint8), torch.zeros(4, 3, 37, 53)]
)
def test_refuses_other_shapes_and_types(other: torch.Tensor):
    with pytest.raises(InputError, match="uint8 frames of one shape"):
        psnr(other, frames(0))


def test_as_a_torchmetrics_metric_it_averages_clips():
    metric = PSNR()
    metric.update(frames(0), frames(1))
    metric.update(frames(2, 9), frames(3, 9))
    one, two = psnr(frames(0), frames(1)).mean(), psnr(frames(2, 9), frames(3, 9)).mean()
    assert metric.compute().item() == pytest.approx(float(one + two) / 2)


def test_unknown_definition_is_named():
    with pytest.raises(UnknownName, match=r"no definition 'faec'; it has frame, face"):
        PSNR("faec")


def test_compute_without_update_says_so():
    with pytest.raises(InputError, match="call update first"), pytest.warns(UserWarning):
        PSNR().compute()
