"""Aligned faces against scikit-image's transforms and SciPy's and OpenCV's resampling."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data
from skimage.transform import SimilarityTransform

from tfbench.core.errors import ConfigError, InputError
from tfbench.core.types import FaceTrack
from tfbench.core.views import Crop
from tfbench.faces.align import TEMPLATES, AlignedFace, SquareFace, cut_transformed
from tfbench.faces.crop import ANY_FACE

POINTS = np.array([(205.7, 110.1), (243.6, 107.8), (228.4, 130.4), (210.1, 150.0), (242.0, 147.9)])
"""MTCNN's points of scikit-image's astronaut, to about a pixel."""

BOX = (178.8, 64.1, 264.7, 171.6)


def track_of(points: np.ndarray, boxes: np.ndarray | None = None) -> FaceTrack:
    n = len(points)
    boxes = np.tile(BOX, (n, 1)) if boxes is None else boxes
    return FaceTrack(
        0, torch.from_numpy(boxes).float(), torch.from_numpy(points).float(), torch.ones(n)
    )


def picture() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].contiguous()


def by_scipy(frame: torch.Tensor, matrix: torch.Tensor, size: int) -> np.ndarray:
    """Bilinear resampling with zeros beyond the frame, not rounded: (3, size, size)."""
    rows = matrix.double().numpy().reshape(2, 3)
    back = np.linalg.inv(np.vstack([rows, (0, 0, 1)]))
    y, x = np.mgrid[:size, :size]
    places = back[:2, :2] @ np.stack([x.ravel(), y.ravel()]) + back[:2, 2:]
    return np.stack(
        [
            ndimage.map_coordinates(c.double().numpy(), places[::-1], order=1, mode="grid-constant")
            for c in frame
        ]
    ).reshape(3, size, size)


@pytest.mark.parametrize(("size", "template"), [(112, "arcface"), (256, "arcface"), (224, "dlib")])
def test_transforms_are_those_of_scikit_image(size: int, template: str):
    """A weight of 4 is the same as a point that is there four times."""
    points = POINTS + np.random.RandomState(0).normal(0, 6, (20, 5, 2))
    goal = TEMPLATES[template]
    times = np.array(goal.weights, dtype=int)
    wanted = ((np.array(goal.places) + 0.5) * size / goal.side - 0.5).repeat(times, 0)
    got = AlignedFace(size, template).regions(track_of(points)).numpy()
    assert got.shape == (20, 6)
    assert got.dtype == np.float32
    for row, own in zip(got, points.astype(np.float32), strict=True):
        repeated = (own.astype(np.float64) - 0.5).repeat(times, 0)
        reference = SimilarityTransform.from_estimate(repeated, wanted)
        assert row == pytest.approx(np.asarray(reference.params)[:2].ravel(), abs=1e-4)


def test_a_turned_face_stands_upright_and_is_not_mirrored():
    """Points that are the template, turned by 90 degrees and doubled, come back to it."""
    places = np.array(TEMPLATES["arcface"].places)
    turned = 2 * (places + 0.5) @ np.array([[0, 1], [-1, 0]]) + 300
    matrix = AlignedFace().regions(track_of(turned[None]))[0].reshape(2, 3).double().numpy()
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(0.25, rel=1e-5)
    assert (turned - 0.5) @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(places, abs=1e-3)


def test_a_smile_does_not_move_dlibs_crop():
    smile = POINTS.copy()
    smile[3:] += [(-6, -5), (6, -5)]
    track = track_of(np.stack([POINTS, smile]))
    dlib, arcface = (AlignedFace(template=name).regions(track) for name in ("dlib", "arcface"))
    assert torch.equal(dlib[0], dlib[1])
    assert not torch.allclose(arcface[0], arcface[1], rtol=0.02)


@pytest.mark.parametrize("shift", [0, -190, 260])
def test_resampling_is_scipys_to_within_rounding(shift: int):
    """Also for faces that leave the frame."""
    crop, frames = AlignedFace(), picture()
    regions = crop.regions(track_of(POINTS[None] + shift))
    got = crop.cut(frames, regions)
    assert got.shape == (1, 3, 112, 112)
    assert got.dtype == torch.uint8
    assert np.abs(got[0].numpy() - by_scipy(frames[0], regions[0], 112)).max() < 0.51


def test_resampling_is_opencvs_to_within_one_gray_level():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    frames, crop = picture(), AlignedFace(256)
    regions = crop.regions(track_of(POINTS[None]))
    matrix = regions[0].double().numpy().reshape(2, 3)
    wanted = cv2.warpAffine(data.astronaut(), matrix, (256, 256), borderValue=0)
    got = crop.cut(frames, regions)[0].permute(1, 2, 0).numpy()
    assert np.abs(got.astype(int) - wanted).max() <= 1


def test_a_face_outside_of_the_frame_is_black():
    crop = AlignedFace()
    regions = crop.regions(track_of(POINTS[None] + 5000))
    assert not crop.cut(picture(), regions).any()
    assert not cut_transformed(picture(), regions, 64, beyond="edge").any()


@pytest.mark.parametrize("antialias", [False, True])
def test_beyond_the_frame_may_be_the_pixels_of_its_edge(antialias: bool):
    frames = picture()
    regions = AlignedFace(40).regions(track_of(POINTS[None] - (195.0, 0.0)))

    def cut(what: torch.Tensor, beyond: str) -> torch.Tensor:
        return cut_transformed(what, regions, 40, antialias, beyond)

    flat = torch.full_like(frames, 100)
    inside = cut(flat, "black") == 100
    assert 0.3 < float(inside.float().mean()) < 0.9
    assert torch.equal(cut(frames, "black")[inside], cut(frames, "edge")[inside])
    assert bool((cut(flat, "edge") == 100).all())
    # Columns are alike, and so what is left of the frame is, too.
    columns = torch.arange(512, dtype=torch.uint8).expand_as(frames)
    assert int(cut(columns, "edge")[..., 0].max()) <= 2 * 3


@pytest.mark.parametrize("crop", [AlignedFace(20, antialias=True), SquareFace(20)])
def test_antialiasing_averages_blocks(crop: AlignedFace | SquareFace):
    """Against NumPy's means of blocks, resampled by SciPy."""
    frames = picture()
    regions = crop.regions(track_of(POINTS[None]))
    block = int(1 / regions[0, [0, 3]].norm())
    assert block > 3
    # The cut starts at a block of its own, so the frame is cut to start there.
    matrix = np.vstack([regions[0].double().numpy().reshape(2, 3), (0, 0, 1)])
    ends = np.linalg.inv(matrix) @ [[0, 19, 0, 19], [0, 0, 19, 19], [1] * 4]
    x, y = np.floor(ends[:2].min(axis=1)).astype(int) - block
    part = frames[0, :, y : y + 40 * block, x : x + 40 * block].double().numpy()
    part = part[:, : part.shape[1] // block * block, : part.shape[2] // block * block]
    tall, wide = part.shape[1] // block, part.shape[2] // block
    means = part.reshape(3, tall, block, wide, block).mean(axis=(2, 4))
    # A pixel u of the means lies at block u + (block - 1) / 2 of the part.
    place = [[block, 0, x + (block - 1) / 2], [0, block, y + (block - 1) / 2], [0, 0, 1]]
    wanted = by_scipy(torch.from_numpy(means), torch.from_numpy((matrix @ place)[:2]), 20)
    assert np.abs(crop.cut(frames, regions)[0].numpy() - wanted).max() < 0.51


def test_frames_without_a_face_take_points_from_their_neighbours():
    points = POINTS + np.arange(7)[:, None, None]
    whole = AlignedFace().regions(track_of(points))
    holes = points.copy()
    holes[[0, 3, 4, 6]] = np.nan
    got = AlignedFace().regions(track_of(holes))
    assert got[1:6].numpy() == pytest.approx(whole[1:6].numpy(), abs=2e-5)
    assert torch.equal(got[0], got[1])
    assert torch.equal(got[6], got[5])


def test_regions_can_be_sliced_with_their_frames():
    points = POINTS + np.arange(5)[:, None, None]
    frames, crop = picture().repeat(5, 1, 1, 1), AlignedFace()
    regions = crop.regions(track_of(points))
    parts = [crop.cut(frames[k : k + 2], regions[k : k + 2]) for k in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), crop.cut(frames, regions))
    assert crop.cut(frames[:0], regions[:0]).shape == (0, 3, 112, 112)


