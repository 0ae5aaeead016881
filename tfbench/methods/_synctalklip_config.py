"""Settings of SyncTalklip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from tfbench.core.errors import ConfigError
from tfbench.evaluators.base import NonNegative, Positive, Share
from tfbench.methods._lips import LipConfig
from tfbench.methods._synctalklip_data import SHORTEST

__all__ = ["SyncTalklipConfig"]

FEWEST = 5
"""Drawn frames of a clip that are compared with one another."""


@dataclass(frozen=True)
class SyncTalklipConfig(LipConfig):
    """Settings of SyncTalklip beside those of `LipConfig`; as the paper and the authors' code.

    The paper names no weight of a loss. The code's are for sums over a batch of eight texts, and
    for features of length 1; they are given here for the mean over texts and for Eq. 12 as printed.

    Attributes:
        batch: Clips in a step.
        expert: The frozen AV-SyncNet: `av_syncnet.<variant>`, or the folder of a bundle; "" for
            none, which trains nothing.
        landmarks: Variant of `tfbench.nets.landmarks` by which mouths are found; the expert's.
        faces_from: A bundle of `wav2lip` of the same sizes, shipped or the folder of one, with
            whose layers for faces the generator begins; "" for random ones. `init` goes before it.
            Not in the paper.
        encoder_from: Where the audio encoder begins: with that of `init`, where there is one, or
            with the "expert" always. The linear layer behind it stays that of `init`, where its
            shape fits.
        encoder_rate: Share of the learning rate for the audio encoder; 0 leaves it as it is.
        window: Consecutive frames that are drawn; the code's.
        groups: Windows of one clip that are drawn, where it is long enough. The code draws 8 % of
            the frames as beginnings, and of those nearer than five frames the first: about five.
        longest: Frames of a clip that are heard and read; of a longer one a run of its words,
            where their times are known. Without times it is read as a whole, up to four times as
            many frames, and cut anywhere if `lip_weight` is 0. Not in the paper.
        l1_weight: Of Eq. 7, the mean absolute difference.
        adversarial_weight: Of the generator's part of Eq. 10; 0 for no discriminator.
        lip_weight: Of Eq. 4, a sum over subwords; 0 needs no transcripts.
        label_smoothing: Of Eq. 4. The code takes that of the expert's training, the paper none.
        contrast: Eq. 12 ("l1"), the traditional cross-entropy of cosines ("infonce"), or "none".
        contrast_weight: Of that.
        contrast_sound: Whose f_a: the "tuned" encoder's, or the expert's "frozen" one, which is
            the variant `freeze`.
        tau: Of Eq. 11; 0 for 1 / D, so that distances are about 1. Not in the paper.
        most_scale: Bound of F of Eq. 11, which begins at half of it. Not in the paper.
        temperature: Of "infonce", TalkLip's.
        project: Whether "infonce" has TalkLip's linear layer on f_a, which no bundle holds.
        shape_weight: Of how far the vectors that the sound brings to the generator miss the motion
            of the lips' landmarks, see `LipCode`: the audio encoder and its linear layer can be
            taught so before faces are drawn, in minutes. Not in the paper.
        hold_weight: Of how far f_a is from the expert's, so that it can still be compared with f_v
            after that, see `drift`. Not in the paper.
        context: The mouths among which drawn ones are put back: the true "crops", as sharp as the
            clip, or those with the true "faces" put into them, as sharp as drawn ones. Not in the
            paper.
        sway: How far the mouths that the expert sees are moved, turned and scaled, drawn for each
            clip anew: by up to this share of half their side, radians, and share of their size. A
            generator then finds less that only this expert reads. Not in the paper.
    """

    steps: Positive = 60_000
    batch: Positive = 8
    expert: str = ""
    landmarks: str = "dlib68"
    faces_from: str = ""
    encoder_from: Literal["init", "expert"] = "init"
    encoder_rate: NonNegative = 1.0
    window: Annotated[int, Field(ge=1, lt=SHORTEST)] = 5
    groups: Positive = 5
    longest: Annotated[int, Field(ge=SHORTEST)] = 100
    l1_weight: NonNegative = 0.93
    adversarial_weight: NonNegative = 0.07
    lip_weight: NonNegative = 8e-5
    label_smoothing: Share = 0.0
    contrast: Literal["l1", "infonce", "none"] = "l1"
    contrast_weight: NonNegative = 1.3e-4
    contrast_sound: Literal["tuned", "frozen"] = "tuned"
    tau: NonNegative = 0.0
    most_scale: Annotated[float, Field(gt=0)] = 2.0
    temperature: Annotated[float, Field(gt=0)] = 0.07
    project: bool = False
    shape_weight: NonNegative = 0.0
    hold_weight: NonNegative = 0.0
    context: Literal["crops", "faces"] = "crops"
    sway: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @property
    def drawing(self) -> bool:
        """Whether anything that is drawn counts."""
        return bool(
            self.l1_weight or self.lip_weight or self.adversarial_weight or self.contrasting
        )

    @property
    def contrasting(self) -> bool:
        """Whether the contrastive loss counts."""
        return self.contrast != "none" and self.contrast_weight > 0

    def __post_init__(self) -> None:
        if not (self.drawing or self.shape_weight or (self.hold_weight and self.encoder_rate)):
            raise ConfigError(
                "no loss has a weight, so that nothing would be learnt; set l1_weight, lip_weight, "
                "adversarial_weight, contrast and contrast_weight, or shape_weight, or hold_weight "
                "with encoder_rate"
            )
        if self.contrasting and self.window * self.groups < FEWEST:
            raise ConfigError(
                f"Equation 12 compares the drawn frames of a clip, of which there are window * "
                f"groups = {self.window * self.groups}; give at least {FEWEST}, or contrast=none"
            )
