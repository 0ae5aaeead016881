"""One process's share of an evaluation: generate a case, compute its views, append its rows."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from tfbench.core.config import fingerprint
from tfbench.core.errors import (
    GenerationError,
    InputError,
    StorageError,
    TfbenchError,
    Unscorable,
)
from tfbench.core.files import storage_errors
from tfbench.core.paths import cache_dir
from tfbench.core.types import Case, Clip, Need, Score, TensorVideo
from tfbench.evaluation.store import Rows, load_rows
from tfbench.faces.detect import FaceDetector
from tfbench.media.video import WRITER, open_clip, read_comment
from tfbench.preparation.arrays import Arrays, clip_sha256
from tfbench.preparation.first_pass import FaceFinder
from tfbench.preparation.views import ClipViews

if TYPE_CHECKING:
    from tfbench.evaluation.protocol import Pair
    from tfbench.evaluation.task import Evaluation
    from tfbench.metrics.base import TalkingFaceMetric

__all__ = ["Settled", "Worker"]

MADE_FROM = ("driving", "appearance")
"""Samples of a case that a generator's frames can depend on."""

log = logging.getLogger(__name__)


class Settled(NamedTuple):
    """What became of a case.

    Attributes:
        state: "scored", "done before" or "refused".
        keys: Definition of a metric -> the fingerprint of its row.
        inputs: Side -> sha256 of what was scored.
    """

    state: str
    keys: dict[str, str]
    inputs: dict[str, str]


class Worker:
    """Generates and scores cases in one process.

    Args:
        evaluation: What to do.
        device: Where networks run.
        rank: Which process this is.
    """

    def __init__(self, evaluation: Evaluation, device: torch.device, rank: int) -> None:
        self.evaluation = evaluation
        self.device = device
        self.metrics = tuple(metric.to(device) for metric in evaluation.metrics)
        self.detector = FaceDetector(device=device)
        self.finder = FaceFinder(self.detector, Arrays(cache_dir() / "faces"))
        self.features = Arrays(evaluation.folder / "features")
        self.rows = Rows(evaluation.folder, rank)
        with storage_errors(evaluation.folder):
            evaluation.folder.mkdir(parents=True, exist_ok=True)
            self.rows.path.touch()
        self.done = load_rows(evaluation.folder)
        if isinstance(evaluation.generator, torch.nn.Module):
            evaluation.generator.to(device).eval()

    def do(self, pair: Pair) -> Settled:
        """Generate and score one case, unless that is done."""
        try:
            case = self._case(pair)
            clips, sha256 = self._clips(case)
        except StorageError:
            raise
        except TfbenchError as error:
            return self._refuse_all(pair, str(error))
        keys = self._keys(sha256)
        todo = self._undone(pair, keys)
        if not todo:
            return Settled("done before", keys, sha256)
        needs = [key for metric in todo for key in metric.needs]
        views = ClipViews(
            case.id,
            case.cluster,
            clips,
            sha256,
            needs,
            self.finder,
            self.features,
            self.device,
            case.driving.transcript,
        )
        for metric in todo:
            name = metric.info.definition
            self.rows.append(pair.id, name, keys[name], self._measure(metric, views))
        return Settled("scored", keys, sha256)

    def _keys(self, sha256: dict[str, str]) -> dict[str, str]:
        """Compute the fingerprint of each metric's row for a case."""
        settled = {
            "detector": self.detector.version,
            "device": self.device.type,
            "inputs": sha256,
        }
        infos = [metric.info for metric in self.metrics]
        return {i.definition: fingerprint({**settled, "metric": asdict(i)}) for i in infos}

    def _undone(self, pair: Pair, keys: dict[str, str]) -> list[TalkingFaceMetric]:
        names = [metric.info.definition for metric in self.metrics]
        return [
            metric
            for metric, name in zip(self.metrics, names, strict=True)
            if (pair.id, name, keys[name]) not in self.done
        ]

    def _case(self, pair: Pair) -> Case:
        evaluation = self.evaluation
        case = evaluation.protocol.case(evaluation.dataset, pair, evaluation.seed)
        privileged = evaluation.generator.name == "ground_truth"
        if privileged and case.reference is not None:
            return replace(case, request=replace(case.request, oracle=case.driving))
        if privileged and Need.ORACLE in evaluation.generator.needs:
            raise GenerationError(
                f"the protocol '{evaluation.protocol.name}' has no truth: nobody was filmed "
                "saying these words with this face"
            )
        return case

    def _clips(self, case: Case) -> tuple[dict[str, Clip], dict[str, str]]:
        """Return the clip of each side and its sha256, generating the scored one if needed."""
        clips = {"driving": case.driving.clip}
        if case.request.identity is not None:
            clips["identity"] = Clip(TensorVideo(case.request.identity))
        if self.evaluation.protocol.has_appearance:
            clips["appearance"] = case.appearance.clip
        if case.reference is not None:
            clips["ref"] = case.reference
        sha256 = {side: clip_sha256(clip) for side, clip in clips.items()}
        made_from = {
            name: sha256.get(name) or clip_sha256(getattr(case, name).clip) for name in MADE_FROM
        }
        clips["pred"] = self._generated(case, made_from)
        sha256["pred"] = clip_sha256(clips["pred"])
        if case.driving.transcript is not None:
            sha256["transcript"] = fingerprint(case.driving.transcript)
        return clips, sha256

    def _generated(self, case: Case, inputs: dict[str, str]) -> Clip:
        generator = self.evaluation.generator
        existing = generator.existing(case.request)
        if existing is not None:
            return open_clip(existing)
        made_from = fingerprint(
            {
                "generator": generator.provenance(),
                "inputs": inputs,
                "seed": case.request.seed,
                "device": self.device.type,
                "writer": WRITER,
            }
        )
        out = self.evaluation.folder / "videos" / f"{case.id}.mp4"
        if out.exists() and made_from in read_comment(out):
            return open_clip(out)
        try:
            return generator.generate(case.request, out, comment=f"made_from={made_from}")
        except (TfbenchError, OSError):
            raise
        except Exception as error:
            log.exception("%s failed on %s", generator.label, case.id)
            raise GenerationError(f"{generator.label} failed: {error!r}") from error

    def _measure(self, metric: TalkingFaceMetric, views: ClipViews) -> tuple[Score, ...]:
        try:
            return metric.measure(views)
        except (Unscorable, InputError) as error:
            return metric.refuse(views.case, views.cluster, str(error))
        except (TfbenchError, OSError):
            raise
        except Exception as error:
            log.exception("%s failed on %s", metric.info.definition, views.case)
            return metric.refuse(views.case, views.cluster, f"the metric failed: {error!r}")

    def _refuse_all(self, pair: Pair, reason: str) -> Settled:
        """Note why a case has no video; it is tried again when the run is continued."""
        inputs = {"refused": reason}
        keys = self._keys(inputs)
        for metric in self._undone(pair, keys):
            name = metric.info.definition
            refused = metric.refuse(pair.id, pair.appearance.identity, reason)
            self.rows.append(pair.id, name, keys[name], refused)
        return Settled("refused", keys, inputs)
