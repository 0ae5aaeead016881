"""Poisson blending of a face into the picture that it replaces.

Perez, Gangnet and Blake 2003, "Poisson image editing": inside a region the gradients are those of
the new picture, on its border the values are those of the old one. The result is the new picture
plus the smooth surface that takes, on the border, the difference of the two (their equation for a
conservative field). With one region for all faces, cut out to fixed places, every pixel of that
surface is a fixed weighted mean of the border's differences: the weights are found once, and a
frame is one product of matrices.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional as F

from tfbench.core.errors import ConfigError

__all__ = ["PoissonBlend", "face_region"]


class PoissonBlend:
    """Blends pictures into others of the same size inside a region.

    Args:
        region: bool (S, S), at least one pixel, none of them at the edge of the picture.

    Raises:
        ConfigError: The region is empty or touches the edge.
    """

    def __init__(self, region: Tensor) -> None:
        inside = region.bool().cpu()
        edge = torch.ones_like(inside)
        edge[1:-1, 1:-1] = False
        if not inside.any() or (inside & edge).any():
            raise ConfigError("a region to blend has pixels, and none at the edge of the picture")
        self.region = inside
        near = F.max_pool2d(inside[None].float(), 3, 1, 1)[0] > 0
        self.border = _crossed(inside) & ~inside & near
        self.weights = _weights(inside.numpy(), self.border.numpy())

    @property
    def opacity(self) -> Tensor:
        """How much of a blended picture is put back, float (S, S): all of the region, a soft edge.

        At the edge the blended picture is the old one, so that softness hides nothing; it only
        keeps pixels that are resampled twice to a narrow rim.
        """
        return F.avg_pool2d(self.region[None].float(), 3, 1, 1)[0]

    def __call__(self, new: Tensor, old: Tensor) -> Tensor:
        """Blend.

        Args:
            new: float (n, C, S, S).
            old: float (n, C, S, S).

        Returns:
            float (n, C, S, S), `old` outside of the region.
        """
        inside, border = self.region.to(new.device), self.border.to(new.device)
        differences = (old - new)[..., border]
        blended = old.clone()
        surface = differences @ self.weights.to(new).T
        blended[..., inside] = new[..., inside] + surface
        return blended


@functools.lru_cache(maxsize=8)
def face_region(size: int, *, whole: bool) -> Tensor:
    """Return the region of a face that is cut out by the template `dlib` of `faces.align`.

    Args:
        size: Side of the picture.
        whole: The face, otherwise its lower half, from just below the eyes (Section 4.3 of
            Speech2Vid).

    Returns:
        bool (size, size): an ellipse around the face, or the part of it below the eyes.
    """
    # It is kept: what is made while nothing is learned could not be used where something is.
    with torch.inference_mode(mode=False):
        places = (torch.arange(size) + 0.5) / size
        x, y = places[None], places[:, None]
        # The template has the eyes at 0.30 of the side, the mouth at 0.72; a chin reaches 0.93. The
        # border has to lie on skin, or blending carries the background's colour into the face.
        inside = ((x - 0.5) / 0.26) ** 2 + ((y - 0.54) / 0.40) ** 2 < 1
        return inside if whole else inside & (y > 0.40)


def _crossed(inside: Tensor) -> Tensor:
    """Return pixels that are in the region or beside, above or below one that is."""
    grown = inside.clone()
    grown[1:] |= inside[:-1]
    grown[:-1] |= inside[1:]
    grown[:, 1:] |= inside[:, :-1]
    grown[:, :-1] |= inside[:, 1:]
    return grown


def _weights(inside: np.ndarray, border: np.ndarray) -> Tensor:
    """Solve Laplace's equation for a value of 1 at each pixel of the border.

    Returns:
        float32 (pixels inside, pixels of the border); rows sum to 1.
    """
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    place = np.full(inside.shape, -1)
    place[border] = np.arange(border.sum())
    rows, columns = np.nonzero(inside)
    own = np.arange(len(rows))
    within: list[tuple[np.ndarray, np.ndarray]] = []
    at_border: list[tuple[np.ndarray, np.ndarray]] = []
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        other = number[rows + down, columns + right]
        within.append((own[other >= 0], other[other >= 0]))
        at_border.append((own[other < 0], place[rows + down, columns + right][other < 0]))
    laplacian = _sparse(within, (len(own), len(own)), -1.0) + csr_array(
        (np.full(len(own), 4.0), (own, own)), shape=(len(own), len(own))
    )
    sides = _sparse(at_border, (len(own), int(border.sum())), 1.0)
    solved = splu(laplacian.tocsc()).solve(sides.toarray())
    return torch.from_numpy(solved.astype(np.float32))


def _sparse(
    pairs: list[tuple[np.ndarray, np.ndarray]], shape: tuple[int, int], value: float
) -> csr_array:
    rows, columns = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return csr_array((np.full(len(rows), value), (rows, columns)), shape=shape)
