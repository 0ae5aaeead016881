"""Linear 3D face models: vertices, colours, pose, light and projection from coefficients.

The conventions are those of Deep3DFaceRecon (Deng et al. 2019, "Accurate 3D Face Reconstruction
with Weakly-Supervised Learning"; facts read in sicxu/Deep3DFaceRecon_pytorch, models/bfm.py): the
order of the coefficients, the rotation, the pinhole camera on the z axis that looks back at the
origin, and nine spherical harmonics per colour channel. Ours differs in what it takes for granted:
a model declares its own numbers of coefficients, and pixels have y down.

Right-handed coordinates: x to the picture's right, y up, z toward the camera.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import InputError

__all__ = ["Camera", "Coefficients", "MorphableModel", "Sizes", "harmonics", "rotation"]

BANDS = 9
BASE_LIGHT = 0.8
"""Added to the first harmonic of every channel: gamma = 0 is this much white light all around."""
REACH = (math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8))
"""a0 to a2: how much of each order a matt surface returns."""
NORM = (
    1 / math.sqrt(4 * math.pi),
    math.sqrt(3) / math.sqrt(4 * math.pi),
    3 * math.sqrt(5) / math.sqrt(12 * math.pi),
)
"""c0 to c2: norms of the harmonics of each order."""


@dataclass(frozen=True)
class Camera:
    """A pinhole on the z axis that looks toward the origin.

    Attributes:
        distance: From the origin, in the model's unit.
        focal: Focal length, pixels.
        centre: Where the optical axis meets the picture, (x, y) in pixels with y down.

    The defaults are Deep3DFaceRecon's for 224 x 224 pixels. Its code counts rows from the bottom
    and turns them over as 223 - y; `centre=(112.0, 111.0)` gives exactly those.
    """

    distance: float = 10.0
    focal: float = 1015.0
    centre: tuple[float, float] = (112.0, 112.0)


@dataclass(frozen=True)
class Sizes:
    """How many coefficients of each kind a model has, in the order of its vectors."""

    identity: int
    expression: int
    texture: int
    angles: int = 3
    gamma: int = 3 * BANDS
    translation: int = 3

    @property
    def total(self) -> int:
        """Length of a vector of all coefficients."""
        return sum(astuple(self))

    def __str__(self) -> str:
        return " + ".join(f"{field.name} {getattr(self, field.name)}" for field in fields(self))


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The coefficients of b faces.

    Attributes:
        identity: float32 (b, I).
        expression: float32 (b, E).
        texture: float32 (b, T).
        angles: float32 (b, 3), radians about x, y and z.
        gamma: float32 (b, 27), nine harmonics of red, of green and of blue.
        translation: float32 (b, 3), in the model's unit.
    """

    identity: Tensor
    expression: Tensor
    texture: Tensor
    angles: Tensor
    gamma: Tensor
    translation: Tensor


def rotation(angles: Tensor) -> Tensor:
    """Return the matrices that turn points by R = (Rz Ry Rx)^T, applied as `points @ R`.

    Args:
        angles: float32 (b, 3), radians about x, y and z.

    Returns:
        float32 (b, 3, 3).
    """
    x, y, z = angles.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).reshape(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, x.cos(), -x.sin(), zero, x.sin(), x.cos())
    about_y = matrix(y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos())
    about_z = matrix(z.cos(), -z.sin(), zero, z.sin(), z.cos(), zero, zero, zero, one)
    return (about_z @ about_y @ about_x).transpose(1, 2)


def harmonics(normals: Tensor) -> Tensor:
    """Return the nine harmonics of unit normals, scaled for a matt surface.

    Args:
        normals: float32 (..., 3), of length 1.

    Returns:
        float32 (..., 9), in Deep3DFaceRecon's order and signs.
    """
    x, y, z = normals.unbind(-1)
    flat, first, second = (a * c for a, c in zip(REACH, NORM, strict=True))
    return torch.stack(
        (
            torch.full_like(x, flat),
            -first * y,
            first * z,
            -first * x,
            second * x * y,
            -second * y * z,
            second * (3 * z * z - 1) / (2 * math.sqrt(3)),
            -second * x * z,
            second * (x * x - y * y) / 2,
        ),
        -1,
    )


