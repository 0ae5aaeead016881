"""Finding, cutting out and pasting back the face that is edited."""

from dataclasses import replace

import pytest
import torch

from tests.methods.faces import SIDE, of_still, of_video, photograph
from tfbench.core.errors import GenerationError
from tfbench.faces.align import AlignedFace
from tfbench.faces.detect import FaceDetector
from tfbench.methods._blending import PoissonBlend, face_region
from tfbench.methods._editing import FaceEditor, face_of_still

SIZE = 64
CROP = AlignedFace(SIZE, "dlib", antialias=True, smoothing=5)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def editor(request, detector) -> FaceEditor:
    return FaceEditor(request, detector, CROP.regions, SIZE)


def test_a_still_is_held_and_cut_out(detector):
    made = editor(of_still(0.4), detector)
    pieces = list(made.pieces(4))
    assert made.n_frames == 10 == sum(len(p.frames) for p in pieces)
    assert [p.first for p in pieces] == [0, 4, 8]
    assert all(torch.equal(frame, photograph()[0]) for p in pieces for frame in p.frames)
    assert pieces[0].faces.shape == (4, 3, SIZE, SIZE)
    assert made.unedited == 0


def test_the_face_of_a_still_is_looked_for_once(detector, monkeypatch: pytest.MonkeyPatch):
    looked = []
    monkeypatch.setattr(detector, "detect", lambda f, d=detector.detect: looked.append(1) or d(f))
    made = editor(of_still(0.4), detector)
    assert len(looked) == 9
    made.stills(3)
    assert len(looked) == 9


def test_pasting_what_was_cut_out_changes_little_and_only_where_it_is_opaque(detector):
    made = editor(of_still(), detector)
    piece = next(made.pieces(1))
    region = face_region(SIZE, whole=False)
    opacity = PoissonBlend(region).opacity
    same = made.paste(piece, piece.faces.float(), opacity)
    difference = (same.float() - piece.frames).abs()
    assert 0 < difference.mean() < 1
    black = made.paste(piece, torch.zeros(1, 3, SIZE, SIZE), opacity)
    changed = (black != piece.frames).any(1)[0]
    rows, columns = changed.nonzero().T
    # The lower half of the face in this picture, from below the eyes to above the collar.
    assert 80 < rows.min() < 100 and rows.max() < 155
    assert columns.min() > 20 and columns.max() < 130
    assert torch.equal(
        made.paste(piece, piece.faces.float(), torch.zeros(SIZE, SIZE)), piece.frames
    )


def test_a_source_starts_over_or_stops(detector):
    request = of_video(6, 0.6)
    made = editor(request, detector)
    frames = torch.cat([p.frames for p in made.pieces(4)])
    assert len(frames) == made.n_frames == 15
    true = request.source.video.tensor
    assert torch.equal(frames, torch.cat([true, true, true[:3]]))
    firsts = [(p.first, len(p.frames)) for p in made.pieces(4)]
    assert firsts == [(0, 4), (4, 2), (6, 4), (10, 2), (12, 3)]
    assert editor(of_video(6, 0.6, length="stop"), detector).n_frames == 6


def test_frames_without_the_face_pass_and_are_counted(detector):
    made = editor(of_video(10, 0.8, absent=(0, 1, 5, 8, 9)), detector)
    pieces = list(made.pieces(3))
    shown = torch.cat([p.numbers for p in pieces]).tolist()
    # Frame 5 lies between two that show the face, and is placed between them.
    assert shown == [k for k in range(20) if k % 10 in range(2, 8)]
    assert made.unedited == 8
    black = made.paste(pieces[0], torch.zeros(1, 3, SIZE, SIZE), torch.ones(SIZE, SIZE))
    assert torch.equal(black[:2], pieces[0].frames[:2])
    assert not torch.equal(black[2], pieces[0].frames[2])


def test_stills_are_spread_over_the_frames_that_show_the_face(detector):
    made = editor(of_video(10, 0.4, absent=(0, 9)), detector)
    assert made.spread(3) == [1, 5, 8]
    faces = made.faces_at([1, 4])
    assert faces.shape == (2, 3, SIZE, SIZE)
    # The registration takes the motion out.
    moved = faces[0].roll(round(3 * 64 / 120), 2)
    assert (faces[0].float() - faces[1]).abs().mean() < 0.7 * (
        moved.float() - faces[0]
    ).abs().mean()


