"""Mouths against a straight-line version of the reference, with scikit-image's transforms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import SimilarityTransform, warp

from tfbench.core.errors import ConfigError, InputError
from tfbench.core.types import FaceTrack, TrackSettings
from tfbench.core.views import Crop, LandmarkCrop, ViewKey
from tfbench.faces.crop import FaceBox, FaceInFrame, WholeFrame
from tfbench.faces.landmarks import MEDIAPIPE_TO_68
from tfbench.faces.mouth import (
    EIGHT,
    EIGHT_PLACES,
    FACE,
    PLACES,
    STABLE,
    MouthCrop,
    SteadyMouthCrop,
)

POINTS = ViewKey("landmarks.landmarks.dlib68", "pred", FaceInFrame(), located=True)
CROP = MouthCrop(POINTS)
STEADY = SteadyMouthCrop(POINTS)


def frames(n: int) -> torch.Tensor:
    """A photograph of a face that moves to the right and down."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    return torch.stack([photo.roll((k // 2, k), (1, 2)) for k in range(n)])


def landmarks(n: int, seed: int = 0) -> np.ndarray:
    """Points like the astronaut's face, moving with it, with some tremble: (n, 68, 2)."""
    draw = np.random.default_rng(seed)
    face = draw.uniform((195, 100), (255, 165), (68, 2))
    face[list(STABLE)] = (226, 133), (196, 110), (213, 110), (237, 108), (254, 106)
    face[48:] = draw.uniform((210, 143), (242, 158), (20, 2))
    moving = face + np.arange(n)[:, None, None] * (1.0, 0.5)
    return moving + draw.normal(0, 0.8, (n, 68, 2))


def track(n: int) -> FaceTrack:
    return FaceTrack(0, torch.zeros(n, 4), torch.zeros(n, 5, 2), torch.ones(n))


def regions(points: np.ndarray, crop: MouthCrop = CROP) -> torch.Tensor:
    return crop.regions(track(len(points)), torch.from_numpy(points).float())


