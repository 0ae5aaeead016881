"""The values that layers exchange.

Nothing here decodes, computes or imports torch when it is imported: these are the nouns of
the project. Frames are always uint8 tensors (T, 3, H, W), RGB; waveforms are always float32
tensors (S,) in [-1, 1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfbench.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

__all__ = [
    "Aggregate",
    "Case",
    "Clip",
    "Column",
    "Emotion",
    "FaceTrack",
    "MetricInfo",
    "Need",
    "Request",
    "Sample",
    "Score",
    "Speech",
    "TensorVideo",
    "TrackSettings",
    "Transcript",
    "Video",
]

FPS = Fraction(25)
"""Frame rate, in frames per second, at which every clip is scored."""

SAMPLE_RATE = 16_000
"""Sample rate, in Hz, at which every clip's speech is read."""


@dataclass(frozen=True, eq=False)
class Speech:
    """A mono waveform.

    Attributes:
        waveform: float32 (S,), in [-1, 1].
        sample_rate: Samples per second.
    """

    waveform: Tensor
    sample_rate: int = SAMPLE_RATE

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.waveform.shape[0] / self.sample_rate


class Video(ABC):
    """Frames at a constant rate, read in chunks; a file and a tensor both serve.

    Attributes:
        fps: Frames per second.
        height: Pixels, after rotation to upright.
        width: Pixels, after rotation to upright.
    """

    fps: Fraction
    height: int
    width: int

    @property
    @abstractmethod
    def n_frames(self) -> int:
        """How many frames `frames()` yields in all."""

    @abstractmethod
    def frames(self, start: int = 0, stop: int | None = None, chunk: int = 32) -> Iterator[Tensor]:
        """Yield the frames from `start` up to `stop` in order.

        Args:
            start: First frame.
            stop: Frame after the last one; None reads to the end.
            chunk: Most frames in one piece.

        Yields:
            uint8 (t, 3, H, W) RGB with 1 <= t <= chunk.

        Raises:
            InputError: The video is damaged or ends before the frames it promised.
        """

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.n_frames / self.fps)


class TensorVideo(Video):
    """A video that is held in memory.

    Args:
        tensor: uint8 (T, 3, H, W) RGB.
        fps: Frames per second.
    """

    def __init__(self, tensor: Tensor, fps: Fraction | int = FPS) -> None:
        if tensor.ndim != 4 or tensor.shape[1] != 3 or str(tensor.dtype) != "torch.uint8":
            raise InputError(
                f"a video tensor must be uint8 (T, 3, H, W) RGB; "
                f"this one is {tensor.dtype} {tuple(tensor.shape)}"
            )
        self.tensor = tensor
        self.fps = Fraction(fps)
        self.height, self.width = tensor.shape[2:]

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return int(self.tensor.shape[0])

    def frames(self, start: int = 0, stop: int | None = None, chunk: int = 32) -> Iterator[Tensor]:
        """Yield slices of the tensor; see `Video.frames`."""
        stop = self.n_frames if stop is None else min(stop, self.n_frames)
        for first in range(start, stop, chunk):
            yield self.tensor[first : min(first + chunk, stop)]


@dataclass(frozen=True, eq=False)
class Clip:
    """A video with its speech.

    Attributes:
        video: The frames.
        speech: The sound, starting at the first frame; None where there is none.
        path: The file it came from, if it came from one.
    """

    video: Video
    speech: Speech | None = None
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face over consecutive frames.

    Attributes:
        start: Index of its first frame in the video.
        boxes: float32 (n, 4), pixels, x1 y1 x2 y2, one row a frame.
        points: float32 (n, 5, 2), pixels, x y of left eye, right eye, nose, left and right
            mouth corner as seen in the picture; NaN in frames where the detector saw no face.
        scores: float32 (n,), the detector's probability; NaN where boxes are interpolated.
    """

    start: int
    boxes: Tensor
    points: Tensor
    scores: Tensor

    @property
    def stop(self) -> int:
        """Index after its last frame."""
        return self.start + int(self.boxes.shape[0])

    def __len__(self) -> int:
        return int(self.boxes.shape[0])


@dataclass(frozen=True)
class TrackSettings:
    """How detections become tracks; defaults are those of SyncNet's `run_pipeline.py`.

    Attributes:
        min_score: A detection must be above this probability.
        min_iou: Consecutive boxes of one track overlap by more than this.
        max_gap: Most frames between two detections of one track.
        min_frames: A track has strictly more frames than this.
        min_face: The mean of a track's longer box side is above this, in pixels.
        shot_threshold: A cut is a mean HSV change of at least this, in 8-bit steps
            (PySceneDetect 0.5.1's content detector, the version that the pipeline pins;
            later versions default to 27); tracks never cross a cut.
        min_shot: A cut closer than this many frames to the one before it is ignored.
    """

    min_score: float = 0.9
    min_iou: float = 0.5
    max_gap: int = 25
    min_frames: int = 100
    min_face: float = 100.0
    shot_threshold: float = 30.0
    min_shot: int = 15


@dataclass(frozen=True)
class Emotion:
    """An emotion condition: exactly one of text, image and audio.

    Attributes:
        text: A description such as "happy".
        image: A still whose expression is wanted.
        audio: A recording whose tone is wanted.
        intensity: Strength; 1 is the level that the condition shows.
    """

    text: str | None = None
    image: Path | None = None
    audio: Path | None = None
    intensity: float = 1.0

    def __post_init__(self) -> None:
        given = [name for name in ("text", "image", "audio") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(
                "an emotion condition is one of text, image and audio; "
                f"this one has {' and '.join(given) or 'none'}"
            )


@dataclass(frozen=True, eq=False)
class Sample:
    """What a data set yields; a field that the data set does not know is None.

    Attributes:
        id: Unique in its data set; forward slashes, no file ending.
        clip: The recording.
        identity: Who is seen; the cluster of statistics.
        split: Such as "test".
        transcript: The words spoken, as the data set writes them.
        word_times: (word, start, end) in seconds.
        phone_times: (phone, start, end) in seconds; ARPAbet without stress, "SIL" for silence.
        emotion: Such as "happy".
        level: Strength of the emotion, 1 to 3.
        landmarks: float32 (T, 68, 2), pixels.
        coefficients: float32 (T, C), 3DMM coefficients in the model's own order.
        expression: float32 (T, 52), ARKit's weights, 0 to 1; see `tfbench.faces.arkit`.
        scene_mask: bool (T, H, W), True on the speaker's head in a scene.
        listener_side: "left" or "right": where in the picture the listener of a scene stands, to
            whom the speaker is turned.
    """

    id: str
    clip: Clip
    identity: str
    split: str = "test"
    transcript: str | None = None
    word_times: tuple[tuple[str, float, float], ...] | None = None
    phone_times: tuple[tuple[str, float, float], ...] | None = None
    emotion: str | None = None
    level: int | None = None
    landmarks: Tensor | None = None
    coefficients: Tensor | None = None
    expression: Tensor | None = None
    scene_mask: Tensor | None = None
    listener_side: Literal["left", "right"] | None = None


class Need(StrEnum):
    """What a generator may require of a request; the value is the request's field."""

    SPEECH = "speech"
    IDENTITY = "identity"
    SOURCE = "source"
    POSE = "pose"
    EMOTION = "emotion"
    SCENE = "scene"
    ORACLE = "oracle"


