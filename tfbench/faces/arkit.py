"""ARKit's 52 expressions: their names in Apple's order, and what a mirror makes of their weights.

Source: Apple's documentation of `ARFaceAnchor.BlendShapeLocation`. MediaPipe's blendshapes have the
same names in another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EXPRESSIONS", "of_both_sides"]

SIDES = ("Left", "Right")
EYE_MOVES = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
EXPRESSIONS = (
    *(f"eye{name}{side}" for side in SIDES for name in EYE_MOVES),
    *("jawForward", "jawLeft", "jawRight", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight"),
    *(f"mouth{n}{side}" for n in ("Smile", "Frown", "Dimple", "Stretch") for side in SIDES),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *(f"mouth{n}{side}" for n in ("Press", "LowerDown", "UpperUp") for side in SIDES),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight"),
    "tongueOut",
)
"""In Apple's order."""


def of_both_sides(weights: Tensor) -> Tensor:
    """Describe expressions so that a face and its mirror image have the same description.

    Args:
        weights: float32 (..., 52), in the order of `EXPRESSIONS`.

    Returns:
        float32 (..., 52): 32 times the mean of left and right, or the weight of what has no sides,
        in the order in which they first come; then 20 times what left and right differ by,
        without sign.
    """
    first = [k for k, name in enumerate(EXPRESSIONS) if not name.endswith(SIDES[1])]
    other = [_other_side(k) for k in first]
    one, two = weights[..., first], weights[..., other]
    sided = torch.tensor([k != o for k, o in zip(first, other, strict=True)])
    return torch.cat([(one + two) / 2, (one - two).abs()[..., sided]], dim=-1)


def _other_side(k: int) -> int:
    name = EXPRESSIONS[k]
    left, right = SIDES
    return EXPRESSIONS.index(name.removesuffix(left) + right) if name.endswith(left) else k
