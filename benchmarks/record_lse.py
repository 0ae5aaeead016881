"""Run the public reference of SyncNet with seeded weights and record its numbers.

    git clone https://github.com/joonson/syncnet_python
    pip install opencv-python-headless python_speech_features
    python -m benchmarks.record_lse syncnet_python CLIP.mp4 [CLIP.mp4 ...] > numbers.json

The clips are pre-cropped to 224x224 at 25 fps; a synthetic one is added. The reference's own code
reads and scores them, with three changes from outside: `.cuda()` does nothing, the weights are
`seeded(0)`, and ffmpeg's pictures are PNG for the recorded parity ("png") and JPEG as it stands for
comparison ("jpg").
"""

from __future__ import annotations

import contextlib
import glob as globs
import hashlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch

from tests.metrics import synthetic_clip
from tfbench.nets.syncnet import seeded


def run(reference: Path, clip: Path, ending: str) -> dict[str, float]:
    """Score one clip with the reference, through pictures of the given kind."""
    sys.path.insert(0, str(reference.resolve()))
    import SyncNetInstance

    call, glob = subprocess.call, globs.glob
    SyncNetInstance.subprocess.call = lambda command, **kw: call(
        command.replace("ffmpeg", "ffmpeg -v error").replace(".jpg", f".{ending}"), **kw
    )
    SyncNetInstance.glob.glob = lambda pattern: glob(pattern.replace(".jpg", f".{ending}"))
    torch.nn.Module.cuda = lambda self: self
    torch.Tensor.cuda = lambda self: self
    instance = SyncNetInstance.SyncNetInstance()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "seeded.model"
        torch.save(seeded(0).state_dict(), weights)
        instance.loadParameters(str(weights))
        opt = SimpleNamespace(tmp_dir=folder, reference="clip", batch_size=20, vshift=15)
        with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            offset, confidence, distances = instance.evaluate(opt, str(clip))
    SyncNetInstance.subprocess.call, SyncNetInstance.glob.glob = call, glob
    return {
        "LSE-D": float(distances.mean(0).min()),
        "LSE-C": float(confidence),
        "AV offset": int(offset),
        "windows": len(distances),
    }


def main(reference: Path, clips: list[Path]) -> None:
    """Print the numbers of all clips as JSON."""
    found = {}
    for clip in clips:
        found[clip.name] = {
            "sha256": hashlib.sha256(clip.read_bytes()).hexdigest(),
            **{ending: run(reference, clip, ending) for ending in ("png", "jpg")},
        }
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "synthetic.mkv"
        synthetic_clip.write(made)
        found["synthetic"] = {"png": run(reference, made, "png")}
    print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
