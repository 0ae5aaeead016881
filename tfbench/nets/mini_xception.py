"""mini-Xception: a small network for seven emotions, trained on FER2013.

Arriaga et al., "Real-time convolutional neural networks for emotion and gender classification",
2017; oarriaga/face_classification (`src/models/cnn.py`, `mini_XCEPTION`). 58,423 numbers, read
from the Keras file of that repository (Keras 2.0.5, TensorFlow's layout).

It reads gray from -1 to 1 (`src/utils/preprocessor.py`, version 2) in 64 pixels. The reference
cuts the square of OpenCV's Haar cascade; here it is the square around MTCNN's box. On 18 MEAD
clips (4 persons, 7 emotions, 10 frames each) the class of the mean probability was the acted one
in 11, against 10 where the box is resized without keeping its aspect; of single frames, 58 %
against 49 %. FER2013's faces are small and gray: a judge that every installation can have, not
the best one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tfbench.core.errors import AssetError, MissingAsset
from tfbench.faces.align import SquareFace
from tfbench.nets._checkpoint import fill
from tfbench.nets._crops import draw_weights, in_pieces, luma
from tfbench.nets.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EMOTIONS", "VARIANTS", "MiniXception", "load", "load_state", "seeded"]

VARIANTS = {"fer2013": "mini-xception"}
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""In the order of the classes."""

SIZE = 64
DIMENSIONS = 128
EPSILON = 1e-3
WIDTHS = (8, 16, 32, 64, DIMENSIONS)


class MiniXception(nn.Module):
    """128-d emotion features and probabilities of seven emotions.

    Attributes:
        crop: What `embed` and `probabilities` must be fed.
    """

    crop = SquareFace(SIZE)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(8, EPSILON)
        self.conv2 = nn.Conv2d(8, 8, 3, bias=False)
        self.norm2 = nn.BatchNorm2d(8, EPSILON)
        pairs = pairwise(WIDTHS)
        self.blocks = nn.Sequential(*(_Block(n_in, n_out) for n_in, n_out in pairs))
        self.classes = nn.Conv2d(DIMENSIONS, len(EMOTIONS), 3, padding=1)

    def maps(self, x: Tensor) -> Tensor:
        """Compute (t, 128, 4, 4) from float32 (t, 3, 64, 64), 0 to 255."""
        gray = luma(x)[:, None] / 127.5 - 1
        x = F.relu(self.norm1(self.conv1(gray)))
        x = F.relu(self.norm2(self.conv2(x)))
        found: Tensor = self.blocks(x)
        return found

    def embed(self, frames: Tensor) -> Tensor:
        """Compute features: the last maps before the convolution to classes, averaged.

        Args:
            frames: uint8 (t, 3, 64, 64) RGB, cut by `crop`.

        Returns:
            float32 (t, 128), of either sign, not of unit length.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(lambda x: self.maps(x).mean(dim=(2, 3)), frames, SIZE, DIMENSIONS)

    def probabilities(self, frames: Tensor) -> Tensor:
        """Compute the probability of each of `EMOTIONS`.

        Args:
            frames: uint8 (t, 3, 64, 64) RGB, cut by `crop`.

        Returns:
            float32 (t, 7), rows sum to 1.

        Raises:
            InputError: The frames are of another type or shape.
        """
        return in_pieces(
            lambda x: self.classes(self.maps(x)).mean(dim=(2, 3)).softmax(dim=1),
            frames,
            SIZE,
            len(EMOTIONS),
        )


class _Block(nn.Module):
    """Two separable convolutions and a pooling beside a strided convolution."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(n_out, EPSILON)
        self.separable1 = _separable(n_in, n_out)
        self.norm1 = nn.BatchNorm2d(n_out, EPSILON)
        self.separable2 = _separable(n_out, n_out)
        self.norm2 = nn.BatchNorm2d(n_out, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        beside = self.shortcut_norm(self.shortcut(x))
        x = F.relu(self.norm1(self.separable1(x)))
        x = self.norm2(self.separable2(x))
        # Keras's "same" with stride 2 adds one more pixel after an even side than before it.
        before, after = (0, 1) if x.shape[2] % 2 == 0 else (1, 1)
        x = F.pad(x, (before, after, before, after), value=float("-inf"))
        return F.max_pool2d(x, 3, 2) + beside


def _separable(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in, bias=False),
        nn.Conv2d(n_in, n_out, 1, bias=False),
    )


