"""Crops against SciPy's median filter, OpenCV's resizing and hand-worked regions."""

import numpy as np
import pytest
import torch

from tfbench.core.errors import ConfigError, InputError
from tfbench.core.types import FaceTrack, TrackSettings
from tfbench.core.views import Crop
from tfbench.faces.crop import FaceBox, SyncNetCrop, WholeFrame


def track_of(boxes: np.ndarray, start: int = 0) -> FaceTrack:
    """Make a track of boxes (n, 4)."""
    n = len(boxes)
    return FaceTrack(start, torch.from_numpy(boxes).float(), torch.zeros(n, 5, 2), torch.ones(n))


def wandering(n: int = 40, seed: int = 0) -> FaceTrack:
    """Make a jittering track that leaves a 320x240 frame on the right."""
    rng = np.random.default_rng(seed)
    centre = np.linspace([80, 120], [290, 100], n) + rng.normal(0, 4, (n, 2))
    half = np.linspace([30, 38], [48, 60], n) + rng.normal(0, 2, (n, 2))
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return track_of(boxes.astype(np.float32))


def pictures(n: int, height: int = 240, width: int = 320) -> torch.Tensor:
    """Make smooth moving patterns: uint8 (n, 3, height, width)."""
    t, c, y, x = np.ogrid[:n, :3, :height, :width]
    values = 127 + 60 * np.sin(x / (9 + c) + t / 5) + 60 * np.cos(y / (7 + 2 * c) - t / 3)
    return torch.from_numpy(values.astype(np.uint8))


