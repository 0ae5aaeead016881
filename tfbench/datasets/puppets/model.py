"""The puppets' head as a 3D morphable model, so that all that works on coefficients has its truth.

Identity and expression are the head's own directions. Texture coefficients are the linear RGB of
the painted layers, relative to `MEAN_LAYERS`: exact for the colours of skin, flush, lids, lips and
brows; the shape of the brows, grain, freckles, creases, stubble and hair are outside the model.
Pose and illumination follow Deep3DFaceRecon's conventions, with the puppets' own camera and in
linear RGB.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from tfbench.datasets.puppets.actor import DISTANCE, FOCAL
from tfbench.datasets.puppets.head import SKIN, head
from tfbench.datasets.puppets.texture import layer_masks
from tfbench.faces.morphable import Camera, MorphableModel

if TYPE_CHECKING:
    from tfbench.datasets.puppets.identity import Identity

__all__ = ["MEAN_LAYERS", "morphable", "texture_coefficients"]

Floats = NDArray[np.float32]

MEAN_LAYERS = np.array(
    [
        [0.506, 0.297, 0.197],
        [0.000, -0.041, -0.029],
        [-0.032, -0.030, -0.017],
        [-0.076, -0.156, -0.094],
        [-0.455, -0.263, -0.173],
    ],
    np.float32,
)
"""Layers of the model's mean texture: the mean of the identities 0 to 999, rounded."""


def texture_coefficients(identity: Identity) -> Floats:
    """Return float32 (3 len(LAYERS),), the texture coefficients of an identity."""
    return (identity.layers() - MEAN_LAYERS).ravel()


@cache
def morphable(height: int, width: int | None = None) -> MorphableModel:
    """Return the head as a morphable model before the puppets' camera.

    The model turns as a whole about its origin; a puppet's neck and bust do not, so it is exact
    where the head's `turn` is 1.

    Args:
        height: Of the picture, pixels.
        width: Of the picture, pixels; as wide as high where None. Scenes are twice as wide.
    """
    h = head()
    masks = np.stack([h.masks[name] for name in ("lips", "eyelids", "ears", "scalp")], 1)
    weights = layer_masks(h.canonical, masks) * (h.vertex_part == SKIN)[:, None]
    basis = np.einsum("vl,cd->lcvd", weights, np.eye(3, dtype=np.float32))
    arrays = {
        "mean_shape": h.neutral,
        "identity_basis": h.identity,
        "expression_basis": h.expression,
        "mean_texture": (weights @ MEAN_LAYERS).astype(np.float32),
        "texture_basis": basis.reshape(-1, *h.neutral.shape),
        "triangles": h.triangles,
        "landmarks": h.landmarks,
    }
    camera = Camera(DISTANCE, FOCAL * height / 2, ((width or height) / 2, height / 2))
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    return MorphableModel(camera=camera, **tensors)
