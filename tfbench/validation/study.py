"""Runs a validation: every change at every level is one evaluation of the same clips.

Each is a run folder of its own below the study's, so that a validation which was stopped goes on
where it was: what is done is recognised by the fingerprints of `tfbench.evaluation.run`.
"""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from tfbench.core.config import canonical_json, fingerprint
from tfbench.core.errors import ConfigError, InputError
from tfbench.core.files import write_atomically
from tfbench.core.types import Score
from tfbench.evaluation.protocols.self import SelfProtocol
from tfbench.evaluation.run import Evaluation, evaluate
from tfbench.preparation.arrays import Arrays
from tfbench.validation.change import Change, Claim, Untouched
from tfbench.validation.generator import Changed
from tfbench.validation.memory import Remembering
from tfbench.validation.response import Scored, respond
from tfbench.validation.verdict import Point, Response, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tfbench.core.types import Column
    from tfbench.evaluation.result import Result
    from tfbench.metrics.base import TalkingFaceMetric
    from tfbench.validation.select import Cases

__all__ = ["FINDINGS", "Findings", "Judge", "Study", "read_findings", "validate"]

FINDINGS = "findings.json"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that a validation is made of.

    Attributes:
        cases: The clips.
        changes: What is done to them.
        metrics: What is measured.
        evaluators: Name of the evaluator set.
        folder: Where the runs lie.
        left_out: Metric -> why it cannot be measured here.
        seed: Of all draws.
    """

    cases: Cases
    changes: tuple[Change, ...]
    metrics: tuple[TalkingFaceMetric, ...]
    evaluators: str
    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        names = [metric.info.definition for metric in self.metrics]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"two metrics are both called {twice[0]}; name each once")

    def runs(self) -> tuple[Evaluation, ...]:
        """Return the evaluations: the untouched clips, then every change at every level."""
        steps: list[tuple[Change, float]] = [(Untouched(), 0.0)]
        steps += [(change, level) for change in self.applied() for level in change.levels]
        return tuple(self._run(change, level) for change, level in steps)

    def applied(self) -> tuple[Change, ...]:
        """Return the changes for which the data set has the clips."""
        return tuple(change for change in self.changes if not self.refused(change))

    def refused(self, change: Change) -> str:
        """Return why a change cannot be applied to these clips; "" where it can."""
        if change.partner == "none" or self.cases.others.get(change.partner):
            return ""
        return self.cases.absent.get(change.partner, "the data set has no clips for it")

    def place(self, change: Change, level: float) -> Path:
        """Return the run folder of one change at one level."""
        return self.folder / change.name / f"{level:g}"

    def _run(self, change: Change, level: float) -> Evaluation:
        return Evaluation(
            generator=Changed(change, level, self.cases),
            dataset=self.cases.selection,
            protocol=SelfProtocol(),
            metrics=cast("tuple[TalkingFaceMetric, ...]", tuple(map(Remembering, self.metrics))),
            evaluators=self.evaluators,
            folder=self.place(change, level),
            seed=self.seed,
        )


@dataclass(frozen=True)
class Judge:
    """Which network has judged for a definition, "" where none."""

    definition: str
    evaluator: str
    sha256: str


@dataclass(frozen=True)
class Findings:
    """What a validation has found.

    Attributes:
        dataset: Label of the data set.
        clips: sha256 over the ids and stamps of the clips.
        n_clips: Clips that were changed.
        n_people: People in them.
        evaluators: Name of the evaluator set.
        seed: Of all draws.
        device: Kind of device.
        judges: One a definition.
        left_out: Metric -> why it was not measured.
        not_applied: Change -> why the data set does not serve it.
        responses: One for each change and column.
        provenance: Versions of the code.
        schema: Version of this file format.
    """

    dataset: str
    clips: str
    n_clips: int
    n_people: int
    evaluators: str
    seed: int
    device: str
    judges: tuple[Judge, ...]
    left_out: dict[str, str]
    not_applied: dict[str, str]
    responses: tuple[Response, ...]
    provenance: dict[str, str]
    schema: int = SCHEMA

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all; infinite values are the string "inf"."""
        plain = json.loads(canonical_json(asdict(self)))
        text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomically(path, text.encode())


