"""The head as a morphable model: its texture is what is painted."""

import numpy as np
import pytest
import torch

from tfbench.datasets.puppets.head import SKIN, head
from tfbench.datasets.puppets.identity import LAYERS, draw_identity
from tfbench.datasets.puppets.model import MEAN_LAYERS, morphable, texture_coefficients
from tfbench.datasets.puppets.texture import layer_masks


def test_it_declares_its_own_numbers_of_coefficients():
    sizes, h = morphable(128).sizes, head()
    assert sizes.identity == len(h.identity_names)
    assert sizes.expression == 52
    assert sizes.texture == 3 * len(LAYERS)
    assert sizes.total == sizes.identity + 52 + sizes.texture + 3 + 27 + 3


def test_the_mean_is_the_mean_of_many():
    layers = np.mean([draw_identity(seed).layers() for seed in range(300)], axis=0)
    assert layers == pytest.approx(MEAN_LAYERS, abs=0.05)


def test_texture_coefficients_are_the_painted_colours():
    who, h = draw_identity(4), head()
    model = morphable(128)
    coefficients = torch.from_numpy(texture_coefficients(who))[None]
    ours = model.texture(coefficients)[0].numpy()
    masks = np.stack([h.masks[name] for name in ("lips", "eyelids", "ears", "scalp")], 1)
    painted = layer_masks(h.canonical, masks) @ who.layers()
    skin = h.vertex_part == SKIN
    assert ours[skin] == pytest.approx(painted[skin], abs=1e-5)
    assert (ours[~skin] == 0).all()
