"""Finding the face that a method edits, cutting it out, and putting a new one back.

What is edited is the request's source video, or its still, held. The face is found in every frame
first, in a pass of its own that keeps a few numbers a frame; then frames pass by in pieces, so
that memory does not grow with their number.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from tfbench.core.errors import GenerationError
from tfbench.core.types import TensorVideo, TrackSettings
from tfbench.faces.align import cut_transformed
from tfbench.faces.shots import ContentChange, cuts
from tfbench.faces.track import explain, link
from tfbench.methods.base import n_frames_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfbench.core.types import FaceTrack, Request, Video
    from tfbench.faces.detect import Detections, FaceDetector

__all__ = ["EDITED", "FaceEditor", "Piece", "face_of_still", "soft_edge"]

EDITED = TrackSettings(min_frames=0, min_face=0)
"""Any face that is detected is edited, however small and however shortly seen."""

CHUNK = 32
TREMBLE = 1 / 30
"""By how much of a face's longer side copies of a still are moved."""
SAME = 0.5
"""Least overlap of two boxes of one face."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Consecutive frames, and the face in those that show it.

    Attributes:
        first: Number of the first frame in the video to be made.
        frames: uint8 (t, 3, H, W).
        shown: int64 (m,), which of the t frames show the face.
        transforms: float32 (m, 6), from pixels of the frame to pixels of the face.
        faces: uint8 (m, 3, S, S).
    """

    first: int
    frames: Tensor
    shown: Tensor
    transforms: Tensor
    faces: Tensor

    @property
    def numbers(self) -> Tensor:
        """Numbers of the frames that show the face, int64 (m,), in the video to be made."""
        return self.first + self.shown


