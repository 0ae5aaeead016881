"""What a metric reads of a clip: which frames of which side, cut how, turned into which values.

Like `tfbench.core.types`, nothing here decodes, computes or imports torch when it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from tfbench.core.types import FaceTrack, Speech, TrackSettings, Transcript

__all__ = ["Crop", "LandmarkCrop", "Part", "Side", "ViewKey", "Views"]

Side = Literal["pred", "ref", "appearance", "identity", "pair"]
"""Which clip a view reads: the scored one, the true one, the one that shows the person, the
stills that the generator was given of that person, or the scored and the true one frame by
frame."""


@runtime_checkable
class Crop(Protocol):
    """A way to cut a region out of every frame; hashable, so that equal crops are shared."""

    @property
    def name(self) -> str:
        """Enters the column key, so two crops that differ never share a column."""

    @property
    def tracking(self) -> TrackSettings | None:
        """How faces are tracked for this crop; None where the whole frame is used."""

    def regions(self, track: FaceTrack) -> Tensor:
        """Turn a track into float32 (n, ...), what `cut` needs to know of each frame.

        Such as boxes (n, 4), x1 y1 x2 y2, after any smoothing.
        """

    def cut(self, frames: Tensor, regions: Tensor | None) -> Tensor:
        """Cut uint8 (t, 3, H, W) frames to uint8 (t, 3, h, w)."""


@runtime_checkable
class LandmarkCrop(Crop, Protocol):
    """A crop that is placed by landmarks, which are found in an earlier pass over the clip."""

    @property
    def points(self) -> ViewKey:
        """Landmarks of the same faces, one row a frame; their side is that of the crop's view."""

    def regions(self, track: FaceTrack, points: Tensor | None = None) -> Tensor:
        """Turn a track and the values of `points`, (n, ...), into what `cut` needs.

        Raises:
            InputError: There are no points.
        """


@dataclass(frozen=True)
class ViewKey:
    """Per-frame values that are computed once per clip and shared by all metrics.

    Two keys are the same view if everything but `extract` is equal.

    Attributes:
        name: Of the values, such as "syncnet.lip".
        side: Which clip is read.
        crop: What of each frame is read; for a pair, the reference's region on both sides.
        evaluator: sha256 of the network that computes the values, "" where none does.
        context: How many earlier frames each value needs: T frames give T - context values.
        extract: uint8 (t, 3, h, w) -> (t - context, ...); for a pair it takes both sides.
        located: Whether `extract` also takes the crop's regions, float32 (t, ...), to work in
            coordinates of the frame; only without context.
        kept: Version under which the values outlive the run, found by the clip's content; "" keeps
            nothing. For values that are small and slow to find, on tracked faces.
    """

    name: str
    side: Side
    crop: Crop
    evaluator: str = ""
    context: int = 0
    extract: Callable[..., Tensor] | None = field(default=None, compare=False, repr=False)
    located: bool = False
    kept: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """A view's values for one track, or for the whole clip.

    Attributes:
        name: "clip" or "track-0", "track-1", ...
        start: First frame.
        stop: Frame after the last one.
        values: (stop - start - context, ...), on the CPU.
        frame: Height and width of the clip's frames, pixels.
    """

    name: str
    start: int
    stop: int
    values: Tensor
    frame: tuple[int, int] = (0, 0)


class Views(Protocol):
    """What a metric may ask about one case."""

    @property
    def case(self) -> str:
        """The case's id."""

    @property
    def cluster(self) -> str:
        """The case's cluster."""

    def parts(self, key: ViewKey) -> tuple[Part, ...]:
        """Return the values of a view, at least one part.

        Raises:
            Unscorable: With the reason, such as that no face was found.
        """

    def pairs(self, pred: ViewKey, ref: ViewKey) -> tuple[tuple[Part, Part], ...]:
        """Return the values of two views for the same face in the same frames.

        Args:
            pred: Of the scored clip.
            ref: Of the true clip.

        Returns:
            At least one pair of parts of the scored and the true clip, of equal length.

        Raises:
            Unscorable: The clips differ in length, or a face is found on one side only.
        """

    def speech(self, side: Literal["pred", "driving"] = "pred") -> Speech:
        """Return the scored clip's sound, or the speech that drove it.

        Raises:
            Unscorable: The clip has no sound.
        """

    def transcript(self) -> Transcript:
        """Return the words of the driving speech.

        Raises:
            Unscorable: The data set does not know them.
        """

    def keep(self, values: Tensor) -> str:
        """Store features of this case for a set metric; returns the sha256 that finds them."""
