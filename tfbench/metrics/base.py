"""What a metric is.

A metric is used in two ways that share all arithmetic. As a library it is a torchmetrics
`Metric`: `update(tensors)` and `compute()`. In an evaluation it is a pure function of one clip,
`measure(views)`, that returns rows, and a reduction of all rows, `aggregate(scores)`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torchmetrics
from torch import Tensor

from tfbench.core.errors import ConfigError, InputError, UnknownName, Unscorable
from tfbench.core.types import Aggregate, Column, MetricInfo, Reduction, Score
from tfbench.core.views import ViewKey, Views
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["TalkingFaceMetric", "clip_values", "mean_of_clips", "ratio_of_clips"]


class TalkingFaceMetric(torchmetrics.Metric):
    """Base of all metrics.

    A subclass declares what it is in class variables, names the views it reads in `needs`,
    scores one clip in `measure`, and serves library users by `update` and `compute`.

    Args:
        definition: One of `definitions`; the first is the default.
        network: The network that judges, where the metric has one.

    Raises:
        UnknownName: There is no such definition.
        ConfigError: The network is of a kind that cannot judge this.
    """

    name: ClassVar[str]
    """The registry's name: the file's stem."""
    version: ClassVar[int] = 1
    """Raised whenever a change of the code can change a number."""
    reduction: ClassVar[Reduction] = "mean"
    definitions: ClassVar[Mapping[str, Any]]
    """Definition -> its settings; the default first."""
    judge_has: ClassVar[tuple[str, ...]] = ()
    """Methods and attributes that the network that judges has to have; evaluator sets name it.
    Empty: none judges."""
    optional_networks: ClassVar[tuple[str, ...]] = ()
    """Keywords of further networks; a set names them `<metric>.<keyword>`, and one that is not on
    the machine is left out."""

    full_state_update = False

    def __init__(self, definition: str | None = None, network: Frozen[Any] | None = None) -> None:
        super().__init__()
        self.check_definition(definition)
        self.definition = definition or self.default_definition()
        self._check_judge(network)
        self.network = network
        self._row_types: dict[str, torch.dtype] = {}

    @classmethod
    def check_definition(cls, definition: str | None) -> None:
        """Refuse the name of a definition that there is not; None stands for the usual one.

        Raises:
            UnknownName: Says which there are.
        """
        if definition is not None and definition not in cls.definitions:
            known = ", ".join(cls.definitions)
            raise UnknownName(f"metric {cls.name} has no definition '{definition}'; it has {known}")

    @classmethod
    def default_definition(cls, longest: int | None = None) -> str:  # noqa: ARG003
        """Choose the definition for a user who has named none.

        Args:
            longest: Frames in the longest clip to be scored, at 25 fps; None where not known.
        """
        return next(iter(cls.definitions))

    @classmethod
    def _check_judge(cls, network: Frozen[Any] | None) -> None:
        lacking = [name for name in cls.judge_has if network and not hasattr(network.module, name)]
        if network and lacking:
            raise ConfigError(
                f"{network.name} cannot judge {cls.name}: it has no {' and no '.join(lacking)}; "
                "tfbench doctor shows which networks judge it"
            )

    @property
    def settings(self) -> Any:
        """Settings of the definition in use."""
        return self.definitions[self.definition]

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """What the metric reports."""

    @property
    @abstractmethod
    def needs(self) -> tuple[ViewKey, ...]:
        """The views that `measure` reads."""

    @property
    def info(self) -> MetricInfo:
        """What this metric is, for tables and provenance."""
        return MetricInfo(
            name=self.name,
            definition=f"{self.name}.{self.definition}",
            version=self.version,
            columns=self.columns,
            reduction=self.reduction,
            crop="+".join(sorted({key.crop.name for key in self.needs})),
            evaluator=self.network.name if self.network else "",
            evaluator_sha256=self.network.sha256 if self.network else "",
            helpers=tuple(f"{net.name} {net.sha256}" for net in self._helpers()),
        )

    @abstractmethod
    def measure(self, views: Views) -> tuple[Score, ...]:
        """Score one clip: one row for each part and column.

        Raises:
            Unscorable: The clip cannot be scored; becomes a row with the reason.
        """

    def aggregate(
        self,
        scores: Sequence[Score],
        load: Callable[[str], Tensor] | None = None,  # noqa: ARG002
    ) -> tuple[Aggregate, ...]:
        """Reduce the rows of all clips to one number for each column.

        Args:
            scores: Rows of this metric, sorted by case.
            load: Finds the features that rows of a set metric point to.
        """
        reduce = ratio_of_clips if self.reduction == "ratio" else mean_of_clips
        return tuple(reduce(scores, column.name) for column in self.columns)

    def score(self, views: Views, part: str, values: Mapping[str, float]) -> tuple[Score, ...]:
        """Make one row a column; a value that is not a number becomes a reason."""
        return tuple(
            Score(views.case, part, column, views.cluster, reason="the result is not a number")
            if math.isnan(value)
            else Score(views.case, part, column, views.cluster, value=value)
            for column, value in values.items()
        )

    def refuse(self, case: str, cluster: str, reason: str) -> tuple[Score, ...]:
        """Make the rows of a clip that cannot be scored."""
        return tuple(
            Score(case, "clip", column.name, cluster, reason=reason) for column in self.columns
        )

    def add_rows(self, state: str, dtype: torch.dtype = torch.float64) -> None:
        """Declare a state that collects the rows of 2-D tensors.

        torchmetrics aborts a distributed `compute` when ranks have collected different numbers of
        tensors, or none; states declared here are joined first and take part with no rows.
        """
        self._row_types[state] = dtype
        self.add_state(state, [], dist_reduce_fx=_join)

    def rows(self, state: str) -> Tensor:
        """Return all collected rows, (n, d).

        Raises:
            InputError: `update` was never called.
        """
        collected = getattr(self, state)
        joined = collected if isinstance(collected, Tensor) else _join(collected)
        if joined.numel() == 0:
            raise InputError(f"metric {self.name} has nothing to compute from; call update first")
        return joined

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        for state, dtype in self._row_types.items():
            joined = _join(getattr(self, state))
            setattr(self, state, [joined.to(self.device, dtype)])
        super()._sync_dist(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Any:
        """Move the evaluator together with the metric's states."""
        moved = super()._apply(fn, *args, **kwargs)
        for network in (self.network, *self._helpers()):
            if network is not None:
                network.to(self.device)
        return moved

    def _helpers(self) -> tuple[Frozen[Any], ...]:
        """Return the optional networks that this metric was given."""
        held = (getattr(self, keyword, None) for keyword in self.optional_networks)
        return tuple(network for network in held if network is not None)

    def _judge(self) -> Frozen[Any]:
        if self.network is None:
            raise Unscorable(f"metric {self.name} was built without its network")
        return self.network


