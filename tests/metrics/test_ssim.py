from pathlib import Path

import pytest
import torch
from skimage.metrics import structural_similarity

from tests.metrics.fake_views import FakeViews
from tfbench.core.errors import InputError
from tfbench.media.video import VideoFile
from tfbench.metrics.ssim import SSIM, ssim


def frames(seed: int, n: int = 3, height: int = 91, width: int = 53) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)


def noisy(clean: torch.Tensor, strength: float) -> torch.Tensor:
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (clean + strength * noise).round().clamp(0, 255).byte()


def by_scikit_image(pred: torch.Tensor, ref: torch.Tensor) -> list[float]:
    return [
        structural_similarity(
            r.numpy(),
            p.numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=0,
        )
        for p, r in zip(pred, ref, strict=True)
    ]


@pytest.mark.parametrize("size", [(11, 11), (11, 40), (64, 75), (74, 12), (91, 53), (150, 140)])
def test_equals_scikit_image_on_random_frames(size: tuple[int, int]):
    ref = frames(0, 2, *size)
    for pred in (frames(1, 2, *size), noisy(ref, 20), 255 - ref):
        assert ssim(pred, ref).tolist() == pytest.approx(by_scikit_image(pred, ref), abs=1e-6)


@pytest.mark.parametrize("level", [0, 3, 128, 250])
def test_equals_scikit_image_where_almost_nothing_varies(level: int):
    """There rounding in the variances counts most."""
    ref = torch.full((1, 3, 90, 90), level, dtype=torch.uint8)
    for pred in (ref + frames(0, 1, 90, 90) % 2, ref + 1, noisy(ref, 1)):
        assert ssim(pred, ref).tolist() == pytest.approx(by_scikit_image(pred, ref), abs=1e-6)


def test_equals_scikit_image_on_a_real_clip(shared_data: Path):
    clip = next(VideoFile(shared_data / "hdtf" / "unnamed_25fps.mp4").frames(stop=6))
    pred, ref = clip[3:5, :, 200:600, 200:600], clip[:2, :, 200:600, 200:600]
    wanted = by_scikit_image(pred, ref)
    assert ssim(pred, ref).tolist() == pytest.approx(wanted, abs=1e-6)
    assert 0.5 < wanted[0] < 1


def test_identical_frames_give_one():
    assert ssim(frames(0), frames(0)).tolist() == [1.0, 1.0, 1.0]


def test_more_noise_is_worse():
    ref = frames(0)
    values = [ssim(noisy(ref, strength), ref).mean().item() for strength in (1, 4, 16, 64)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(3, 3, 91, 52, dtype=torch.uint8),
        torch.zeros(3, 3, 91, 53),
        torch.zeros(0, 3, 91, 53, dtype=torch.uint8),
    ],
)
def test_refuses_other_shapes_and_types(other: torch.Tensor):
    with pytest.raises(InputError, match=r"SSIM compares uint8 frames \(T, 3, H, W\) of one shape"):
        ssim(other, frames(0))


def test_refuses_frames_smaller_than_its_window():
    small = frames(0, 1, 40, 10)
    with pytest.raises(InputError, match="11x11 pixels; the frames have 10x40"):
        ssim(small, small)


def test_a_clip_is_the_mean_of_its_frames_and_each_part_has_a_row():
    views = FakeViews({"pair": [torch.tensor([0.5, 0.7]).double(), torch.tensor([0.1]).double()]})
    rows = SSIM("face").measure(views)
    assert [row.column for row in rows] == ["SSIM", "SSIM"]
    assert [row.value for row in rows] == pytest.approx([0.6, 0.1])


def test_as_a_torchmetrics_metric_it_averages_clips():
    metric = SSIM()
    metric.update(frames(0), frames(1))
    metric.update(frames(2, 9), frames(2, 9))
    wanted = (float(ssim(frames(0), frames(1)).mean()) + 1) / 2
    assert metric.compute().item() == pytest.approx(wanted)
