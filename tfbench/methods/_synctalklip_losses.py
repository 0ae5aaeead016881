"""What SyncTalklip's drawn faces are judged by as a stream: mouths put back, and what they say.

SyncTalklip, Sections 3.3 and 3.4, Equations 11 and 12. A face is turned into the mouth that the
expert reads by one affine map a frame, so that the expert's gradient comes back to its pixels.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.nets._avhubert_front import REACH
from tfbench.nets._crops import luma
from tfbench.nets.av_syncnet import l1_distances
from tfbench.nets.avhubert import WINDOW, normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.nets.av_syncnet import AVSyncNet

__all__ = [
    "LipCode",
    "Projection",
    "Scale",
    "apart",
    "drift",
    "info_nce",
    "motion_of",
    "mouth_maps",
    "mouths_of",
    "nearest_own",
    "put_back",
    "see_drawn",
    "swayed",
]

LIP_POINTS = 20
LEAST = 1e-3
"""Of lips' motion, pixels of the aligned mouth: some never move."""


class Scale(nn.Module):
    """F of Equation 12: a learned factor above 0 and below `most`; it begins at half of that.

    The paper's linear layer has no bound, and with it the loss has none: any loss below 0 falls
    for ever with a growing factor. A bias would be without effect, since it cancels.

    Args:
        most: The bound.
    """

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """Return the factor, ()."""
        return self.most * torch.sigmoid(self.weight)


class Projection(nn.Linear):
    """The linear layer that TalkLip's contrastive loss puts on f_a, brought to length 1 before."""

    def forward(self, heard: Tensor) -> Tensor:
        """Project features (n, D)."""
        with torch.autocast(heard.device.type, enabled=False):
            return super().forward(F.normalize(heard.float(), dim=1))


