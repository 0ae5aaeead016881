from functools import cache

import numpy as np
import pytest

from tfbench.core.errors import UnknownName
from tfbench.datasets.puppets.hair import BEARDS, STYLES, grow, scalp
from tfbench.datasets.puppets.head import LEFT_EYE, RIGHT_EYE, SKIN, head
from tfbench.datasets.puppets.strands import Surface
from tfbench.faces.render import rasterize

SIZE = 160
ALL = [*STYLES, *BEARDS]


@cache
def face(seed):
    """A head with random ancestry, age and features."""
    h, rng = head(), np.random.default_rng(seed)
    shape = rng.uniform(-0.3, 0.3, len(h.identity_names)).astype(np.float32)
    return h.vertices(shape, np.zeros(len(h.expression_names), np.float32))


def grown(style, seed=0, vertices=None, length=1.0, volume=1.0):
    vertices = face(seed) if vertices is None else vertices
    return grow(style, vertices, head(), np.random.default_rng(seed), length, volume)


def visible(vertices, meshes, yaw):
    """Index of the triangle in every pixel of a picture of the head and what it wears."""
    points, triangles, start = [vertices], [head().triangles], len(vertices)
    for mesh in meshes:
        points.append(mesh.vertices)
        triangles.append(mesh.triangles + start)
        start += len(mesh.vertices)
    x, y, z = np.concatenate(points).T
    turned = np.stack([x * np.cos(yaw) + z * np.sin(yaw), y, z * np.cos(yaw) - x * np.sin(yaw)], 1)
    scale = 2.7 * SIZE / (11 - turned[:, 2])
    pixels = np.stack([SIZE / 2 + turned[:, 0] * scale, SIZE / 2 - turned[:, 1] * scale], 1)
    depth = (11 - turned[:, 2]).astype(np.float32)
    corners = np.concatenate(triangles).astype(np.int32)
    return rasterize(pixels.astype(np.float32), depth, corners, SIZE, SIZE, cull=False).index


def hidden(part, vertices, mesh, yaw):
    """Share of a part's visible pixels that a mesh hides; `part` is bool (F,) of the head."""
    bare, worn = visible(vertices, [], yaw), visible(vertices, [mesh], yaw)
    seen = (bare >= 0) & part[bare]
    return float((seen & (worn >= len(head().triangles))).sum() / max(seen.sum(), 1))


@cache
def features():
    """Triangles of the eyes, the lids, the nose and the lips."""
    h = head()
    middle = h.canonical[h.triangles].mean(1)
    x, y, z = middle.T
    nose = (np.abs(x) < 0.2) & (y > 6.85) & (y < 7.45) & (z > 1.2)
    masks = np.maximum(h.masks["eyelids"], h.masks["lips"])[h.triangles].mean(1) > 0.5
    return nose | masks | np.isin(h.part, [LEFT_EYE, RIGHT_EYE])


@pytest.mark.parametrize("style", ALL)
def test_meshes_are_sound(style):
    mesh, n = grown(style), len(head().canonical)
    count = len(mesh.vertices)
    assert len(mesh.triangles) <= 6500
    assert (count == 0) == (style == "bald")
    for name, shape in {"vertices": 3, "uv": 2, "tangent": 3}.items():
        array = getattr(mesh, name)
        assert array.shape == (count, shape)
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert mesh.triangles.dtype == np.int32
    assert mesh.anchor.dtype == np.int32
    if count:
        assert mesh.triangles.min() >= 0
        assert mesh.triangles.max() < count
        assert (mesh.anchor >= 0).all()
        assert (mesh.anchor < n).all()
        assert mesh.uv[:, 0].min() >= 0
        assert mesh.uv[:, 0].max() <= 1
        assert np.abs(mesh.uv[:, 1]).max() <= 1
        assert np.abs(np.linalg.norm(mesh.tangent, axis=1) - 1).max() < 1e-3
        assert mesh.shade.min() >= 0.6
        assert mesh.shade.max() <= 1.2
        assert mesh.turn.min() >= 0
        assert mesh.turn.max() <= 1


