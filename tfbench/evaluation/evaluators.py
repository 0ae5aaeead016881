"""Evaluator sets: which network judges for each metric.

`configs/evaluators/<set>.yaml` maps a metric to the name of a network, `stem.variant`, and
`<metric>.<keyword>` to a network that helps it where it is on the machine, or
`<metric>.definition` to the definition that suits the network. A network may also be the path of
a bundle that `tfbench train` has made. Inside a set nothing falls back: a metric whose network is
not on this machine is refused with what is missing, so that a number never silently comes from
another judge.

The set `auto` is made for each data set and machine: where the data set has a set of its own, such
as `puppets`, what that lists; for every other metric the network of `official` where it is here,
else that of `offline`. As everywhere, the judge is part of a column's key, so numbers of different
judges never meet. A name such as `offline+efd=emotion_fan.ferplus` is a set with changes.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfbench.core.assets import state
from tfbench.core.config import load_mapping
from tfbench.core.errors import ConfigError, InputError, MissingAsset, TfbenchError, UnknownName
from tfbench.core.paths import configs_dir
from tfbench.core.registry import parse_name, registry
from tfbench.nets.bundle import is_bundle, load_network, network_file, read_record

if TYPE_CHECKING:
    from collections.abc import Collection

    from tfbench.datasets.base import Dataset
    from tfbench.evaluation.protocol import Protocol
    from tfbench.metrics.base import TalkingFaceMetric
    from tfbench.nets.frozen import Frozen

__all__ = [
    "AUTO",
    "Chosen",
    "build_metric",
    "check_names",
    "choose",
    "evaluator_set",
    "evaluator_sets",
    "is_here",
    "load_network",
    "longest_clip",
]


AUTO = "auto"
DEFINITION = ".definition"


def evaluator_sets() -> tuple[str, ...]:
    """Return the names of all evaluator sets, `auto` first."""
    stems = sorted(path.stem for path in (configs_dir() / "evaluators").glob("*.yaml"))
    # Settings of an evaluator's training have a dot or a plus in their name.
    return (AUTO, *(stem for stem in stems if not {".", "+"} & set(stem)))


def evaluator_set(name: str, own: str | None = None) -> dict[str, str]:
    """Return metric -> network of a set.

    Args:
        name: `set`, or `set+metric=network+...`.
        own: The set that the data set to be scored has of its own; `auto` begins with it.

    Raises:
        UnknownName: There is no such set, metric or network.
        ConfigError: The file does not map names to names, or a change is not `metric=network`.
        MissingAsset: A bundle that is named is not there.
    """
    stem, *changes = name.split("+")
    mapping = _auto(own) if stem == AUTO else _read_set(stem)
    for change in changes:
        metric, equals, network = change.partition("=")
        if not (metric and equals and network):
            raise ConfigError(f"'{change}' in '{name}' is not metric=network")
        registry("metrics").find(metric.partition(".")[0])
        if metric.endswith(DEFINITION):
            pass
        elif is_bundle(network):
            read_record(Path(network) / "bundle.json")
        else:
            network_file(network)
        mapping[metric] = network
    return mapping


def _read_set(name: str) -> dict[str, str]:
    known = evaluator_sets()
    if name not in known:
        raise UnknownName(f"no evaluator set '{name}'; there are {', '.join(known)}")
    path = configs_dir() / "evaluators" / f"{name}.yaml"
    mapping = load_mapping(path)
    for metric, network in mapping.items():
        if not isinstance(network, str):
            raise ConfigError(f"{path}: {metric}: {network!r} is not the name of a network")
    return mapping


def _auto(own: str | None) -> dict[str, str]:
    official, offline = _read_set("official"), _read_set("offline")
    here = {metric: network for metric, network in official.items() if is_here(network)}
    return official | offline | here | (_read_set(own) if own else {})


def is_here(network: str) -> bool:
    """Tell whether a network's file is on this machine, without loading or hashing it."""
    asset = network_file(network).VARIANTS[parse_name(network).variant]
    return not asset or state(asset) == "present"