def test_a_hard_edge_is_not_dark(detector):
    made = editor(of_still(identity=photograph().clone()), detector)
    piece = next(made.pieces(1))
    piece.frames[:] = 200
    same = made.paste(piece, torch.full((1, 3, SIZE, SIZE), 200.0), torch.ones(SIZE, SIZE))
    assert torch.equal(same, piece.frames)


def test_fine_lines_stay_when_a_face_is_put_back(detector):
    made = editor(of_still(identity=photograph().clone()), detector)
    piece = next(made.pieces(1))
    wave = lambda across: 128 + 100 * torch.sin(across * (2 * torch.pi / 5))  # noqa: E731
    face = wave(torch.arange(SIZE)).expand(1, 3, SIZE, SIZE)
    drawn = made.paste(piece, face, torch.ones(SIZE, SIZE))[0, 0]
    y, x = (drawn != piece.frames[0, 0]).nonzero().T
    across = piece.transforms[0, :3] @ torch.stack([x, y, torch.ones_like(x)]).float()
    inside = (across > 2) & (across < SIZE - 3)
    off = (drawn[y, x] - wave(across))[inside].abs()
    # Straight lines between pixels leave 9.
    assert inside.sum() > 1000 and off.mean() < 5


def test_stills_that_show_nobody_come_from_the_source(detector):
    grey = torch.full_like(photograph(), 128)
    request = of_video(6, 0.2)
    made = editor(replace(request, identity=grey), detector)
    own = made.faces_at(made.spread(1))
    assert torch.equal(made.stills(1), own)
    assert "must show exactly one face: no face" in made.remark
    made = editor(request, detector)
    assert torch.equal(made.stills(3), made.faces_at(made.spread(3)))
    assert made.remark.startswith("1 of 3 stills were given: faces of the source")
    made = editor(request, detector)
    assert not torch.equal(made.stills(1), own)
    assert made.remark == ""
    made = editor(replace(request, identity=torch.cat([photograph(), grey])), detector)
    made.stills(1)
    assert made.remark == "of 2 stills the first 1 show the person"
    with pytest.raises(GenerationError, match="must show exactly one face"):
        editor(of_still(identity=torch.cat([photograph(), grey])), detector).stills(2)


def test_what_cannot_be_edited_is_refused(detector):
    with pytest.raises(GenerationError, match=r"\(3x3\) must show exactly one face: no face"):
        editor(of_still(identity=photograph()[:, :, :3, :3]), detector)
    two = torch.cat([photograph(), photograph()], 3)
    with pytest.raises(GenerationError, match="it shows 2 faces; crop it"):
        editor(of_still(identity=two), detector)
    with pytest.raises(GenerationError, match="the source shows no face"):
        editor(of_video(2, 0.4, absent=(0, 1)), detector)
    with pytest.raises(GenerationError, match="face 3 was asked for, and the source shows 1"):
        editor(of_video(3, 0.4, face=3), detector)
    with pytest.raises(GenerationError, match="25 frames a second, asked for are 30"):
        editor(of_video(3, 0.4, fps=30), detector)
    with pytest.raises(GenerationError, match="neither a source nor an identity"):
        face_of_still(of_still(identity=None), detector)
    assert photograph().shape == (1, 3, SIDE, SIDE)


def test_where_a_stills_face_lies_trembles_less_than_one_detection(detector):
    picture = photograph()
    once, steadied = [], []
    for right, down in ((0, 0), (1, 2), (3, 1), (4, 5), (6, 3)):
        moved = picture.roll((down, right), (2, 3))
        back = torch.tensor([right, down, right, down])
        once.append(detector.detect(moved)[0].boxes[0] - back)
        _, track = face_of_still(of_still(identity=moved), detector)
        steadied.append(track.boxes[0] - back)
        assert track.boxes.shape == (1, 4) and track.points.shape == (1, 5, 2)
    spread = [torch.stack(boxes).std(0).mean() for boxes in (once, steadied)]
    assert 0 < spread[1] < 0.6 * spread[0], spread
    assert (torch.stack(steadied).mean(0) - torch.stack(once).mean(0)).abs().max() < 3
