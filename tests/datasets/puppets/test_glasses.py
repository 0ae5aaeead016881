import numpy as np
import pytest

from tests.datasets.puppets.test_hair import face, hidden
from tfbench.core.errors import UnknownName
from tfbench.datasets.puppets.glasses import GLASSES, build
from tfbench.datasets.puppets.head import LEFT_EYE, RIGHT_EYE, head
from tfbench.datasets.puppets.strands import Surface


@pytest.mark.parametrize("style", GLASSES)
def test_frames_are_sound(style):
    mesh = build(style, face(1), head())
    count = len(mesh.vertices)
    assert 0 < len(mesh.triangles) < 1500
    assert mesh.triangles.max() < count
    assert np.isfinite(mesh.vertices).all()
    assert (mesh.turn == 1).all()
    assert (mesh.anchor == -1).all()
    again = build(style, face(1), head())
    np.testing.assert_array_equal(mesh.vertices, again.vertices)


@pytest.mark.parametrize("style", GLASSES)
def test_the_eyes_stay_visible(style):
    eyes = np.isin(head().part, [LEFT_EYE, RIGHT_EYE])
    for seed in (1, 2, 3):
        vertices = face(seed)
        assert hidden(eyes, vertices, build(style, vertices, head()), 0.0) < 0.02


@pytest.mark.parametrize("style", GLASSES)
def test_rims_clear_the_skin_and_temples_reach_the_ears(style):
    h = head()
    for seed in (1, 2, 3):
        vertices = face(seed)
        mesh = build(style, vertices, h)
        _, _, height = Surface(vertices, h).at(mesh.vertices)
        rims = mesh.vertices[:, 2] > mesh.vertices[:, 2].max() - 0.15
        assert height[rims].min() > -0.01
        for side in (1, -1):
            ear = vertices[(h.masks["ears"] > 0.5) & (side * h.canonical[:, 0] > 0)]
            gap = np.linalg.norm(mesh.vertices[:, None] - ear[None], axis=-1).min()
            assert gap < 0.1


def test_a_symmetric_face_wears_symmetric_glasses():
    vertices = head().neutral
    x = build("aviator", vertices, head()).vertices
    mirrored = x * np.float32([-1, 1, 1])
    gap = np.linalg.norm(x[:, None] - mirrored[None], axis=-1).min(1)
    assert gap.max() < 0.03


def test_unknown_glasses_are_refused_by_name():
    with pytest.raises(UnknownName, match="no glasses 'monocle'; there are round"):
        build("monocle", face(0), head())
