"""Landmark distance around the mouth: how far the lips are from where they should be.

Landmarks of the scored and the true clip at the same time, in the 68-point convention (mouth: rows
48 to 67). Lower is better, 0 for the same landmarks. Four definitions share the name:

- `ipd` (the default): the 20 mouth points minus their mean, each side divided by its own
  inter-pupillary distance, mean Euclidean distance over points and frames. It does not depend on
  the resolution. The inter-pupillary distance is the median over the frames of the distance
  between the eyes' centres, so that blinks do not move the mouth.
- `atvg`: minus the mouth's mean, sum over the 20 points of Euclidean distances, mean over frames,
  in pixels (Chen et al. 2018 and 2019; lelechen63/ATVGnet, `evaluation_matrix.py`).
- `eat`: M-LMD as `atvg` but the mean over points; F-LMD the same over all 68 points minus the
  face's mean, in pixels (Gan et al. 2023; yuexihang/evaluation_eat, `code/test_lmd.py`).
- `vico`: mean absolute difference of the mouth's coordinates as they lie in the frame, in pixels
  (Zhou et al. 2022; dc3ea9f/vico_challenge_baseline, `evaluations/compute_lmd.py`).

Definitions in pixels depend on the size of the frames: their publications compare crops of one
size (256 in `eat`, 128 in `atvg`). Differences from the references: they find faces by dlib's own
detector (`vico`: landmarks of face-alignment) and leave out frames without one; `eat` stretches
the shorter of two clips of different lengths, here the common frames count; `atvg` and `vico` pool
the frames of all clips, here every clip weighs the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import Column, Score
from tfbench.core.views import Views
from tfbench.faces.mouth import MOUTH
from tfbench.metrics.base import TalkingFaceMetric
from tfbench.nets.landmarks import landmark_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfbench.core.views import ViewKey
    from tfbench.nets.frozen import Frozen

__all__ = ["LMD", "lmd_atvg", "lmd_eat", "lmd_ipd", "lmd_vico"]

EYES = (slice(36, 42), slice(42, 48))


def lmd_ipd(pred: Tensor, ref: Tensor) -> Tensor:
    """Mean distance of the centred mouth points, in inter-pupillary distances.

    Args:
        pred: float (T, 68, 2), pixels.
        ref: float (T, 68, 2), pixels of frames that may have another size.

    Returns:
        float64 ().

    Raises:
        InputError: The shapes differ or are others, or there is no frame.
    """
    pred, ref = _checked(pred, ref)
    mouths = [_centred(side[:, MOUTH]) / _pupil_distance(side) for side in (pred, ref)]
    return _distances(*mouths).mean()


def lmd_atvg(pred: Tensor, ref: Tensor) -> Tensor:
    """Sum of distances of the centred mouth points, float64 (), pixels; see `lmd_ipd`."""
    pred, ref = _checked(pred, ref)
    return _distances(_centred(pred[:, MOUTH]), _centred(ref[:, MOUTH])).sum(1).mean()


def lmd_eat(pred: Tensor, ref: Tensor) -> Tensor:
    """M-LMD and F-LMD, float64 (2,), pixels; arguments as for `lmd_ipd`."""
    pred, ref = _checked(pred, ref)
    mouth = _distances(_centred(pred[:, MOUTH]), _centred(ref[:, MOUTH])).mean()
    return torch.stack([mouth, _distances(_centred(pred), _centred(ref)).mean()])


def lmd_vico(pred: Tensor, ref: Tensor) -> Tensor:
    """Mean absolute difference of mouth coordinates, float64 (), pixels; see `lmd_ipd`."""
    pred, ref = _checked(pred, ref)
    return (pred[:, MOUTH] - ref[:, MOUTH]).abs().mean()


def _checked(pred: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    if pred.shape != ref.shape or pred.ndim != 3 or pred.shape[1:] != (68, 2) or len(pred) == 0:
        raise InputError(
            "LMD compares landmarks (T, 68, 2) of the same frames; "
            f"got {tuple(pred.shape)} and {tuple(ref.shape)}"
        )
    return pred.to(torch.float64), ref.to(torch.float64)


def _centred(points: Tensor) -> Tensor:
    return points - points.mean(1, keepdim=True)


def _distances(pred: Tensor, ref: Tensor) -> Tensor:
    return torch.linalg.vector_norm(pred - ref, dim=-1)


def _pupil_distance(points: Tensor) -> Tensor:
    right, left = (points[:, eye].mean(1) for eye in EYES)
    # quantile, since torch's median of an even number is the lower one of the middle two.
    return _distances(right, left).quantile(0.5)


class LMD(TalkingFaceMetric):
    """Landmark distance between the scored and the true clip.

    Definitions: `ipd`, independent of the resolution; `atvg`, `eat` and `vico`, as in the
    literature, in pixels of the frames, which must then be of one size on both sides.

    Args:
        definition: One of the four.
        network: Landmarks such as `landmarks.dlib68`: has `crop`, `extract(frames, regions)` and
            `as_68(points)`.
    """

    name = "lmd"
    judge_has = ("as_68",)
    higher_is_better = False
    definitions: ClassVar[Mapping[str, tuple[Column, ...]]] = {
        "ipd": (Column("LMD", "IPD", higher_is_better=False),),
        "atvg": (Column("LMD", "px", higher_is_better=False),),
        "eat": (
            Column("M-LMD", "px", higher_is_better=False),
            Column("F-LMD", "px", higher_is_better=False),
        ),
        "vico": (Column("LMD", "px", higher_is_better=False),),
    }

    values: list[Tensor]

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__(definition, network)
        self.add_rows("values")

    @property
    def columns(self) -> tuple[Column, ...]:
        """LMD, or M-LMD and F-LMD."""
        return tuple(self.settings)

    @property
    def needs(self) -> tuple[ViewKey, ...]:
        """Landmarks of the scored and of the true clip."""
        judge = self._judge()
        return landmark_view(judge, "pred"), landmark_view(judge, "ref")

    def measure(self, views: Views) -> tuple[Score, ...]:
        """Compare each face with the true one in the frames that show both."""
        as_68 = self._judge().module.as_68
        names = [column.name for column in self.columns]
        pairs = views.pairs(*self.needs)
        if self.definition != "ipd" and pairs[0][0].frame != pairs[0][1].frame:
            sizes = " and ".join(f"{part.frame[1]}x{part.frame[0]}" for part in pairs[0])
            raise Unscorable(
                f"the scored and the true clip have frames of {sizes}, and lmd.{self.definition} "
                "is in pixels: make them one size, or take lmd.ipd"
            )
        return tuple(
            score
            for pred, ref in pairs
            for values in [self._compare(as_68(pred.values), as_68(ref.values))[0].tolist()]
            for score in self.score(views, pred.name, dict(zip(names, values, strict=True)))
        )

    def update(self, pred: Tensor, ref: Tensor) -> None:
        """Add one clip.

        Args:
            pred: float (T, 68, 2), pixels.
            ref: float (T, 68, 2), pixels.

        Raises:
            InputError: The shapes differ or are others, or there is no frame.
        """
        self.values.append(self._compare(pred.to(self.device), ref.to(self.device)))

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of each column over clips, float64 ()."""
        means = self.rows("values").mean(0)
        return {column.name: mean for column, mean in zip(self.columns, means, strict=True)}

    def _compare(self, pred: Tensor, ref: Tensor) -> Tensor:
        """Compute the columns' values, float64 (1, columns)."""
        return _FUNCTIONS[self.definition](pred, ref).reshape(1, -1)


_FUNCTIONS = {"ipd": lmd_ipd, "atvg": lmd_atvg, "eat": lmd_eat, "vico": lmd_vico}
