"""Time and memory of LSE from file to number, beside the public reference.

    git clone https://github.com/joonson/syncnet_python
    pip install opencv-python-headless python_speech_features
    python benchmarks/lse_pipeline.py CLIP.mp4 --reference syncnet_python
    python benchmarks/lse_pipeline.py LONG.mp4

Each side runs in a process of its own, one after the other, with the same seeded SyncNet. Ours:
decode, detect, cuts, track, crop, SyncNet. Theirs: the S3FD network, with random weights, on
every decoded frame, and SyncNet in windows of five frames on the crops that ours has made, so
that both numbers can be compared. Decoding, shot detection, tracking and cropping, which the
reference does through image files, are not counted on its side.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch


def ours(clip: Path, crops: Path) -> dict[str, float]:
    """Score the clip; the crops and the sound's MFCC are left for the other side."""
    from tfbench.faces.detect import FaceDetector
    from tfbench.media.spectral import mfcc
    from tfbench.media.video import open_clip
    from tfbench.metrics.lse import LSE
    from tfbench.nets.frozen import Frozen
    from tfbench.nets.syncnet import seeded
    from tfbench.preparation.arrays import Arrays
    from tfbench.preparation.first_pass import FaceFinder
    from tfbench.preparation.views import ClipViews

    metric = LSE("syncnet_short", Frozen(seeded(0), "syncnet.seeded"))
    finder = FaceFinder(FaceDetector())
    start = time.perf_counter()
    opened = open_clip(clip)
    faces = finder.find(opened.video, "clip")
    first_pass = time.perf_counter() - start
    found = {"pred": opened}
    finder.find = lambda *_: faces  # type: ignore[method-assign]
    views = ClipViews(
        "clip", "clip", found, {"pred": "clip"}, metric.needs, finder, Arrays(crops),
        torch.device("cpu"),
    )  # fmt: skip
    rows = metric.measure(views)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    (key,) = metric.needs
    tracks = views._tracks("pred", key.crop.tracking)
    regions = key.crop.regions(tracks[0])
    frames = torch.cat(list(opened.video.frames(tracks[0].start, tracks[0].stop)))
    if opened.video.height < 1000:
        np.save(crops / "crops.npy", key.crop.cut(frames, regions).numpy())
        np.save(crops / "mfcc.npy", mfcc(opened.speech.waveform).numpy())
    return {
        "frames": opened.video.n_frames,
        "seconds": seconds,
        "first_pass": first_pass,
        "peak_gb": peak,
        "LSE-D": rows[0].value,
        "LSE-C": rows[1].value,
        "AV offset": rows[2].value,
    }


def theirs(clip: Path, crops: Path, reference: Path) -> dict[str, float]:
    """Run the reference's two networks."""
    from tfbench.media.video import VideoFile
    from tfbench.nets.syncnet import seeded

    sys.path.insert(0, str(reference.resolve()))
    import SyncNetInstance
    from detectors.s3fd import S3FDNet, img_mean
    from SyncNetModel import S

    detector = S3FDNet(device="cpu").eval()
    # Random weights find thousands of "faces"; sorting those out is not counted.
    detector.detect.forward = lambda *_: None
    net = S()
    net.load_state_dict(seeded(0).state_dict())
    net.eval()
    frames = np.concatenate([f.numpy() for f in VideoFile(clip).frames()])
    start = time.perf_counter()
    with torch.no_grad():
        for frame in frames:
            small = torch.nn.functional.interpolate(
                torch.from_numpy(frame[None]).float(), scale_factor=0.25, mode="bilinear"
            )
            detector(small - torch.from_numpy(np.asarray(img_mean, np.float32)).reshape(1, 3, 1, 1))
        s3fd = time.perf_counter() - start
        images = torch.from_numpy(np.load(crops / "crops.npy")).flip(1).float()
        images = images.transpose(0, 1)[None]
        cepstra = torch.from_numpy(np.load(crops / "mfcc.npy")).T[None, None]
        n = min(images.shape[2], cepstra.shape[3] // 4 + 1) - 5
        start = time.perf_counter()
        lips, sound = [], []
        for k in range(0, n, 20):
            at = range(k, min(k + 20, n))
            lips.append(net.forward_lip(torch.cat([images[:, :, i : i + 5] for i in at])))
            windows = [cepstra[..., 4 * i : 4 * i + 20] for i in at]
            sound.append(net.forward_aud(torch.cat(windows)))
        syncnet = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        distances = SyncNetInstance.calc_pdist(torch.cat(lips), torch.cat(sound), vshift=15)
        mean = torch.stack(distances, 1).mean(1)
    return {
        "frames": len(frames),
        "s3fd_seconds": s3fd,
        "syncnet_seconds": syncnet,
        "seconds": s3fd + syncnet,
        "peak_gb": peak,
        "LSE-D": float(mean.min()),
        "LSE-C": float(mean.median() - mean.min()),
        "AV offset": float(15 - mean.argmin()),
    }


def main() -> None:
    """Run both sides in processes of their own and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--side", choices=["ours", "theirs"])
    parser.add_argument("--crops", type=Path)
    given = parser.parse_args()
    if given.side == "ours":
        print(json.dumps(ours(given.clip, given.crops)))
    elif given.side == "theirs":
        print(json.dumps(theirs(given.clip, given.crops, given.reference)))
    else:
        compare(given.clip, given.reference)


def compare(clip: Path, reference: Path | None) -> None:
    """Print both sides and their ratio."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("ours", "theirs") if reference else ("ours",):
            command = [sys.executable, __file__, str(clip), "--side", side, "--crops", folder]
            command += ["--reference", str(reference)] if reference else []
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[side] = json.loads(out.splitlines()[-1])
            print(side, json.dumps(found[side]))
    if reference:
        ratio = found["theirs"]["seconds"] / found["ours"]["seconds"]
        print(f"ours is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
