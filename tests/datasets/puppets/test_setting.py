"""Settings: light in the convention of Deep3DFaceRecon, backgrounds of any size, clothes."""

import numpy as np
import pytest
import torch

from tfbench.datasets.puppets.clothes import COLLARS, PATTERNS, Clothes, paint_clothes
from tfbench.datasets.puppets.setting import (
    PLACES,
    _lobe,
    background,
    draw_setting,
)
from tfbench.faces.morphable import BASE_LIGHT, harmonics


def test_a_lobe_is_the_light_of_a_lamp_up_to_the_second_order():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(5000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lamp = np.array([0.48, 0.6, 0.64])
    basis = harmonics(torch.from_numpy(normals)).numpy()
    cosine = normals @ lamp
    legendre = 1 / 4 + cosine / 2 + 5 / 32 * (3 * cosine**2 - 1)  # Ramamoorthi, Hanrahan 2001
    assert basis @ _lobe(lamp) == pytest.approx(legendre, abs=1e-6)
    assert np.abs(legendre - np.clip(cosine, 0, None)).max() < 0.1


def test_a_face_is_lit_from_the_front_half():
    front = torch.tensor([[0.0, 0.0, 1.0], [0.3, 0.3, 0.9], [-0.3, 0.0, 0.95]])
    front = front / front.norm(dim=1, keepdim=True)
    for seed in range(50):
        setting = draw_setting(seed)
        gamma = torch.from_numpy(setting.gamma.copy())
        gamma[:, 0] += BASE_LIGHT
        light = harmonics(front) @ gamma.T * setting.exposure
        assert 0.3 < light.mean() < 2.0, seed
        assert np.linalg.norm(setting.key) == pytest.approx(1, abs=1e-6)


def test_a_seed_and_an_attempt_are_a_setting():
    one, same, other, again = (draw_setting(*key) for key in ((3,), (3,), (4,), (3, 1)))
    assert one.gamma.tobytes() == same.gamma.tobytes()
    assert one.place_seed == same.place_seed
    assert one.gamma.tobytes() != other.gamma.tobytes()
    assert one.gamma.tobytes() != again.gamma.tobytes()


@pytest.mark.parametrize("place", PLACES)
def test_a_background_is_the_same_picture_at_every_size(place: str):
    from dataclasses import replace

    setting = replace(draw_setting(1), place=place)
    small, large = background(setting, 64, 64), background(setting, 256, 256)
    assert small.shape == (64, 64, 3)
    assert small.dtype == np.float32
    assert 0 <= large.min() <= large.max() <= 1
    reduced = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(reduced - small).mean() < 0.02
    assert background(setting, 64, 128).shape == (64, 128, 3)


@pytest.mark.parametrize("collar", COLLARS)
@pytest.mark.parametrize("pattern", sorted(set(PATTERNS)))
def test_clothes_cover_the_chest_and_leave_the_neck(collar: str, pattern: str):
    red, white = np.float32([0.5, 0.1, 0.1]), np.float32([0.9, 0.9, 0.9])
    cloth = paint_clothes(Clothes(collar, pattern, red, white))
    rows, columns = cloth.shape[:2]
    assert cloth.dtype == np.float32
    assert cloth[: rows // 10, :, 3].max() == 0  # y = 6.2 and above
    assert cloth[-rows // 4 :, :, 3].min() == 1
    assert cloth[..., :3].min() > 0
    plain = paint_clothes(Clothes(collar, "plain", red, white))
    chest = (slice(-rows // 3, None), slice(columns // 4, -columns // 4))
    differs = np.abs(cloth - plain)[chest].max() > 0.05
    assert differs == (pattern != "plain")
