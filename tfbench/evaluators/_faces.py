"""What trainings share that read single crops of one face: what is kept, and how it is varied."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import Unscorable
from tfbench.core.types import FPS
from tfbench.core.views import ViewKey
from tfbench.evaluators.base import Trainee

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from tfbench.core.types import Sample
    from tfbench.core.views import Crop, Views
    from tfbench.evaluators.base import Kept
    from tfbench.faces.align import AlignedFace, SquareFace

__all__ = [
    "FACES",
    "FaceTrainee",
    "draw_frame",
    "draw_look",
    "face_view",
    "kept_faces",
    "of_clips",
    "thinned",
    "varied",
]

FACES = "faces"
"""Name of the kept array, uint8 (n, 3, h, w)."""

RANGES = {
    "turn": (-0.14, 0.14),
    "scale": (-0.10, 0.10),
    "right": (-0.12, 0.12),
    "down": (-0.12, 0.12),
    "soft": (-0.4, 1.0),
    "contrast": (-0.3, 0.3),
    "saturation": (-0.3, 0.3),
    "red": (-0.12, 0.12),
    "green": (-0.12, 0.12),
    "blue": (-0.12, 0.12),
    "light": (-0.3, 0.3),
    "hole_x": (-1.0, 1.0),
    "hole_y": (-1.0, 1.0),
    "hole_width": (0.1, 0.4),
    "hole_height": (0.1, 0.4),
}
"""How far each change goes: an angle in radians; a zoom; shifts, places and half extents in halves
of the side; a share of blur, sharpening where negative; the rest are factors less 1."""
LOOK = ("mirror", *RANGES)
"""Order of the numbers that `draw_look` draws."""
MOVES = ("turn", "scale", "right", "down")
COLOURS = ("soft", "contrast", "saturation", "red", "green", "blue", "light")
STILL = 0.3
"""Share of faces that are not resampled, and of those whose colours are left as they are: so are
all faces that are judged."""


class FaceTrainee(Trainee):
    """Base of trainings that read single faces.

    Attributes:
        crop: What is cut out of a frame.
        every: Of so many frames one is kept.
    """

    crop: ClassVar[AlignedFace | SquareFace]
    every: ClassVar[int]

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """The crops of the face, seen in however few frames."""
        tracking = replace(self.crop.tracking, min_frames=0)
        return (face_view(replace(self.crop, tracking=tracking)),)

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:  # noqa: ARG002
        """Keep every k-th face as `faces`, uint8 (n, 3, h, w)."""
        return kept_faces(views, self.keys[0], self.every)


def face_view(crop: Crop) -> ViewKey:
    """Ask for the crops of the scored clip's face themselves."""
    return ViewKey(FACES, "pred", crop, extract=_as_they_are)


def kept_faces(views: Views, key: ViewKey, every: int) -> dict[str, Tensor]:
    """Keep every k-th crop of the one face that a clip shows.

    Args:
        views: Of the clip.
        key: Made by `face_view`.
        every: k.

    Returns:
        `faces`, uint8 (n, 3, h, w).

    Raises:
        Unscorable: No face is seen, or two at a time, of which one would get the other's name.
    """
    parts = sorted(views.parts(key), key=lambda part: part.start)
    if any(one.stop > other.start for one, other in pairwise(parts)):
        raise Unscorable("two faces are seen at a time; whose name and emotion is known is unclear")
    return {FACES: thinned(torch.cat([part.values for part in parts]), every)}


def thinned(rows: Tensor, every: int) -> Tensor:
    """Keep every k-th of many rows, (n, ...); all where a clip is shorter than a second."""
    return rows[::every] if len(rows) >= FPS else rows


def draw_frame(clip: Kept, rng: np.random.Generator) -> dict[str, Tensor]:
    """Draw one kept frame of a clip: its row of every array, such as `faces`, uint8 (3, h, w)."""
    row = int(rng.integers(clip.shapes[FACES][0]))
    return {name: clip.array(name, row, row + 1)[0] for name in clip.shapes}


