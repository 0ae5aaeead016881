import numpy as np
import pytest

from tfbench.core.errors import InputError, UnknownName
from tfbench.datasets.puppets.emotions import ACTION_UNITS, EMOTIONS, action_weights, face, manner
from tfbench.datasets.puppets.head import head


def shown(emotion, level=3, seed=0):
    return dict(
        zip(
            head().expression_names,
            face(emotion, level, np.random.default_rng(seed), 50).mean(0),
            strict=True,
        )
    )


def test_units_name_weights_of_the_head():
    for unit in ACTION_UNITS:
        assert action_weights(unit).max() > 0
    left = action_weights(12, left=0.5, right=0.0)
    names = head().expression_names
    assert left[names.index("mouthSmileLeft")] == 0.5
    assert left.sum() == 0.5


@pytest.mark.parametrize(
    ("emotion", "strong"),
    [
        ("happy", ["mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft"]),
        ("sad", ["browInnerUp", "mouthFrownLeft", "mouthFrownRight"]),
        ("angry", ["browDownLeft", "browDownRight", "mouthRollLower"]),
        ("fear", ["browInnerUp", "eyeWideLeft", "mouthStretchLeft"]),
        ("disgusted", ["noseSneerLeft", "noseSneerRight", "mouthUpperUpLeft"]),
        ("surprised", ["browInnerUp", "browOuterUpLeft", "eyeWideLeft", "jawOpen"]),
    ],
)
def test_what_emfacs_names_is_shown(emotion, strong):
    weights = shown(emotion)
    assert all(weights[name] > 0.4 for name in strong), weights


def test_contempt_has_one_side():
    for seed in range(4):
        weights = shown("contempt", seed=seed)
        sides = sorted([weights["mouthDimpleLeft"], weights["mouthDimpleRight"]])
        assert sides[1] > 5 * sides[0]


def test_neutral_shows_nothing():
    assert face("neutral", 1, np.random.default_rng(0), 10).max() == 0


def test_within_bounds_and_slow():
    for emotion in EMOTIONS:
        made = face(emotion, 3, np.random.default_rng(1), 200)
        assert made.min() >= 0
        assert made.max() <= 1
        assert np.abs(np.diff(made, axis=0)).max() < 0.06


def test_bad_input():
    with pytest.raises(UnknownName, match="no emotion 'joy'; there are neutral, happy"):
        manner("joy", 1)
    with pytest.raises(InputError, match="no level 5"):
        manner("happy", 5)