def build_metric(
    name: str, networks: dict[str, str], longest: int | None = None
) -> TalkingFaceMetric:
    """Build a metric by its name, `stem` or `stem.definition`.

    Args:
        name: Of the metric.
        networks: Metric -> network, of an evaluator set.
        longest: Frames in the longest clip, which may decide the definition where none is named.

    Raises:
        UnknownName: There is no such metric or definition.
        ConfigError: The set names no network for a metric that needs one.
        MissingAsset: The network's file is not on this machine.
    """
    parsed = parse_name(name)
    metric = registry("metrics").load(parsed.stem)
    usual = networks.get(f"{metric.name}{DEFINITION}") or metric.default_definition(longest)
    definition = parsed.variant or usual
    if not metric.judge_has:
        return metric(definition)
    if metric.name not in networks:
        raise ConfigError(
            f"the evaluator set names no network for the metric '{metric.name}'; add one with "
            f"--evaluators SET+{metric.name}=NETWORK"
        )
    return metric(definition, load_network(networks[metric.name]), **_helpers(metric, networks))


def _helpers(metric: type[TalkingFaceMetric], networks: dict[str, str]) -> dict[str, Frozen[Any]]:
    """Load the optional networks of a metric that are on this machine."""
    found = {}
    for keyword in metric.optional_networks:
        name = networks.get(f"{metric.name}.{keyword}")
        if name is None:
            continue
        with contextlib.suppress(MissingAsset):
            found[keyword] = load_network(name)
    return found


@dataclass(frozen=True)
class Chosen:
    """The metrics of an evaluation.

    Attributes:
        metrics: Those that can be measured here.
        left_out: Name -> why it cannot.
    """

    metrics: tuple[TalkingFaceMetric, ...]
    left_out: dict[str, str]


def longest_clip(dataset: Dataset, look_at: int = 20) -> int | None:
    """Return how many frames the longest of the first clips has; None where none can be read."""
    longest = None
    for row in dataset.index()[:look_at]:
        with contextlib.suppress(InputError):
            longest = max(longest or 0, dataset.sample(row).clip.video.n_frames)
    return longest


def choose(
    names: list[str] | None,
    evaluators: str,
    protocol: Protocol,
    longest: int | None = None,
    *,
    own: str | None = None,
    supervisors: Collection[str] = (),
) -> Chosen:
    """Build the metrics that were asked for, or all that the set and the protocol allow.

    Args:
        names: Metrics asked for by name: one that cannot be built is an error. None takes every
            metric, and says which are left out and why.
        evaluators: Name of the evaluator set. A network that it names by a change, as in
            `auto+wer=NETWORK`, that cannot judge the metric is an error.
        protocol: Says what there is to compare with.
        longest: Frames in the longest clip, if known; see `build_metric`.
        own: The evaluator set that the data set has of its own; see `evaluator_set`.
        supervisors: sha256 of the networks that have trained the method; none of them judges it.

    Raises:
        TfbenchError: A metric that was asked for cannot be built.
        ConfigError: A metric that was asked for compares with a clip that there is not, or its
            network has trained the method.
    """
    networks = evaluator_set(evaluators, own)
    metrics, left_out = [], {}
    changed = {change.partition("=")[0].partition(".")[0] for change in evaluators.split("+")[1:]}
    for name in names if names is not None else registry("metrics").names():
        try:
            metric = build_metric(name, networks, longest)
            _refuse_supervisor(metric, supervisors)
        except TfbenchError as error:
            if names is not None or name in changed:
                raise
            left_out[name] = str(error)
            continue
        try:
            _refuse_without_truth(metric, protocol)
        except ConfigError as error:
            if names is not None:
                raise
            left_out[name] = str(error)
        else:
            metrics.append(metric)
    return Chosen(tuple(metrics), left_out)


def check_names(names: list[str] | None, evaluators: str, own: str | None = None) -> None:
    """Refuse names that mean nothing, before any clip is read.

    Args:
        names: As for `choose`.
        evaluators: As for `choose`.
        own: As for `choose`.

    Raises:
        UnknownName: There is no such metric, definition, evaluator set or network.
        ConfigError: The set's name cannot be read.
    """
    evaluator_set(evaluators, own)
    for name in names or ():
        parsed = parse_name(name)
        registry("metrics").load(parsed.stem).check_definition(parsed.variant)


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


def _refuse_supervisor(metric: TalkingFaceMetric, supervisors: Collection[str]) -> None:
    if metric.info.evaluator_sha256 in supervisors:
        raise ConfigError(
            f"{metric.info.evaluator} has trained this method and cannot judge it; name another "
            f"network, such as the copy that was trained on other clips, with "
            f"--evaluators SET+{metric.name}=NETWORK"
        )
