"""What changes from clip to clip around one person: clothes, light, background and framing.

The light is nine spherical harmonics a channel in the convention of Deep3DFaceRecon, applied in
linear RGB, so the illumination coefficients of a clip are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from tfbench.datasets.puppets.clothes import COLLARS, PATTERNS, Clothes
from tfbench.datasets.puppets.identity import linear
from tfbench.datasets.puppets.texture import noise, smooth
from tfbench.faces.morphable import BASE_LIGHT, NORM, REACH

__all__ = ["Setting", "background", "draw_setting"]

Floats = NDArray[np.float32]

PLACES = ("plain", "studio", "room", "window", "bokeh", "outdoor")


@dataclass(frozen=True, eq=False)
class Setting:
    """Where a clip takes place.

    Attributes:
        clothes: What is worn.
        gamma: float32 (3, 9), light of each channel without the base.
        key: float32 (3,), unit vector to the main light, for highlights.
        exposure: Factor on everything.
        place: A name of `PLACES`.
        place_seed: Of the background's picture.
        translation: float32 (3,), where the puppet stands, decimetres.
    """

    clothes: Clothes
    gamma: Floats
    key: Floats
    exposure: float
    place: str
    place_seed: int
    translation: Floats


def draw_setting(seed: int, attempt: int = 0) -> Setting:
    """Draw a setting.

    Args:
        seed: Of the clip.
        attempt: Another number is another setting of the same clip.

    Returns:
        The setting.
    """
    rng = np.random.default_rng([seed, attempt, 2])
    key = rng.uniform((-0.9, 0.05, 0.45), (0.9, 0.9, 1.0))
    key /= np.linalg.norm(key)
    return Setting(
        clothes=_clothes(rng),
        gamma=_light(rng, key),
        key=key.astype(np.float32),
        exposure=float(rng.uniform(0.85, 1.1)),
        place=PLACES[int(rng.integers(len(PLACES)))],
        place_seed=int(rng.integers(2**31)),
        translation=rng.uniform((-0.14, -0.08, -1.0), (0.14, 0.06, 0.4)).astype(np.float32),
    )


def _clothes(rng: np.random.Generator) -> Clothes:
    hue = rng.uniform(0, 1)
    strength, value = rng.beta(1.4, 2.0) * 0.8, rng.uniform(0.12, 0.9)
    second = (rng.uniform(0.15, 0.35), 1.0)[int(rng.integers(2))] if rng.random() < 0.6 else value
    return Clothes(
        collar=COLLARS[int(rng.integers(len(COLLARS)))],
        pattern=PATTERNS[int(rng.integers(len(PATTERNS)))],
        colour=linear(*(255 * _hsv(hue, strength, value))),
        second=linear(*(255 * _hsv(hue + rng.uniform(-0.1, 0.5), 0.5 * strength, second))),
    )


def _hsv(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    ramp = np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return value * (1 + saturation * (np.clip(ramp, 0, 1) - 1))


def _light(rng: np.random.Generator, key: NDArray[np.float64]) -> Floats:
    """Ambient light from above, a key light, and a rim from behind on the other side."""
    warm = rng.uniform(-0.08, 0.08)
    tint = np.array([1 + warm, 1.0, 1 - warm])
    ambient, direct = rng.uniform(0.36, 0.54), rng.uniform(0.48, 0.85)
    rim = np.array([-np.sign(key[0]) * 0.8, 0.2, -0.35])
    gamma = np.zeros((3, 9))
    gamma += direct * tint[:, None] * _lobe(key)
    gamma += rng.uniform(0, 0.25) * (2 - tint)[:, None] * _lobe(rim / np.linalg.norm(rim))
    gamma += rng.uniform(0.05, 0.18) * _lobe(np.array([0.0, 1.0, 0.0]))
    gamma[:, 0] += ambient * _UNIFORM - BASE_LIGHT
    return gamma.astype(np.float32)


_UNIFORM = 1 / (REACH[0] * NORM[0])
"""First harmonic of a light that gives every normal the irradiance 1, in Deep3D's constants."""


