"""Run an evaluation: cases, generation, views, rows, aggregates.

Work is split over processes by Lightning Fabric, but no number depends on that: each process
appends its own rows, and the first one aggregates the rows of all, sorted. A run folder can be
continued after a kill at any moment; what is done is recognised by a fingerprint over
everything that can change the number.
"""

from __future__ import annotations

import functools
import json
import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from tfbench.core.config import canonical_json, fingerprint
from tfbench.core.errors import (
    GenerationError,
    InputError,
    StorageError,
    TfbenchError,
    Unscorable,
)
from tfbench.core.files import storage_errors, write_atomically
from tfbench.core.paths import cache_dir
from tfbench.core.types import Case, Clip, Need, Score, TensorVideo
from tfbench.evaluation.result import Result, cells_of, provenance, scores_digest
from tfbench.evaluation.store import Rows, load_rows
from tfbench.faces.detect import FaceDetector
from tfbench.media.video import open_clip, read_comment
from tfbench.preparation.arrays import Arrays, clip_sha256
from tfbench.preparation.views import ClipViews, FaceFinder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tfbench.datasets.base import Dataset
    from tfbench.evaluation.protocol import Pair, Protocol
    from tfbench.methods.base import Generator
    from tfbench.metrics.base import TalkingFaceMetric

__all__ = ["Evaluation", "evaluate"]

MADE_FROM = ("driving", "appearance")
"""Samples of a case that a generator's frames can depend on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything that an evaluation is made of.

    Attributes:
        generator: What makes the videos.
        dataset: Where the clips come from.
        protocol: How they are paired.
        metrics: What is measured.
        evaluators: Name of the evaluator set that the metrics' networks come from.
        folder: The run's folder: rows, features and generated videos; continued if it exists.
        seed: Of the generator.
        limit: At most this many cases, the first by id; None takes all.
    """

    generator: Generator
    dataset: Dataset
    protocol: Protocol
    metrics: tuple[TalkingFaceMetric, ...]
    evaluators: str
    folder: Path
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        for label in (self.generator.label, self.dataset.label):
            if not label or label.startswith(".") or "/" in label or "\\" in label:
                raise InputError(
                    f"'{label}' cannot name a method or data set: results lie in folders of that "
                    "name; leave out slashes and a leading dot"
                )

    def pairs(self) -> tuple[Pair, ...]:
        """Return the cases, sorted by id."""
        return self.protocol.pairs(self.dataset)[: self.limit]


def evaluate(
    evaluation: Evaluation,
    *,
    accelerator: str = "auto",
    devices: int = 1,
    progress: Callable[[str, str], None] | None = None,
) -> Result:
    """Run, or continue, an evaluation.

    Args:
        evaluation: What to do.
        accelerator: Fabric's name of the kind of device: "auto", "cpu", "gpu".
        devices: Processes, one device each.
        progress: Called in the first process with (case, state) after each case.

    Returns:
        The result, which is also in the run's folder as `result.json`, with all rows beside it
        as `scores.jsonl`.

    Raises:
        InputError: The data set cannot be read or the folder cannot be written.
    """
    if not evaluation.metrics:
        raise InputError("no metric to measure; name at least one")
    pairs = evaluation.pairs()
    if not pairs:
        raise InputError(f"the data set {evaluation.dataset.label} has no clip")
    evaluation.dataset.prepare(sorted({row for p in pairs for row in (p.driving, p.appearance)}))
    strategy = "ddp_spawn" if devices > 1 else "auto"
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy)
    threads = torch.get_num_threads()
    work = functools.partial(_work, evaluation=evaluation, pairs=pairs, threads=threads)
    if devices > 1:
        _launch(fabric, work)
    else:
        work(fabric, progress=progress)
    return _conclude(evaluation, pairs, devices, fabric.device.type)


def _launch(fabric: Fabric, work: Callable[[Fabric], None]) -> None:
    """Run the work in several processes; when one of them fails, say why in one line."""
    try:
        fabric.launch(work)
    except (ProcessRaisedException, ProcessExitedException) as error:
        said = str(error).strip().splitlines()[-1]
        raise TfbenchError(
            f"a process of the evaluation ended early: {said}; what is done is kept, and the "
            "same command continues"
        ) from error