class LipCode:
    """Says by how far the vectors that the sound brings to the generator miss the lips' motion.

    Each channel of a vector stands for one fixed random mixture of the coordinates of the lips'
    points. Only motion counts: vectors and points are taken around their means in the clip, since
    the sound does not tell whose lips they are.

    Args:
        motion: By how much lips move, of `motion_of`; a channel's usual value is then 1.
        channels: Of a vector.
    """

    def __init__(self, motion: float, channels: int) -> None:
        draws = torch.randn(2 * LIP_POINTS, channels, generator=torch.Generator().manual_seed(0))
        self.mixture = draws / max(motion, LEAST)

    def loss(self, vectors: Tensor, lips: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute the mean absolute difference, (), in standard deviations of the mixtures.

        Args:
            vectors: (B, T, channels).
            lips: float32 (B, T, 40), of `lip_shapes`.
            padding: bool (B, T), True after a clip's end; None for no such frames.
        """
        there = torch.ones_like(lips[..., :1]) if padding is None else (~padding)[..., None].float()
        wanted = _around_mean(lips, there) @ self.mixture.to(lips.device)
        missed = (_around_mean(vectors.float(), there) - wanted).abs() * there
        return missed.sum() / (there.sum() * wanted.shape[-1])


def motion_of(lips: Sequence[Tensor]) -> float:
    """Return by how much lips move, the root mean square of all 40 coordinates together.

    They are taken around their means in the clips.

    Args:
        lips: float32 (T, 40) of each clip, of `lip_shapes`.
    """
    moved = torch.cat([clip - clip.mean(0) for clip in lips])
    return float(moved.square().sum(1).mean().sqrt())


def _around_mean(values: Tensor, there: Tensor) -> Tensor:
    return values - (values * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)


def drift(heard: Tensor, expert: Tensor, padding: Tensor | None = None) -> Tensor:
    """Compute the mean absolute difference, (), of features (B, T, D) from the expert's.

    Args:
        heard: Of the tuned audio encoder.
        expert: Of the expert's.
        padding: bool (B, T), True after a clip's end; None for no such frames.
    """
    off = (heard.float() - expert.float()).abs()
    return (off if padding is None else off[~padding]).mean()


def apart(heard: Tensor, seen: Tensor, tau: float, scale: Tensor | float = 1.0) -> Tensor:
    """Compute Equation 12 for the drawn frames of one clip.

    Args:
        heard: f_a (n, D), n >= 2.
        seen: f_v (n, D).
        tau: Temperature; distances are multiplied by it.
        scale: F, a factor.

    Returns:
        (), the sum over frames of the distance to the own sound minus the mean distance of that
        sound to the other frames.
    """
    theta = scale * tau * l1_distances(heard.float()[:, None], seen.float()[None])
    own = theta.diagonal()
    others = (theta.sum(1) - own) / (len(theta) - 1)
    return (own - others).sum()


def info_nce(heard: Tensor, seen: Tensor, temperature: float) -> Tensor:
    """Compute the traditional contrastive loss for the drawn frames of one clip.

    Args:
        heard: f_a (n, D).
        seen: f_v (n, D).
        temperature: Cosines are divided by it.

    Returns:
        (), the mean over frames of the cross-entropy of the own frame among all n.
    """
    # Cosines near 1 that a low temperature divides need more digits than bfloat16 has.
    with torch.autocast(heard.device.type, enabled=False):
        cosines = F.normalize(heard.float(), dim=1) @ F.normalize(seen.float(), dim=1).T
    return F.cross_entropy(cosines / temperature, torch.arange(len(cosines), device=heard.device))


def nearest_own(heard: Tensor, seen: Tensor) -> Tensor:
    """Return the share of frames whose sound is the nearest to them, in L1, of all n sounds."""
    distances = l1_distances(heard[:, None], seen[None])
    own = torch.arange(len(distances), device=distances.device)
    return (distances.argmin(0) == own).float().mean()


def mouth_maps(faces: Tensor, mouths: Tensor) -> Tensor:
    """Find where the pixels of mouths lie in faces.

    Args:
        faces: float (n, 6), transforms from a frame to the face crop, as those of `AlignedFace`.
        mouths: float (n, 6), from the same frames to the mouth crop.

    Returns:
        float32 (n, 6), from pixels of the mouth to pixels of the face.
    """
    last = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(len(faces), 1, 3)
    to_face, to_mouth = (
        torch.cat([matrices.double().view(-1, 2, 3), last], 1) for matrices in (faces, mouths)
    )
    return (to_face @ torch.linalg.inv(to_mouth))[:, :2].flatten(1).float()


def mouths_of(
    faces: Tensor, maps: Tensor, around: Tensor | None = None, opacity: Tensor | None = None
) -> Tensor:
    """Cut gray mouths out of faces, so that gradients reach the faces.

    Args:
        faces: float32 (N, 3, S, S), 0 to 1.
        maps: float32 (N, 6), of `mouth_maps`, from pixels of a mouth of 88 x 88.
        around: (N, 88, 88), 0 to 255, into which the faces are put; None where they fill all.
        opacity: float32 (S, S), with which they are put in; needed with `around`.

    Returns:
        float32 (N, 88, 88), 0 to 255.
    """
    # Places and grays need more digits than bfloat16 has.
    with torch.autocast(faces.device.type, enabled=False):
        grid = _grid(maps, faces.shape[-1])
        gray = 255 * luma(faces)[:, None]
        cut = F.grid_sample(gray, grid, "bilinear", "border", align_corners=True)[:, 0]
        if around is None or opacity is None:
            return cut
        # Opacity falls to nothing beyond the face; its colour must not fall with it.
        alpha = opacity.to(gray).expand(len(faces), 1, -1, -1)
        alpha = F.grid_sample(alpha, grid, "bilinear", "zeros", align_corners=True)[:, 0]
        return around + alpha * (cut - around)


def _grid(maps: Tensor, side: int) -> Tensor:
    """Lay out where each pixel of mouths is sampled, float32 (N, 88, 88, 2), -1 to 1."""
    steps = torch.arange(WINDOW, device=maps.device, dtype=torch.float32)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1)
    places = torch.einsum("nij,hwj->nhwi", maps.float().view(-1, 2, 3), pixels)
    return places * 2 / (side - 1) - 1


def see_drawn(net: AVSyncNet, video: Tensor, rows: Tensor, padding: Tensor | None = None) -> Tensor:
    """Compute what `net.see` does, with gradients to drawn frames alone, which takes half the time.

    The front end looks two frames back and ahead: gradients pass through it near drawn frames, and
    the features of all others are computed without.

    Args:
        net: In evaluation mode, without parameters that learn.
        video: float32 (B, T, 88, 88), of `put_back`.
        rows: int64 (N,), the drawn frames, as for `put_back`.
        padding: bool (B, T), True after a sequence's end.

    Returns:
        f_v (B, T, D).
    """
    if not video.requires_grad:
        return net.see(video, padding)
    encoder = net.encoder
    front = encoder.feature_extractor_video
    with torch.no_grad():
        known = front(video.detach())
    near = torch.zeros(video.shape[:2], device=video.device)
    near.view(-1)[rows] = 1
    near = F.max_pool1d(near[:, None], 2 * REACH + 1, 1, REACH)[:, 0]
    seen = torch.stack(
        [_patched(front, *clip) for clip in zip(video, known, near.tolist(), strict=True)]
    )
    return encoder.follow(seen, padding).last


def _patched(front: nn.Module, frames: Tensor, known: Tensor, near: Sequence[float]) -> Tensor:
    """Compute features (T, D) of one clip anew where `near` is not 0."""
    pieces, place = [], 0
    for changed, run in groupby(near):
        stop = place + len(list(run))
        piece = known[place:stop]
        if changed:
            low, high = max(place - REACH, 0), min(stop + REACH, len(frames))
            piece = front(frames[None, low:high])[0, place - low : stop - low]
        pieces.append(piece)
        place = stop
    return torch.cat(pieces)


def swayed(video: Tensor, sway: Tensor) -> Tensor:
    """Move, turn and scale the pictures of each sequence, all of one sequence alike.

    Args:
        video: float32 (B, T, S, S).
        sway: float32 (B, 4): shifts right and down as shares of half the side, the angle in
            radians, counterclockwise, and by what share the content grows.

    Returns:
        (B, T, S, S); beyond the edges their pixels go on.
    """
    right, down, angle, growth = sway.unbind(1)
    turn, lean = angle.cos() / (1 + growth), angle.sin() / (1 + growth)
    rows = (turn, -lean, -right, lean, turn, -down)
    maps = torch.stack(rows, 1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(video[:, :1].shape), align_corners=False)
    return F.grid_sample(video, grid, padding_mode="border", align_corners=False)


def put_back(mouths: Tensor, drawn: Tensor, rows: Tensor, padding: Tensor | None = None) -> Tensor:
    """Put drawn mouths into the sequences that they belong to, as the expert is fed.

    Args:
        mouths: uint8 (B, T, 88, 88), the true ones.
        drawn: float32 (N, 88, 88), 0 to 255.
        rows: int64 (N,), where: the number of the sequence times T plus that of the frame.
        padding: bool (B, T), True after a sequence's end, where nothing is seen.

    Returns:
        float32 (B, T, 88, 88), normalised.
    """
    video = normalised(mouths)
    if padding is not None:
        video = video.masked_fill(padding[:, :, None, None], 0.0)
    flat = video.flatten(0, 1).index_copy(0, rows, normalised(drawn))
    return flat.unflatten(0, mouths.shape[:2])