def test_a_square_keeps_the_aspect_of_the_box():
    """The box is 20 by 40 pixels around (100, 60): its square reaches from (80, 40)."""
    boxes = np.tile([90.0, 40.0, 110.0, 80.0], (9, 1))
    crop = SquareFace(80)
    regions = crop.regions(track_of(np.tile(POINTS, (9, 1, 1)), boxes))
    # Twice as large, and the edge (80, 40) becomes (0, 0): 2 (x + 0.5 - 80) - 0.5.
    assert regions[4].tolist() == pytest.approx([2, 0, -159.5, 0, 2, -79.5])
    frames = torch.zeros(1, 3, 200, 200, dtype=torch.uint8)
    frames[:, :, 40:80, 80:120] = 200
    cut = crop.cut(frames, regions[:1])
    assert cut.shape == (1, 3, 80, 80)
    assert (cut[:, :, 1:-1, 1:-1] == 200).all()


def test_crops_are_crops_and_names_tell_what_differs():
    slow = replace(ANY_FACE, min_frames=100)
    for crop, name in (
        (AlignedFace(), "aligned-112"),
        (AlignedFace(224, "dlib", antialias=True), "aligned-224.dlib.antialias"),
        (AlignedFace(tracking=slow), "aligned-112.min100"),
        (SquareFace(64), "square-64"),
        (SquareFace(64, slow), "square-64.min100"),
    ):
        assert isinstance(crop, Crop)
        assert crop.name == name
        assert hash(crop) == hash(replace(crop))


def test_bad_input_is_refused():
    crop, frames = AlignedFace(), picture()
    with pytest.raises(ConfigError, match="no face template 'x'"):
        AlignedFace(template="x")
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        SquareFace(0)
    with pytest.raises(InputError, match="no points in any frame"):
        crop.regions(track_of(np.full((3, 5, 2), np.nan)))
    with pytest.raises(InputError, match="one and the same"):
        crop.regions(track_of(np.full((3, 5, 2), 7.0)))
    regions = crop.regions(track_of(POINTS[None]))
    with pytest.raises(InputError, match="uint8"):
        crop.cut(frames.float(), regions)
    with pytest.raises(InputError, match=r"need transforms .* got None"):
        crop.cut(frames, None)
    with pytest.raises(InputError, match="need transforms"):
        crop.cut(frames, regions[:, :4])
    with pytest.raises(InputError, match="finite"):
        crop.cut(frames, regions * torch.nan)