class FaceEditor:
    """A video whose face is edited.

    Frames in which the face is not seen, up to 25 between two that show it, are placed between
    those; others are left as they are.

    Args:
        request: Has a source or an identity still; the source starts over where the speech is
            longer, unless the request says `stop`.
        detector: Finds faces.
        place: Turns a track into transforms, float32 (n, 6), as the crops of `faces.align` do.
        size: Side S of the faces that are cut out.
        beyond: What the faces of `pieces` show beyond the frame; see `cut_transformed`.

    Attributes:
        n_frames: How many frames are made.
        unedited: How many of those that have passed by show no face.
        remark: Which stills `stills` has shown instead of those of the request, or which of these
            it has left out; "" if it has done neither.

    Raises:
        GenerationError: No face is seen, or a still shows several, or the source has another
            frame rate than is asked for.
    """

    def __init__(
        self,
        request: Request,
        detector: FaceDetector,
        place: Callable[[FaceTrack], Tensor],
        size: int,
        beyond: Literal["black", "edge"] = "black",
    ) -> None:
        self.request = request
        self.size = size
        self.beyond: Literal["black", "edge"] = beyond
        self.remark = ""
        self.place = place
        self.detector = detector
        self.unedited = 0
        self._stills: dict[int, tuple[Tensor, FaceTrack]] = {}
        self.n_frames = n_frames_for(request)
        if request.source is not None:
            self.video = request.source.video
            if self.video.fps != request.fps:
                raise GenerationError(
                    f"the source of '{request.id}' has {float(self.video.fps):g} frames a second, "
                    f"asked for are {float(request.fps):g}: open it at that rate"
                )
            if request.length == "stop":
                self.n_frames = min(self.n_frames, self.video.n_frames)
            tracks = _faces_of(self.video, detector, request.face)
        else:
            still, track = self._found_in(0)
            self.video = TensorVideo(still.expand(self.n_frames, -1, -1, -1), request.fps)
            tracks = [track]
        self.transforms = torch.full((self.video.n_frames, 6), torch.nan)
        for track in tracks:
            self.transforms[track.start : track.stop] = place(track)
        if request.source is None:
            self.transforms[:] = self.transforms[0].clone()

    def pieces(self, most: int) -> Iterator[Piece]:
        """Yield the frames in order, at most so many at once."""
        first, n = 0, self.video.n_frames
        while first < self.n_frames:
            for frames in self.video.frames(0, min(n, self.n_frames - first), most):
                yield self._piece(first, first % n, frames)
                first += len(frames)

    def stills(self, n: int) -> Tensor:
        """Cut out the faces that show the person, uint8 (n, 3, S, S).

        They are those of the request's stills, over again where these are fewer. With a source,
        and fewer stills or one that does not show exactly one face, they are the source's own,
        evenly spread over its frames.

        Raises:
            GenerationError: A still does not show exactly one face, and there is no source.
        """
        identity = self.request.identity
        there = 0 if identity is None else len(identity)
        if there > n:
            self.remark = f"of {there} stills the first {n} show the person"
        if self.request.source is None:
            return torch.cat([self._still(k % max(there, 1)) for k in range(n)])
        instead = "faces of the source show the person instead"
        if there < n:
            self.remark = f"{there} of {n} stills were given: {instead}"
            return self.faces_at(self.spread(n))
        try:
            return torch.cat([self._still(k) for k in range(n)])
        except GenerationError as error:
            # Such as a video whose first frame, the usual still, shows nobody or two people.
            self.remark = f"{error}: {instead}"
            return self.faces_at(self.spread(n))

    def _still(self, which: int) -> Tensor:
        still, track = self._found_in(which)
        return cut_transformed(still, self.place(track), self.size, antialias=True)

    def _found_in(self, which: int) -> tuple[Tensor, FaceTrack]:
        """Find the face of a still, once."""
        if which not in self._stills:
            self._stills[which] = face_of_still(self.request, self.detector, which)
        return self._stills[which]

    def faces_at(self, numbers: Sequence[int]) -> Tensor:
        """Cut the face out of single frames of the source, uint8 (k, 3, S, S).

        Args:
            numbers: Of frames in the source, ascending.
        """
        found = []
        for number in numbers:
            (frame,) = self.video.frames(number, number + 1)
            rows = self.transforms[number : number + 1]
            found.append(cut_transformed(frame, rows, self.size, antialias=True))
        return torch.cat(found)

    def spread(self, n: int) -> list[int]:
        """Return numbers of n frames that show the face, evenly spread over the source."""
        seen = torch.isfinite(self.transforms[:, 0]).nonzero()[:, 0]
        places = torch.linspace(0, len(seen) - 1, n).round().long()
        return sorted(seen[places].tolist())

    def _piece(self, first: int, at: int, frames: Tensor) -> Piece:
        rows = self.transforms[at : at + len(frames)]
        shown = torch.isfinite(rows[:, 0]).nonzero()[:, 0]
        self.unedited += len(frames) - len(shown)
        faces = cut_transformed(
            frames[shown], rows[shown], self.size, antialias=True, beyond=self.beyond
        )
        return Piece(first, frames, shown, rows[shown], faces)

    def paste(self, piece: Piece, faces: Tensor, opacity: Tensor) -> Tensor:
        """Put new faces in the place of those that were cut out.

        Args:
            piece: Where they belong.
            faces: float (m, 3, S, S), 0 to 255.
            opacity: float (S, S), 0 to 1; 0 leaves the frame as it is.

        Returns:
            uint8 (t, 3, H, W), the piece's frames; those without a face are the same.
        """
        edited = piece.frames.clone()
        for row, face, matrix in zip(
            piece.shown.tolist(), faces.float().cpu(), piece.transforms, strict=True
        ):
            _paste(edited[row], face, matrix.view(2, 3), opacity.cpu())
        return edited


def face_of_still(
    request: Request, detector: FaceDetector, which: int = 0
) -> tuple[Tensor, FaceTrack]:
    """Find the one face that a still of the identity shows.

    The detector's box trembles by some hundredths of the face. In a video that is averaged over
    frames; here it is over the still and eight copies, moved by such a distance.

    Args:
        request: With identity stills.
        detector: Finds faces.
        which: Number of the still.

    Returns:
        The still, uint8 (1, 3, H, W), and a track of one frame.

    Raises:
        GenerationError: There is no still, or it shows no face, or several.
    """
    if request.identity is None:
        raise GenerationError(f"the request '{request.id}' has neither a source nor an identity")
    still = request.identity[which : which + 1]
    found = detector.detect(still)
    tracks = link(found, [], EDITED)
    if len(tracks) != 1:
        height, width = still.shape[2:]
        why = explain(found, [], EDITED) or f"it shows {len(tracks)} faces"
        raise GenerationError(
            f"the identity image of '{request.id}' ({width}x{height}) must show exactly one face: "
            f"{why}; crop it, or give another one"
        )
    return still, _steadied(still, tracks[0], detector)


