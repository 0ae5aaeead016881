"""A small validation: three tiny clips, two changes of two levels, metrics that need no face."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tfbench.core.types import Column
from tfbench.datasets.folder import Folder, FolderConfig
from tfbench.metrics.base import TalkingFaceMetric
from tfbench.metrics.psnr import PSNR
from tfbench.validation.change import Change
from tfbench.validation.pictures import Noise
from tfbench.validation.select import choose_cases
from tfbench.validation.study import Study
from tfbench.validation.timing import SoundShift


class TwoNoises(Noise):
    levels = (8, 32)


class TwoShifts(SoundShift):
    levels = (-5, 5)


CHANGES = (TwoNoises(), TwoShifts())


class Loudness(TalkingFaceMetric):
    """Mean size of the sound; calls itself by a claimed metric's name and fails its claim."""

    name = "csim"
    definitions: ClassVar = {"loud": None}
    columns = (Column("LOUD", higher_is_better=True),)
    needs = ()

    def measure(self, views):
        return self.score(views, "clip", {"LOUD": float(views.speech().waveform.abs().mean())})

    update = compute = measure


class Noticed(Loudness):
    name = "noticed"
    responds_to: ClassVar = {"noise": "it was made for this"}


def study(
    clips: Path, folder: Path, changes: tuple[Change, ...] = CHANGES, metrics: tuple | None = None
) -> Study:
    cases = choose_cases(Folder(FolderConfig(clips, label="world")), 4)
    return Study(cases, changes, metrics or (PSNR("frame"), Loudness()), "test", folder)
