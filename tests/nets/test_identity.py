"""The identity network: shapes, arithmetic, and that shipped weights are asked for by name."""

import json

import numpy as np
import pytest
import torch
from scipy import signal

from tfbench.core.errors import InputError
from tfbench.faces.align import AlignedFace
from tfbench.nets.identity import VARIANTS, Identity, build, load, seeded


def crops(n: int = 4) -> torch.Tensor:
    pixels = np.random.RandomState(2).randint(0, 256, (n, 3, 64, 64))
    return torch.from_numpy(pixels.astype(np.uint8))


def by_scipy(state: dict[str, np.ndarray], x: np.ndarray, depths: list[int]) -> np.ndarray:
    """The embedding of one picture (3, 64, 64), 0 to 255, by SciPy in float64."""

    def conv(x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        maps = [
            sum(signal.correlate2d(c, k, "same") for c, k in zip(x, kernels, strict=True))
            for kernels in state[f"{name}.weight"]
        ]
        return np.stack(maps)[:, ::stride, ::stride]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        shape = (-1, 1, 1)[: x.ndim]
        mean, variance, scale, shift = (
            state[f"{name}.{part}"].reshape(shape)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift

    def prelu(x: np.ndarray, name: str) -> np.ndarray:
        return np.where(x > 0, x, x * state[f"{name}.weight"][:, None, None])

    x = prelu(
        norm(conv(x / 127.5 - 1, "features.first.0", 2), "features.first.1"), "features.first.2"
    )
    k = 0
    for stage, depth in enumerate(depths):
        for unit in range(depth):
            stride = 2 if stage > 0 and unit == 0 else 1
            inner, beside = f"features.units.{k}.inner", f"features.units.{k}.beside"
            y = conv(norm(x, f"{inner}.0"), f"{inner}.1", stride)
            y = norm(conv(prelu(norm(y, f"{inner}.2"), f"{inner}.3"), f"{inner}.4"), f"{inner}.5")
            changes = f"{beside}.0.weight" in state
            x = y + (norm(conv(x, f"{beside}.0", stride), f"{beside}.1") if changes else x)
            k += 1
    flat = norm(x, "features.last.0").reshape(-1)
    found = norm(state["features.last.3.weight"] @ flat, "features.last.4")
    return found / np.linalg.norm(found)


def test_arithmetic_is_scipys():
    net = seeded(3)
    state = {name: value.double().numpy() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        got = net.embed(crops(1))[0].numpy()
    wanted = by_scipy(state, crops(1)[0].double().numpy(), net.settings["depths"])
    assert np.abs(got - wanted).max() < 1e-5


def test_embeddings_have_unit_length():
    with torch.inference_mode():
        found = seeded().embed(crops(3))
    assert (found.shape, found.dtype) == ((3, 128), torch.float32)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_size():
    from torch.utils.flop_counter import FlopCounterMode

    net = seeded()
    with FlopCounterMode(display=False) as counter:
        net(crops(1).float())
    assert sum(p.numel() for p in net.parameters()) == 949_328
    assert counter.get_total_flops() / 2 <= 40e6
    assert net.crop == AlignedFace(64, antialias=True)


def test_settings_build_the_same_network():
    net = Identity(32, (8, 16), (1, 2))
    other = build(json.loads(json.dumps(net.settings)))
    shapes = [
        {name: tuple(value.shape) for name, value in n.state_dict().items()} for n in (net, other)
    ]
    assert shapes[0] == shapes[1]
    assert other.embed(crops(2)).shape == (2, 32)


def test_gradients_reach_every_weight():
    net = Identity(16, (4, 8), (1, 1)).train()
    net(crops().float())[:, 0].sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_other_input_is_refused():
    net = seeded()
    assert net.embed(crops()[:0]).shape == (0, 128)
    for frames in (crops().float(), crops()[:, :, :48, :48]):
        with pytest.raises(InputError, match="64"):
            net.embed(frames)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_shipped_weights_load(variant: str):
    assert load(variant).name == f"identity.{variant}"
