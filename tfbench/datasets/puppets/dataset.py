"""The data set `puppets`: its settings, its index and its samples."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tfbench.core.config import fingerprint, to_plain
from tfbench.core.errors import ConfigError, UnknownName
from tfbench.core.files import write_atomically
from tfbench.core.paths import cache_dir
from tfbench.core.types import Sample
from tfbench.datasets.base import Dataset, Prepared, Row
from tfbench.datasets.puppets.emotions import EMOTIONS
from tfbench.datasets.puppets.make import ONE_FACE, Job, Made, render_puppets
from tfbench.datasets.puppets.plan import check_plan, plan
from tfbench.datasets.puppets.pool import make_clips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tfbench.datasets.puppets.make import Check, Renderer
    from tfbench.datasets.puppets.spec import ClipSpec

__all__ = ["Puppets", "PuppetsConfig"]

RESOLUTIONS = (64, 512)


@dataclass(frozen=True)
class PuppetsConfig:
    """Settings of the data set `puppets`.

    Attributes:
        split: "train", "val", "test", "test-seen" (people of train, sentences of test) or
            "test-emotion" (each person says one sentence in all emotions and levels).
        size: How many clips; None takes the split's own number. A larger split begins with the
            clips of a smaller one.
        resolution: Height and width of the frames, pixels: even, 64 to 512.
        seed: Another one gives other people, sentences and settings.
        kind: "grammar", "open", or "mixed", half of each.
        emotions: Those that occur; where neutral is one of several, half of the clips are neutral.
    """

    split: str = "test"
    size: int | None = None
    resolution: int = 128
    seed: int = 0
    kind: str = "mixed"
    emotions: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        check_plan(self.split, self.size, self.seed, self.kind, self.emotions)
        least, most = RESOLUTIONS
        if not least <= self.resolution <= most or self.resolution % 2:
            raise ConfigError(
                f"the resolution of puppets is an even number of pixels, {least} to {most}; "
                f"got {self.resolution}"
            )


class Puppets(Dataset):
    """Rendered heads that speak synthesised sentences, with exact truth.

    Args:
        config: Which clips.
        render: Draws them.
        check: Refuses frames; a clip with a refused frame is drawn anew.
    """

    name = "puppets"
    evaluators = "puppets"
    Config = PuppetsConfig

    def __init__(
        self,
        config: PuppetsConfig | None = None,
        render: Renderer = render_puppets,
        check: Check = ONE_FACE,
    ) -> None:
        self.config = config or PuppetsConfig()
        self._render = render
        self._check = check

    @property
    def label(self) -> str:
        """Name and split, and every setting that is not the usual one."""
        told = {
            "size": "n{}",
            "resolution": "{}px",
            "seed": "seed{}",
            "kind": "{}",
            "emotions": "{}",
        }
        words = [self.name, self.config.split]
        for field in fields(self.config):
            value = getattr(self.config, field.name)
            if field.name in told and value != field.default:
                shown = "+".join(value) if isinstance(value, tuple) else value
                words.append(told[field.name].format(shown))
        return "-".join(words)

    def index(self) -> tuple[Row, ...]:
        """Return the rows; makes nothing."""
        return self._rows

    def sample(self, row: Row) -> Sample:
        """Decode a clip; one that is not there is made first.

        Raises:
            UnknownName: The split has no such clip.
        """
        import torch

        from tfbench.media.video import open_clip

        spec = self._spec(row)
        (made,) = self._made([row], workers=1)
        known = {name: torch.from_numpy(values) for name, values in made.truth().items()}
        return Sample(
            id=row.id,
            clip=open_clip(made.video),
            identity=row.identity,
            split=self.config.split,
            transcript=spec.text,
            word_times=made.words,
            phone_times=made.phones,
            emotion=spec.emotion,
            level=spec.level,
            landmarks=known["landmarks"],
            coefficients=known["coefficients"],
            expression=known["expression"],
            scene_mask=known.get("scene_mask"),
        )

    def truth(self, row: Row) -> dict[str, NDArray[Any]]:
        """Return all that is known of every frame of a clip; see `clip.RenderedClip.truth`."""
        (made,) = self._made([row], workers=1)
        return made.truth()

    def prepare(
        self,
        rows: Sequence[Row] | None = None,
        *,
        workers: int | None = None,
        verify: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Prepared:
        """Make all clips that are not there; see `Dataset.prepare`.

        Where no rows are given, the folder of the clips gets a manifest with the sha256 of each.
        """
        chosen = self.index() if rows is None else rows
        made = self._made(chosen, workers=workers, verify=verify, progress=progress)
        digest = hashlib.sha256()
        for row, clip in zip(chosen, made, strict=True):
            digest.update(f"{row.id}\t{clip.sha256}\n".encode())
        if rows is None:
            self._write_manifest(made, digest.hexdigest())
        return Prepared(
            folder=self.folder,
            n_clips=len(made),
            n_frames=sum(clip.n_frames for clip in made),
            n_refused=sum(len(clip.refusals) for clip in made),
            sha256=digest.hexdigest(),
        )

    @property
    def folder(self) -> Path:
        """Where clips of this version and resolution lie, of whatever split."""
        return cache_dir() / f"{self.name}-v{self.version}" / str(self.config.resolution)

    @property
    def manifest(self) -> Path:
        """Where `prepare` writes what was made."""
        return self.folder / f"{self.label}.json"

    def _plan(self) -> tuple[ClipSpec, ...]:
        config = self.config
        return plan(config.split, config.size, config.seed, config.kind, config.emotions)

    @cached_property
    def _specs(self) -> Mapping[str, ClipSpec]:
        return {spec.id: spec for spec in self._plan()}

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        specs = self._specs.values()
        return tuple(Row(s.id, f"puppet-{s.identity}", self._fingerprint(s)) for s in specs)

    def _spec(self, row: Row) -> ClipSpec:
        if row.id not in self._specs:
            raise UnknownName(f"data set {self.label} has no clip '{row.id}'")
        return self._specs[row.id]

    def _fingerprint(self, spec: ClipSpec) -> str:
        """Return what changes whenever the clip does."""
        return fingerprint([self.name, self.version, self.config.resolution, to_plain(spec)])

    def _made(self, rows: Sequence[Row], **how: Any) -> tuple[Made, ...]:
        specs = [self._spec(row) for row in rows]
        folders = [self.folder / self._fingerprint(spec) for spec in specs]
        size = self.config.resolution
        jobs = [Job(spec, size, folder) for spec, folder in zip(specs, folders, strict=True)]
        return make_clips(jobs, render=self._render, check=self._check, **how)

    def _write_manifest(self, made: Sequence[Made], sha256: str) -> None:
        clips = [
            {
                **to_plain(self._spec(row)),
                "folder": clip.folder.name,
                "n_frames": clip.n_frames,
                "sha256": clip.sha256,
                "attempt": len(clip.refusals),
                "refusals": list(clip.refusals),
            }
            for row, clip in zip(self.index(), made, strict=True)
        ]
        manifest = {
            "name": self.name,
            "version": self.version,
            "settings": to_plain(self.config),
            "checksum": self.checksum(),
            "sha256": sha256,
            "clips": clips,
        }
        data = json.dumps(manifest, indent=1).encode()
        # A complete cache may be read-only.
        if not self.manifest.exists() or self.manifest.read_bytes() != data:
            write_atomically(self.manifest, data)