def load(variant: str) -> Frozen[MiniXception]:
    """Load published weights.

    Args:
        variant: "fer2013".

    Raises:
        MissingAsset: The file, or the package h5py that reads it, is not on this machine.
        AssetError: It is not what it should be.
    """
    from tfbench.core.assets import locate

    return Frozen(load_state(locate(VARIANTS[variant])), f"mini_xception.{variant}")


def load_state(path: Path) -> MiniXception:
    """Load a model that Keras saved as HDF5.

    Raises:
        MissingAsset: The package h5py is not installed.
        AssetError: The file cannot be read, or is of another architecture; names the parameter.
    """
    stored = _keras_weights(path)
    what = f"{path} is not mini-Xception"
    state = {}
    for keras, (ours, axes) in _names().items():
        if keras not in stored:
            raise AssetError(f"{what}: it lacks '{keras}'")
        state[ours] = stored.pop(keras)
        if axes:
            state[ours] = state[ours].permute(axes).contiguous()
    if stored:
        raise AssetError(f"{what}: it has the unknown '{next(iter(stored))}'")
    net = MiniXception()
    fill(net, state, what)
    return net.eval()


def seeded(seed: int = 0) -> MiniXception:
    """Make weights for tests that are the same with every version of torch."""
    net = MiniXception()
    draw_weights(net, seed)
    return net.eval()


def _keras_weights(path: Path) -> dict[str, Tensor]:
    """Read "layer/weight" -> tensor out of "model_weights/layer/.../weight:0"."""
    try:
        import h5py
    except ImportError as error:
        raise MissingAsset(
            f"{path} is read with the package h5py, which is not here: pip install h5py"
        ) from error
    found: dict[str, Tensor] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            parts = name.removesuffix(":0").split("/")
            found[f"{parts[0]}/{parts[-1]}"] = torch.from_numpy(item[()])

    try:
        with h5py.File(path) as file:
            file["model_weights"].visititems(visit)
    except (OSError, KeyError, TypeError) as error:
        raise AssetError(f"{path} is no readable Keras model (cut off?): {error}") from error
    return found


def _names() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Map Keras's weights to ours and the order of axes; Keras counts layers as they were made."""
    kernel, depthwise = (3, 2, 0, 1), (2, 3, 0, 1)
    names = {
        "conv2d_1/kernel": ("conv1.weight", kernel),
        "conv2d_2/kernel": ("conv2.weight", kernel),
        "conv2d_7/kernel": ("classes.weight", kernel),
        "conv2d_7/bias": ("classes.bias", ()),
        **_norm_names(1, "norm1"),
        **_norm_names(2, "norm2"),
    }
    for k in range(len(WIDTHS) - 1):
        block = f"blocks.{k}."
        names[f"conv2d_{3 + k}/kernel"] = (f"{block}shortcut.weight", kernel)
        for n in (1, 2):
            keras, ours = f"separable_conv2d_{2 * k + n}/", f"{block}separable{n}."
            names[f"{keras}depthwise_kernel"] = (f"{ours}0.weight", depthwise)
            names[f"{keras}pointwise_kernel"] = (f"{ours}1.weight", kernel)
        for n, ours in enumerate(("shortcut_norm", "norm1", "norm2")):
            names |= _norm_names(3 + 3 * k + n, block + ours)
    return names


def _norm_names(number: int, ours: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    pairs = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    return {f"batch_normalization_{number}/{a}": (f"{ours}.{b}", ()) for a, b in pairs.items()}