def _lobe(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Harmonics of the irradiance max(0, n·d), up to the second order."""
    x, y, z = direction
    flat, first, second = (a * c for a, c in zip(REACH, NORM, strict=True))
    return np.array(
        [
            0.25 / flat,
            -0.5 * y / first,
            0.5 * z / first,
            -0.5 * x / first,
            0.9375 * x * y / second,
            -0.9375 * y * z / second,
            0.15625 * (3 * z * z - 1) * np.sqrt(3) / second,
            -0.9375 * x * z / second,
            0.46875 * (x * x - y * y) / second,
        ]
    )


def background(setting: Setting, height: int, width: int) -> Floats:
    """Paint what is behind.

    Args:
        setting: Of the clip.
        height: Pixels.
        width: Pixels.

    Returns:
        float32 (height, width, 3), linear RGB; the same picture at every size.
    """
    rng = np.random.default_rng([setting.place_seed, 3])
    rows = 48
    columns = round(rows * width / height)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : width / height : columns * 1j].astype(np.float32)
    hue, value = rng.uniform(0, 1), rng.uniform(0.3, 0.85)
    base = _hsv(hue, rng.uniform(0, 0.3), value)
    picture = np.ones((rows, columns, 3)) * base * (1.12 - 0.3 * y)[..., None]
    painter = {"room": _room, "window": _window, "bokeh": _bokeh, "outdoor": _outdoor}
    if setting.place in painter:
        picture = painter[setting.place](rng, picture, x, y)
    elif setting.place == "studio":
        glow = np.exp(-((x - x.mean()) ** 2 + (y - 0.45) ** 2) / 0.25)
        picture *= (0.45 + 0.75 * glow)[..., None]
    big = [zoom(picture[..., k], (height / rows, width / columns), order=1) for k in range(3)]
    return (np.clip(np.stack(big, -1), 0, 1) ** 2.2).astype(np.float32)


Picture = NDArray[np.float64]


def _room(rng: np.random.Generator, picture: Picture, x: Floats, y: Floats) -> Picture:
    """A wall with shelves, frames and furniture out of focus."""
    for _ in range(int(rng.integers(4, 10))):
        left, top = rng.uniform(-0.1, x.max()), rng.uniform(0, 0.9)
        wide, high = rng.uniform(0.06, 0.4), rng.uniform(0.05, 0.35)
        inside = (x > left) & (x < left + wide) & (y > top) & (y < top + high)
        picture[inside] = _hsv(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.1, 0.9))
    return gaussian_filter(picture, (2.2, 2.2, 0))


def _window(rng: np.random.Generator, picture: Picture, x: Floats, y: Floats) -> Picture:
    """Light from a window at one side."""
    left = rng.uniform(0, 0.6) * x.max()
    inside = (x > left) & (x < left + 0.4) & (y < rng.uniform(0.5, 0.9))
    bars = (np.abs(x - left - 0.2) > 0.012) & (np.abs(y - 0.35) > 0.012)
    picture[inside & bars] = _hsv(rng.uniform(0.5, 0.65), rng.uniform(0, 0.15), 0.97)
    return gaussian_filter(picture * 0.9, (1.2, 1.2, 0))


def _bokeh(rng: np.random.Generator, picture: Picture, x: Floats, y: Floats) -> Picture:
    """Round lights in the dark."""
    picture = picture * 0.3
    for _ in range(int(rng.integers(12, 30))):
        near = np.hypot(x - rng.uniform(0, x.max()), y - rng.uniform()) < rng.uniform(0.02, 0.08)
        picture[near] += rng.uniform(0.1, 0.45) * _hsv(rng.uniform(), rng.uniform(0.1, 0.6), 1)
    return gaussian_filter(picture, (0.7, 0.7, 0))


def _outdoor(rng: np.random.Generator, _: Picture, x: Floats, y: Floats) -> Picture:
    """Sky over trees out of focus."""
    points = np.stack([x * 5, y * 5, np.full_like(x, rng.uniform(0, 50))], -1)
    line = 0.45 + 0.25 * noise(points)
    sky = _hsv(rng.uniform(0.55, 0.62), rng.uniform(0.1, 0.45), rng.uniform(0.75, 1))
    trees = _hsv(rng.uniform(0.2, 0.38), rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.55))
    leaves = (0.7 + 0.6 * noise(points * 3))[..., None]
    part = smooth(-0.05, 0.05, (y - line).astype(np.float32))[..., None]
    return gaussian_filter(sky * (1 - part) + trees * leaves * part, (1.5, 1.5, 0))
