"""Puppets before the camera: geometry and picture agree."""

import numpy as np
import pytest

from tfbench.datasets.puppets.actor import Actor, draw, look, project, rotation_matrix
from tfbench.datasets.puppets.body import FRAME, HAIR
from tfbench.datasets.puppets.head import (
    LEFT_EYE,
    LOWER_TEETH,
    RIGHT_EYE,
    SKIN,
    UPPER_TEETH,
    head,
)
from tfbench.datasets.puppets.identity import draw_identity
from tfbench.datasets.puppets.setting import background, draw_setting

SIZE = 128
REST = np.zeros(52, np.float32)
STILL = np.zeros(3, np.float32)


@pytest.fixture(scope="module")
def actor() -> Actor:
    bare = next(
        seed
        for seed in range(100)
        if draw_identity(seed).glasses == "none" and draw_identity(seed).beard == "none"
    )
    return Actor(bare, draw_setting(1), SIZE)


def _weights(**named: float) -> np.ndarray:
    names = head().expression_names
    weights = np.zeros(len(names), np.float32)
    for name, value in named.items():
        weights[names.index(name)] = value
    return weights


def _picture(actor: Actor, expression=REST, rotation=STILL) -> np.ndarray:
    behind = background(actor.setting, SIZE, SIZE)
    return draw([actor.pose(expression, rotation)], behind)


def test_a_picture_is_uint8_and_the_same_each_time(actor: Actor):
    first = _picture(actor)
    assert first.shape == (SIZE, SIZE, 3)
    assert first.dtype == np.uint8
    assert first.std() > 10
    assert _picture(actor).tobytes() == first.tobytes()


def test_eyes_are_where_their_landmarks_are(actor: Actor):
    posed = actor.pose(_weights(eyeWideLeft=1.0, eyeWideRight=1.0), STILL)
    seen = look([posed], SIZE, SIZE)
    points, _ = project(posed.vertices[head().landmarks], SIZE, SIZE)
    for eye, rows in ((RIGHT_EYE, range(36, 42)), (LEFT_EYE, range(42, 48))):
        y, x = np.nonzero(seen.parts == eye)
        assert len(x) > 4
        assert [x.mean(), y.mean()] == pytest.approx(points[rows].mean(0) - 0.5, abs=1.5)


def test_an_open_mouth_shows_teeth_and_a_closed_one_none(actor: Actor):
    def teeth(expression: np.ndarray) -> int:
        parts = look([actor.pose(expression, STILL)], 256, 256).parts
        return int(np.isin(parts, (UPPER_TEETH, LOWER_TEETH)).sum())

    assert teeth(REST) == 0
    assert teeth(_weights(jawOpen=0.5, mouthClose=0.5)) == 0
    assert teeth(_weights(jawOpen=0.25, mouthUpperUpLeft=0.4, mouthUpperUpRight=0.4)) > 30


def test_a_blink_hides_the_eyes(actor: Actor):
    shut = look([actor.pose(_weights(eyeBlinkLeft=1, eyeBlinkRight=1), STILL)], 256, 256).parts
    assert np.isin(shut, (LEFT_EYE, RIGHT_EYE)).sum() <= 4


def test_turns_go_where_the_documentation_says(actor: Actor):
    nose = head().landmarks[30]

    def nose_at(*rotation: float) -> np.ndarray:
        posed = actor.pose(REST, np.float32(rotation))
        return project(posed.vertices[[nose]], SIZE, SIZE)[0][0]

    still = nose_at(0, 0, 0)
    assert nose_at(0.2, 0, 0)[1] > still[1] + 1  # nods down
    assert nose_at(0, 0.2, 0)[0] > still[0] + 1  # to the right in the picture
    assert nose_at(0, 0, 0.2)[0] < still[0] - 1  # the top goes to the left in the picture
    matrix = rotation_matrix(np.float32([0.1, -0.3, 0.2]))
    assert matrix @ matrix.T == pytest.approx(np.eye(3), abs=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-6)


def test_the_bust_does_not_turn(actor: Actor):
    bust = head().turn == 0
    assert bust.sum() > 100
    still, turned = (actor.pose(REST, np.float32([0, y, 0])).vertices for y in (0.0, 0.4))
    assert np.array_equal(still[: len(bust)][bust], turned[: len(bust)][bust])


def test_truth_of_a_picture_is_consistent(actor: Actor):
    seen = look([actor.pose(REST, STILL)], SIZE, SIZE)
    foreground = seen.actors == 0
    assert 0.2 < foreground.mean() < 0.9
    assert np.array_equal(foreground, seen.parts != 255)
    assert np.array_equal(foreground, np.isfinite(seen.depth))
    assert np.isin(np.unique(seen.parts), [*range(9), HAIR, FRAME, 255]).all()
    assert seen.normals[~foreground].any() == np.False_
    lengths = np.linalg.norm(seen.normals[foreground], axis=1)
    assert lengths == pytest.approx(np.ones(len(lengths)), abs=1e-4)
    middle = seen.depth[SIZE // 2, SIZE // 2]
    assert 8 < middle < 12
    assert seen.heads.sum() < foreground.sum()
    assert not (seen.heads & ~foreground).any()
    assert (seen.parts[SIZE // 2, SIZE // 2 - 20 : SIZE // 2 + 20] == SKIN).mean() > 0.5


def test_the_nearer_puppet_hides_the_other():
    setting = draw_setting(2)
    near = Actor(1, setting, SIZE, np.float32([0, 0, 1]))
    far = Actor(2, setting, SIZE, np.float32([0.3, 0, -3]))
    posed = [far.pose(REST, STILL), near.pose(REST, STILL)]
    both, alone = look(posed, SIZE, SIZE), look(posed[1:], SIZE, SIZE)
    assert (both.actors[alone.actors == 0] == 1).mean() > 0.99
    assert (both.actors == 0).any()


def test_hair_and_beard_follow_the_face():
    bearded = next(seed for seed in range(200) if draw_identity(seed).beard == "full")
    actor = Actor(bearded, draw_setting(0), SIZE)
    b = actor.body
    closed, opened = (actor.pose(_weights(jawOpen=w), STILL).vertices for w in (0.0, 1.0))
    moved = np.linalg.norm(opened - closed, axis=1)[b.n_head :]
    anchored = b.anchor >= 0
    assert moved[anchored].max() > 0.1
    assert np.allclose(
        moved[anchored], np.linalg.norm(opened - closed, axis=1)[b.anchor[anchored]], atol=1e-3
    )


def test_a_smaller_picture_is_the_larger_one_reduced(actor: Actor):
    pose = actor.pose(REST, STILL)
    large = draw([pose], background(actor.setting, 2 * SIZE, 2 * SIZE)).astype(float)
    small = draw([pose], background(actor.setting, SIZE, SIZE)).astype(float)
    reduced = large.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
    assert np.abs(reduced - small).mean() < 4
