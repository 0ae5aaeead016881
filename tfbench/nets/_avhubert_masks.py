"""What AV-HuBERT's pre-training masks.

Spans start at places drawn without repetition and may overlap; all utterances of a batch have
equally many masked frames in the end. The order of draws is that of facebookresearch/av_hubert
(`avhubert/utils.py`, `compute_mask_indices` with spans of one length that may overlap), so that
the same state of the generator gives the same masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.random import RandomState
    from numpy.typing import NDArray

__all__ = ["draw_spans", "replaced", "spans_elsewhere"]

LEAST = 2
"""Spans of an utterance, however short it is."""


def draw_spans(
    batch: int,
    frames: int,
    lengths: Sequence[int] | None,
    share: float,
    span: int,
    draw: RandomState,
) -> NDArray[np.bool_]:
    """Draw what is masked.

    Args:
        batch: Utterances.
        frames: Of the longest.
        lengths: Of each utterance; None where all have `frames`.
        share: Of frames that spans would cover if they did not overlap.
        span: Frames of a span; those beyond the end are cut off.
        draw: Is advanced.

    Returns:
        (batch, frames), True where masked.
    """
    mask = np.zeros((batch, frames), dtype=bool)
    if share <= 0:
        return mask
    number = _number(frames, share, span, draw)
    chosen = []
    for row in range(batch):
        n = frames
        if lengths is not None:
            n = lengths[row]
            number = _number(n, share, span, draw)
        # Where spans are too many for so few frames, starts lie closer to the end.
        places = n - span if n - span > number else number + 1
        starts = draw.choice(places, number, replace=False)
        covered = np.unique(starts[:, None] + np.arange(span))
        chosen.append(covered[covered < n])
    fewest = min(len(covered) for covered in chosen)
    for row, covered in enumerate(chosen):
        kept = draw.choice(covered, fewest, replace=False) if len(covered) > fewest else covered
        mask[row, kept] = True
    return mask


def spans_elsewhere(x: Tensor, mask: Tensor, draw: RandomState) -> Tensor:
    """Put, at each masked span, as many frames from elsewhere in the same utterance.

    Args:
        x: (B, T, ...).
        mask: bool (B, T).
        draw: Is advanced once for each span.

    Returns:
        As x; only its values at the mask count.
    """
    frames = x.shape[1]
    source = np.tile(np.arange(frames), (len(x), 1))
    for row, start, stop in _runs(mask.cpu().numpy()):
        n = stop - start
        free = np.setdiff1d(np.arange(frames), np.arange(max(0, start - n), stop))
        first = int(draw.choice(free, size=1)[0]) if len(free) else 0
        source[row, start:stop] = np.arange(first, first + n).clip(max=frames - 1)
    rows = torch.arange(len(x), device=x.device)[:, None]
    return x[rows, torch.from_numpy(source).to(x.device)]


def replaced(x: Tensor, mask: Tensor, other: Tensor) -> Tensor:
    """Take (B, T, ...) from `other` where a mask (B, T) is True."""
    return torch.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), other, x)


def _number(frames: int, share: float, span: int, draw: RandomState) -> int:
    """Round the number of spans up or down at random, so that it is right in the mean."""
    return max(LEAST, int(share * frames / span + draw.rand()))


def _runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """Yield row, start and stop of each run of True."""
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        for start, stop in edges.reshape(-1, 2):
            yield row, int(start), int(stop)
