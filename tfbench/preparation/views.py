"""What is computed once per clip and shared by all metrics.

Two passes over each clip. The first detects faces and shot cuts, and its result is cached by the
file's content. The second decodes again, cuts every wanted region out of every chunk and feeds it
to every network that wants it. Regions that are placed by landmarks are cut in a third pass, since
the second one finds the landmarks, which are kept too. Pixels are never held longer than a chunk;
what is kept are small per-frame arrays.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import FaceTrack, Transcript
from tfbench.core.views import Crop, LandmarkCrop, Part, Side, ViewKey
from tfbench.faces.detect import Detections
from tfbench.faces.shots import cuts
from tfbench.faces.track import explain, link
from tfbench.preparation.first_pass import frames_at_once
from tfbench.preparation.kept_views import KeptViews

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from tfbench.core.types import Clip, Speech, TrackSettings, Video
    from tfbench.preparation.arrays import Arrays
    from tfbench.preparation.first_pass import FaceFinder, Faces

__all__ = ["ClipViews"]

CLIPS: tuple[Side, ...] = ("pred", "ref", "appearance")
"""Sides that are whole clips with a face."""
MAX_LENGTH_DIFFERENCE = 5
"""Frames by which a scored clip may be longer or shorter than the truth; encoders and audio
padding make differences of a few frames, and the common part is compared. 5 frames are 0.2 s."""
SAME_FACE = 0.25
"""Mean IoU, in relative coordinates, above which two tracks of the scored and the true clip are
one face. It only has to tell faces in one picture apart."""
MIN_COVERAGE = 0.5
"""Share of the true clip's face frames in which the scored clip must show the face too."""