@dataclass(frozen=True, eq=False)
class Request:
    """What a generator is asked for.

    Attributes:
        id: The case's id.
        seed: Of every random draw.
        speech: The driving speech.
        identity: uint8 (N, 3, H, W), stills of the person to animate.
        fps: Frames per second to make.
        source: A clip to edit.
        pose: A video whose head motion is followed.
        emotion: The wanted emotion.
        scene: A scene with the speaker's head masked.
        face: Which track of the source, 0 being the longest.
        length: What to do where the speech outlasts the source: start it over or stop.
        oracle: Truth that a method cannot know; only protocols named `….oracle` and the
            method `ground_truth` receive it.
    """

    id: str
    seed: int = 0
    speech: Speech | None = None
    identity: Tensor | None = None
    fps: Fraction = FPS
    source: Clip | None = None
    pose: Video | None = None
    emotion: Emotion | None = None
    scene: Clip | None = None
    face: int = 0
    length: Literal["loop", "stop"] = "loop"
    oracle: Sample | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One row of an evaluation.

    Attributes:
        id: Unique in the evaluation.
        request: What the generator is asked for.
        driving: Where the speech comes from; its transcript is the reference of WER.
        appearance: Who is seen; the reference of CSIM and of Fréchet distances.
        reference: The true clip, where the protocol has one.
        cluster: Clips of one cluster are not independent; statistics resample clusters.
    """

    id: str
    request: Request
    driving: Sample
    appearance: Sample
    reference: Clip | None
    cluster: str


@dataclass(frozen=True)
class Transcript:
    """Words that were spoken.

    Attributes:
        text: As written by its source, not normalised.
        source: "dataset", or the name of the network that heard them.
    """

    text: str
    source: str = "dataset"


Reduction = Literal["mean", "ratio", "set"]
"""How rows become one number: the mean over clips of the mean over a clip's parts; the sum of
numerators over the sum of denominators; or a function of all features together."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: As printed, such as "LSE-D".
        unit: "" where there is none.
        higher_is_better: None where neither direction is better.
    """

    name: str
    unit: str = ""
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is, for tables and provenance.

    Attributes:
        name: The registry's name.
        definition: How it is computed, such as "lse.syncnet_short".
        version: Raised whenever a change of the code can change a number.
        columns: What it reports.
        reduction: How clips become one number.
        crop: Name of the crop that is read.
        evaluator: Name of the network that judges, "" where none does.
        evaluator_sha256: Of that network's parameters.
        helpers: "name sha256" of further networks that can change a number.
    """

    name: str
    definition: str
    version: int
    columns: tuple[Column, ...]
    reduction: Reduction
    crop: str = ""
    evaluator: str = ""
    evaluator_sha256: str = ""
    helpers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """One number, or the reason why there is none.

    Attributes:
        case: The case's id.
        part: Which track, or "clip".
        column: Name of the column.
        cluster: The case's cluster.
        value: The number; None where there is a reason.
        reason: Why there is no number; None where there is one.
        numerator: For a ratio.
        denominator: For a ratio.
        features: For a set: role ("pred", "ref") -> sha256 of a stored feature array.
        note: What to know about this number, such as where its reference comes from.
    """

    case: str
    part: str
    column: str
    cluster: str
    value: float | None = None
    reason: str | None = None
    numerator: float | None = None
    denominator: float | None = None
    features: Mapping[str, str] | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        has_value = self.value is not None or self.features is not None
        if has_value == (self.reason is not None):
            raise ValueError(f"a score has either a value or a reason: {self}")


@dataclass(frozen=True)
class Aggregate:
    """One number for one column over many clips.

    Attributes:
        column: Name of the column.
        value: The number; None where no clip could be scored.
        n: Clips that it stands on.
        n_samples: Frames behind a set metric, on the scored side; None elsewhere.
        warning: Why the number should be read with care; "" where nothing speaks against it.
    """

    column: str
    value: float | None
    n: int
    n_samples: int | None = None
    warning: str = ""
