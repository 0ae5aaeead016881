"""Who a puppet is: everything that stays the same from clip to clip, drawn from one seed.

Shapes mix the head's directions of ancestry, age, weight and local features; colours follow the
mixture, so that skin, hair and eyes go together. Lightness and grain are drawn apart from light and
clothes (`setting.py`), which change between clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tfbench.datasets.puppets.head import head

__all__ = ["LAYERS", "Identity", "draw_identity", "linear"]

Floats = NDArray[np.float32]

ANCESTRIES = ("african", "asian", "caucasian")
SKIN = {
    "african": ((58, 38, 30), (88, 60, 46), (124, 84, 62), (152, 108, 82)),
    "asian": ((182, 138, 104), (208, 164, 130), (228, 188, 156), (238, 204, 178)),
    "caucasian": ((196, 148, 120), (216, 170, 144), (230, 188, 164), (240, 206, 188)),
}
"""sRGB, from dark to light."""

HAIR = {
    "black": (22, 18, 17),
    "dark brown": (48, 32, 24),
    "brown": (84, 56, 36),
    "light brown": (124, 90, 58),
    "blond": (182, 148, 96),
    "red": (140, 66, 34),
    "grey": (138, 134, 130),
    "white": (212, 208, 202),
}
HAIR_ODDS = {
    "african": (0.85, 0.15, 0, 0, 0, 0),
    "asian": (0.70, 0.25, 0.05, 0, 0, 0),
    "caucasian": (0.10, 0.27, 0.25, 0.15, 0.15, 0.08),
}
IRISES = {
    "african": ((44, 26, 16), (58, 36, 22)),
    "asian": ((48, 30, 18), (66, 42, 26)),
    "caucasian": ((70, 46, 28), (84, 116, 148), (78, 108, 84), (104, 118, 124), (98, 80, 48)),
}

LAYERS = ("skin", "flush", "lid", "lip", "brow")
"""What is painted; `flush` is blood under the cheeks, nose and ears. A layer adds its own colour,
which for all but the skin is the difference to the skin."""

USUAL = {"eye-scale": 0.25, "mouth-scale-horiz": 0.1}
"""Means of local directions that are not 0."""

STYLES = {
    "female": (
        "bob",
        "fringe",
        "straight",
        "wavy",
        "ponytail",
        "bun",
        "low_bun",
        "braids",
        "pigtails",
        "curly",
        "shag",
        "afro",
    ),
    "male": (
        "buzz",
        "crop",
        "side_part",
        "swept_back",
        "quiff",
        "curly",
        "shag",
        "wavy",
        "bald",
        "afro",
    ),
}
GLASSES = ("round", "rectangular", "half_rim", "thick", "aviator", "cat_eye")
BALDING = ("receding", "crown", "bald")
BEARDS = ("none", "none", "none", "none", "short", "full", "goatee", "moustache", "long")


@dataclass(frozen=True, eq=False)
class Identity:
    """A person.

    Attributes:
        seed: That it was drawn from.
        gender: "female" or "male"; decides shape, voice and hair together.
        age: 0 young to 1 old.
        shape: float32 (I,), weights of the head's identity directions.
        skin: Linear RGB (3,), as are the colours below.
        flush_colour: Of blood under the skin.
        lid_colour: Of the upper lids.
        lip: Of the lips.
        brow: Of the eyebrows.
        hair: Of the hair on head and face.
        iris: Of the eyes.
        flush: How much blood shows, 0 to 1.
        shadow: How much the lids are coloured, 0 to 1.
        brow_height: Shift, decimetres.
        brow_thickness: Factor.
        brow_arch: 0 straight to 1 arched.
        freckles: 0 to 1.
        tired: Shade under the eyes, 0 to 1.
        oily: Gloss of the forehead and nose.
        moles: (x, y, size) in canonical decimetres.
        stubble: 0 shaved to 1.
        hair_style: A name of `hair.STYLES`.
        hair_length: Factor on the style's own length.
        hair_volume: Factor on the style's own volume.
        beard: One of `BEARDS`.
        glasses: One of `GLASSES`, or "none".
        frame: Colour of the glasses.
    """

    seed: int
    gender: str
    age: float
    shape: Floats
    skin: Floats
    flush_colour: Floats
    lid_colour: Floats
    lip: Floats
    brow: Floats
    hair: Floats
    iris: Floats
    flush: float
    shadow: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    freckles: float
    tired: float
    oily: float
    moles: tuple[tuple[float, float, float], ...]
    stubble: float
    hair_style: str
    hair_length: float
    hair_volume: float
    beard: str
    glasses: str
    frame: Floats

    @property
    def name(self) -> str:
        """How samples call this person."""
        return f"puppet-{self.seed}"

    def layers(self) -> Floats:
        """Return float32 (len(LAYERS), 3): the skin, and what each layer adds."""
        amounts = {
            "flush": (self.flush, self.flush_colour),
            "lid": (self.shadow, self.lid_colour),
            "lip": (0.9, self.lip),
            "brow": (1.0, self.brow),
        }
        added = [amounts[layer][0] * (amounts[layer][1] - self.skin) for layer in LAYERS[1:]]
        return np.stack([self.skin, *added]).astype(np.float32)


def linear(*rgb: float) -> Floats:
    """Turn sRGB levels, 0 to 255, into linear RGB with the display gamma of 2.2."""
    return ((np.clip(rgb, 0, 255) / 255.0) ** 2.2).astype(np.float32)


@lru_cache(maxsize=64)
def draw_identity(seed: int) -> Identity:
    """Draw a person.

    Args:
        seed: The same seed is the same person.

    Returns:
        The identity.
    """
    rng = np.random.default_rng([seed, 1])
    gender = ("female", "male")[int(rng.integers(2))]
    mixture = rng.dirichlet([0.35] * 3)
    main = ANCESTRIES[int(mixture.argmax())]
    age = float(np.clip(rng.beta(1.1, 1.9), 0, 1))
    skin = _skin(rng, mixture)
    hair_name, hair = _hair(rng, main, age)
    pale = float(skin.mean())
    return Identity(
        seed=seed,
        gender=gender,
        age=age,
        shape=_shape(rng, gender, mixture, age),
        skin=skin,
        flush_colour=skin * np.array([1.0, 0.62, 0.60], np.float32),
        lid_colour=skin * np.float32(rng.uniform((0.55, 0.40, 0.45), (0.95, 0.8, 0.85))),
        lip=_lip(rng, gender, skin),
        brow=hair * np.float32(rng.uniform(0.35, 0.7)) if hair_name != "white" else hair * 0.6,
        hair=hair,
        iris=linear(*IRISES[main][int(rng.integers(len(IRISES[main])))]),
        flush=float(rng.uniform(0.1, 0.8)) * (0.4 + pale),
        shadow=float(rng.uniform(0.1, 0.6) if gender == "female" else rng.uniform(0.0, 0.3)),
        brow_height=float(rng.uniform(-0.025, 0.025)),
        brow_thickness=float(rng.uniform(0.6, 1.0) + 0.35 * (gender == "male")),
        brow_arch=float(rng.uniform(0.1, 1.0)),
        freckles=float(max(0.0, rng.normal(0.0, 0.5)) * (main == "caucasian")),
        tired=float(rng.uniform(0.0, 0.5) + 0.4 * age),
        oily=float(rng.uniform(0.02, 0.14)),
        moles=_moles(rng),
        stubble=float(rng.beta(0.7, 1.2)) * (gender == "male"),
        hair_style=_hair_style(rng, gender, main, age),
        hair_length=float(rng.uniform(0.85, 1.2)),
        hair_volume=float(rng.uniform(0.8, 1.25)),
        beard=BEARDS[int(rng.integers(len(BEARDS)))] if gender == "male" else "none",
        glasses=GLASSES[int(rng.integers(len(GLASSES)))] if rng.random() < 0.22 else "none",
        frame=linear(*rng.choice([(25, 22, 22), (90, 52, 30), (150, 150, 155), (60, 20, 28)])),
    )


def _shape(
    rng: np.random.Generator, gender: str, mixture: NDArray[np.float64], age: float
) -> Floats:
    h = head()
    shape = dict.fromkeys(h.identity_names, 0.0)
    macro = ("weight", "muscle", "old", *ANCESTRIES)
    local = [name for name in h.identity_names if not name.startswith(macro)]
    for ancestry, share in zip(ANCESTRIES, mixture, strict=True):
        shape[f"{ancestry}-{gender}"] = float(share) * 1.1
    shape[f"old-{gender}"] = float(np.clip(1.3 * age - 0.25, 0, 1))
    shape[f"weight-{gender}"] = float(np.clip(rng.normal(0.1, 0.4), -0.6, 0.9))
    for name in local:
        shape[name] = float(np.clip(rng.normal(USUAL.get(name, 0.0), 0.27), -0.65, 0.65))
    return np.array([shape[name] for name in h.identity_names], np.float32)


def _skin(rng: np.random.Generator, mixture: NDArray[np.float64]) -> Floats:
    tone = np.zeros(3)
    at = rng.random()
    for ancestry, share in zip(ANCESTRIES, mixture, strict=True):
        shades = np.array(SKIN[ancestry], np.float64)
        level = np.clip(at + rng.normal(0, 0.1), 0, 1) * (len(shades) - 1)
        k = min(int(level), len(shades) - 2)
        tone += share * (shades[k] + (level - k) * (shades[k + 1] - shades[k]))
    return linear(*(tone * rng.uniform((0.98, 0.96, 0.93), (1.02, 1.02, 1.04))))


def _lip(rng: np.random.Generator, gender: str, skin: Floats) -> Floats:
    natural = skin * np.float32(rng.uniform((0.72, 0.36, 0.40), (0.92, 0.52, 0.56)))
    if gender == "male" or rng.random() < 0.55:
        return natural
    stick = linear(*rng.choice([(168, 48, 58), (190, 90, 100), (142, 40, 60), (196, 110, 100)]))
    return (0.35 * natural + 0.65 * stick).astype(np.float32)


def _hair(rng: np.random.Generator, main: str, age: float) -> tuple[str, Floats]:
    names = list(HAIR)
    name = names[int(rng.choice(6, p=HAIR_ODDS[main]))]
    if age > 0.55 and rng.random() < 1.6 * (age - 0.45):
        name = "white" if age > 0.8 and rng.random() < 0.5 else "grey"
    return name, linear(*(np.array(HAIR[name]) * rng.uniform(0.88, 1.12)))


def _hair_style(rng: np.random.Generator, gender: str, main: str, age: float) -> str:
    styles = list(STYLES[gender])
    if main != "african":
        styles.remove("afro")
    if gender == "male" and age > 0.5:
        styles += 2 * BALDING
    return styles[int(rng.integers(len(styles)))]


def _moles(rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    count = int(rng.choice(4, p=[0.55, 0.25, 0.15, 0.05]))
    return tuple(
        (
            float(rng.uniform(0.18, 0.62) * rng.choice([-1, 1])),
            float(rng.uniform(6.45, 7.15)),
            float(rng.uniform(0.012, 0.022)),
        )
        for _ in range(count)
    )
