"""Plots of responses, as SVG files whose bytes depend on the numbers alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from tfbench.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfbench.validation.change import Change
    from tfbench.validation.verdict import Response

__all__ = ["following_plot", "response_plot"]

SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "tfbench",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
STYLES = {"responds": "-", "ignores": "--"}


def response_plot(change: Change, responses: Sequence[Response]) -> str:
    """Draw how far each claimed column moves; 1 is its largest response to what it must respond to.

    Columns that have responded to nothing in these clips have no such measure and are left out.
    Upwards is worse. Solid lines are columns that must respond, dashed ones those that must not.

    Args:
        change: What was done.
        responses: Of its columns, all of one data set.

    Returns:
        SVG; "" where there is nothing to draw.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    shown = [r for r in responses if r.claim and r.share is not None and _unit(r)]
    if not shown:
        return ""
    figure, axes = _figure()
    for n, response in enumerate(shown):
        sign = -1.0 if response.higher_is_better else 1.0
        unit = _unit(response)
        points = [p for p in response.points if p.difference is not None]
        gaps = [sign * (p.difference or 0.0) / unit for p in points]
        ends = [[sign * (end or 0.0) / unit for end in (p.low, p.high)] for p in points]
        bars = [
            [max(gap - min(pair), 0.0) for gap, pair in zip(gaps, ends, strict=True)],
            [max(max(pair) - gap, 0.0) for gap, pair in zip(gaps, ends, strict=True)],
        ]
        style, colour = STYLES[response.claim], f"C{n % 10}"
        levels = [p.level for p in points]
        axes.errorbar(
            levels, gaps, bars, fmt=f"o{style}", color=colour, label=response.column, **_THIN
        )
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlabel(f"{change.title}: {change.unit}")
    axes.set_ylabel("worse by, as a share of a response")
    axes.legend(frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    return _svg(figure)


def following_plot(change: Change, response: Response) -> str:
    """Draw an offset that was measured over the one that was made, every clip a dot.

    Returns:
        SVG.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, axes = _figure()
    levels = [p.level for p in response.points]
    axes.plot(levels, levels, color="grey", linewidth=0.8, label="as shifted")
    for point in response.points:
        dots = [point.level] * len(point.clips)
        axes.plot(dots, point.clips, "o", color="C0", alpha=0.4, markersize=4)
    axes.set_xlabel(f"{change.title}: {change.unit}")
    axes.set_ylabel(f"{response.column} of each clip ({response.unit})")
    axes.legend(frameon=False)
    return _svg(figure)


def _unit(response: Response) -> float:
    """Return the difference that the plot calls 1; 0 where it is not known."""
    farthest = max((abs(p.difference or 0.0) for p in response.points), default=0.0)
    return farthest / response.share if response.share else 0.0


_THIN = {"markersize": 3, "linewidth": 1, "elinewidth": 0.7, "capsize": 2}


def _figure() -> tuple[Any, Any]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError('plots need matplotlib: pip install "tfbench[plots]"') from error
    # Without pyplot there is no window system and no global state.
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, 3.2), layout="tight")
        return figure, figure.add_subplot()


def _svg(figure: Any) -> str:
    import matplotlib as mpl

    held = io.StringIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in held.getvalue().splitlines()) + "\n"
