"""The styles of hair: a hairline, one or two layers of locks, and what is tied or braided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tfbench.datasets.puppets.hairline import Line
from tfbench.datasets.puppets.head import Head
from tfbench.datasets.puppets.locks import Locks
from tfbench.datasets.puppets.strands import Mesh, Surface
from tfbench.datasets.puppets.tied import low_bun, one_tail, pigtails, top_knot, two_braids

__all__ = ["STYLES", "Style"]

Tied = Callable[[Line, Surface, Head, np.random.Generator, float, float], Mesh]


@dataclass(frozen=True)
class Style:
    """How a style is made.

    Attributes:
        line: Its hairline.
        locks: Layers of ribbons.
        body: Thickness of the shell under them, decimetres; 0 for none.
        lumps: Height of the shell's lumps, decimetres.
        grain: Lumps a decimetre.
        tied: What is tied or braided.
    """

    line: Line = field(default_factory=Line)
    locks: tuple[Locks, ...] = ()
    body: float = 0.0
    lumps: float = 0.0
    grain: float = 5.0
    tied: Tied | None = None


STYLES: dict[str, Style] = {
    "bald": Style(Line(density=0.10, temples=0.12, soft=0.25)),
    "buzz": Style(
        Line(density=0.93, soft=0.12),
        (
            Locks(
                "whorl",
                count=800,
                length=(0.10, 0.08, 0.08),
                width=0.055,
                height=0.03,
                lift=0.2,
                segments=2,
                twist=0.25,
                tip=0.05,
                root=0.45,
                matte=True,
            ),
        ),
        body=0.012,
    ),
    "crop": Style(
        Line(),
        (
            Locks(
                "whorl",
                count=800,
                length=(0.30, 0.15, 0.15),
                width=0.075,
                height=0.10,
                lift=0.25,
                hold=0.5,
                wander=0.28,
                segments=3,
                twist=0.25,
                tip=0.05,
                brow=7.85,
                root=0.35,
                sides=0.5,
            ),
        ),
        body=0.035,
    ),
    "side_part": Style(
        Line(temples=0.04),
        (
            Locks(
                "parted",
                count=560,
                length=(0.66, 0.20, 0.20),
                width=0.09,
                height=0.15,
                lift=0.3,
                hold=0.6,
                part=0.38,
                segments=5,
                twist=0.25,
                tip=0.05,
                brow=7.85,
                root=0.3,
                sides=0.4,
            ),
        ),
        body=0.04,
    ),
    "swept_back": Style(
        Line(temples=0.06),
        (
            Locks(
                "back",
                count=560,
                length=(0.85, 0.35, 0.25),
                width=0.09,
                height=0.15,
                lift=0.35,
                hold=0.5,
                segments=5,
                twist=0.25,
                tip=0.05,
                root=0.25,
                sides=0.4,
            ),
        ),
        body=0.04,
    ),
    "quiff": Style(
        Line(temples=0.03),
        (
            Locks(
                "back",
                count=300,
                length=(0.80, 0.25, 0.2),
                width=0.12,
                height=0.22,
                lift=0.4,
                hold=0.6,
                wander=0.05,
                inertia=0.7,
                sides=0.3,
                segments=6,
                zone="top",
                twist=0.25,
                tip=0.05,
                root=0.3,
            ),
            Locks(
                "whorl",
                count=400,
                length=(0.2, 0.10, 0.10),
                width=0.065,
                height=0.03,
                lift=0.2,
                segments=2,
                zone="low",
                twist=0.25,
                tip=0.05,
                root=0.45,
            ),
        ),
        body=0.025,
    ),
    "curly": Style(
        Line(),
        (
            Locks(
                "whorl",
                count=310,
                length=(0.70, 0.50, 0.42),
                width=0.10,
                height=0.24,
                lift=0.7,
                gravity=0.10,
                hold=0.25,
                wander=0.5,
                curl=0.06,
                turns=1.6,
                segments=9,
                twist=0.8,
                brow=7.80,
                tip=0.5,
                root=0.1,
                matte=True,
            ),
        ),
        body=0.16,
        lumps=0.05,
    ),
    "afro": Style(
        Line(nape=0.1),
        (
            Locks(
                "radial",
                count=820,
                length=(0.16, 0.14, 0.14),
                width=0.065,
                height=0.40,
                lift=0.35,
                hold=0.0,
                wander=1.6,
                curl=0.03,
                turns=0.8,
                segments=3,
                twist=0.8,
                tip=0.6,
                root=0.3,
                cling=0.9,
                matte=True,
            ),
        ),
        body=0.36,
        lumps=0.06,
        grain=8.0,
    ),
    "bob": Style(
        Line(),
        (
            Locks(
                "fall",
                count=400,
                length=(2.6, 1.9, 1.6),
                width=0.14,
                height=0.15,
                lift=0.25,
                inertia=0.6,
                gravity=0.2,
                hold=0.35,
                trim=(6.42, 6.35),
                part=0.25,
                segments=7,
            ),
        ),
        body=0.05,
    ),
    "fringe": Style(
        Line(),
        (
            Locks(
                "fall",
                count=300,
                length=(2.6, 1.9, 1.6),
                width=0.14,
                height=0.13,
                lift=0.2,
                inertia=0.6,
                gravity=0.2,
                hold=0.35,
                trim=(6.32, 6.30),
                part=0.0,
                segments=7,
            ),
            Locks(
                "forward",
                count=110,
                length=(0.85, 0.6, 0.6),
                width=0.11,
                height=0.09,
                lift=0.25,
                gravity=0.2,
                hold=0.3,
                brow=7.62,
                segments=6,
                zone="fringe",
            ),
        ),
        body=0.05,
    ),
    "straight": Style(
        Line(),
        (
            Locks(
                "fall",
                count=400,
                length=(3.6, 2.9, 2.6),
                width=0.15,
                height=0.12,
                lift=0.2,
                inertia=0.6,
                gravity=0.2,
                hold=0.3,
                trim=(5.3, 5.35),
                part=0.0,
                segments=7,
            ),
        ),
        body=0.05,
    ),
    "wavy": Style(
        Line(),
        (
            Locks(
                "fall",
                count=250,
                length=(3.2, 2.6, 2.3),
                width=0.18,
                height=0.18,
                lift=0.35,
                gravity=0.25,
                hold=0.2,
                wander=0.15,
                trim=(5.6, 5.5),
                part=0.22,
                curl=0.07,
                turns=2.4,
                segments=11,
            ),
        ),
        body=0.08,
    ),
    "shag": Style(
        Line(),
        (
            Locks(
                "fall",
                count=380,
                length=(1.4, 0.9, 0.8),
                width=0.11,
                height=0.18,
                lift=0.4,
                gravity=0.14,
                hold=0.25,
                wander=0.25,
                part=0.2,
                curl=0.03,
                turns=1.2,
                segments=7,
                tip=0.1,
                root=0.15,
            ),
        ),
        body=0.08,
    ),
    "ponytail": Style(Line(), body=0.02, tied=one_tail),
    "bun": Style(Line(), body=0.02, tied=top_knot),
    "low_bun": Style(Line(), body=0.02, tied=low_bun),
    "braids": Style(Line(), body=0.02, tied=two_braids),
    "pigtails": Style(Line(), body=0.02, tied=pigtails),
    "receding": Style(
        Line(front=0.08, temples=0.28, density=0.92, soft=0.16),
        (
            Locks(
                "back",
                count=760,
                length=(0.30, 0.13, 0.13),
                width=0.07,
                height=0.05,
                lift=0.2,
                hold=0.5,
                wander=0.12,
                segments=3,
                twist=0.25,
                tip=0.05,
                root=0.4,
            ),
        ),
        body=0.02,
    ),
    "crown": Style(
        Line(front=0.6, temples=0.6, top=7.95, density=0.9, soft=0.18),
        (
            Locks(
                "whorl",
                count=700,
                length=(0.18, 0.16, 0.16),
                width=0.065,
                height=0.06,
                lift=0.25,
                hold=0.4,
                wander=0.15,
                segments=3,
                twist=0.25,
                tip=0.05,
                root=0.4,
            ),
        ),
        body=0.02,
    ),
}
"""Every style by its name."""
