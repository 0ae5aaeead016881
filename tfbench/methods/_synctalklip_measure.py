"""SyncTalklip on held-out clips: all frames are drawn, and the expert looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tfbench.evaluators.base import Figure
from tfbench.methods._synctalklip_data import draw_stretch, unread
from tfbench.methods._synctalklip_losses import nearest_own, put_back
from tfbench.nets.avhubert import WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.evaluators.base import Kept
    from tfbench.methods._synctalklip_config import SyncTalklipConfig

__all__ = ["assessed"]

JUDGED = ("lip loss", "contrastive loss", "own sound nearest")
OF_SOUND = ("shape loss", "drift")
NAMES = ("L1", *OF_SOUND, *JUDGED, *(f"{name}, true mouths" for name in JUDGED))


def assessed(method: Any, clips: Sequence[Kept]) -> tuple[Figure, ...]:
    """Measure a method, in evaluation mode and without gradients; see `SyncTalklip.assess`.

    Args:
        method: A `SyncTalklip`, whose file imports this one.
        clips: What it is measured on.
    """
    rows = [_measured(method, clip, k) for k, clip in enumerate(clips)]
    weights = method.config
    # The same clips at every measurement of a training, so that it can be compared.
    whole = [row for row in rows if "lip loss" in row] if weights.lip_weight else rows
    figures = [Figure.mean("loss", [_loss(row, weights) for row in whole or rows])]
    for name in NAMES:
        values = [row[name] for row in rows if name in row]
        if values:
            unit = "%" if name.startswith("own sound nearest") else ""
            figures.append(Figure.mean(name, values, unit=unit))
    return tuple(figures)


def _loss(row: dict[str, float], weights: SyncTalklipConfig) -> float:
    """Weigh what was measured of a clip, as if as many frames were drawn as a step draws."""
    loss = weights.l1_weight * row["off"] + weights.lip_weight * row.get("lip loss", 0.0)
    loss += weights.shape_weight * row.get("shape loss", 0.0)
    loss += weights.hold_weight * row.get("drift", 0.0)
    if not weights.contrasting:
        return loss
    # Equation 12 is a sum over drawn frames, the traditional loss a mean.
    frames = weights.window * weights.groups if weights.contrast == "l1" else 1
    return loss + weights.contrast_weight * frames * row["contrastive loss"]


def _measured(method: Any, clip: Kept, number: int) -> dict[str, float]:
    batch = _whole(method, clip, number)
    heard = method.hearing(batch["sound"])
    real = batch["faces"].float() / 255
    reference = (batch["reference"].float() / 255).expand_as(real)
    pieces = zip(
        *(x.split(method.config.frames_at_once) for x in (real, reference, heard[0])), strict=True
    )
    drawn = torch.cat([method.draw(*piece).float() for piece in pieces])
    judged = _judged(method, batch, heard, method.see(batch, drawn))
    nothing = drawn.new_zeros(0, WINDOW, WINDOW)
    video = put_back(batch["mouths"], nothing, batch["rows"][:0])
    true = _judged(method, batch, heard, method.on_device().see(video))
    marked = {f"{name}, true mouths": value for name, value in true.items()}
    of_sound = {name: float(loss) for name, (_, loss) in method.sound_losses(batch, heard).items()}
    off, l1 = float(method.off(drawn, real)), 255 * float(F.l1_loss(drawn, real))
    return {"off": off, "L1": l1, **of_sound, **judged, **marked}


def _whole(method: Any, clip: Kept, number: int) -> dict[str, Tensor]:
    """Read a clip as a batch of one whose frames are all drawn; without subwords where unread."""
    longest, tokenise = method.config.longest, method.expert.module.tokenise
    read = not unread(clip, longest, tokenise)
    stretch = draw_stretch(clip, longest, np.random.default_rng([12, number]), read=read)
    tokens = tokenise(stretch.text) if read else ()
    example = method.excerpt(clip, stretch, range(stretch.stop - stretch.start), 0, tokens)
    return {name: value.to(method.device) for name, value in method.collate([example]).items()}


def _judged(method: Any, batch: Any, heard: Tensor, seen: Tensor) -> dict[str, float]:
    """Measure what the expert sees of one clip whose frames are all drawn."""
    found = {}
    if batch["tokens"].numel():
        found["lip loss"] = float(method.lip_loss(batch, seen))
    if method.comparable:
        ((a, v),) = method.compared(batch, heard, seen)
        frames = 1 if method.config.contrast == "infonce" else len(a)
        found["contrastive loss"] = float(method.contrast_loss(batch, heard, seen)) / frames
        found["own sound nearest"] = 100 * float(nearest_own(a, v))
    return found