class ClipViews:
    """Views of one case; see `tfbench.core.views.Views`.

    Args:
        case: The case's id.
        cluster: The case's cluster.
        clips: The clip of each side; a side that the case lacks is left out.
        sha256: Of each of those clips.
        keys: All views that will be asked for.
        finder: The first pass.
        features: Where set metrics keep their features.
        device: Where networks run.
        transcript: The words of the driving speech, where the data set knows them.
    """

    def __init__(
        self,
        case: str,
        cluster: str,
        clips: Mapping[str, Clip],
        sha256: Mapping[str, str],
        keys: Iterable[ViewKey],
        finder: FaceFinder,
        features: Arrays,
        device: torch.device,
        transcript: str | None = None,
    ) -> None:
        self.case = case
        self.cluster = cluster
        self._clips = clips
        self._sha256 = sha256
        self._keys = tuple(
            dict.fromkeys(self._first_of_its_kind(k) for key in keys for k in _with_points(key))
        )
        self._finder = finder
        self._features = features
        self._device = device
        self._transcript = transcript
        self._parts: dict[ViewKey, tuple[Part, ...] | Exception] = {}
        self._faces: dict[str, Faces] = {}
        self._linked: dict[tuple[str, TrackSettings], tuple[FaceTrack, ...]] = {}

    def parts(self, key: ViewKey) -> tuple[Part, ...]:
        """Return the values of a view; the first call for a side computes all of that side's."""
        key = self._first_of_its_kind(key)
        if key not in self._parts:
            late = _points(key) is not None
            same = [
                k for k in self._keys if k.side == key.side and (_points(k) is not None) == late
            ]
            self._compute(key.side, same or [key])
        found = self._parts[key]
        if isinstance(found, Exception):
            raise found
        return found

    def pairs(self, pred: ViewKey, ref: ViewKey) -> tuple[tuple[Part, Part], ...]:
        """Return the values of two views for the same face in the same frames."""
        scored, true = self._clip("pred").video, self._clip("ref").video
        _check_lengths(scored, true)
        n = min(scored.n_frames, true.n_frames)
        found = [
            _trimmed(p, r, n, (pred.context, ref.context))
            for r in self.parts(ref)
            for p in self.parts(pred)
            if self._same_face(pred, p, ref, r)
        ]
        pairs = tuple((p, r) for p, r in found if len(p.values))
        wanted = sum(max(min(r.stop, n) - r.start - ref.context, 0) for r in self.parts(ref))
        seen = sum(len(r.values) for _, r in pairs)
        if seen == 0 or seen < MIN_COVERAGE * wanted:
            raise Unscorable(
                f"the scored clip shows the true clip's face in {seen} of {wanted} frames; at "
                f"least {MIN_COVERAGE:.0%} are needed"
            )
        return pairs

    def speech(self, side: Literal["pred", "driving"] = "pred") -> Speech:
        """Return the scored clip's sound, or the speech that drove it."""
        speech = self._clip(side).speech
        if speech is None:
            raise Unscorable(f"the {_words(side)} has no sound")
        return speech

    def transcript(self) -> Transcript:
        """Return the words of the driving speech."""
        if self._transcript is None:
            raise Unscorable("the data set has no transcript of the driving speech")
        return Transcript(self._transcript)

    def keep(self, values: Tensor) -> str:
        """Store features of this case; returns their sha256."""
        return self._features.keep(values)

    def _first_of_its_kind(self, key: ViewKey) -> ViewKey:
        """Read one side for several that are the same clip, so that it is computed once."""
        own = self._sha256.get(key.side)
        same = (side for side in CLIPS if key.side in CLIPS and self._sha256.get(side) == own)
        return replace(key, side=next(same, key.side)) if own is not None else key

    def _is_kept(self, key: ViewKey) -> bool:
        return bool(key.kept) and key.side in self._sha256

    @cached_property
    def _kept(self) -> KeptViews:
        return KeptViews(self._finder.cache, self._finder.detector.version)

    def _clip(self, side: str) -> Clip:
        if side not in self._clips:
            raise Unscorable(f"the protocol gives no {_words(side)}")
        return self._clips[side]

    def _compute(self, side: Side, keys: Sequence[ViewKey]) -> None:
        streams: list[_Stream] = []
        for key in keys:
            kept = self._kept.get(key, self._sha256[side]) if self._is_kept(key) else None
            if kept is not None:
                self._parts[key] = kept
                continue
            try:
                streams.extend(self._streams(key))
            except (Unscorable, InputError) as error:
                self._parts[key] = Unscorable(str(error))
            except Exception as error:
                # Landmarks failed, and only the views that need them fail with them.
                self._parts[key] = error
        try:
            self._feed(side, streams)
        except (Unscorable, InputError) as error:
            self._parts |= {key: Unscorable(str(error)) for key in keys if key not in self._parts}
        for key in keys:
            if key not in self._parts:
                found = self._parts[key] = _collect([s for s in streams if s.key == key])
                if self._is_kept(key) and not isinstance(found, Exception):
                    self._kept.put(key, self._sha256[side], found)

    def _streams(self, key: ViewKey) -> list[_Stream]:
        """Plan the cutting of one view: a stream for each track, or one for the whole clip."""
        located = "ref" if key.side == "pair" else key.side
        self._clip("pred" if key.side == "pair" else key.side)
        if key.crop.tracking is None:
            return [_Stream(key, "clip", 0, None, None)]
        tracks = self._tracks(located, key.crop.tracking)
        regions = self._regions(key, tracks)
        if key.side == "identity":
            return [_Stream(key, "stills", 0, len(tracks), torch.cat(regions))]
        return [
            _Stream(key, f"track-{n}", track.start, track.stop, places)
            for n, (track, places) in enumerate(zip(tracks, regions, strict=True))
        ]

    def _regions(self, key: ViewKey, tracks: Sequence[FaceTrack]) -> list[Tensor]:
        """Place the crop on each track, by landmarks where it wants them."""
        points, crop = _points(key), key.crop
        if points is None or not isinstance(crop, LandmarkCrop):
            return [crop.regions(track) for track in tracks]
        values = torch.cat([part.values for part in self.parts(points)])
        pieces = values.split([len(track) for track in tracks])
        return [crop.regions(t, p) for t, p in zip(tracks, pieces, strict=True)]

    def _tracks(self, side: str, settings: TrackSettings) -> tuple[FaceTrack, ...]:
        clip = self._clip(side)
        sha256 = self._sha256[side]
        if sha256 not in self._faces:
            self._faces[sha256] = self._finder.find(clip.video, sha256)
        faces = self._faces[sha256]
        if side == "identity":
            return tuple(_only_face(d, settings.min_score) for d in faces.detections)
        place = (sha256, settings)
        shots = cuts(faces.changes, settings.shot_threshold, settings.min_shot)
        if place not in self._linked:
            self._linked[place] = link(faces.detections, shots, settings)
        tracks = self._linked[place]
        if not tracks:
            raise Unscorable(f"{_words(side)}: {explain(faces.detections, shots, settings)}")
        return tracks

    def _same_face(self, pred: ViewKey, p: Part, ref: ViewKey, r: Part) -> bool:
        """Tell whether two parts show one face; a clip's only face needs no comparison."""
        if pred.crop.tracking is None or ref.crop.tracking is None:
            return True
        scored = self._tracks("pred", pred.crop.tracking)
        true = self._tracks("ref", ref.crop.tracking)
        if len(scored) == len(true) == 1:
            return True
        one, other = scored[_number(p)], true[_number(r)]
        start, stop = max(one.start, other.start), min(one.stop, other.stop)
        if start >= stop:
            return False
        boxes = [
            track.boxes[start - track.start : stop - track.start] / _size(self._clip(side).video)
            for track, side in ((one, "pred"), (other, "ref"))
        ]
        return bool(_iou(*boxes).mean() > SAME_FACE)

    def _feed(self, side: Side, streams: Sequence[_Stream]) -> None:
        if not streams:
            return
        if side == "pair":
            chunks: Iterator[tuple[Tensor, ...]] = _together(self._clip("pred"), self._clip("ref"))
        else:
            video = self._clip(side).video
            chunks = ((frames,) for frames in video.frames(chunk=frames_at_once(video)))
        first = 0
        for sides in chunks:
            cut = functools.cache(_cutter(sides, first))
            for stream in streams:
                stream.frame = (sides[0].shape[2], sides[0].shape[3])
                stream.feed(first, sides[0].shape[0], cut, self._device)
            first += sides[0].shape[0]
        for stream in streams:
            stream.end(first)