def reference(pictures: torch.Tensor, points: np.ndarray, size: int = 96) -> list[np.ndarray]:
    """Frame after frame as in align_mouth.py, but not truncated: (size, size, 3) each."""
    points = points.astype(np.float32).astype(np.float64) - 0.5
    margin = min(len(points), 12)
    found = []
    for k, picture in enumerate(pictures.permute(0, 2, 3, 1).numpy()):
        first = min(k, len(points) - margin)
        around = points[first : first + margin].mean(0)
        move = SimilarityTransform.from_estimate(around[list(STABLE)], np.array(PLACES))
        face = warp(picture, move.inverse, output_shape=(FACE, FACE)) * 255
        x, y = move(points[k, 48:]).mean(0)
        left, top = (round(min(max(c, size / 2), FACE - size / 2)) - size // 2 for c in (x, y))
        found.append(face[top : top + size, left : left + size])
    return found


@pytest.mark.parametrize("n", [1, 5, 12, 13, 30])
@pytest.mark.parametrize("size", [64, 96])
def test_mouths_are_those_of_the_reference(n: int, size: int):
    points, pictures, crop = landmarks(n), frames(n), MouthCrop(POINTS, size)
    got = crop.cut(pictures, regions(points, crop))
    assert got.shape == (n, 3, size, size)
    for mine, theirs in zip(got, reference(pictures, points, size), strict=True):
        assert np.abs(mine.permute(1, 2, 0).numpy() - theirs).max() < 0.51


def steady_reference(points: np.ndarray, k: int, size: int = 96) -> SimilarityTransform:
    """One frame as in video_process.py, but fitted by least squares: to pixels of the crop."""
    points = points.astype(np.float32).astype(np.float64) - 0.5
    margin = min(6, k, len(points) - 1 - k)
    around = points[k - margin : k + margin + 1].mean(0)
    around = around + points[k].mean(0) - around.mean(0)
    move = SimilarityTransform.from_estimate(around[list(EIGHT)], np.array(EIGHT_PLACES))
    x, y = move(around[48:]).mean(0)
    left, top = (round(min(max(c - size / 2, 0), FACE - size)) for c in (x, y))
    return move + SimilarityTransform(translation=(-left, -top))


@pytest.mark.parametrize("n", [1, 5, 13, 30])
def test_steady_mouths_are_those_of_the_later_reference(n: int):
    """OpenCV's estimateAffinePartial2D gave the same as least squares on all but one real clip."""
    points = landmarks(n)
    # Points of the whole face, so that the eight are turned and scaled alike.
    points[:, (28, 48, 54)] = points[:, (33, 33, 33)] + ((1, -14), (-9, 11), (11, 12))
    found = regions(points, STEADY).reshape(-1, 2, 3)
    for k in range(n):
        wanted = steady_reference(points, k).params[:2]
        np.testing.assert_allclose(found[k].numpy(), wanted, atol=2e-4)
    assert STEADY.cut(frames(n), regions(points, STEADY)).shape == (n, 3, 96, 96)


def test_steady_crops_average_evenly():
    with pytest.raises(ConfigError, match="in all an odd number; got 12"):
        SteadyMouthCrop(POINTS, window=12)
    assert STEADY.name == "steady-mouth-96.dlib68.window13"
    assert MouthCrop(POINTS, window=13) != STEADY


def test_a_mouth_at_the_edge_is_moved_inside_the_face():
    points, pictures = landmarks(15), frames(15)
    points[:, 48:] += 60
    got = CROP.cut(pictures, regions(points))
    for mine, theirs in zip(got, reference(pictures, points), strict=True):
        assert np.abs(mine.permute(1, 2, 0).numpy() - theirs).max() < 0.51
    corner = (
        regions(points).reshape(-1, 2, 3)[:, :, 2]
        - regions(landmarks(15)).reshape(-1, 2, 3)[:, :, 2]
    )
    assert (corner < -20).all()


def test_beyond_the_frame_is_black():
    points = landmarks(3) - (215, 100)
    got = CROP.cut(frames(3), regions(points))
    assert (got[:, :, :, :20] == 0).all()
    assert (got[:, :, -20:, -20:] > 0).any()


def test_each_transform_looks_at_this_frame_and_the_11_after_it():
    """Turn and scale of the last 11 frames are those of the last whole window."""
    points = landmarks(30)
    changed = points.copy()
    changed[20, STABLE[0]] += 5
    linear = [regions(p).reshape(-1, 2, 3)[:, :, :2] for p in (points, changed)]
    same = (linear[0] == linear[1]).flatten(1).all(1)
    assert same.tolist() == [k < 9 for k in range(30)]
    assert (linear[0][18:] == linear[0][18]).all()


def test_a_larger_picture_gives_the_same_mouth():
    points = landmarks(4)
    large = frames(4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    small = CROP.cut(frames(4), regions(points)).float()
    blocks = replace(CROP, antialias=True)
    got = blocks.cut(large, regions(2 * points, blocks)).float()
    assert (got - small).abs().mean() < 2


def test_the_middle_of_the_mouth_is_in_the_middle():
    points = landmarks(40)
    mouths = torch.from_numpy(points[:, 48:] - 0.5).float().mean(1)
    rows = regions(points).reshape(-1, 2, 3)
    placed = torch.einsum("nij,nj->ni", rows[:, :, :2], mouths) + rows[:, :, 2]
    assert (placed - 48).abs().max() <= 0.5 + 1e-3


def test_points_of_mediapipe_serve_too():
    points = landmarks(6)
    mesh = np.full((6, 478, 2), np.inf)
    # A point of two is their mean, and some are shared by neighbours: eyes and nose are not.
    for row in (*STABLE, *range(48, 68)):
        mesh[:, list(MEDIAPIPE_TO_68[row])] = points[:, row, None]
    mesh[~np.isfinite(mesh)] = 7.0
    torch.testing.assert_close(regions(mesh), regions(points))


def test_points_count_from_the_first_pixels_edge():
    """In a picture of twice the size, every coordinate is twice as large, and nothing is added."""
    points = landmarks(8)
    one, two = (regions(p).double().reshape(-1, 2, 3) for p in (points, 2 * points))
    corner = torch.tensor([100.0, 50.0], dtype=torch.float64)
    placed = [
        torch.einsum("nij,j->ni", m[:, :, :2], c - 0.5) + m[:, :, 2]
        for m, c in ((one, corner), (two, 2 * corner))
    ]
    torch.testing.assert_close(*placed, atol=1e-3, rtol=0)


def test_it_is_a_crop_that_wants_landmarks():
    assert isinstance(CROP, Crop)
    assert isinstance(CROP, LandmarkCrop)
    assert not isinstance(FaceInFrame(), LandmarkCrop)
    assert CROP.tracking == FaceInFrame().tracking
    same = MouthCrop(replace(POINTS, extract=lambda frames, boxes: frames))
    assert {CROP: 1}[same] == 1
    assert same == CROP


def test_names_tell_what_changes_pixels():
    mesh = replace(POINTS, name="landmarks.landmarks.mediapipe478")
    long = replace(POINTS, crop=FaceInFrame(TrackSettings(min_frames=30, min_face=0)))
    crops = {
        "mouth-96.dlib68": CROP,
        "mouth-64.dlib68": MouthCrop(POINTS, 64),
        "mouth-96.dlib68.window1": MouthCrop(POINTS, window=1),
        "mouth-96.dlib68.antialias": MouthCrop(POINTS, antialias=True),
        "mouth-96.mediapipe478": MouthCrop(mesh),
        "mouth-96.dlib68.located.min30": MouthCrop(long),
    }
    assert {name: crop.name for name, crop in crops.items()} == {name: name for name in crops}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 95}, "even, 2 to 256 pixels; got 95"),
        ({"size": 258}, "got 258"),
        ({"size": 0}, "got 0"),
        ({"window": 0}, "1 frame at least; got 0"),
        ({"points": replace(POINTS, crop=WholeFrame())}, "of the crop 'frame' gives others"),
        ({"points": replace(POINTS, context=4)}, "every frame of a tracked face"),
    ],
)
def test_impossible_settings_are_named(settings, message: str):
    with pytest.raises(ConfigError, match=message):
        MouthCrop(**({"points": POINTS} | settings))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (None, r"landmarks \(3, 68, 2\) or \(3, 478, 2\); got none"),
        (torch.zeros(2, 68, 2), r"got \(2, 68, 2\)"),
        (torch.zeros(3, 5, 2), r"got \(3, 5, 2\)"),
        (torch.full((3, 68, 2), float("nan")), "finite in every frame"),
        (torch.zeros(3, 68, 2), "one and the same"),
    ],
)
def test_points_that_place_no_mouth_are_refused(points, message: str):
    with pytest.raises(InputError, match=message):
        CROP.regions(track(3), points)


def test_bad_frames_are_refused():
    places = regions(landmarks(3))
    with pytest.raises(InputError, match="uint8"):
        CROP.cut(frames(3).float(), places)
    with pytest.raises(InputError, match=r"transforms \(t, 6\); got None"):
        CROP.cut(frames(3), None)
    assert FaceBox().tracking == CROP.tracking
