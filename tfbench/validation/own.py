"""Metrics that are named by their Python path, not by a registry."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfbench.core.errors import ConfigError, UnknownName
from tfbench.evaluation.evaluators import load_network
from tfbench.metrics.base import TalkingFaceMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["own_metric"]


def own_metric(path: str, networks: Mapping[str, str]) -> TalkingFaceMetric:
    """Build a metric of the user's.

    Args:
        path: `package.module.Class`, found where Python finds it or in the present folder; or
            `package.module.Class=NETWORK`, with the network that judges.
        networks: Metric -> network of the evaluator set, asked where none is named.

    Raises:
        UnknownName: There is no such module or class.
        ConfigError: It is not a metric or not a complete one, or it needs a network and none is
            named.
    """
    where, _, network = path.partition("=")
    metric = _load(where)
    if not metric.judge_has:
        return metric()
    network = network or networks.get(metric.name, "")
    if not network:
        raise ConfigError(f"{where} needs a network; name one: --metric {where}=NETWORK")
    return metric(network=load_network(network))


def _load(where: str) -> type[TalkingFaceMetric]:
    module, _, name = where.rpartition(".")
    if not module:
        raise UnknownName(f"'{where}' is not package.module.Class")
    here = str(Path.cwd())
    # A console script does not look into the present folder, as `python -m` does.
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise UnknownName(f"the module '{module}' cannot be imported: {error}") from error
    if found is None:
        raise UnknownName(f"the module '{module}' has no '{name}'")
    if not (isinstance(found, type) and issubclass(found, TalkingFaceMetric)):
        raise ConfigError(f"{where} is not a TalkingFaceMetric; derive it from that class")
    lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
    if lacking:
        raise ConfigError(f"the metric {where} is not complete: it lacks {lacking}")
    return found
