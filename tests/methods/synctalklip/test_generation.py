"""Bundles of SyncTalklip and its videos."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.methods.faces import of_still, of_video, photograph
from tests.methods.synctalklip.helpers import (
    SIDE,
    SMALL,
    training,
    video,
)
from tfbench.core.errors import GenerationError
from tfbench.core.types import Speech
from tfbench.methods.synctalklip import SyncTalklip, SyncTalklipConfig


def test_a_bundle_holds_what_generates(bundle: Path, expert: str):
    record = json.loads((bundle / "bundle.json").read_text())
    assert list(record["parts"]) == ["net", "hearing"]
    taken = SyncTalklip(SyncTalklipConfig(weights=str(bundle)))
    assert len(taken.supervisors) == 1
    assert taken.supervisors == (training(expert).expert.sha256,)
    assert (taken.crop.size, taken.crop.smooth) == (SIDE, 3)
    assert taken.critic.settings["side"] == SIDE
    shas = {name: part["sha256"] for name, part in record["parts"].items()}
    assert taken.provenance()["weights"] == shas
    assert not any("video" in name for name in taken.state_dict())


@pytest.mark.parametrize("n", [1, 4, 11])
def test_any_number_of_frames(method: SyncTalklip, n: int):
    made = video(method, of_still(n / 25))
    assert made.shape == (n, *photograph().shape[1:])
    assert made.dtype == torch.uint8


def test_the_size_of_a_batch_changes_nothing_and_nothing_is_random(method: SyncTalklip):
    request = of_video(9, 0.36)
    made = video(method, request)
    assert torch.equal(made, video(method, request))
    for n in (1, 32):
        other = SyncTalklip(replace(method.config, frames_at_once=n))
        assert (video(other, request).int() - made.int()).abs().max() <= 1


def test_only_the_face_changes_and_it_follows_the_sound(method: SyncTalklip):
    request = of_still(0.32)
    made, still = video(method, request), photograph()
    assert torch.equal(made[:, :, :, :8], still.expand(8, -1, -1, -1)[:, :, :, :8])
    assert (made.int() - still.int()).abs().max() > 20
    other = replace(request, speech=Speech(request.speech.waveform.flip(0)))
    assert not torch.equal(made, video(method, other))
    # The still does not move, so frames differ by their sound alone.
    assert not torch.equal(made[2], made[5])


def test_a_frame_hears_the_feature_of_its_time(method: SyncTalklip):
    """At 50 frames a second, pairs of frames lie around one frame at 25 a second."""
    slow = video(method, of_still(0.4))
    fast = video(method, of_still(0.4, fps=Fraction(50)))
    assert len(fast) == 2 * len(slow)
    near = (fast[8].int() - slow[4].int()).abs().float().mean()
    far = (fast[8].int() - slow[9].int()).abs().float().mean()
    assert near < far


def test_frames_without_a_face_pass_through(method: SyncTalklip):
    made = video(method, of_video(8, 0.4, absent=(0, 1)))
    assert bool((made[:2] == 128).all())
    assert method.unedited == 4  # the source starts over after 8 frames
    assert len(made) == 10


def test_without_weights_nothing_is_made():
    with pytest.raises(GenerationError, match="no trained weights"):
        SyncTalklip(SMALL).check(of_still())