def _work(
    fabric: Fabric,
    evaluation: Evaluation,
    pairs: Sequence[Pair],
    threads: int,
    progress: Callable[[str, str], None] | None = None,
) -> None:
    """Do one process's share of the cases."""
    # Thread counts choose kernels and with them the last bits of a float32 sum.
    torch.set_num_threads(threads)
    worker = Worker(evaluation, fabric.device, fabric.global_rank)
    for pair in pairs[fabric.global_rank :: fabric.world_size]:
        state = worker.do(pair)
        if progress is not None:
            progress(pair.id, state)
    worker.finish()
    fabric.barrier()


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
        self.current: dict[str, Any] = {}
        self.rank = rank
        self.done = load_rows(evaluation.folder)
        if isinstance(evaluation.generator, torch.nn.Module):
            evaluation.generator.to(device).eval()

    def do(self, pair: Pair) -> str:
        """Generate and score one case, unless that is done; returns what happened."""
        try:
            case = self._case(pair)
            clips, sha256 = self._clips(case)
        except StorageError:
            raise
        except TfbenchError as error:
            self._refuse_all(pair, str(error))
            return "refused"
        self._note(pair, sha256)
        todo = [metric for metric in self.metrics if self._place(pair, metric) not in self.done]
        if not todo:
            return "done before"
        keys = [key for metric in todo for key in metric.needs]
        views = ClipViews(
            case.id,
            case.cluster,
            clips,
            sha256,
            keys,
            self.finder,
            self.features,
            self.device,
            case.driving.transcript,
        )
        for metric in todo:
            self.rows.append(*self._place(pair, metric), self._measure(metric, views))
        return "scored"

    def finish(self) -> None:
        """Leave which rows are this run's: the folder may hold older ones of other inputs."""
        path = self.evaluation.folder / f"current-{self.rank}.json"
        write_atomically(path, canonical_json(self.current).encode())

    def _note(self, pair: Pair, sha256: dict[str, str]) -> None:
        """Settle the fingerprint of each metric's row for this case."""
        settled = {
            "detector": self.detector.version,
            "device": self.device.type,
            "inputs": sha256,
        }
        keys = {
            metric.info.definition: fingerprint({**settled, "metric": asdict(metric.info)})
            for metric in self.metrics
        }
        self.current[pair.id] = {"keys": keys, "inputs": sha256}

    def _place(self, pair: Pair, metric: TalkingFaceMetric) -> tuple[str, str, str]:
        definition = metric.info.definition
        return pair.id, definition, self.current[pair.id]["keys"][definition]

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

    def _refuse_all(self, pair: Pair, reason: str) -> None:
        """Note why a case has no video; it is tried again when the run is continued."""
        self._note(pair, {"refused": reason})
        for metric in self.metrics:
            place = self._place(pair, metric)
            if place not in self.done:
                self.rows.append(*place, metric.refuse(pair.id, pair.appearance.identity, reason))


def _conclude(evaluation: Evaluation, pairs: Sequence[Pair], ranks: int, device: str) -> Result:
    """Aggregate the rows of all processes, in the order of the cases."""
    current: dict[str, Any] = {}
    for rank in range(ranks):
        current |= json.loads((evaluation.folder / f"current-{rank}.json").read_bytes())
    rows = load_rows(evaluation.folder)
    features = Arrays(evaluation.folder / "features")
    chosen: dict[str, list[Score]] = {}
    for metric in evaluation.metrics:
        name = metric.info.definition
        places = [(pair.id, name, current[pair.id]["keys"][name]) for pair in pairs]
        chosen[name] = [score for place in places for score in rows[place]]
    text = _lines(chosen)
    write_atomically(evaluation.folder / "scores.jsonl", text.encode())
    cells = [
        cell
        for metric in evaluation.metrics
        for cell in cells_of(
            metric,
            chosen[metric.info.definition],
            features.kept,
            _reference_set(chosen[metric.info.definition], current),
        )
    ]
    protocol = evaluation.protocol
    result = Result(
        method=evaluation.generator.provenance() | {"name": evaluation.generator.label},
        dataset=evaluation.dataset.label,
        split_checksum=evaluation.dataset.checksum(),
        protocol=protocol.name,
        protocol_settings=protocol.settings(),
        evaluators=evaluation.evaluators,
        seed=evaluation.seed,
        device=device,
        n_cases=len(pairs),
        scores_sha256=scores_digest(text),
        cells=tuple(cells),
        provenance=provenance(),
    )
    result.write(evaluation.folder / "result.json")
    return result


def _reference_set(scores: Sequence[Score], current: dict[str, Any]) -> str:
    """Return the sha256 over the real clips that a set metric has compared with."""
    cases = [score.case for score in scores if score.features is not None]
    return fingerprint(sorted({current[case]["inputs"]["appearance"] for case in cases}))


def _lines(chosen: dict[str, list[Score]]) -> str:
    records = [
        {"metric": name, **{k: v for k, v in asdict(score).items() if v is not None}}
        for name, scores in chosen.items()
        for score in scores
    ]
    return "".join(f"{canonical_json(record)}\n" for record in records)
