"""What methods share that redraw a talking face whose lower half is black, as Wav2Lip does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from tfbench.evaluators.base import NonNegative, Positive
from tfbench.evaluators.color_syncnet import TalkingFace
from tfbench.methods._editing import soft_edge
from tfbench.methods._residual import ResidualMethod
from tfbench.methods._wav2lip_nets import (
    QualityDiscriminator,
    weighted_difference,
)
from tfbench.methods.base import MethodConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor, nn

__all__ = ["LipConfig", "LipMethod"]


@dataclass(frozen=True)
class LipConfig(MethodConfig):
    """Settings of these methods; the defaults are those of Wav2Lip's authors.

    Attributes:
        width: Channels of the generator's first layer; the others are multiples of it.
        decoder_width: The same of the decoder.
        most: No layer has more channels.
        side: Of the faces, pixels.
        critic_width: Channels of the discriminator's first layer.
        adversarial_from: Step from which there is a discriminator. Not in the papers.
        smooth: Frames over which the face's box is averaged, odd.
        below: Room below the face's box, as a share of its height. Not in the papers.
        ends: Frames at either end of a clip from which the frame that shows the person is taken:
            where nobody speaks yet, or any more, the mouth is at rest, as in the first frame of a
            video; 0 takes it from anywhere. Not in the papers.
        residual_from: Step from which the generator draws what is added to what it sees, above to
            the face's own upper half, below to the other picture of the person; 0 for none: it
            goes on as what it begins with does, from random weights drawing colours. Small networks
            that learn for minutes draw a person's skin and lips as those of all people; from the
            first step on they would learn the picture and not hear the sound. For some hundred
            steps after it averaged weights (`ema`) are partly those from before it. Not in the
            papers.
        feather: Width of the soft edge with which a face is put back, as a share of its side; 0
            for a hard one. Not in the papers.
        put_back: The "whole" face, or its "lower" half only, which is all that the generator does
            not see. Not in the papers.
        mouth_weight: How much more absolute differences count in the middle of the mouth; their
            mean weight stays 1. Not in the papers.
        augment: Whether faces are mirrored, and made darker, down to a third, or a little lighter,
            those that show the person alike. Not in the papers.
        relative: Whether absolute differences are divided by how bright a face is around its mouth:
            those of dark faces are small, and a network that learns for minutes passes over them.
            Not in the papers.
        structure_weight: Of the structural dissimilarity that is added to absolute differences, so
            that lips are not drawn as the mean of where they may be. Not in the papers.
    """

    every: Positive = 3000
    lr: Annotated[float, Field(gt=0)] = 1e-4
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Literal["cosine", "none"] = "none"
    weight_decay: NonNegative = 0.0
    width: Positive = 16
    decoder_width: Positive = 16
    most: Positive = 512
    side: Positive = 96
    critic_width: Positive = 32
    adversarial_from: Annotated[int, Field(ge=0)] = 0
    smooth: Positive = 5
    below: float = 0.05
    ends: Annotated[int, Field(ge=0)] = 0
    residual_from: Annotated[int, Field(ge=0)] = 0
    feather: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    put_back: Literal["whole", "lower"] = "whole"
    mouth_weight: NonNegative = 0.0
    augment: bool = False
    relative: bool = False
    structure_weight: NonNegative = 0.0


class LipMethod(ResidualMethod):
    """Base of these methods: the face that is cut out and put back, the discriminator, one Adam.

    A subclass sets `net`, the generator, which knows the `side`, `smooth` and `below` of its faces,
    and `critic` in `begin`.
    """

    DRAWS = "net"
    config: LipConfig
    net: Any
    critic: QualityDiscriminator

    def adopt(self, parts: Mapping[str, nn.Module]) -> None:
        """Take trained networks; the discriminator has to see faces of their size."""
        super().adopt(parts)
        c, side = self.config, self.net.side
        if self.critic.settings["side"] != side:
            self.critic = QualityDiscriminator(c.critic_width, c.most, side)

    @property
    def crop(self) -> TalkingFace:
        """What the generator is fed, also where its settings come with its weights."""
        return TalkingFace(self.net.side, self.net.smooth, self.net.below)

    def off(self, drawn: Tensor, real: Tensor) -> Tensor:
        """How far faces (..., 3, S, S), 0 to 1, are from true ones; see `weighted_difference`."""
        c = self.config
        return weighted_difference(
            drawn, real, c.mouth_weight, relative=c.relative, structure=c.structure_weight
        )

    @property
    def opacity(self) -> Tensor:
        """With which faces are put back, float32 (S, S)."""
        c = self.config
        return soft_edge(self.net.side, c.feather, lower=c.put_back == "lower")

    def other_places(self, n: int, taken: ArrayLike) -> NDArray[np.int64]:
        """Return which places of a clip may show the person; see `ends`.

        Args:
            n: Places that there are, frames or beginnings of windows.
            taken: Numbers of those that are drawn.

        Returns:
            Ascending numbers: of the ends, or where all of these are taken, of any others.
        """
        free = np.setdiff1d(np.arange(n), taken)
        ends = self.config.ends
        at_ends = free[(free < ends) | (free >= n - ends)]
        return at_ends if len(at_ends) else free

    def trained(self) -> list[dict[str, Any]]:
        """Return the groups of parameters that are trained; a group may have a rate of its own."""
        return [{"params": list(net.parameters())} for net in (self.net, self.critic)]

    def configure_optimizers(self) -> Any:
        """Make the Adam of the reference; each parameter is a matter of its own to it."""
        c = self.config
        optimizer = torch.optim.Adam(
            self.trained(), c.lr, (0.5, 0.999), weight_decay=c.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