class _Stream:
    """Runs one extractor over one part of a clip, chunk by chunk."""

    def __init__(
        self, key: ViewKey, name: str, start: int, stop: int | None, regions: Tensor | None
    ) -> None:
        self.key = key
        self.name = name
        self.start = start
        self.stop = stop
        self.place = _Place(key.crop, name, start, stop, regions)
        self.tail: list[Tensor] = []
        self.values: list[Tensor] = []
        self.error: Exception | None = None
        self.frame = (0, 0)

    def feed(self, first: int, n: int, cut: Any, device: torch.device) -> None:
        """Take the frames from `first` on that belong to this part, unless it has failed."""
        after = self.stop is not None and first >= self.stop
        if after or first + n <= self.start or self.error is not None:
            return
        try:
            self._extract(first, n, cut, device)
        except InputError as error:
            self.error = Unscorable(str(error))
        except Exception as error:
            # Kept for the metric that asks for this view, so that no other metric fails with it.
            self.error = error

    def _extract(self, first: int, n: int, cut: Any, device: torch.device) -> None:
        inputs = [frames.to(device) for frames in cut(self.place)]
        if self.tail:
            inputs = [torch.cat(both) for both in zip(self.tail, inputs, strict=True)]
        if inputs[0].shape[0] > self.key.context and self.key.extract is not None:
            places = [self._regions(first, n).to(device)] if self.key.located else []
            with torch.inference_mode():
                self.values.append(self.key.extract(*inputs, *places).cpu())
        if self.key.context:
            self.tail = [frames[-self.key.context :] for frames in inputs]

    def _regions(self, first: int, n: int) -> Tensor:
        """Return the regions of the frames from `first` on that belong to this part."""
        if self.place.regions is None:
            raise InputError(f"the crop '{self.key.crop.name}' locates no face")
        return self.place.regions[max(first - self.start, 0) : max(first + n - self.start, 0)]

    def end(self, n_frames: int) -> None:
        """Learn how many frames the clip has had."""
        self.stop = n_frames if self.stop is None else min(self.stop, n_frames)
        self.tail = []


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a part's pixels are; one object for each stream, equal for shared crops."""

    crop: Crop
    name: str
    start: int
    stop: int | None
    regions: Tensor | None

    def __hash__(self) -> int:
        return hash((self.crop, self.name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and (self.crop, self.name) == (other.crop, other.name)


def _points(key: ViewKey) -> ViewKey | None:
    """Return the view of the landmarks that place a view's crop; None where none do."""
    if not isinstance(key.crop, LandmarkCrop):
        return None
    return replace(key.crop.points, side="ref" if key.side == "pair" else key.side)


def _with_points(key: ViewKey) -> tuple[ViewKey, ...]:
    points = _points(key)
    return (key,) if points is None else (points, key)


def _cutter(sides: tuple[Tensor, ...], first: int) -> Any:
    """Return a function that cuts one place out of the present chunk, on every side."""

    def cut(place: _Place) -> tuple[Tensor, ...]:
        n = sides[0].shape[0]
        low = max(place.start - first, 0)
        high = n if place.stop is None else min(place.stop - first, n)
        regions = None
        if place.regions is not None:
            offset = first - place.start
            regions = place.regions[low + offset : high + offset]
        return tuple(place.crop.cut(frames[low:high], regions) for frames in sides)

    return cut


def _collect(streams: Sequence[_Stream]) -> tuple[Part, ...] | Exception:
    for stream in streams:
        if stream.error is not None:
            return stream.error
    parts = tuple(
        Part(s.name, s.start, s.stop or 0, torch.cat(s.values), s.frame)
        for s in streams
        if s.values
    )
    if parts:
        return parts
    longest = max(((s.stop or 0) - s.start for s in streams), default=0)
    wanted = streams[0].key.context + 1 if streams else 1
    return Unscorable(f"the clip has {longest} frames; at least {wanted} are needed")


def _together(pred: Clip, ref: Clip) -> Iterator[tuple[Tensor, Tensor]]:
    """Decode two clips side by side over their common length."""
    a, b = pred.video, ref.video
    _check_lengths(a, b)
    if (a.height, a.width) != (b.height, b.width):
        raise Unscorable(
            f"the scored clip is {a.width}x{a.height} and the true clip {b.width}x{b.height}; "
            "make them one size"
        )
    n, chunk = min(a.n_frames, b.n_frames), frames_at_once(a)
    yield from zip(a.frames(0, n, chunk), b.frames(0, n, chunk), strict=True)


def _check_lengths(pred: Video, ref: Video) -> None:
    if abs(pred.n_frames - ref.n_frames) > MAX_LENGTH_DIFFERENCE:
        raise Unscorable(
            f"the scored clip has {pred.n_frames} frames and the true clip {ref.n_frames}; "
            f"they may differ by {MAX_LENGTH_DIFFERENCE}"
        )


def _only_face(detections: Detections, min_score: float) -> FaceTrack:
    """Make a track of one still, which must show one face."""
    good = detections.scores > min_score
    if int(good.sum()) != 1:
        raise Unscorable(
            f"the identity image shows {int(good.sum())} faces; wanted is exactly one, so give "
            "an image of one person, or crop it"
        )
    return FaceTrack(0, detections.boxes[good], detections.points[good], detections.scores[good])


def _trimmed(p: Part, r: Part, n: int, context: tuple[int, int]) -> tuple[Part, Part]:
    """Cut two parts down to the frames that both have, among the first n."""
    start, stop = max(p.start, r.start), min(p.stop, r.stop, n)
    one, other = (
        replace(
            part,
            name=r.name,
            start=start,
            stop=stop,
            values=part.values[start - part.start :][: max(stop - start - c, 0)],
        )
        for part, c in zip((p, r), context, strict=True)
    )
    return one, other


def _number(part: Part) -> int:
    return int(part.name.removeprefix("track-"))


def _size(video: Video) -> Tensor:
    return torch.tensor([video.width, video.height] * 2, dtype=torch.float32)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (n, 4), row by row."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return common / (areas[0] + areas[1] - common)


def _words(side: str) -> str:
    names = {
        "pred": "scored clip",
        "ref": "true clip",
        "appearance": "clip of the person",
        "identity": "identity image",
        "driving": "driving clip",
    }
    return names.get(side, side)