def draw_look(rng: np.random.Generator, holes: float) -> Tensor:
    """Draw how one face is to be varied.

    Args:
        rng: Where chance comes from.
        holes: Share of faces of which a rectangle is covered.

    Returns:
        float32 (16,), in the order of `LOOK`.
    """
    drawn = {name: rng.uniform(low, high) for name, (low, high) in RANGES.items()}
    moves, colours, covered = rng.random(3)
    # Both are drawn whether they are used or not, so that a draw takes the same numbers from rng.
    if moves < STILL:
        drawn |= dict.fromkeys(MOVES, 0.0)
    if colours < STILL:
        drawn |= dict.fromkeys(COLOURS, 0.0)
    if covered >= holes:
        drawn |= {"hole_width": 0.0, "hole_height": 0.0}
    drawn["mirror"] = float(rng.integers(2))
    return torch.tensor([drawn[name] for name in LOOK], dtype=torch.float32)


def varied(faces: Tensor, looks: Tensor) -> Tensor:
    """Mirror, turn, zoom, shift, blur, recolour and partly cover faces.

    Args:
        faces: uint8 (b, 3, h, w) RGB.
        looks: float32 (b, 16), drawn by `draw_look`.

    Returns:
        float32 (b, 3, h, w), 0 to 255.
    """
    look = dict(zip(LOOK, looks.float().unbind(1), strict=True))
    # The places of pixels need more digits than bfloat16 has.
    with torch.autocast(faces.device.type, enabled=False):
        x = _covered(_recoloured(_moved(faces.float(), look), look), look)
    return x.clamp(0, 255)


@contextmanager
def judging(net: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, without gradients, and back."""
    was = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        net.train(was)


def of_clips(
    network: nn.Module, method: str, clips: Sequence[Kept], device: torch.device
) -> list[Tensor]:
    """Apply a network's method to the kept faces of each clip; float32 (n, d) on the CPU."""
    compute = getattr(network, method)
    with judging(network):
        return [compute(clip.array(FACES).to(device)).float().cpu() for clip in clips]


def _as_they_are(frames: Tensor) -> Tensor:
    return frames


def _moved(x: Tensor, look: dict[str, Tensor]) -> Tensor:
    """Resample faces bilinearly; what lies outside is the nearest pixel of the edge."""
    zoom = 1 + look["scale"]
    across, along = look["turn"].cos() * zoom, look["turn"].sin() * zoom
    side = 1 - 2 * look["mirror"]
    rows = [
        torch.stack([across * side, -along, look["right"]], 1),
        torch.stack([along * side, across, look["down"]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, "bilinear", "border", align_corners=False)


def _recoloured(x: Tensor, look: dict[str, Tensor]) -> Tensor:
    factor = {name: value[:, None, None, None] for name, value in look.items()}
    smooth = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = x + factor["soft"] * (smooth - x)
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    x = middle + (1 + factor["contrast"]) * (x - middle)
    gray = x.mean(dim=1, keepdim=True)
    x = gray + (1 + factor["saturation"]) * (x - gray)
    tint = torch.cat([factor["red"], factor["green"], factor["blue"]], 1)
    return x * (1 + tint) * (1 + factor["light"])


def _covered(x: Tensor, look: dict[str, Tensor]) -> Tensor:
    """Fill a rectangle of each face with the face's mean colour."""

    def inside(axis: int, place: str, reach: str) -> Tensor:
        n = x.shape[axis]
        at = (torch.arange(n, device=x.device) + 0.5) * 2 / n - 1
        return (at - look[place][:, None]).abs() < look[reach][:, None]

    rows, columns = inside(2, "hole_y", "hole_height"), inside(3, "hole_x", "hole_width")
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(hole, x.mean(dim=(2, 3), keepdim=True), x)
