import pytest
import torch

from tests.metrics.fake_views import FakeViews, Means
from tfbench.core.errors import Unscorable
from tfbench.metrics.frame_consistency import FrameConsistency, consecutive_similarity
from tfbench.metrics.frechet import FrechetDistance
from tfbench.nets.frozen import Frozen

ANGLES = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 5.0], [0.0, -1.0]])
"""Turned by 45, 45 and 180 degrees."""
COSINES = [0.5**0.5, 0.5**0.5, -1.0]


@pytest.fixture
def metric() -> FrameConsistency:
    return FrameConsistency(network=Frozen(Means(None), "clip.test", "abc"))


def colour(*rows: tuple[int, int, int]) -> torch.Tensor:
    pixels = torch.tensor(rows, dtype=torch.uint8)[:, :, None, None]
    return pixels.expand(-1, -1, 8, 8).contiguous()


def test_cosines_by_hand():
    assert consecutive_similarity(ANGLES).tolist() == pytest.approx(COSINES)


def test_each_part_is_the_mean_of_its_pairs(metric: FrameConsistency):
    rows = metric.measure(FakeViews({"pred": [ANGLES, ANGLES[:2]]}))
    assert [row.column for row in rows] == ["F.C.", "F.C."]
    assert [row.value for row in rows] == pytest.approx([sum(COSINES) / 3, COSINES[0]])


def test_library_use_averages_clips(metric: FrameConsistency):
    metric.update(colour((9, 0, 0), (9, 0, 0), (0, 9, 0)))
    metric.update(colour((9, 0, 0), (9, 9, 0)))
    assert metric.compute().item() == pytest.approx((0.5 + 0.5**0.5) / 2)


def test_whole_frames_first_as_tccp_reports_it(metric: FrameConsistency):
    (key,) = metric.needs
    assert (key.name, key.crop.name, key.context) == ("features.clip.test", "frame", 0)
    (face,) = FrameConsistency("face", metric.network).needs
    assert face.crop.name == "face"


def test_embeddings_are_shared_with_a_frechet_distance_on_the_same_network(
    metric: FrameConsistency,
):
    frechet = FrechetDistance("frame", metric.network)
    assert metric.needs[0] in frechet.needs


def test_one_frame_is_refused(metric: FrameConsistency):
    with pytest.raises(Unscorable, match="1 frame; consecutive frames need at least 2"):
        metric.measure(FakeViews({"pred": [ANGLES[:1]]}))
    with pytest.raises(Unscorable, match="at least 2"):
        metric.update(colour((9, 0, 0)))


def test_values_that_are_no_numbers_are_refused(metric: FrameConsistency):
    broken = ANGLES.clone()
    broken[1, 1] = torch.nan
    with pytest.raises(Unscorable, match=r"clip\.test gave values that are not finite"):
        metric.measure(FakeViews({"pred": [broken]}))


def test_with_clips_structure():
    clip = pytest.importorskip("tfbench.nets.clip")
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    metric = FrameConsistency(network=Frozen(clip.seeded(0), "clip.seeded"))
    still = torch.randint(0, 256, (1, 3, 40, 60), dtype=torch.uint8)
    metric.update(still.expand(3, -1, -1, -1))
    assert metric.compute().item() == pytest.approx(1, abs=1e-6)
    metric.reset()
    metric.update(torch.cat([still, 255 - still]))
    assert metric.compute().item() < 0.999
