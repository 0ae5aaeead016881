"""What methods share that redraw a talking face whose lower half is black, as Wav2Lip does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tfbench.evaluators.color_syncnet import TalkingFace
from tfbench.methods._editing import soft_edge
from tfbench.methods._wav2lip_nets import QualityDiscriminator
from tfbench.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = ["LipMethod"]


class LipMethod(Method):
    """Base of these methods: the face that is cut out and put back, the discriminator, one Adam.

    A subclass sets `net`, the generator, which knows the `side`, `smooth` and `below` of its faces,
    and `critic` in `begin`. Its settings have `critic_width`, `most`, `feather` and `put_back`.
    """

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

    @property
    def opacity(self) -> Tensor:
        """With which faces are put back, float32 (S, S)."""
        c = self.config
        return soft_edge(self.net.side, c.feather, lower=c.put_back == "lower")

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
