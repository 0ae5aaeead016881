"""Linear 3D face models: against numpy, hand-worked cases and Deep3DFaceRecon's own numbers."""

import math

import numpy as np
import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.faces.morphable import (
    Camera,
    Coefficients,
    MorphableModel,
    Sizes,
    harmonics,
    rotation,
)

CORNERS = torch.tensor(
    [[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float32
)
OCTAHEDRON = torch.tensor(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
)


def model(identity: int = 4, expression: int = 3, texture: int = 2, **changed: object):
    draw = torch.Generator().manual_seed(1)

    def bases(count: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(count, 6, 3, generator=draw)

    arrays = {
        "mean_shape": CORNERS,
        "identity_basis": bases(identity, 0.1),
        "expression_basis": bases(expression, 0.1),
        "mean_texture": torch.rand(6, 3, generator=draw),
        "texture_basis": bases(texture, 0.05),
        "triangles": OCTAHEDRON,
        "landmarks": torch.arange(68) % 6,
    }
    return MorphableModel(**{**arrays, **changed})


def coefficients(m: MorphableModel, count: int = 5) -> torch.Tensor:
    return 0.4 * torch.randn(count, m.sizes.total, generator=torch.Generator().manual_seed(2))


def test_split_names_the_parts_in_order_and_join_undoes_it() -> None:
    m = model()
    vector = torch.arange(float(m.sizes.total))[None]
    parts = m.split(vector)
    assert m.sizes == Sizes(4, 3, 2)
    assert m.sizes.total == 4 + 3 + 2 + 3 + 27 + 3
    assert parts.identity.tolist() == [[0, 1, 2, 3]]
    assert parts.expression.tolist() == [[4, 5, 6]]
    assert parts.texture.tolist() == [[7, 8]]
    assert parts.angles.tolist() == [[9, 10, 11]]
    assert parts.gamma[0, [0, -1]].tolist() == [12, 38]
    assert parts.translation.tolist() == [[39, 40, 41]]
    assert torch.equal(m.join(parts), vector)


def test_deep3dfacerecon_has_257_coefficients() -> None:
    m = model(80, 64, 80)
    parts = m.split(torch.arange(257.0)[None])
    firsts = [getattr(parts, name)[0, 0].item() for name in vars(parts)]
    assert firsts == [0, 80, 144, 224, 227, 254]


@pytest.mark.parametrize("length", [0, 41, 43, 257])
def test_a_vector_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(InputError, match=r"42 coefficients \(identity 4 \+ expression 3"):
        model().split(torch.zeros(1, length))


@pytest.mark.parametrize("name", ["identity", "expression", "texture", "angles", "gamma"])
def test_a_part_of_another_length_is_refused_by_its_name(name: str) -> None:
    m = model()
    parts = vars(m.split(coefficients(m)))
    parts = {**parts, name: parts[name][:, 1:]}
    with pytest.raises(InputError, match=f"coefficients of {name}"):
        m.join(Coefficients(**parts))


def test_a_call_with_too_few_coefficients_is_refused() -> None:
    with pytest.raises(InputError, match="4 coefficients of identity"):
        model().vertices(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(InputError, match="27 coefficients of gamma"):
        model().illuminate(torch.ones(1, 6, 3), CORNERS[None], torch.zeros(1, 9))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mean_shape": torch.zeros(6)}, r"mean_shape must be \(V, 3\)"),
        ({"mean_texture": torch.zeros(5, 3)}, r"mean_texture must be \(6, 3\)"),
        ({"texture_basis": torch.zeros(2, 5, 3)}, r"texture_basis must be \(2, 6, 3\)"),
        ({"triangles": torch.tensor([[0, 1, 6]])}, "triangles names vertices outside of 0 to 5"),
        ({"landmarks": torch.tensor([-1])}, "landmark_vertices names vertices outside"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(**changed)


def test_rotation_turns_about_each_axis_by_the_right_hand() -> None:
    quarter = math.pi / 2
    about_x, about_y, about_z = rotation(quarter * torch.eye(3))
    point = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(point @ about_x, torch.tensor([1.0, -3.0, 2.0]))
    torch.testing.assert_close(point @ about_y, torch.tensor([3.0, 2.0, -1.0]))
    torch.testing.assert_close(point @ about_z, torch.tensor([-2.0, 1.0, 3.0]))


def test_rotation_gives_the_reference_s_numbers() -> None:
    """Recorded from compute_rotation of sicxu/Deep3DFaceRecon_pytorch, models/bfm.py."""
    found = rotation(torch.tensor([[0.3, -0.2, 0.5]]))[0]
    recorded = [
        [0.8600893616676331, 0.4698689579963684, 0.19866932928562164],
        [-0.5095363259315491, 0.8102391958236694, 0.2896294891834259],
        [-0.02488178014755249, -0.3503364622592926, 0.9362934231758118],
    ]
    torch.testing.assert_close(found, torch.tensor(recorded), rtol=0, atol=1e-6)


def test_light_gives_the_reference_s_numbers() -> None:
    """Recorded from compute_color of the same file: white texture, gamma = (0..26 - 13) / 50."""
    normals = torch.tensor([[[0.6, 0, 0.8], [0, -1.0, 0], [1 / 3, 2 / 3, 2 / 3]]])
    gamma = (torch.arange(27.0) - 13)[None] / 50
    found = model().illuminate(torch.ones(1, 3, 3), normals, gamma)
    recorded = [
        [0.38517525792121887, 0.5934680104255676, 0.8017607927322388],
        [0.272612601518631, 0.4066299796104431, 0.5406472682952881],
        [0.7683421969413757, 0.5965797901153564, 0.42481711506843567],
    ]
    torch.testing.assert_close(found[0], torch.tensor(recorded), rtol=0, atol=2e-6)


def test_without_coefficients_light_is_white_and_even() -> None:
    """By hand: 0.8 a0 c0 = 0.8 pi / sqrt(4 pi) = 0.4 sqrt(pi)."""
    lit = model().illuminate(torch.full((1, 6, 3), 0.5), CORNERS[None], torch.zeros(1, 27))
    torch.testing.assert_close(lit, torch.full((1, 6, 3), 0.2 * math.sqrt(math.pi)))


def test_harmonics_are_the_real_ones() -> None:
    """Against scipy's Legendre functions: the same up to signs and one factor for each order."""
    from scipy.special import lpmv

    rng = np.random.default_rng(0)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    around = np.arctan2(normals[:, 1], normals[:, 0])
    found = harmonics(torch.from_numpy(normals)).numpy()
    orders = [(0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)]
    scales: dict[int, list[float]] = {}
    for column, (order, index) in enumerate(orders):
        turns = abs(index)
        norm = math.factorial(order - turns) / math.factorial(order + turns)
        wave = np.sin(turns * around) if index < 0 else np.cos(turns * around)
        real = math.sqrt(norm * (2 if index else 1)) * lpmv(turns, order, normals[:, 2]) * wave
        scale = (found[:, column] @ real) / (real @ real)
        np.testing.assert_allclose(found[:, column], scale * real, atol=1e-9)
        scales.setdefault(order, []).append(abs(scale))
    for same in scales.values():
        np.testing.assert_allclose(same, same[0], rtol=1e-6)


def test_projection_by_hand() -> None:
    """At z = 2 before a camera at 10 the depth is 8: 0.8 to the right and 0.4 up are 101.5, 50.75
    pixels from the centre."""
    m = model()
    point = torch.tensor([[[0.5, 0.1, 1.0]]])
    placed = m.place(point, torch.zeros(1, 3), torch.tensor([[0.3, 0.3, 1.0]]))
    torch.testing.assert_close(placed, torch.tensor([[[0.8, 0.4, 8.0]]]))
    torch.testing.assert_close(m.project(placed), torch.tensor([[[213.5, 61.25]]]))


def test_landmarks_against_numpy() -> None:
    m = model(camera=Camera(11.0, 300.0, (64.0, 60.0)))
    vector = coefficients(m)
    found = m.landmarks(m.split(vector)).numpy()
    for face, row in zip(found, vector.double().numpy(), strict=True):
        shape = m.mean_shape.double().numpy().copy()
        for weight, basis in zip(row[:4], m.identity_basis.double().numpy(), strict=True):
            shape += weight * basis
        for weight, basis in zip(row[4:7], m.expression_basis.double().numpy(), strict=True):
            shape += weight * basis
        x, y, z = row[9:12]
        turn_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
        turn_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
        turn_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
        moved = np.array(turn_z) @ turn_y @ turn_x @ shape.T + row[39:42, None]
        pixels = [(64 + 300 * px / (11 - pz), 60 - 300 * py / (11 - pz)) for px, py, pz in moved.T]
        np.testing.assert_allclose(face, np.array(pixels)[np.arange(68) % 6], atol=1e-4)


def test_normals_of_an_octahedron_are_its_corners() -> None:
    m = model()
    torch.testing.assert_close(m.normals(CORNERS[None]), CORNERS[None])


def test_texture_is_linear() -> None:
    m = model()
    torch.testing.assert_close(m.texture(torch.zeros(1, 2))[0], m.mean_texture)
    found = m.texture(torch.tensor([[2.0, -1.0]]))[0]
    wanted = m.mean_texture + 2 * m.texture_basis[0] - m.texture_basis[1]
    torch.testing.assert_close(found, wanted)


def test_batches_do_not_mix() -> None:
    m = model()
    vector = coefficients(m)
    together = m.colours(m.split(vector))
    for n in range(len(vector)):
        alone = m.colours(m.split(vector[n : n + 1]))
        torch.testing.assert_close(together[n : n + 1], alone)


def test_gradients_reach_every_coefficient() -> None:
    m = model().double()
    vector = coefficients(m, 1).double().requires_grad_()

    def seen(vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = m.split(vector)
        return m.landmarks(parts), m.colours(parts)

    assert torch.autograd.gradcheck(seen, (vector,))
    sum(out.square().sum() for out in seen(vector)).backward()
    assert (vector.grad != 0).all()


def test_the_model_s_arrays_are_not_in_a_state_dict() -> None:
    assert model().state_dict() == {}