def test_syncnet_crop_equals_the_reference_pipeline():
    """Median filter by SciPy, padding by NumPy, resizing by OpenCV, as run_pipeline.py does."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference")
    signal = pytest.importorskip("scipy.signal")
    track, frames = wandering(), pictures(40)
    crop = SyncNetCrop()
    ours = crop.cut(frames, crop.regions(track)).permute(0, 2, 3, 1).numpy()
    box = track.boxes.double().numpy()
    size = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) / 2
    size, x, y = (
        signal.medfilt(v, 13)
        for v in (size, (box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2)
    )
    for i, frame in enumerate(frames.permute(0, 2, 3, 1).numpy()):
        pad = int(size[i] * 1.8)
        wide = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), constant_values=110)
        rows = slice(int(y[i] + pad - size[i]), int(y[i] + pad + size[i] * 1.8))
        columns = slice(int(x[i] + pad - size[i] * 1.4), int(x[i] + pad + size[i] * 1.4))
        wanted = cv2.resize(wide[rows, columns], (224, 224))
        assert np.abs(wanted.astype(int) - ours[i]).max() <= 1


def test_syncnet_regions_of_a_still_face():
    """Half side 60, centre (200, 160): x from 116 to 284 and y from 100 to 268."""
    crop = SyncNetCrop()
    regions = crop.regions(track_of(np.tile([150.0, 100.0, 250.0, 220.0], (20, 1))))
    assert regions.tolist() == [[116, 100, 284, 268]] * 20


def test_the_median_takes_zeros_beyond_the_ends():
    """At the first frame 6 of 13 values are zeros, so the least of the first 7 remains: half side
    40, centre (144, 140). In the middle it is the median: half side 50, centre (150, 150)."""
    boxes = np.tile([100.0, 100.0, 200.0, 200.0], (20, 1))
    boxes[6] = [104, 100, 184, 180]
    regions = SyncNetCrop().regions(track_of(boxes))
    assert regions[0].tolist() == [88, 100, 200, 212]
    assert regions[10].tolist() == [80, 100, 220, 240]


def test_beyond_the_frame_is_gray():
    frames = torch.full((8, 3, 100, 100), 255, dtype=torch.uint8)
    track = track_of(np.tile([-40.0, 20.0, 40.0, 100.0], (8, 1)))
    crop = SyncNetCrop(size=112)
    cut = crop.cut(frames, crop.regions(track))
    assert cut.shape == (8, 3, 112, 112)
    assert (cut[:, :, :, :56] == 110).all()
    assert (cut[:, :, :79, 57:] == 255).all()
    assert (cut[:, :, 81:] == 110).all()


def test_a_region_that_lies_outside_is_all_gray():
    frames = torch.zeros(1, 3, 50, 50, dtype=torch.uint8)
    for row in ([60, 0, 70, 10], [-20, 0, -10, 10], [0, 80, 10, 90]):
        assert (SyncNetCrop().cut(frames, torch.tensor([row])) == 110).all()


@pytest.mark.parametrize("crop", [SyncNetCrop(), FaceBox(), FaceBox(size=64, margin=0.2)])
def test_chunks_do_not_matter(crop):
    frames, regions = pictures(40), crop.regions(wandering())
    whole = crop.cut(frames, regions)
    pairs = zip(frames.split(7), regions.split(7), strict=True)
    assert torch.equal(whole, torch.cat([crop.cut(f, r) for f, r in pairs]))
    assert regions.shape == (40, 4)
    assert regions.dtype == torch.float32


def test_channel_order_and_memory_layout_do_not_matter():
    frames = pictures(4)
    interleaved = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    regions = torch.tensor([[10.0, 20, 110, 140]] * 4)
    for crop in (SyncNetCrop(), FaceBox(), FaceBox(size=64), WholeFrame(64)):
        assert torch.equal(crop.cut(frames, regions), crop.cut(interleaved, regions))


def test_face_box_keeps_pixels_in_a_window_of_one_size():
    track, frames = wandering(), pictures(40)
    crop = FaceBox()
    regions = crop.regions(track)
    sides = (regions[:, 2:] - regions[:, :2]).unique(dim=0)
    assert len(sides) == 1
    cut = crop.cut(frames, regions)
    assert list(cut.shape[2:]) == sides[0].flip(0).int().tolist()
    x, y = regions[20, :2].int().tolist()
    assert torch.equal(cut[20], frames[20, :, y : y + cut.shape[2], x : x + cut.shape[3]])
    # The last boxes leave the frame on the right; the window stops at its edge.
    assert regions[-1, 2] > 320
    assert torch.equal(cut[-1, :, 0, -1], frames[-1, :, int(regions[-1, 1]), -1])


def test_face_box_contains_a_still_face_with_its_margin():
    track = track_of(np.tile([50.0, 60.0, 90.0, 110.0], (30, 1)))
    assert FaceBox(margin=0.1).regions(track)[0].tolist() == [46, 55, 94, 115]


def test_face_box_larger_than_the_frame_is_the_frame():
    frames = pictures(8, 40, 60)
    crop = FaceBox()
    regions = crop.regions(track_of(np.tile([-20.0, -20.0, 90.0, 70.0], (8, 1))))
    assert torch.equal(crop.cut(frames, regions), frames)


def test_face_box_with_a_size_is_antialiased():
    """One-pixel stripes average to gray instead of turning black or white."""
    frames = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    frames[..., ::2] = 255
    cut = FaceBox(size=32).cut(frames, torch.tensor([[0.0, 0, 128, 128]]))
    assert cut.shape == (1, 3, 32, 32)
    assert ((cut > 90) & (cut < 165)).all()


def test_whole_frame():
    frames = pictures(3)
    assert WholeFrame().cut(frames) is frames
    assert WholeFrame(96).cut(frames).shape == (3, 3, 96, 96)
    with pytest.raises(InputError, match="no regions"):
        WholeFrame().regions(wandering())


def test_whole_frame_resizes_as_opencv():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference")
    frames = pictures(2)
    ours = WholeFrame(224).cut(frames).permute(0, 2, 3, 1).numpy()
    for frame, cut in zip(frames.permute(0, 2, 3, 1).numpy(), ours, strict=True):
        assert np.abs(cv2.resize(frame, (224, 224)).astype(int) - cut).max() <= 1


@pytest.mark.parametrize(
    ("crop", "name"),
    [
        (WholeFrame(), "frame"),
        (WholeFrame(224), "frame-224"),
        (SyncNetCrop(), "syncnet"),
        (SyncNetCrop(TrackSettings(min_frames=25)), "syncnet.min25"),
        (
            SyncNetCrop(TrackSettings(min_face=50), scale=0.5, size=96, pad_value=0),
            "syncnet.face50.scale0.5.size96.pad0",
        ),
        (FaceBox(), "face"),
        (FaceBox(size=160, margin=0.1), "face-160.margin0.1"),
        (FaceBox(TrackSettings()), "face.min100.face100"),
    ],
)
def test_names_tell_what_differs(crop, name):
    assert crop.name == name
    assert isinstance(crop, Crop)
    assert len({crop, type(crop)(**vars(crop))}) == 1


@pytest.mark.parametrize("crop", [SyncNetCrop(), FaceBox()])
def test_refuses_wrong_regions(crop):
    frames = pictures(3)
    for regions in (None, torch.zeros(2, 4), torch.zeros(3, 5)):
        with pytest.raises(InputError, match="need regions"):
            crop.cut(frames, regions)
    with pytest.raises(InputError, match="at least one pixel"):
        crop.cut(frames, torch.zeros(3, 4))
    with pytest.raises(InputError, match="uint8"):
        crop.cut(frames.float(), torch.ones(3, 4))


def test_no_frames_give_no_crops():
    none = torch.zeros(0, 3, 20, 20, dtype=torch.uint8)
    assert SyncNetCrop().cut(none, torch.zeros(0, 4)).shape == (0, 3, 224, 224)
    assert FaceBox(size=8).cut(none, torch.zeros(0, 4)).shape == (0, 3, 8, 8)
    assert WholeFrame(8).cut(none).shape == (0, 3, 8, 8)


def test_refuses_tracks_shorter_than_the_median_filter_needs():
    with pytest.raises(InputError, match="this track has 6"):
        SyncNetCrop().regions(track_of(np.ones((6, 4))))
    with pytest.raises(ConfigError, match="min_frames 5"):
        SyncNetCrop(TrackSettings(min_frames=5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: WholeFrame(0),
        lambda: SyncNetCrop(size=0),
        lambda: SyncNetCrop(scale=-1),
        lambda: SyncNetCrop(pad_value=256),
        lambda: FaceBox(margin=-0.5),
    ],
)
def test_refuses_impossible_settings(make):
    with pytest.raises(ConfigError):
        make()
