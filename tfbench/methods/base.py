"""What a generator is: it takes a `Request` and yields frames.

`still`, `ground_truth`, `files` and `external` are plain generators; a paper's method, `Method`,
is a generator that is also a LightningModule and is trained as evaluators are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tfbench.core.config import NoConfig, to_plain
from tfbench.core.errors import ConfigError, GenerationError, MissingAsset
from tfbench.core.files import storage_errors
from tfbench.core.types import Clip, Need, Request
from tfbench.evaluators.base import Positive, TrainConfig, Trainee
from tfbench.faces.detect import FaceDetector
from tfbench.media.video import open_clip, write_video
from tfbench.nets.bundle import load_part, read_record
from tfbench.nets.frozen import channels_last

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

__all__ = ["SHIPPED", "Generator", "Method", "MethodConfig", "given", "n_frames_for"]

T = TypeVar("T")

SHIPPED = Path(__file__).resolve().parent / "weights"
"""Where the bundles lie that this package ships, a folder each."""


class Generator(ABC):
    """Base of everything that makes talking-face videos.

    Args:
        config: An instance of the class's `Config`.
    """

    name: ClassVar[str]
    """The registry's name: the file's stem."""
    version: ClassVar[str] = "1"
    """Raised whenever the same request can give other frames."""
    needs: ClassVar[frozenset[Need]]
    """What a request must hold; one that lacks it is refused by name."""
    Config: ClassVar[type] = NoConfig
    """Frozen dataclass of the settings."""
    supervisors: tuple[str, ...] = ()
    """sha256 of the networks that have trained this method; none of them may judge it."""
    taught_by: tuple[str, ...] = ()
    """sha256 of the networks whose findings in true clips this method has learnt to tell; where
    one of them judges, the result says so."""
    batch: int | None = None
    """How many frames pass through the networks at once, which changes no pixel beyond rounding;
    None for a method that has no such choice."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = self.Config() if config is None else config

    @abstractmethod
    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the video in chunks.

        Args:
            request: Holds everything in `needs`.

        Yields:
            uint8 (t, 3, H, W) RGB, at `request.fps`.

        Raises:
            GenerationError: With the reason.
        """

    @property
    def label(self) -> str:
        """The name that results and leaderboards carry."""
        return self.name

    @property
    def n_parameters(self) -> int | None:
        """Of its networks; None for a method that has none."""
        return None

    def provenance(self) -> dict[str, Any]:
        """Return what makes its frames what they are; enters the fingerprint of every row."""
        return {"name": self.name, "version": self.version, "config": to_plain(self.config)}

    def existing(self, request: Request) -> Path | None:  # noqa: ARG002
        """Return a finished file for this request, which is then scored as it is."""
        return None

    def ready(self) -> None:  # noqa: B027
        """Refuse to make any video where something lacks that no request brings.

        Raises:
            GenerationError: Names it, such as trained weights.
        """

    def check(self, request: Request) -> None:
        """Refuse a request that lacks something, or any where the method is not ready.

        Raises:
            GenerationError: Names what is missing.
        """
        self.ready()
        self.check_request(request)

    def check_request(self, request: Request) -> None:
        """Refuse a request that lacks something, whether or not the method is ready.

        Raises:
            GenerationError: Names what is missing.
        """
        absent = sorted(need for need in self.needs if getattr(request, need) is None)
        if absent:
            raise GenerationError(
                f"{self.label} needs {', '.join(absent)}, which the request '{request.id}' lacks"
            )

    def generate(self, request: Request, out: Path, comment: str = "") -> Clip:
        """Make the video and write it with the driving speech, marked as synthetic.

        Not to be overridden: what all methods are scored on comes from this one writer.

        Args:
            request: What is wanted.
            out: Path of the mp4 file.
            comment: Goes into the container's metadata beside the mark.

        Raises:
            GenerationError: The request lacks something or the method failed.
            InputError: The frames cannot be written.
            StorageError: The disk is full.
        """
        self.check(request)
        note = f"method={self.label}; {comment}" if comment else f"method={self.label}"
        speech = request.speech or (request.oracle.clip.speech if request.oracle else None)
        if speech and request.source and request.length == "stop":
            seconds = request.source.video.n_frames / request.fps
            speech = replace(speech, waveform=speech.waveform[: int(seconds * speech.sample_rate)])
        with storage_errors(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_video(out, self.frames(request), request.fps, speech, comment=note)
        return open_clip(out, fps=request.fps)


def n_frames_for(request: Request) -> int:
    """Return how many whole frames the speech lasts, at least one."""
    if request.speech is None:
        raise GenerationError(f"the request '{request.id}' has no speech")
    exact = request.speech.waveform.shape[0] * request.fps / request.speech.sample_rate
    return max(1, int(exact))


@dataclass(frozen=True)
class MethodConfig(TrainConfig):
    """Settings that every paper's method has.

    Attributes:
        weights: Trained networks to generate with: the name of a shipped bundle, such as
            "speech2vid.tiny", or the folder of one that `tfbench train` has made. Settings of
            networks then come from there. Training leaves it aside.
        init: Of the same kind: what training begins with; "" for random weights.
        before: Runs that come before the training, each with the network of the one before it: a
            line for each, with overlays and settings, such as "+pretrain steps=1000". Settings of
            the command line hold in all runs, except for those that a line sets. Not with `init`,
            which is a beginning already.
        frames_at_once: How many frames pass through the networks at once.
    """

    weights: str = ""
    init: str = ""
    before: tuple[str, ...] = ()
    frames_at_once: Positive = 32


class Method(Generator, Trainee):
    """Base of the papers' methods.

    Args:
        config: An instance of the class's `Config`.

    Raises:
        MissingAsset: The weights that the settings name are not there.
        AssetError: They are not what their record describes.
    """

    usual: ClassVar[str | None] = "tiny"
    """The variant that a name without one means."""
    PARTS: ClassVar[Mapping[str, type[nn.Module]]]
    """The networks of a bundle; each is built from its `settings` by keywords."""
    Config: ClassVar[type[MethodConfig]]
    config: Any

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.batch = self.config.frames_at_once
        self.named = ""
        self.unedited = 0
        """How many frames of the last video showed no face and were left as they were."""
        self.remark = ""
        """What else is to be told of the last video, such as stills that could not be used."""
        self.begin()
        self._weights: dict[str, str] = {}
        if self.config.init:
            self._take(self.config.init)
            # It is what training begins with, and nothing to generate with.
            self._weights = {}
        if self.config.weights:
            self._take(self.config.weights)

    @abstractmethod
    def begin(self) -> None:
        """Make the networks with random weights, as the settings say; set as attributes."""

    @property
    def label(self) -> str:
        """The name as the user wrote it; the run's folder tells weights of the user's own."""
        named = self.named or self.name
        folder = bundle_folder(self.config.weights).resolve() if self.config.weights else SHIPPED
        if SHIPPED in (folder, folder.parent):
            return named
        _, plus, overlays = named.partition("+")
        run = folder.parent.name
        own = run if run.startswith(self.name) else f"{self.name}.{run}"
        return f"{own}{plus}{overlays}"

    @property
    def n_parameters(self) -> int:
        """Of the networks that generate, without those that training alone needs."""
        return sum(p.numel() for part in self.parts().values() for p in part.parameters())

    @cached_property
    def detector(self) -> FaceDetector:
        """Finds the faces that are edited, on this module's device."""
        return FaceDetector(device=self.device)

    def parts(self) -> dict[str, nn.Module]:
        """Return the networks that a bundle holds."""
        return {name: getattr(self, name) for name in self.PARTS}

    def ready(self) -> None:
        """Refuse to generate without trained weights.

        Raises:
            GenerationError: There are none.
        """
        if not self._weights:
            raise GenerationError(
                f"{self.label} has no trained weights; train it with `tfbench train "
                f"{self.label}` and give its bundle, --set weights=runs/train/.../bundle"
            )

    def provenance(self) -> dict[str, Any]:
        """Return settings and the sha256 of the networks."""
        return super().provenance() | {"weights": dict(self._weights)}

    def _take(self, source: str) -> None:
        """Take the networks of a bundle, and note who has trained them."""
        folder = bundle_folder(source)
        record = read_record(folder / "bundle.json")
        lacking = sorted(self.PARTS.keys() - record["parts"].keys())
        if record["name"] != self.name or lacking:
            what = f"of '{record['name']}'" + (f" without {lacking[0]}" if lacking else "")
            raise MissingAsset(f"{folder} is a bundle {what}; wanted is one of {self.name}")
        loaded = {
            name: load_part(folder, record, name, lambda settings, kind=kind: kind(**settings))
            for name, kind in self.PARTS.items()
        }
        self._weights = {name: frozen.sha256 for name, frozen in loaded.items()}
        self.supervisors = tuple(sorted({*self.supervisors, *record["supervisors"]}))
        self.taught_by = tuple(sorted({*self.taught_by, *record.get("taught_by", ())}))
        if folder.parent == SHIPPED:
            self._refuse_other_settings(source, {name: f.module for name, f in loaded.items()})
        self.adopt({name: channels_last(f.module.requires_grad_()) for name, f in loaded.items()})

    def _refuse_other_settings(self, source: str, shipped: Mapping[str, Any]) -> None:
        """Refuse shipped networks that are not those that the settings describe."""
        for name, net in self.parts().items():
            asked: dict[str, Any] = net.settings  # type: ignore[assignment]
            there = shipped[name].settings
            for key, value in asked.items():
                if value != there[key]:
                    raise ConfigError(
                        f"the shipped weights {source} have {key} = {there[key]}, asked for is "
                        f"{value}; train it with `tfbench train` and give weights=RUN/bundle"
                    )


def given(value: T | None) -> T:
    """Return what `check` has found to be there."""
    if value is None:
        raise GenerationError("the request lacks what the method needs")
    return value


def bundle_folder(source: str) -> Path:
    """Return where a shipped bundle of this name, or one of the user's own, lies.

    Raises:
        MissingAsset: It is not there.
    """
    shipped = SHIPPED / source
    folder = shipped if (shipped / "bundle.json").is_file() else Path(source)
    if not (folder / "bundle.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in SHIPPED.glob("*/bundle.json")))
        raise MissingAsset(
            f"there are no weights '{source}': shipped are {known or 'none'}; or name the folder "
            "of a bundle, which `tfbench train` leaves in its run folder"
        )
    return folder