def _join(rows: list[Tensor]) -> Tensor:
    filled = [tensor for tensor in rows if tensor.numel()]
    return torch.cat(filled) if filled else torch.zeros(0, 0)


def clip_values(scores: Iterable[Score], column: str) -> dict[str, tuple[str, float]]:
    """Reduce rows to one value a clip: the mean over its parts.

    Returns:
        case -> (cluster, value); clips in which any part was refused are left out only where
        no part has a value.
    """
    values: dict[str, list[float]] = defaultdict(list)
    clusters: dict[str, str] = {}
    for score in scores:
        if score.column == column and score.value is not None:
            values[score.case].append(score.value)
            clusters[score.case] = score.cluster
    return {case: (clusters[case], math.fsum(v) / len(v)) for case, v in sorted(values.items())}


def mean_of_clips(scores: Sequence[Score], column: str) -> Aggregate:
    """Average a column over clips, every clip weighing the same."""
    values = [value for _, value in clip_values(scores, column).values()]
    mean = math.fsum(values) / len(values) if values else None
    return Aggregate(column, mean, len(values))


def ratio_of_clips(scores: Sequence[Score], column: str) -> Aggregate:
    """Divide the sum of all numerators by the sum of all denominators."""
    rows = [score for score in scores if score.column == column and score.reason is None]
    over = math.fsum(score.numerator or 0.0 for score in rows)
    under = math.fsum(score.denominator or 0.0 for score in rows)
    cases = {score.case for score in rows}
    return Aggregate(column, over / under if under > 0 else None, len(cases))
