"""Tracks: hand-worked cases, and values recorded from the reference.

Recipe of `RECORDED`: `track_shot` and `bb_intersection_over_union` of joonson/syncnet_python
`run_pipeline.py`, executed with num_failed_det 5, min_track 25 and min_face_size 80 on the faces
of `crowd(seed)` with a score above 0.9, shot by shot for the cuts given, where a shot has at
least 25 frames. For each track: first frame, number of frames, mean box rounded to 3 decimals.
"""

import math

import numpy as np
import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import TrackSettings
from tfbench.faces.detect import Detections
from tfbench.faces.track import explain, link

SETTINGS = TrackSettings(max_gap=5, min_frames=25, min_face=80)

RECORDED = {
    (6, ()): [
        (15, 49, 61.988, 80.354, 197.919, 216.285),
        (29, 47, 81.284, 260.778, 222.203, 401.697),
        (118, 33, 94.791, 290.935, 235.71, 431.853),
    ],
    (24, (60,)): [
        (0, 48, 94.394, 98.589, 254.341, 258.536),
        (74, 62, 113.811, 97.065, 266.92, 250.175),
        (112, 48, 119.498, 104.909, 273.356, 258.768),
    ],
    (26, ()): [
        (22, 46, 186.771, 161.192, 313.291, 287.712),
        (30, 76, 84.163, 63.344, 164.467, 143.648),
        (106, 47, 161.264, 188.428, 242.361, 269.526),
    ],
}


def found(*rows: tuple[float, ...]) -> Detections:
    """Make one frame's detections of rows x1 y1 x2 y2 score."""
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    return Detections(values[:, :4], torch.zeros(len(rows), 5, 2), values[:, 4])


def crowd(seed: int, n_frames: int = 160) -> list[Detections]:
    """Make one to three faces that wander, vanish and are sometimes found twice."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    place, side, seen = rng.uniform(50, 300, (n, 2)), rng.uniform(60, 180, n), np.ones(n, bool)
    frames = []
    for _ in range(n_frames):
        place += rng.normal(0, 3, (n, 2))
        seen ^= rng.random(n) < 0.06
        rows = []
        for k in np.flatnonzero(seen):
            for _ in range(1 + (rng.random() < 0.1)):
                low = place[k] + rng.normal(0, 5, 2) - side[k] / 2
                rows.append((*low, *(low + side[k]), rng.uniform(0.85, 1)))
        frames.append(found(*sorted(rows, key=lambda row: -row[4])))
    return frames


A = (100.0, 100.0, 220.0, 220.0, 0.99)
B = (400.0, 100.0, 520.0, 220.0, 0.98)


@pytest.mark.parametrize(("seed", "cuts"), list(RECORDED))
def test_equals_the_reference(seed, cuts):
    tracks = link(crowd(seed), cuts, SETTINGS)
    ours = [(t.start, len(t), *t.boxes.double().mean(0).tolist()) for t in tracks]
    assert len(ours) == len(RECORDED[seed, cuts])
    for got, wanted in zip(ours, RECORDED[seed, cuts], strict=True):
        assert got[:2] == wanted[:2]
        assert got[2:] == pytest.approx(wanted[2:], abs=1e-3)


def test_a_track_is_strictly_longer_than_the_minimum():
    assert len(link([found(A)] * 101, (), TrackSettings())) == 1
    assert link([found(A)] * 100, (), TrackSettings()) == ()


def test_detections_count_and_gaps_are_interpolated():
    frames = [found(A)] * 30
    frames[10] = frames[11] = found()
    frames[12:] = [found((112.0, 100.0, 232.0, 220.0, 0.99))] * 18
    assert link(frames, (), TrackSettings(min_frames=28, min_face=80)) == ()
    (track,) = link(frames, (), TrackSettings(min_frames=27, min_face=80))
    assert (track.start, track.stop, len(track)) == (0, 30, 30)
    assert track.boxes[9:13, 0].tolist() == [100, 104, 108, 112]
    assert track.scores.isnan().nonzero().flatten().tolist() == [10, 11]
    assert track.points[10:12].isnan().all()
    assert not track.points[9].isnan().any()
    assert math.isclose(float(track.scores[9]), 0.99, rel_tol=1e-6)


@pytest.mark.parametrize(("missing", "spans"), [(4, [(0, 64)]), (5, [(0, 30), (35, 65)])])
def test_a_track_ends_after_max_gap(missing, spans):
    """Two detections of a track are at most max_gap = 5 frames apart: 4 may lack a face."""
    frames = [found(A)] * 30 + [found()] * missing + [found(A)] * 30
    assert [(t.start, t.stop) for t in link(frames, (), SETTINGS)] == spans


def test_two_faces_keep_the_order_of_the_detector():
    tracks = link([found(B, A)] * 30, (), SETTINGS)
    assert [t.boxes[0, 0].item() for t in tracks] == [400, 100]


def test_a_face_after_one_that_joined_is_passed_over():
    """Three faces in the first frame: the first starts a track, the second is passed over, and the
    third, which overlaps the first, joins the same track in the same frame."""
    near = (104.0, 100.0, 224.0, 220.0, 0.9)
    tracks = link(
        [found(A, B, near)] + [found(A)] * 30, (), TrackSettings(min_frames=31, min_face=80)
    )
    assert tracks == ()
    settings = TrackSettings(min_frames=31, min_face=80, min_score=0.5)
    (track,) = link([found(A, B, near)] + [found(A)] * 30, (), settings)
    assert len(track) == 31
    assert track.boxes[0, 0] == 104


def test_tracks_never_cross_a_cut():
    frames = [found(A)] * 90
    assert [(t.start, t.stop) for t in link(frames, (40,), SETTINGS)] == [(0, 40), (40, 90)]
    assert [(t.start, t.stop) for t in link(frames, (20,), SETTINGS)] == [(20, 90)]


def test_a_jump_ends_a_track():
    frames = [found(A)] * 40 + [found(B)] * 40
    assert [(t.start, t.stop) for t in link(frames, (), SETTINGS)] == [(0, 40), (40, 80)]


@pytest.mark.parametrize(
    ("frames", "cuts", "reason"),
    [
        ([], (), "the clip has 0 frames"),
        ([found(A)] * 25, (), "the clip has 25 frames; a face track needs more than 25"),
        ([found()] * 90, (), "no face was detected in 90 frames"),
        ([found((*A[:4], 0.8))] * 90, (), "probability 0.80; more than 0.9 is needed"),
        ([found(A)] * 20 + [found()] * 70, (), "has 20 frames; more than 25 are needed"),
        ([found((10, 10, 74, 70, 0.99))] * 90, (), "64 px; more than 80 px are needed"),
        ([found(A)] * 20 + [found()] * 70, (20,), "only in shots of fewer than 25 frames"),
    ],
)
def test_explains_why_there_is_no_track(frames, cuts, reason):
    assert link(frames, cuts, SETTINGS) == ()
    assert reason in explain(frames, cuts, SETTINGS)


def test_explains_nothing_where_there_is_a_track():
    assert explain([found(A)] * 30, (), SETTINGS) == ""


@pytest.mark.parametrize("cuts", [(0,), (30,), (12, 12), (20, 10)])
def test_refuses_cuts_that_do_not_part_the_clip(cuts):
    with pytest.raises(InputError, match="cuts must ascend"):
        link([found(A)] * 30, cuts, SETTINGS)
