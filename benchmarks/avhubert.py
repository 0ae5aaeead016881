"""AV-HuBERT large beside torch's transformer encoder of the same shape: seconds for 10 s of video.

    python benchmarks/avhubert.py [REPEATS]

Both take turns on one core, in float32, with random weights; the least time of each counts, of
the processor's, so that other work on the machine matters less. The ResNet in front of
AV-HuBERT's transformer has no counterpart in torch's encoder, so that times are given with and
without it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import torch
from torch import nn

from tfbench.nets.avhubert import AVHubert, EncoderSettings, normalised

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES = 250


def main(repeats: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = EncoderSettings(layers=24, dim=1024, ffn=4096, heads=16)
    ours, theirs = AVHubert(settings).eval(), their_encoder(settings)
    video = normalised(torch.randint(0, 256, (1, FRAMES, 88, 88), dtype=torch.uint8))
    sound = torch.randn(1, FRAMES, settings.audio_dim)
    states = torch.randn(1, FRAMES, settings.dim)
    tasks: dict[str, Callable[[], object]] = {
        "torch's encoder": lambda: theirs(states),
        "AV-HuBERT's transformer": lambda: ours.encoder(states, None),
        "AV-HuBERT's front end for video": lambda: ours.feature_extractor_video(video),
        "AV-HuBERT, video": lambda: ours(video),
        "AV-HuBERT, video and sound": lambda: ours(video, sound),
    }
    times = {name: min(found) for name, found in measured(tasks, repeats).items()}
    least = times["torch's encoder"]
    for name, seconds in times.items():
        print(f"{seconds:7.3f} s  {seconds / least:5.2f} x  {name}")


def their_encoder(settings: EncoderSettings) -> nn.TransformerEncoder:
    """Build torch's own encoder."""
    layer = nn.TransformerEncoderLayer(
        settings.dim,
        settings.heads,
        settings.ffn,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    norm = nn.LayerNorm(settings.dim)
    return nn.TransformerEncoder(layer, settings.layers, norm, enable_nested_tensor=False).eval()


@torch.inference_mode()
def measured(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Run all tasks in turn, once without counting."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if turn:
                times[name].append(time.process_time() - start)
    return times


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
