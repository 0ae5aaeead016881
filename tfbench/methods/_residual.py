"""Generators that draw, from some step of training on, what is added to a picture that they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from tfbench.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ResidualMethod", "begin_residual"]


def begin_residual(net: Any) -> None:
    """Let a generator add to what it sees from now on, and at first nothing.

    Args:
        net: Has the setting `residual`, and `colours`, its last layer.
    """
    net.settings["residual"] = True
    nn.init.zeros_(net.colours.weight)
    nn.init.zeros_(net.colours.bias)


class ResidualMethod(Method):
    """Base of methods whose settings have `residual_from`, the step; 0 for none.

    A subclass says by `DRAWS` which of its networks generates: that one has the setting `residual`.
    """

    DRAWS: str

    @property
    def _drawing(self) -> Any:
        return getattr(self, self.DRAWS)

    def on_train_batch_start(self, _batch: Any, _number: int) -> None:
        """Let the generator add to what it sees, when it is time."""
        due = 0 < self.config.residual_from <= self.global_step
        if due and not self._drawing.settings["residual"]:
            begin_residual(self._drawing)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note whether the generator adds to what it sees."""
        checkpoint["residual"] = self._drawing.settings["residual"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on as it was."""
        self._drawing.settings["residual"] = checkpoint["residual"]

    def _refuse_other_settings(self, source: str, shipped: Mapping[str, Any]) -> None:
        """Refuse them but for what training decides, whether the generator adds."""
        self._drawing.settings["residual"] = shipped[self.DRAWS].settings["residual"]
        super()._refuse_other_settings(source, shipped)