def validate(
    study: Study,
    *,
    accelerator: str = "auto",
    workers: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> Findings:
    """Run, or continue, a validation.

    Args:
        study: What to do.
        accelerator: Kind of device.
        workers: Processes; each works on runs of its own with one thread, so that their number
            changes no bit.
        progress: Called with (runs done, all, the last one's label).

    Returns:
        What was found; also in the study's folder.

    Raises:
        InputError: No change can be applied, or the data cannot be read.
    """
    if not study.applied():
        why = "; ".join(f"{c.name}: {study.refused(c)}" for c in study.changes)
        raise InputError(f"no change can be applied to {study.cases.selection.label}: {why}")
    study.cases.prepare()
    runs = study.runs()
    results: list[Result] = []
    for result in _results(runs, accelerator, workers):
        results.append(result)
        if progress is not None:
            progress(len(results), len(runs), result.method["name"])
    findings = _findings(study, results[0])
    findings.write(study.folder / FINDINGS)
    return findings


def read_findings(path: Path) -> Findings:
    """Read what a validation has found.

    Raises:
        InputError: The file is not one of these.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {plain['schema']}; this version reads {SCHEMA}")
        plain["judges"] = tuple(Judge(**one) for one in plain["judges"])
        plain["responses"] = tuple(_response(one) for one in plain["responses"])
        return Findings(**plain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} holds no findings of `tfbench validate`: {error!r}") from error


def _results(runs: tuple[Evaluation, ...], accelerator: str, workers: int) -> Iterator[Result]:
    """Yield the result of each run, in order."""
    jobs = [(run, accelerator) for run in runs]
    if workers <= 1:
        threads = torch.get_num_threads()
        try:
            yield from map(_one, jobs)
        finally:
            torch.set_num_threads(threads)
        return
    # CUDA does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(_one, jobs)


def _one(job: tuple[Evaluation, str]) -> Result:
    run, accelerator = job
    # The number of threads decides the last bits of sums.
    torch.set_num_threads(1)
    return evaluate(run, accelerator=accelerator)


def _findings(study: Study, untouched: Result) -> Findings:
    selection = study.cases.selection
    rows = selection.index()
    return Findings(
        dataset=selection.label,
        clips=fingerprint([[row.id, row.identity, row.stamp] for row in rows]),
        n_clips=len(rows),
        n_people=len({row.identity for row in rows}),
        evaluators=study.evaluators,
        seed=study.seed,
        device=untouched.device,
        judges=tuple(
            Judge(m.info.definition, m.info.evaluator, m.info.evaluator_sha256)
            for m in study.metrics
        ),
        left_out=study.left_out,
        not_applied={c.name: why for c in study.changes if (why := study.refused(c))},
        responses=settle(tuple(_responses(study))),
        provenance=untouched.provenance,
    )


def _responses(study: Study) -> Iterator[Response]:
    before = _scored(study.place(Untouched(), 0.0))
    for change in study.applied():
        after = {level: _scored(study.place(change, level)) for level in change.levels}
        for metric in study.metrics:
            name = metric.info.definition
            levels = {change.untouched: before[name]}
            levels |= {level: found[name] for level, found in after.items()}
            for column in metric.columns:
                claim = claim_of(change, metric, column)
                yield respond(metric, column, change, levels, claim)


def claim_of(change: Change, metric: TalkingFaceMetric, column: Column) -> tuple[str, Claim | None]:
    """Return what is claimed of a column under a change: ("responds" or "ignores", the claim).

    A metric from elsewhere may bring claims of its own: `responds_to` and `ignores`, each a
    mapping of a change's name to the reason.
    """
    for kind, claims in (("responds", change.responds), ("ignores", change.ignores)):
        own = [c for c in claims if c.metric == metric.name]
        for claim in own:
            if column.name == claim.column or (
                not claim.column and column.higher_is_better is not None
            ):
                return kind, claim
    for kind, attribute in (("responds", "responds_to"), ("ignores", "ignores")):
        why = getattr(metric, attribute, {}).get(change.name)
        if why is not None:
            return kind, Claim(metric.name, why)
    return "", None


def _scored(folder: Path) -> dict[str, Scored]:
    """Read the rows of a finished run, by definition."""
    load = Arrays(folder / "features").kept
    rows: dict[str, list[Score]] = {}
    for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines():
        plain: dict[str, Any] = json.loads(line)
        name = plain.pop("metric")
        for key in ("value", "numerator", "denominator"):
            if key in plain:
                plain[key] = float(plain[key])
        rows.setdefault(name, []).append(Score(**plain))
    return {name: Scored(scores, load) for name, scores in rows.items()}


def _response(plain: dict[str, Any]) -> Response:
    points = tuple(_point(one) for one in plain.pop("points"))
    for key in (
        "spread",
        "rho",
        "rho_low",
        "rho_high",
        "rho_total",
        "detected",
        "largest",
        "share",
    ):
        plain[key] = _number(plain[key])
    return Response(points=points, **plain)


def _point(plain: dict[str, Any]) -> Point:
    clips = tuple(float(value) for value in plain.pop("clips"))
    counts = {key: plain.pop(key) for key in ("n", "n_failed")}
    return Point(clips=clips, **counts, **{key: _number(value) for key, value in plain.items()})


def _number(value: Any) -> Any:
    return None if value is None else float(value)
