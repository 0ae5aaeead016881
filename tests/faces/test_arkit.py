"""ARKit's expressions: names, and the description that a mirror does not change."""

import numpy as np
import pytest
import torch

from tfbench.datasets.puppets.head import head
from tfbench.faces.arkit import EXPRESSIONS, of_both_sides


def test_the_puppets_have_them_in_this_order():
    assert len(EXPRESSIONS) == 52
    assert head().expression_names == EXPRESSIONS


def test_left_and_right_are_one():
    weights = torch.zeros(52)
    weights[EXPRESSIONS.index("mouthSmileLeft")] = 0.6
    weights[EXPRESSIONS.index("mouthSmileRight")] = 0.2
    weights[EXPRESSIONS.index("jawOpen")] = 0.5
    described = of_both_sides(weights)
    assert described.shape == (52,)
    assert sorted(described[described > 0].tolist()) == pytest.approx([0.4, 0.4, 0.5])
    assert (described[:32] > 0).sum() == 2


def test_a_mirror_changes_nothing():
    weights = torch.from_numpy(np.random.RandomState(0).rand(3, 52).astype(np.float32))
    swapped = {"Left": "Right", "Right": "Left"}
    order = []
    for name in EXPRESSIONS:
        side = next((s for s in swapped if name.endswith(s)), None)
        order.append(EXPRESSIONS.index(name.removesuffix(side) + swapped[side] if side else name))
    assert torch.equal(of_both_sides(weights[:, order]), of_both_sides(weights))
