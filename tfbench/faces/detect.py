"""Faces in frames: a batched multi-task cascaded network (MTCNN).

Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks" (2016). Three small networks: the first (PNet) slides over an image pyramid and proposes
boxes, the second (RNet) refines them at 24x24 pixels, the third (ONet) at 48x48 pixels and adds
five points. Networks and weights are those that the package facenet-pytorch 2.5.3 ships;
nothing is downloaded. The cascade follows its `models/utils/detect_face.py` and differs from it in
these ways, all for speed and repeatability:

- Frames are first reduced to a working size, so that 1080p costs little more than 512x512.
- Pyramid levels and crops come from antialiased octaves of the working frame and are cut in
  batches, where facenet-pytorch averages every crop from the full frame, one by one.
- Overlapping proposals are thinned harder between the networks; fewer crops reach the third.
- Boxes are continuous pixel edges (0 is the left edge of the first pixel), not 1-based indices.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import facenet_pytorch
import numpy as np
import torch
import torch.nn.functional as F
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torchvision.ops import batched_nms, roi_align

from tfbench.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Detections", "DetectorSettings", "FaceDetector"]

REVISION = 1
"""Raised whenever a change of this file can change a box."""

CELL, STRIDE = 12, 2
"""Window and step of PNet, in pixels of a pyramid level."""

PIECE_PIXELS = 2**21
"""Most working-size pixels that go through the cascade at once; bounds memory."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces of one frame, most certain first.

    Attributes:
        boxes: float32 (k, 4), pixels of the full frame, x1 y1 x2 y2; may reach out of the frame.
        points: float32 (k, 5, 2), pixels, x y of left eye, right eye, nose, left and right mouth
            corner as seen in the picture.
        scores: float32 (k,), the third network's probability.
    """

    boxes: Tensor
    points: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return int(self.scores.shape[0])


@dataclass(frozen=True)
class DetectorSettings:
    """What the detector looks for.

    Attributes:
        thresholds: Least probability after each of the three networks, in [0, 1].
        overlaps: Most overlap of two proposals that both live on: within a pyramid level, across
            levels, after the second network (intersection over union), and after the third
            (intersection over the smaller box), in [0, 1].
        factor: Ratio of neighbouring pyramid levels, in (0, 1).
        min_face: Side of the smallest face, in pixels of the full frame.
        min_share: Side of the smallest face as a share of the frame's shorter side; the smaller
            of the two limits holds, so that faces in small videos are found.
        working_size: Longer side to which larger frames are reduced first, in pixels.
    """

    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    overlaps: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 0.7)
    factor: float = 0.709
    min_face: float = 60.0
    min_share: float = 0.2
    working_size: int = 640

    def __post_init__(self) -> None:
        shares = (*self.thresholds, *self.overlaps, self.min_share)
        if len(self.thresholds) != 3 or len(self.overlaps) != 4:
            raise ConfigError("a face detector has 3 thresholds and 4 overlaps")
        if not all(0 <= x <= 1 for x in shares):
            raise ConfigError(f"thresholds, overlaps and min_share lie in [0, 1]; got {shares}")
        if not 0 < self.factor < 1:
            raise ConfigError(f"factor lies between 0 and 1; got {self.factor}")
        if self.min_face <= 0 or self.working_size < CELL:
            raise ConfigError(
                f"min_face is above 0 and working_size at least {CELL}; "
                f"got {self.min_face} and {self.working_size}"
            )


class FaceDetector:
    """Finds faces in chunks of frames.

    On the CPU the same frames give the same bits, and a frame's result does not depend on the
    frames that come with it, except that convolution libraries may order sums by batch size
    (differences of about 1e-4 pixels). CPU and GPU agree to a fraction of a pixel.

    Args:
        settings: What to look for.
        device: Where the networks run.
    """

    def __init__(
        self,
        settings: DetectorSettings | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings = settings or DetectorSettings()
        self.device = torch.device(device)
        self._pnet = _load(PNet(pretrained=False), "pnet", self.device)
        self._rnet = _load(RNet(pretrained=False), "rnet", self.device)
        self._onet = _load(ONet(pretrained=False), "onet", self.device)

    @property
    def version(self) -> str:
        """Changes with the settings, the weights and this code; fit for a file name."""
        parts = [REVISION, asdict(self.settings), *(_sha256(n) for n in ("pnet", "rnet", "onet"))]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"mtcnn-{digest[:12]}"

    @torch.no_grad()
    def detect(self, frames: Tensor) -> list[Detections]:
        """Find the faces of every frame.

        Args:
            frames: uint8 (t, 3, H, W) RGB, on any device; t may be 0.

        Returns:
            One entry a frame, on the CPU; an entry may be empty.

        Raises:
            InputError: The frames have another shape or dtype.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
            raise InputError(
                "faces are looked for in uint8 (t, 3, H, W) RGB frames; "
                f"got {frames.dtype} {tuple(frames.shape)}"
            )
        height, width = frames.shape[2:]
        reduction = min(1.0, self.settings.working_size / max(height, width, 1))
        size = (max(1, round(height * reduction)), max(1, round(width * reduction)))
        found: list[Detections] = []
        for piece in torch.split(frames, max(1, PIECE_PIXELS // (size[0] * size[1]))):
            octaves = _octaves(_resize(piece.to(self.device), size))
            found += self._cascade(octaves, height, width)
        return found

    def _cascade(self, octaves: list[Tensor], height: int, width: int) -> list[Detections]:
        """Run the three networks on one piece; boxes are in working pixels until the end."""
        n, _, h, w = octaves[0].shape
        _, r_threshold, o_threshold = self.settings.thresholds
        frame, boxes = self._propose(octaves, min(height, width) / min(h, w))

        frame, boxes = _inside(frame, _square(boxes), h, w)
        if len(frame) == 0:
            return [_nothing() for _ in range(n)]
        shift, prob = self._rnet(_cut(octaves, frame, boxes, 24))
        kept = _strongest(frame, boxes, prob[:, 1], r_threshold, self.settings.overlaps[2])
        frame, boxes = frame[kept], _square(_shifted(boxes[kept], shift[kept]))

        frame, boxes = _inside(frame, boxes, h, w)
        if len(frame) == 0:
            return [_nothing() for _ in range(n)]
        shift, places, prob = self._onet(_cut(octaves, frame, boxes, 48))
        kept = (prob[:, 1] > o_threshold).nonzero().squeeze(1)
        boxes, scores = boxes[kept], prob[kept, 1]
        sides = boxes[:, 2:] - boxes[:, :2]
        points = boxes[:, None, :2] + places[kept].view(-1, 2, 5).transpose(1, 2) * sides[:, None]
        boxes = _shifted(boxes, shift[kept])

        to_full = boxes.new_tensor([width / w, height / h])
        return _by_frame(
            n,
            frame[kept].cpu(),
            (boxes * to_full.repeat(2)).cpu(),
            (points * to_full).cpu(),
            scores.cpu(),
            self.settings.overlaps[3],
        )

    def _propose(self, octaves: list[Tensor], reduction: float) -> tuple[Tensor, Tensor]:
        """Slide PNet over the pyramid.

        Returns:
            Frame index (k,) and boxes (k, 4) in working pixels.
        """
        h, w = octaves[0].shape[2:]
        s = self.settings
        smallest = min(s.min_face / reduction, s.min_share * min(h, w))
        scale = min(1.0, CELL / max(smallest, 1e-6))
        frames, boxes, scores = [], [], []
        while min(h, w) * scale >= CELL:
            size = (round(h * scale), round(w * scale))
            level = _resize(octaves[min(int(-math.log2(scale)), len(octaves) - 1)], size)
            shift, prob = self._pnet(_normalised(level))
            frame, row, column = (prob[:, 1] >= s.thresholds[0]).nonzero(as_tuple=True)
            corner = torch.stack([column, row], dim=1) * STRIDE
            unit = corner.new_tensor([w / size[1], h / size[0]], dtype=torch.float32)
            cell = torch.cat([corner * unit, (corner + CELL) * unit], dim=1)
            score = prob[frame, 1, row, column]
            kept = _strongest(frame, cell, score, 0.0, s.overlaps[0])
            frames.append(frame[kept])
            boxes.append(_shifted(cell, shift[frame, :, row, column])[kept])
            scores.append(score[kept])
            scale *= s.factor
        if not frames:
            none = octaves[0].new_zeros(0)
            return none.long(), none.float().view(0, 4)
        frame, box = torch.cat(frames), torch.cat(boxes)
        kept = _strongest(frame, box, torch.cat(scores), 0.0, s.overlaps[1])
        return frame[kept], box[kept]


def _weights(name: str) -> Path:
    return Path(facenet_pytorch.__file__).parent / "data" / f"{name}.pt"


@functools.cache
def _sha256(name: str) -> str:
    return hashlib.sha256(_weights(name).read_bytes()).hexdigest()


def _load(net: nn.Module, name: str, device: torch.device) -> nn.Module:
    net.load_state_dict(torch.load(_weights(name), map_location="cpu", weights_only=True))
    net.requires_grad_(False)
    # These small convolutions are about three times faster on the CPU with channels last.
    return net.eval().to(device).to(memory_format=torch.channels_last)


def _resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 frames with antialiasing; uint8 stays uint8."""
    if tuple(frames.shape[2:]) == size:
        return frames
    if frames.device.type != "cpu":
        resized = F.interpolate(frames.float(), size, mode="bilinear", antialias=True)
        return resized.round_().clamp_(0, 255).to(torch.uint8)
    return F.interpolate(frames, size, mode="bilinear", antialias=True)


def _octaves(frames: Tensor) -> list[Tensor]:
    """Halve frames again and again, down to about the size of one PNet cell."""
    octaves = [frames]
    while min(octaves[-1].shape[2:]) >= 2 * CELL:
        h, w = octaves[-1].shape[2:]
        octaves.append(_resize(octaves[-1], (h // 2, w // 2)))
    return octaves


def _normalised(pixels: Tensor) -> Tensor:
    scaled = (pixels.float() - 127.5) / 128
    return scaled.contiguous(memory_format=torch.channels_last)


def _cut(octaves: list[Tensor], frame: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut boxes, clipped to their frames, to network input float32 (k, 3, size, size).

    Each box is read from the octave in which it has between one and two times `size` pixels, with
    four bilinear samples a pixel, which comes close to the average over the box's pixels.
    """
    h, w = octaves[0].shape[2:]
    limits = boxes.new_tensor([w, h, w, h])
    clipped = boxes.clamp(min=0).minimum(limits)
    side = (clipped[:, 2:] - clipped[:, :2]).amax(1)
    depth = (side / size).log2().floor().clamp(0, len(octaves) - 1).long()
    crops = boxes.new_zeros(len(boxes), 3, size, size)
    for level in sorted(set(depth.tolist())):
        chosen = (depth == level).nonzero().squeeze(1)
        used, place = torch.unique(frame[chosen], return_inverse=True)
        pixels = octaves[level][used].to(torch.float32, memory_format=torch.contiguous_format)
        unit = boxes.new_tensor([pixels.shape[3] / w, pixels.shape[2] / h]).repeat(2)
        rois = torch.cat([place[:, None].float(), clipped[chosen] * unit], dim=1)
        crops[chosen] = roi_align(pixels, rois, size, sampling_ratio=2, aligned=True)
    return _normalised(crops)


def _shifted(boxes: Tensor, shift: Tensor) -> Tensor:
    """Move each edge by a network's correction, given as shares of the box's sides."""
    return boxes + shift * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """Widen boxes to squares around their centres."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _inside(frame: Tensor, boxes: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Drop boxes of which less than a pixel lies in the frame."""
    low = boxes[:, :2].clamp(min=0)
    high = boxes[:, 2:].minimum(boxes.new_tensor([w, h]))
    seen = ((high - low) >= 1).all(1)
    return frame[seen], boxes[seen]


def _strongest(
    frame: Tensor, boxes: Tensor, scores: Tensor, threshold: float, overlap: float
) -> Tensor:
    """Suppress weaker boxes within each frame; returns indices.

    Coordinates are rounded to 1/16 pixel and made positive, so that the offsets by which
    `batched_nms` keeps frames apart are exact: a frame's result is the same in any batch.
    """
    above = (scores > threshold).nonzero().squeeze(1)
    if len(above) == 0:
        return above
    placed = (boxes[above] * 16).round() / 16
    return above[batched_nms(placed - placed.min(), scores[above], frame[above], overlap)]


def _nothing() -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0, 5, 2), torch.zeros(0))


def _by_frame(
    n: int, frame: Tensor, boxes: Tensor, points: Tensor, scores: Tensor, overlap: float
) -> list[Detections]:
    """Suppress boxes that mostly lie in a stronger one and part the rest by frame."""
    found = []
    for index in range(n):
        mine = (frame == index).nonzero().squeeze(1)
        mine = mine[scores[mine].argsort(descending=True, stable=True)]
        mine = mine[_separate(boxes[mine].numpy(), overlap)]
        found.append(Detections(boxes[mine], points[mine], scores[mine]))
    return found


def _separate(boxes: np.ndarray, overlap: float) -> list[int]:
    """Greedy suppression by intersection over the smaller box; strongest box first."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for i, box in enumerate(boxes):
        low = np.maximum(box[:2], boxes[kept, :2])
        high = np.minimum(box[2:], boxes[kept, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        if not (shared > overlap * np.minimum(area[i], area[kept])).any():
            kept.append(i)
    return kept