def _steadied(still: Tensor, track: FaceTrack, detector: FaceDetector) -> FaceTrack:
    """Average a track of one frame over moved copies of it in which the same face is found."""
    height, width = still.shape[2:]
    (box,) = track.boxes
    step = max(round(float((box[2:] - box[:2]).max()) * TREMBLE), 1)
    boxes, points = [track.boxes], [track.points]
    for right, down in itertools.product((-step, 0, step), repeat=2):
        if right == down == 0:
            continue
        rows = (torch.arange(height) - down).clamp(0, height - 1)
        columns = (torch.arange(width) - right).clamp(0, width - 1)
        (found,) = detector.detect(still[:, :, rows][..., columns])
        moved = found.boxes - torch.tensor([right, down, right, down])
        same = box_iou(box[None], moved)[0] > SAME if len(found) else torch.zeros(0)
        if bool(same.any()):
            best = int(same.float().argmax())
            boxes.append(moved[best : best + 1])
            points.append(found.points[best : best + 1] - torch.tensor([right, down]))
    return replace(
        track,
        boxes=torch.cat(boxes).mean(0, keepdim=True),
        points=torch.cat(points).mean(0, keepdim=True),
    )


def soft_edge(side: int, feather: float, *, lower: bool = False) -> Tensor:
    """Make the opacity of a face that is put back, float32 (side, side), 1 but for its edge.

    Args:
        side: Of the face, pixels.
        feather: Width of the edge, as a share of the side; 0 for a hard one.
        lower: Whether only the lower half is put back.
    """
    at = torch.arange(side) + 0.5
    width = max(feather * side, 1e-6)
    across = (torch.minimum(at, side - at) / width).clamp(max=1)
    top = at - side / 2 if lower else at
    down = (torch.minimum(top, side - at) / width).clamp(0, 1)
    return torch.minimum(down[:, None], across[None])


def _faces_of(video: Video, detector: FaceDetector, face: int) -> list[FaceTrack]:
    """Find the tracks to edit: that of the chosen face, and those at other times."""
    found: list[Detections] = []
    changes = ContentChange()
    for frames in video.frames(chunk=CHUNK):
        found += detector.detect(frames)
        changes.feed(frames)
    shots = cuts(changes.values, EDITED.shot_threshold, EDITED.min_shot)
    tracks = sorted(link(found, shots, EDITED), key=len, reverse=True)
    if not tracks:
        raise GenerationError(f"the source shows no face: {explain(found, shots, EDITED)}")
    if face >= len(tracks):
        raise GenerationError(
            f"face {face} was asked for, and the source shows {len(tracks)}: 0 to {len(tracks) - 1}"
        )
    chosen = [tracks.pop(face)]
    for track in tracks:
        if all(track.stop <= other.start or other.stop <= track.start for other in chosen):
            chosen.append(track)
    return chosen


def _paste(frame: Tensor, face: Tensor, matrix: Tensor, opacity: Tensor) -> None:
    """Blend a face (3, S, S) into a frame (3, H, W), in place."""
    size, (height, width) = face.shape[1], frame.shape[1:]
    whole = torch.cat([matrix.double(), torch.tensor([[0.0, 0.0, 1.0]])])
    ends = torch.tensor([[0.0, size - 1, 0.0, size - 1], [0.0, 0.0, size - 1, size - 1], [1.0] * 4])
    corners = (torch.linalg.inv(whole) @ ends.double())[:2]
    low = corners.amin(1).floor().long().clamp(min=0)
    high = (corners.amax(1).ceil().long() + 1).minimum(torch.tensor([width, height]))
    if bool((high <= low).any()):
        return
    x, y = torch.meshgrid(
        torch.arange(int(low[0]), int(high[0])),
        torch.arange(int(low[1]), int(high[1])),
        indexing="xy",
    )
    places = torch.stack([x, y, torch.ones_like(x)], -1).double() @ whole[:2].T
    grid = (places * 2 / (size - 1) - 1).float()[None]
    # Opacity falls to nothing beyond the face; its colour must not fall with it.
    alpha = F.grid_sample(opacity[None, None], grid, "bilinear", "zeros", align_corners=True)[0]
    # A face is seldom smaller than its place in the frame: straight lines between pixels blur it.
    colour = F.grid_sample(face[None], grid, "bicubic", "border", align_corners=True)[0]
    window = frame[:, int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
    mixed = window.float() * (1 - alpha) + colour * alpha
    window.copy_(mixed.round().clamp(0, 255).to(torch.uint8))
