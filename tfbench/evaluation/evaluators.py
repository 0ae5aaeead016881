"""Evaluator sets: which network judges for each metric.

`configs/evaluators/<set>.yaml` maps a metric to the name of a network, `stem.variant`. Inside a
set nothing falls back: a metric whose network is not on this machine is refused with what is
missing, so that a number never silently comes from another judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfbench.core.config import load_mapping
from tfbench.core.errors import ConfigError, MissingAsset, TfbenchError, UnknownName
from tfbench.core.paths import configs_dir
from tfbench.core.registry import parse_name, registry

if TYPE_CHECKING:
    from tfbench.evaluation.protocol import Protocol
    from tfbench.metrics.base import TalkingFaceMetric
    from tfbench.nets.frozen import Frozen

__all__ = [
    "Chosen",
    "build_metric",
    "choose",
    "default_set",
    "evaluator_set",
    "evaluator_sets",
    "load_network",
]


def evaluator_sets() -> tuple[str, ...]:
    """Return the names of all evaluator sets."""
    return tuple(sorted(path.stem for path in (configs_dir() / "evaluators").glob("*.yaml")))


def evaluator_set(name: str) -> dict[str, str]:
    """Return metric -> network of a set.

    Raises:
        UnknownName: There is no such set.
        ConfigError: The file does not map names to names.
    """
    known = evaluator_sets()
    if name not in known:
        raise UnknownName(f"no evaluator set '{name}'; there are {', '.join(known)}")
    path = configs_dir() / "evaluators" / f"{name}.yaml"
    mapping = load_mapping(path)
    for metric, network in mapping.items():
        if not isinstance(network, str):
            raise ConfigError(f"{path}: {metric}: {network!r} is not the name of a network")
    return mapping


def default_set() -> tuple[str, str]:
    """Choose the set for a user who has named none.

    Returns:
        "official" if all its networks are on this machine, else "offline"; and why.
    """
    for metric, network in evaluator_set("official").items():
        try:
            load_network(network)
        except MissingAsset:
            why = f"'official' lacks {network} for {metric}: see `tfbench assets list`"
            return "offline", f"{why}; numbers of different sets never share a column"
    return "official", "all its networks are here"


def load_network(name: str) -> Frozen[Any]:
    """Load a network by its name, `stem.variant`.

    Raises:
        UnknownName: There is no such network or variant.
        MissingAsset: Its file is not on this machine.
    """
    parsed = parse_name(name)
    module = registry("networks").load(parsed.stem)
    if parsed.variant not in module.VARIANTS:
        known = ", ".join(f"{parsed.stem}.{variant}" for variant in module.VARIANTS)
        raise UnknownName(f"no network '{name}'; there are {known}")
    network: Frozen[Any] = module.load(parsed.variant)
    return network


def build_metric(name: str, networks: dict[str, str]) -> TalkingFaceMetric:
    """Build a metric by its name, `stem` or `stem.definition`.

    Args:
        name: Of the metric.
        networks: Metric -> network, of an evaluator set.

    Raises:
        UnknownName: There is no such metric or definition.
        ConfigError: The set names no network for a metric that needs one.
        MissingAsset: The network's file is not on this machine.
    """
    parsed = parse_name(name)
    metric = registry("metrics").load(parsed.stem)
    if not metric.needs_network:
        return metric(parsed.variant)
    if metric.name not in networks:
        raise ConfigError(f"the evaluator set names no network for the metric '{metric.name}'")
    return metric(parsed.variant, load_network(networks[metric.name]))


@dataclass(frozen=True)
class Chosen:
    """The metrics of an evaluation.

    Attributes:
        metrics: Those that can be measured here.
        left_out: Name -> why it cannot.
    """

    metrics: tuple[TalkingFaceMetric, ...]
    left_out: dict[str, str]


def choose(names: list[str] | None, evaluators: str, protocol: Protocol) -> Chosen:
    """Build the metrics that were asked for, or all that the set and the protocol allow.

    Args:
        names: Metrics asked for by name: one that cannot be built is an error. None takes every
            metric, and says which are left out and why.
        evaluators: Name of the evaluator set.
        protocol: Says what there is to compare with.

    Raises:
        TfbenchError: A metric that was asked for cannot be built.
        ConfigError: A metric that was asked for compares with a clip that there is not.
    """
    networks = evaluator_set(evaluators)
    metrics, left_out = [], {}
    for name in names if names is not None else registry("metrics").names():
        try:
            metric = build_metric(name, networks)
            _refuse_without_truth(metric, protocol)
        except TfbenchError as error:
            if names is not None:
                raise
            left_out[name] = str(error)
        else:
            metrics.append(metric)
    return Chosen(tuple(metrics), left_out)


def _refuse_without_truth(metric: TalkingFaceMetric, protocol: Protocol) -> None:
    sides = {key.side for key in metric.needs}
    if not protocol.has_reference and sides & {"ref", "pair"}:
        lacking = "the true clip"
    elif not protocol.has_appearance and "appearance" in sides:
        lacking = "real clips"
    else:
        return
    raise ConfigError(
        f"{metric.info.definition} compares with {lacking}, which the protocol "
        f"'{protocol.name}' does not have"
    )
