"""What SyncTalklip keeps of a real face."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.methods.faces import photograph
from tests.methods.synctalklip.helpers import (
    SIDE,
    SMALL,
)
from tfbench.core.errors import Unscorable
from tfbench.core.types import Clip, Sample, Speech, TensorVideo
from tfbench.core.views import Part, ViewKey
from tfbench.faces.detect import FaceDetector
from tfbench.faces.landmarks import mediapipe_to_68
from tfbench.methods._synctalklip_data import lip_shapes, place_view
from tfbench.methods._synctalklip_losses import mouths_of
from tfbench.methods.synctalklip import SyncTalklip
from tfbench.preparation.arrays import Arrays
from tfbench.preparation.first_pass import FaceFinder
from tfbench.preparation.views import ClipViews


@pytest.fixture(scope="module")
def moving() -> Clip:
    """The photograph moves right by a pixel a frame and back."""
    shifts = [k if k < 14 else 28 - k for k in range(28)]
    frames = torch.cat([photograph().roll(k, 3) for k in shifts])
    noise = torch.randn(28 * 640, generator=torch.Generator().manual_seed(1)) * 0.1
    return Clip(TensorVideo(frames), Speech(noise.clamp(-1, 1)))


@pytest.fixture(scope="module")
def made() -> SyncTalklip:
    return SyncTalklip(SMALL)


@pytest.fixture(scope="module")
def views(moving: Clip, made: SyncTalklip, tmp_path_factory: pytest.TempPathFactory) -> ClipViews:
    finder, features = FaceFinder(FaceDetector()), Arrays(tmp_path_factory.mktemp("views"))
    device = torch.device("cpu")
    return ClipViews("c", "p", {"pred": moving}, {"pred": "c"}, made.keys, finder, features, device)


@pytest.fixture(scope="module")
def arrays(moving: Clip, made: SyncTalklip, views: ClipViews) -> dict[str, Tensor]:
    return made.keep(Sample("c", moving, "p"), views)


def test_a_true_face_through_the_map_is_near_the_true_mouth(arrays: dict[str, Tensor]):
    n = len(arrays["faces"])
    assert {name: tuple(value.shape[1:]) for name, value in arrays.items()} == {
        "faces": (3, SIDE, SIDE),
        "mouths": (88, 88),
        "maps": (6,),
        "lips": (40,),
        "sound": (104,),
        "start": (),
    }
    assert n == len(arrays["sound"]) == len(arrays["maps"]) == 28
    faces, true = arrays["faces"].float() / 255, arrays["mouths"].float()

    def off(maps: Tensor) -> float:
        return float((mouths_of(faces, maps) - true).abs().mean())

    here = off(arrays["maps"])
    assert here < 4
    # A pixel of the face away in any direction it fits less.
    for place in (2, 5):
        for step in (-1.5, 1.5):
            moved = arrays["maps"].clone()
            moved[:, place] += step
            assert off(moved) > 1.3 * here


def test_lips_are_the_landmarks_in_the_aligned_mouth(
    made: SyncTalklip, views: ClipViews, arrays: dict[str, Tensor]
):
    (points,) = views.parts(made.mouth_crop.points)
    (places,) = views.parts(place_view(made.mouth_crop))
    a, b, c, d, e, f = places.values[3].tolist()
    x, y = points.values[3, 48:].double().unbind(1)
    by_hand = torch.stack([a * x + b * y + c, d * x + e * y + f], 1)
    lips = arrays["lips"].view(-1, 20, 2)
    torch.testing.assert_close(lips[3], (by_hand - by_hand.mean(0)).float())
    # The photograph's mouth does not move, the photograph does; landmarks are as fine as pixels.
    assert (lips - lips[:1]).abs().mean() < 1.5
    width = (lips[:, 6] - lips[:, 0]).norm(dim=1)
    assert 30 < float(width.mean()) < 70


def test_lips_of_mediapipe_are_the_same_twenty_points():
    draw = torch.Generator().manual_seed(0)
    points, mouths = torch.rand(3, 478, 2, generator=draw), torch.rand(3, 6, generator=draw)
    assert torch.equal(lip_shapes(points, mouths), lip_shapes(mediapipe_to_68(points), mouths))


def test_places_are_those_at_which_crops_were_cut(
    moving: Clip, made: SyncTalklip, views: ClipViews
):
    face = views.parts(made.keys[0])[0].values
    (places,) = views.parts(place_view(made.crop))
    frames = torch.cat(list(moving.video.frames()))
    assert torch.equal(made.crop.cut(frames, places.values), face)


def test_clips_without_a_face_or_sound_are_left_out(
    moving: Clip, made: SyncTalklip, views: ClipViews, monkeypatch: pytest.MonkeyPatch
):
    def keep(clip: Clip, n_frames: int = 28) -> None:
        monkeypatch.setitem(views._clips, "pred", clip)
        longer = Clip(TensorVideo(torch.zeros(n_frames, 3, 8, 8, dtype=torch.uint8)))
        made.keep(Sample("c", longer, "p"), views)

    with pytest.raises(Unscorable, match="20 frames of a face with sound; at least 25"):
        keep(Clip(moving.video, Speech(moving.speech.waveform[: 20 * 640])))
    with pytest.raises(Unscorable, match="the sound is silent"):
        keep(Clip(moving.video, Speech(torch.zeros(28 * 640))))
    with pytest.raises(Unscorable, match="72 of 100 frames without"):
        keep(moving, 100)
    with pytest.raises(Unscorable, match="no sound"):
        keep(Clip(moving.video))


def test_faces_and_mouths_of_other_frames_are_left_out(
    moving: Clip, made: SyncTalklip, views: ClipViews, monkeypatch: pytest.MonkeyPatch
):
    found = views.parts
    late = made.keys[1]

    def parts(key: ViewKey) -> tuple[Part, ...]:
        (one,) = found(key)
        return (replace(one, start=2, values=one.values[2:]) if key == late else one,)

    monkeypatch.setattr(views, "parts", parts)
    with pytest.raises(Unscorable, match=r"of the same frames; they are of \[\(0, 28\), \(2, 28\)"):
        made.keep(Sample("c", moving, "p"), views)