class MorphableModel(nn.Module):
    """A face whose shape and colours are linear in its coefficients; everything differentiable.

    The model's arrays are not part of a state dict: some of them may not be passed on (BFM).
    """

    mean_shape: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    mean_texture: Tensor
    texture_basis: Tensor
    triangles: Tensor
    landmark_vertices: Tensor

    def __init__(
        self,
        *,
        mean_shape: Tensor,
        identity_basis: Tensor,
        expression_basis: Tensor,
        mean_texture: Tensor,
        texture_basis: Tensor,
        triangles: Tensor,
        landmarks: Tensor,
        camera: Camera | None = None,
    ) -> None:
        """Keep the model's arrays.

        Args:
            mean_shape: float32 (V, 3).
            identity_basis: float32 (I, V, 3).
            expression_basis: float32 (E, V, 3).
            mean_texture: float32 (V, 3), RGB in [0, 1].
            texture_basis: float32 (T, V, 3).
            triangles: int64 (F, 3), counter-clockwise as seen from outside.
            landmarks: int64 (68,), the vertex of each iBUG point.
            camera: Deep3DFaceRecon's where it is None.

        Raises:
            InputError: An array has not the shape that the others ask for.
        """
        super().__init__()
        shape = tuple(mean_shape.shape)
        if len(shape) != 2 or shape[1] != 3:
            raise InputError(f"mean_shape must be (V, 3); got {shape}")
        rows = {"mean_shape": mean_shape, "mean_texture": mean_texture}
        bases = {
            "identity_basis": identity_basis,
            "expression_basis": expression_basis,
            "texture_basis": texture_basis,
        }
        for name, array in {**rows, **bases}.items():
            wanted = shape if name in rows else (len(array), *shape)
            if tuple(array.shape) != wanted:
                raise InputError(f"{name} must be {wanted}; got {tuple(array.shape)}")
            self.register_buffer(name, array.float().contiguous(), persistent=False)
        for name, index in (("triangles", triangles), ("landmark_vertices", landmarks)):
            if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < shape[0]:
                raise InputError(f"{name} names vertices outside of 0 to {shape[0] - 1}")
            self.register_buffer(name, index.long().contiguous(), persistent=False)
        self.camera = camera or Camera()
        self.sizes = Sizes(*(len(basis) for basis in bases.values()))

    def split(self, vector: Tensor) -> Coefficients:
        """Name the parts of coefficient vectors.

        Args:
            vector: float32 (b, sizes.total).

        Raises:
            InputError: The vectors are longer or shorter than this model's.
        """
        if vector.ndim != 2 or vector.shape[1] != self.sizes.total:
            raise InputError(
                f"this model has {self.sizes.total} coefficients ({self.sizes}); got a tensor "
                f"{tuple(vector.shape)} where (b, {self.sizes.total}) was wanted"
            )
        return Coefficients(*vector.split(astuple(self.sizes), dim=1))

    def join(self, coefficients: Coefficients) -> Tensor:
        """Return float32 (b, sizes.total), the parts in order.

        Raises:
            InputError: A part has not as many coefficients as this model; the message names it.
        """
        parts = []
        for field in fields(coefficients):
            part = getattr(coefficients, field.name)
            self._check(field.name, part)
            parts.append(part)
        return torch.cat(parts, 1)

    def _check(self, name: str, part: Tensor) -> None:
        size = getattr(self.sizes, name)
        if part.ndim != 2 or part.shape[1] != size:
            raise InputError(
                f"this model has {size} coefficients of {name}; got a tensor {tuple(part.shape)} "
                f"where (b, {size}) was wanted"
            )

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Return float32 (b, V, 3): the faces at rest before the camera, not turned or moved.

        Args:
            identity: float32 (b, I).
            expression: float32 (b, E).
        """
        self._check("identity", identity)
        self._check("expression", expression)
        moved = identity @ self.identity_basis.flatten(1)
        moved = moved + expression @ self.expression_basis.flatten(1)
        return self.mean_shape + moved.unflatten(1, (-1, 3))

    def texture(self, texture: Tensor) -> Tensor:
        """Return float32 (b, V, 3): RGB in [0, 1] without light, for coefficients (b, T).

        Nothing is clipped, so extreme coefficients leave [0, 1].
        """
        self._check("texture", texture)
        return self.mean_texture + (texture @ self.texture_basis.flatten(1)).unflatten(1, (-1, 3))

    def rotation(self, angles: Tensor) -> Tensor:
        """Return float32 (b, 3, 3) for angles (b, 3); see the function of the same name."""
        return rotation(angles)

    def place(self, vertices: Tensor, angles: Tensor, translation: Tensor) -> Tensor:
        """Turn and move faces, and measure depth from the camera.

        Args:
            vertices: float32 (b, n, 3).
            angles: float32 (b, 3).
            translation: float32 (b, 3).

        Returns:
            float32 (b, n, 3): x, y, and the distance along the viewing axis, camera.distance - z.
        """
        turned = vertices @ rotation(angles) + translation[:, None]
        x, y, z = turned.unbind(-1)
        return torch.stack((x, y, self.camera.distance - z), -1)

    def project(self, placed: Tensor) -> Tensor:
        """Return pixels, float32 (b, n, 2), x right and y down, of points from `place`."""
        x, y, depth = placed.unbind(-1)
        scale = self.camera.focal / depth
        column = self.camera.centre[0] + scale * x
        row = self.camera.centre[1] - scale * y
        return torch.stack((column, row), -1)

    def landmarks(self, coefficients: Coefficients) -> Tensor:
        """Return the iBUG points in pixels, float32 (b, 68, 2), x right and y down."""
        vertices = self.vertices(coefficients.identity, coefficients.expression)
        points = vertices[:, self.landmark_vertices]
        return self.project(self.place(points, coefficients.angles, coefficients.translation))

    def normals(self, vertices: Tensor) -> Tensor:
        """Return float32 (b, V, 3) unit normals: of the unit normals of a vertex's triangles.

        Every triangle counts alike whatever its area, as in the reference.

        Args:
            vertices: float32 (b, V, 3).
        """
        a, b, c = (vertices[:, self.triangles[:, k]] for k in range(3))
        faces = F.normalize(torch.linalg.cross(b - a, c - b), dim=-1)
        total = torch.zeros_like(vertices)
        for k in range(3):
            total = total.index_add(1, self.triangles[:, k], faces)
        return F.normalize(total, dim=-1)

    def illuminate(self, texture: Tensor, normals: Tensor, gamma: Tensor) -> Tensor:
        """Light a texture.

        Args:
            texture: float32 (b, V, 3), RGB.
            normals: float32 (b, V, 3), of length 1, as the camera sees them (turned).
            gamma: float32 (b, 27), nine harmonics of red, green, blue, without the base light.

        Returns:
            float32 (b, V, 3), RGB; not clipped.
        """
        self._check("gamma", gamma)
        light = gamma.unflatten(1, (3, BANDS))
        base = torch.zeros(BANDS, dtype=light.dtype, device=light.device)
        base[0] = BASE_LIGHT
        return texture * (harmonics(normals) @ (light + base).transpose(1, 2))

    def colours(self, coefficients: Coefficients) -> Tensor:
        """Return float32 (b, V, 3): the lit RGB of every vertex."""
        vertices = self.vertices(coefficients.identity, coefficients.expression)
        normals = self.normals(vertices) @ rotation(coefficients.angles)
        return self.illuminate(self.texture(coefficients.texture), normals, coefficients.gamma)
