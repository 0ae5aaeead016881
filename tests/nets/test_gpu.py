"""Every network that judges gives the same numbers on a GPU, to the accuracy of float32."""

import importlib

import pytest
import torch

from tfbench.nets.frozen import Frozen

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SIDES = {
    "clip": 112,
    "curricularface": 112,
    "emotion_fan": 224,
    "facenet": 160,
    "hsemotion": 224,
    "inception": 112,
    "lpips": 112,
    "mini_xception": 64,
}
"""Network -> pixels of a side of what it is fed."""


@pytest.mark.parametrize(("name", "size"), SIDES.items())
def test_the_gpu_agrees_with_the_cpu(name: str, size: int):
    network = Frozen(importlib.import_module(f"tfbench.nets.{name}").seeded(), f"{name}.seeded")
    run = network.module.distance if name == "lpips" else network.module.embed
    draw = torch.Generator().manual_seed(0)
    sides = [
        torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8, generator=draw)
        for _ in range(2 if name == "lpips" else 1)
    ]
    with torch.inference_mode():
        wanted = run(*sides)
        network.to("cuda")
        found = run(*(side.cuda() for side in sides))
    assert found.is_cuda
    assert float((found.cpu() - wanted).abs().max() / wanted.abs().max()) < 2e-3


def test_whisper_runs_on_the_gpu():
    from tfbench.nets.whisper import seeded

    network = Frozen(seeded(), "whisper.seeded")
    sound = torch.sin(torch.arange(32_000) * 0.1)
    wanted = network.module.transcribe(sound)
    assert network.to("cuda").module.transcribe(sound.cuda()) == wanted
