import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from tests.metrics import synthetic_clip
from tests.metrics.fake_views import FakeViews
from tfbench.core.assets import locate
from tfbench.core.errors import InputError, MissingAsset, UnknownName, Unscorable
from tfbench.core.types import Speech
from tfbench.core.views import Part
from tfbench.media.video import open_clip
from tfbench.metrics.lse import LSE, lse, n_windows, sync_distances
from tfbench.nets.frozen import Frozen
from tfbench.nets.syncnet import load, seeded

REFERENCE = json.loads(Path(__file__).with_name("lse_reference.json").read_text())


@pytest.fixture(scope="module")
def judge() -> Frozen:
    return Frozen(seeded(0), "syncnet.seeded")


@pytest.mark.parametrize("name", sorted(set(REFERENCE) - {"synthetic"}))
def test_equals_the_public_reference_on_real_clips(shared_data: Path, judge: Frozen, name: str):
    """Recorded with benchmarks/record_lse.py from joonson/syncnet_python at commit 6efbb1c."""
    path = shared_data / "voxceleb2" / name
    wanted = REFERENCE[name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted["sha256"]
    clip = open_clip(path)
    metric = LSE("wav2lip_lrs", judge)
    metric.update(torch.cat(list(clip.video.frames())), clip.speech.waveform)
    got = metric.compute()
    assert abs(got["LSE-D"].item() - wanted["png"]["LSE-D"]) <= 1e-3
    assert abs(got["LSE-C"].item() - wanted["png"]["LSE-C"]) <= 1e-3
    assert got["AV offset"].item() == wanted["png"]["AV offset"]


def test_equals_the_public_reference_on_a_clip_that_can_be_made_anywhere(judge: Frozen):
    wanted = REFERENCE["synthetic"]["png"]
    metric = LSE("wav2lip_lrs", judge)
    metric.update(synthetic_clip.frames(), synthetic_clip.waveform())
    got = metric.compute()
    assert abs(got["LSE-D"].item() - wanted["LSE-D"]) <= 1e-3
    assert abs(got["LSE-C"].item() - wanted["LSE-C"]) <= 1e-3
    assert got["AV offset"].item() == wanted["AV offset"]


@pytest.mark.weights
def test_golden_value_of_the_official_weights():
    """The reference's README: its example.avi gives offset 3, distance 5.353, confidence 10.021.

    Its `demo_syncnet.py` scores that clip's whole 224x224 frames, through JPEG files; versions of
    OpenCV alone are known to move the distance by 0.05.
    """
    try:
        locate("syncnet-v2")
    except MissingAsset as error:
        pytest.skip(str(error))
    example = os.environ.get("TFBENCH_SYNCNET_EXAMPLE")
    if not example:
        pytest.skip("TFBENCH_SYNCNET_EXAMPLE does not name the reference's example.avi")
    clip = open_clip(example)
    metric = LSE("wav2lip_lrs", load("v2"))
    metric.update(torch.cat(list(clip.video.frames())), clip.speech.waveform)
    got = metric.compute()
    assert got["AV offset"].item() == 3
    assert got["LSE-D"].item() == pytest.approx(5.353, abs=0.1)
    assert got["LSE-C"].item() == pytest.approx(10.021, abs=0.15)


def embeddings(n: int = 60, d: int = 16) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0)) * 4


@pytest.mark.parametrize("late", [-10, -3, 0, 4, 12])
def test_a_known_shift_is_recovered(late: int):
    """Sound that is `late` frames behind the lips has offset -late by the reference's sign."""
    long = embeddings(100)
    lips, sound = long[20:80], long[20 - late : 80 - late]
    _, _, offset = lse(sync_distances(lips, sound))
    assert offset == -late


def test_distances_by_hand():
    lips = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    sound = torch.tensor([[0.0, 4.0], [3.0, 4.0]])
    got = sync_distances(lips, sound, vshift=1)
    # Offset -1 frame: zero padding against window 0, sound 0 against window 1; and so on.
    wanted = [(0.0 + 5.0) / 2, (4.0 + 4.0) / 2, (5.0 + 3.0) / 2]
    assert got.tolist() == pytest.approx(wanted, abs=1e-5)


def test_median_and_minimum():
    distance, confidence, offset = lse(torch.tensor([9.0, 8.0, 5.0, 7.0, 10.0]))
    assert (float(distance), float(confidence), offset) == (5.0, 3.0, 0)


def test_windows_stop_five_frames_before_the_end():
    assert n_windows(100, 100 * 640) == 95
    assert n_windows(100, 50 * 640 + 639) == 45
    assert n_windows(3, 64_000) == 0


def test_embeddings_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="of the same windows"):
        sync_distances(torch.zeros(4, 3), torch.zeros(5, 3))


class OneClip:
    """Views of one clip, given by hand."""

    case, cluster = "case", "someone"

    def __init__(self, parts: tuple[Part, ...], waveform: torch.Tensor) -> None:
        self._parts = parts
        self._waveform = waveform

    def parts(self, key):
        return self._parts

    def speech(self, side="pred"):
        return Speech(self._waveform)


def test_each_track_is_a_row_and_a_silent_one_a_reason(judge: Frozen):
    tone = torch.sin(torch.arange(40 * 640) * 0.3)
    tone[20 * 640 :] = 0
    parts = tuple(Part(f"track-{k}", 20 * k, 20 * k + 20, torch.randn(16, 1024)) for k in range(2))
    rows = LSE("syncnet_short", judge).measure(OneClip(parts, tone))
    assert [row.part for row in rows] == ["track-0"] * 3 + ["track-1"] * 3
    assert all(row.value is not None for row in rows[:3])
    assert {row.reason for row in rows[3:]} == {"the sound is silent"}


def test_sound_that_ends_early_is_said(judge: Frozen):
    parts = (Part("clip", 0, 50, torch.randn(46, 1024)),)
    rows = LSE("wav2lip_lrs", judge).measure(OneClip(parts, torch.ones(2 * 640)))
    assert "50 frames with 0.08 s of sound leave no window" in rows[0].reason


def test_silence_and_short_clips_are_refused(judge: Frozen):
    frames = torch.zeros(10, 3, 224, 224, dtype=torch.uint8)
    with pytest.raises(Unscorable, match="silent"):
        LSE("wav2lip_lrs", judge).update(frames, torch.zeros(6400))
    with pytest.raises(InputError, match="needs 5 frames; got 4"):
        LSE("wav2lip_lrs", judge).update(frames[:4], torch.ones(6400))


def test_it_needs_a_network_and_a_known_definition(judge: Frozen):
    with pytest.raises(Unscorable, match="without its network"):
        _ = LSE().needs
    with pytest.raises(UnknownName, match="syncnet_short, latentsync, wav2lip_lrs"):
        LSE("syncnet", judge)


def test_the_network_is_no_part_of_the_metric(judge: Frozen):
    metric = LSE(network=judge)
    assert not list(metric.parameters())
    assert not metric.state_dict()


@pytest.mark.parametrize(
    ("longest", "wanted"),
    [(None, "syncnet_pipeline"), (101, "syncnet_pipeline"), (100, "syncnet_short")],
)
def test_the_short_form_is_the_default_where_every_clip_is_short(longest, wanted: str):
    assert LSE.default_definition(longest) == wanted


def test_the_pipeline_names_the_short_form_where_it_refuses():
    metric = LSE("syncnet_pipeline", Frozen(seeded(0), "syncnet.seeded"))
    views = FakeViews({}, {"pred": torch.ones(16_000)})
    with pytest.raises(Unscorable, match=r"lse\.syncnet_short takes tracks of 25 frames"):
        metric.measure(views)
