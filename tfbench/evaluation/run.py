"""Run an evaluation: cases, generation, views, rows, aggregates.

Cases are split over processes, but no number depends on that: each process appends its own rows,
and the first one aggregates the rows of all, sorted. A run folder can be continued after a kill
at any moment; what is done is recognised by a fingerprint over everything that can change the
number.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric

from tfbench.core.config import canonical_json, fingerprint
from tfbench.core.errors import InputError
from tfbench.core.files import write_atomically
from tfbench.core.machine import cores
from tfbench.evaluation.pool import in_processes
from tfbench.evaluation.result import Result, cells_of, provenance, scores_digest
from tfbench.evaluation.store import load_rows
from tfbench.evaluation.task import Evaluation
from tfbench.evaluation.worker import Worker
from tfbench.preparation.arrays import Arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tfbench.core.types import Score
    from tfbench.evaluation.protocol import Pair
    from tfbench.evaluation.worker import Settled

__all__ = ["Evaluation", "evaluate", "usual_devices"]

MOST_PROCESSES = 8
CASES_FOR_A_PROCESS = 4


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
        devices: Processes: on a GPU one for each, on CPUs as many as wished, of one thread each.
            With several, a script needs the usual `if __name__ == "__main__":`.
        progress: Called with (case, state) after each case.

    Returns:
        The result, which is also in the run's folder as `result.json`, with all rows beside it
        as `scores.jsonl`.

    Raises:
        InputError: The data set cannot be read, the folder cannot be written, or there are not
            so many devices.
    """
    if not evaluation.metrics:
        raise InputError("no metric to measure; name at least one")
    pairs = evaluation.pairs()
    if not pairs:
        raise InputError(f"the data set {evaluation.dataset.label} has no clip")
    evaluation.dataset.prepare(sorted({row for p in pairs for row in (p.driving, p.appearance)}))
    places = _devices(accelerator, devices)
    with _one_thread(places[0]):
        if devices == 1:
            settled = _alone(evaluation, pairs, places[0], progress)
        else:
            settled = in_processes(evaluation, pairs, places, progress)
        return _conclude(evaluation, pairs, settled, places[0].type)


def usual_devices(accelerator: str, cases: int) -> int:
    """Return how many processes a command starts when nobody says: on CPUs, one for each core.

    Each takes up to 2 GiB and some seconds to begin, so that few cases get fewer.
    """
    if Fabric(accelerator=accelerator, devices=1).device.type != "cpu":
        return 1
    return max(1, min(cores(), MOST_PROCESSES, cases // CASES_FOR_A_PROCESS))


def _alone(
    evaluation: Evaluation,
    pairs: Sequence[Pair],
    device: torch.device,
    progress: Callable[[str, str], None] | None,
) -> dict[str, Settled]:
    """Do all cases in this process."""
    settled = {}
    worker = Worker(evaluation, device, 0)
    for pair in pairs:
        settled[pair.id] = worker.do(pair)
        if progress is not None:
            progress(pair.id, settled[pair.id].state)
    return settled


@contextlib.contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Compute in one thread on a CPU: how many there are decides the last bits of a sum."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _devices(accelerator: str, n: int) -> list[torch.device]:
    """Return the device of each process.

    Raises:
        InputError: There are not so many.
    """
    device = Fabric(accelerator=accelerator, devices=1).device
    if device.type == "cpu" or n == 1:
        return [device] * n
    there = torch.cuda.device_count() if device.type == "cuda" else 1
    if n > there:
        raise InputError(f"{n} devices are asked for, of '{device.type}' there are {there}")
    return [torch.device(device.type, k) for k in range(n)]


def _conclude(
    evaluation: Evaluation, pairs: Sequence[Pair], settled: Mapping[str, Settled], device: str
) -> Result:
    """Aggregate the rows of all processes, in the order of the cases."""
    rows = load_rows(evaluation.folder)
    features = Arrays(evaluation.folder / "features")
    chosen: dict[str, list[Score]] = {}
    for metric in evaluation.metrics:
        name = metric.info.definition
        places = [(pair.id, name, settled[pair.id].keys[name]) for pair in pairs]
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
            _reference_set(chosen[metric.info.definition], settled),
            evaluation.generator.taught_by,
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


def _reference_set(scores: Sequence[Score], settled: Mapping[str, Settled]) -> str:
    """Return the sha256 over the real clips that a set metric has compared with."""
    cases = [score.case for score in scores if score.features is not None]
    return fingerprint(sorted({settled[case].inputs["appearance"] for case in cases}))


def _lines(chosen: dict[str, list[Score]]) -> str:
    records = [
        {"metric": name, **{k: v for k, v in asdict(score).items() if v is not None}}
        for name, scores in chosen.items()
        for score in scores
    ]
    return "".join(f"{canonical_json(record)}\n" for record in records)
