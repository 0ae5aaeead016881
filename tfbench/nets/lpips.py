"""LPIPS: how differently a network sees two frames.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018;
richzhang/PerceptualSimilarity, whose package `lpips` (version 0.1 of the metric) computes it: the
features of several layers are scaled to unit length at every pixel, their squared differences
weighted per channel and averaged. The package ships those weights; the network below them is
torchvision's, read from its own file, so that nothing is downloaded.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tfbench.core.errors import InputError
from tfbench.nets._checkpoint import fill, read_state
from tfbench.nets.frozen import Frozen, full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VARIANTS", "LPIPSNet", "load", "seeded"]

VARIANTS = {"alex": "lpips-alexnet", "vgg": "lpips-vgg16", "squeeze": "lpips-squeezenet"}
SMALLEST = 32
PIXELS = 1 << 19
"""That go through the network at once, on each side."""


class LPIPSNet(nn.Module):
    """The distance on one backbone, whose weights are random until they are loaded.

    Args:
        variant: A key of `VARIANTS`.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.net = _package_network(variant)

    def load_backbone(self, state: Mapping[str, Tensor], what: str = "the state dict") -> None:
        """Load the weights of torchvision's classifier, without its last layers.

        Args:
            state: In torchvision's names, `features.<layer>...`; `classifier.` is left out.
            what: The file, for messages.

        Raises:
            AssetError: A parameter is missing, unknown or misshapen.
        """
        # The package groups layers into slices and leaves them their numbers.
        slices = {name.partition(".")[2]: name for name in self.net.net.state_dict()}
        used = {
            slices.get(name.removeprefix("features."), name): value
            for name, value in state.items()
            if not name.startswith("classifier.")
        }
        fill(self.net.net, used, f"{what} is not LPIPS's backbone")

    def distance(self, pred: Tensor, ref: Tensor) -> Tensor:
        """Compare frames one by one.

        Args:
            pred: uint8 (t, 3, h, w) RGB, at least 32 pixels high and wide.
            ref: uint8, same shape.

        Returns:
            float32 (t,), 0 for the same frame.

        Raises:
            InputError: The shapes differ, or the frames are of another type or too small.
        """
        _check(pred, ref)
        step = max(1, PIXELS // (pred.shape[2] * pred.shape[3]))
        with full_precision():
            return torch.cat(
                [
                    self.net(_scaled(p), _scaled(r)).reshape(-1)
                    for p, r in zip(pred.split(step), ref.split(step), strict=True)
                ]
            )


def load(variant: str) -> Frozen[LPIPSNet]:
    """Load torchvision's published weights under the package's own.

    Args:
        variant: "alex", which the authors report with, "vgg" or "squeeze".

    Raises:
        MissingAsset: The file is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    path = locate(VARIANTS[variant])
    net = LPIPSNet(variant)
    net.load_backbone(read_state(path), str(path))
    return Frozen(net, f"lpips.{variant}")


def seeded(seed: int = 0, variant: str = "alex") -> LPIPSNet:
    """Make a backbone for tests that is the same with every version of torch."""
    draw = np.random.RandomState(seed)
    net = LPIPSNet(variant)
    for value in net.net.net.state_dict().values():
        scale = np.sqrt(2.0 / np.prod(value.shape[1:])) if value.ndim > 1 else 0.1
        value.copy_(torch.from_numpy(draw.standard_normal(tuple(value.shape)) * scale))
    return net.eval()


def _package_network(variant: str) -> Any:
    import lpips

    with warnings.catch_warnings():
        # The package builds its backbones by an argument that torchvision has renamed.
        warnings.filterwarnings("ignore", module="torchvision")
        return lpips.LPIPS(net=variant, pnet_rand=True, verbose=False)


def _scaled(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1


def _check(pred: Tensor, ref: Tensor) -> None:
    shape = tuple(pred.shape)
    whole = len(shape) == 4 and shape[1] == 3 and shape[0] > 0
    if not whole or pred.shape != ref.shape or {pred.dtype, ref.dtype} != {torch.uint8}:
        raise InputError(
            f"LPIPS compares uint8 frames (t, 3, h, w) of one shape; got {pred.dtype} {shape} "
            f"and {ref.dtype} {tuple(ref.shape)}"
        )
    if min(shape[2:]) < SMALLEST:
        raise InputError(
            f"LPIPS needs at least {SMALLEST} pixels in height and width; the frames have "
            f"{shape[3]}x{shape[2]}"
        )
