"""The emotion network: shapes, settings, and that shipped weights are asked for by name.

Its arithmetic but for the classifier is that of the identity network; see `test_identity.py`.
"""

import json

import numpy as np
import pytest
import torch

from tfbench.core.errors import ConfigError, InputError
from tfbench.faces.align import SquareFace
from tfbench.nets._residual import FaceFeatures
from tfbench.nets.emotion import VARIANTS, Emotion, build, load, seeded


def crops(n: int = 4) -> torch.Tensor:
    pixels = np.random.RandomState(2).randint(0, 256, (n, 3, 64, 64))
    return torch.from_numpy(pixels.astype(np.uint8))


def test_probabilities_are_those_of_the_features():
    net = seeded(1)
    with torch.inference_mode():
        features, probabilities = net.embed(crops()), net.probabilities(crops())
    weight, bias = (p.detach().double().numpy() for p in net.classifier.parameters())
    logits = features.double().numpy() @ weight.T + bias
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert (features.shape, features.dtype) == ((4, 128), torch.float32)
    assert probabilities.numpy() == pytest.approx(wanted, abs=1e-6)


def test_settings_build_the_same_network():
    net = Emotion(("a", "b", "c", "d"), 16, (4, 8), (1, 1))
    other = build(json.loads(json.dumps(net.settings)))
    assert (other.classes, other.settings) == (net.classes, net.settings)
    assert other.probabilities(crops(2)).shape == (2, 4)
    assert net.crop == SquareFace(64)


def test_size():
    net = Emotion([str(k) for k in range(8)])
    assert sum(p.numel() for p in net.parameters()) == 950_360


@pytest.mark.parametrize("classes", [(), ("happy",), ("happy", "happy")])
def test_fewer_than_two_classes_are_refused(classes):
    with pytest.raises(ConfigError, match="two or more"):
        Emotion(classes)


def test_stages_need_a_width_and_a_depth_each():
    with pytest.raises(ConfigError, match="width and a depth"):
        FaceFeatures(8, (4, 8), (1,))


def test_other_input_is_refused():
    net = seeded()
    assert net.embed(crops()[:0]).shape == (0, 128)
    assert net.probabilities(crops()[:0]).shape == (0, 3)
    for frames in (crops().float(), crops()[:, :, :48, :48]):
        with pytest.raises(InputError, match="64"):
            net.probabilities(frames)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_shipped_weights_load(variant: str):
    assert load(variant).name == f"emotion.{variant}"