@pytest.mark.parametrize("style", ["crop", "wavy", "braids", "full"])
def test_a_seed_is_a_head_of_hair(style):
    vertices = face(3)
    first, again, other = (grown(style, seed, vertices) for seed in (5, 5, 6))
    for name in ("vertices", "triangles", "uv", "tangent", "shade", "turn", "anchor"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.vertices.shape != other.vertices.shape or (first.vertices != other.vertices).any()


@pytest.mark.parametrize("style", STYLES)
def test_hair_hides_neither_eyes_nor_nose_nor_mouth(style):
    part = features()
    for seed, yaw in ((1, 0.0), (2, 0.6)):
        vertices = face(seed)
        mesh = grown(style, seed, vertices, 1.2, 1.2)
        assert hidden(part, vertices, mesh, yaw) < 0.01


@pytest.mark.parametrize("style", BEARDS)
def test_beards_leave_the_lips_to_be_read(style):
    h = head()
    eyes = np.isin(h.part, [LEFT_EYE, RIGHT_EYE])
    lips = h.masks["lips"][h.triangles].mean(1) > 0.6
    for seed in (1, 2, 3):
        vertices = face(seed)
        mesh = grown(style, seed, vertices)
        assert hidden(eyes, vertices, mesh, 0.0) == 0
        assert hidden(lips, vertices, mesh, 0.0) < 0.15


@pytest.mark.parametrize("style", ["crop", "bob", "straight", "ponytail", "low_bun"])
def test_hair_stays_out_of_the_head(style):
    vertices = face(4)
    mesh = grown(style, 4, vertices)
    _, _, height = Surface(vertices, head()).at(mesh.vertices)
    assert (height < -0.05).mean() < 0.02


def test_styles_differ_in_silhouette():
    vertices = face(0)
    shapes = {}
    for style in STYLES:
        seen = visible(vertices, [grown(style, 0, vertices)], 0.6)
        shapes[style] = seen >= 0
    names = [n for n in shapes if n not in {"bald", "buzz", "crown", "receding"}]
    for i, one in enumerate(names):
        for other in names[:i]:
            assert (shapes[one] != shapes[other]).sum() > 25, (one, other)


def test_length_and_volume_are_obeyed():
    vertices = face(0)
    short, long = (grown("shag", 0, vertices, length) for length in (0.8, 1.2))
    assert long.vertices[:, 1].min() < short.vertices[:, 1].min() - 0.1
    flat, full = (grown("afro", 0, vertices, 1.0, volume) for volume in (0.7, 1.3))
    assert np.ptp(full.vertices[:, 0]) > np.ptp(flat.vertices[:, 0]) + 0.2


def test_a_beard_moves_with_the_chin_and_a_moustache_does_not():
    h = head()
    opened = h.expression[h.expression_names.index("jawOpen")]
    chin, nose = opened[h.landmarks[8], 1], opened[h.landmarks[33], 1]
    assert chin < 5 * nose - 0.05
    anchors = grown("moustache").anchor
    middle = np.abs(h.canonical[anchors, 0]) < 0.1
    assert abs(opened[anchors[middle], 1].mean() - nose) < 0.1 * abs(chin)
    anchors = grown("goatee").anchor
    tuft = (h.canonical[anchors, 1] < 6.4) & (h.canonical[anchors, 2] > 1.2)
    assert abs(opened[anchors[tuft], 1].mean() - chin) < 0.2 * abs(chin)


def test_roots_are_painted_where_the_hair_grows():
    h = head()
    skin = np.unique(h.triangles[h.part == SKIN])
    points = h.canonical[skin]
    x, y, z = points.T
    crown = y > 8.4
    features = (np.abs(x) < 0.5) & (z > 1.0) & (y < 7.6) & (y > 6.5)
    neck = (y < 6.3) & (y > 5.5)
    for style in STYLES:
        cover = scalp(style, h, points)
        assert cover.dtype == np.float32
        assert cover.min() >= 0
        assert cover.max() <= 1
        assert cover[features].max() == 0
        assert cover[neck].max() == 0
    assert scalp("crop", h, points)[crown].min() == 1
    assert scalp("crown", h, points)[crown].max() == 0
    assert scalp("bald", h, points).max() < 0.2


def test_the_hairline_is_soft():
    h = head()
    line = np.zeros((200, 3), np.float32)
    line[:, 1] = np.linspace(7.8, 8.4, 200)
    line[:, 2] = 1.2
    cover = scalp("crop", h, line)
    assert cover[0] == 0
    assert cover[-1] == 1
    assert ((cover > 0.02) & (cover < 0.98)).sum() > 15


def test_no_beard_is_painted_on_the_lips():
    h = head()
    lips = h.canonical[h.masks["lips"] > 0.6]
    chin = h.canonical[h.landmarks[8]][None] + np.float32([[0, 0.1, 0.02]])
    for beard in BEARDS:
        assert scalp(beard, h, lips).max() == 0
    assert scalp("full", h, chin)[0] > 0.3


def test_an_unknown_style_is_refused_by_name():
    with pytest.raises(UnknownName, match="mullet"):
        grow("mullet", face(0), head(), np.random.default_rng(0), 1.0, 1.0)
    with pytest.raises(UnknownName, match="there are bald"):
        scalp("mullet", head(), np.zeros((1, 3), np.float32))
