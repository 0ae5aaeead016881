"""Time of every metric of the set `offline` for one pair of clips, stage by stage.

    python benchmarks/offline_metrics.py PRED.mp4 REF.mp4
    python benchmarks/offline_metrics.py PRED.mp4 REF.mp4 --reference syncnet_python

With the public reference's checkout (see lse_pipeline.py), its detector and SyncNet are timed on
REF.mp4 in the same run: what a user of it would wait for LSE alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from tfbench.core.errors import TfbenchError
from tfbench.core.registry import registry
from tfbench.evaluation import views
from tfbench.evaluation.evaluators import build_metric, evaluator_set
from tfbench.faces.detect import FaceDetector
from tfbench.media.video import open_clip
from tfbench.preparation.arrays import Arrays, clip_sha256


def main() -> None:
    """Measure, print a table, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pred", type=Path)
    parser.add_argument("ref", type=Path)
    parser.add_argument("--reference", type=Path)
    given = parser.parse_args()
    metrics = [metric for name in registry("metrics").names() for metric in built(name)]
    seconds: Counter[str] = Counter()
    watch(views.FaceFinder, "find", seconds, lambda *_: "detect faces and cuts")
    watch(views._Stream, "_extract", seconds, lambda s, *_: f"{s.key.side}: {s.key.name}")
    start = time.perf_counter()
    scores = score(metrics, given.pred, given.ref)
    total = time.perf_counter() - start
    print("\n".join(scores))
    rest = total - sum(seconds.values())
    for stage, spent in [*seconds.most_common(), ("decode, cut and reduce", rest)]:
        print(f"{spent:7.2f} s  {stage}")
    print(f"{total:7.2f} s  all")
    if given.reference:
        theirs = reference_seconds(given.ref, given.reference)
        print(f"{theirs:7.2f} s  the reference's LSE alone; ours takes {total / theirs:.2f} of it")


def built(name: str) -> list:
    """Build a metric, or nothing where the set does not judge it here."""
    try:
        return [build_metric(name, evaluator_set("offline"))]
    except TfbenchError as error:
        print(f"left out: {name}: {error}")
        return []


def watch(owner: type, method: str, seconds: Counter[str], stage) -> None:
    """Add up the time of a method by stage."""
    plain = getattr(owner, method)

    def timed(self, *args):
        start = time.perf_counter()
        try:
            return plain(self, *args)
        finally:
            seconds[stage(self, *args)] += time.perf_counter() - start

    setattr(owner, method, timed)


def score(metrics: list, pred: Path, ref: Path) -> list[str]:
    """Score one clip as an evaluation does, with nothing cached."""
    clips = {"pred": open_clip(pred), "ref": open_clip(ref), "appearance": open_clip(ref)}
    sha256 = {side: clip_sha256(clip) for side, clip in clips.items()}
    keys = [key for metric in metrics for key in metric.needs]
    finder = views.FaceFinder(FaceDetector())
    with tempfile.TemporaryDirectory() as folder:
        found = views.ClipViews(
            "clip", "clip", clips, sha256, keys, finder, Arrays(Path(folder)), torch.device("cpu")
        )
        return [
            f"{row.column} {row.part}: {row.reason or row.value}"
            for metric in metrics
            for row in metric.measure(found)
        ]


def reference_seconds(clip: Path, reference: Path) -> float:
    """Time the public reference's detector and SyncNet on a clip."""
    script = Path(__file__).with_name("lse_pipeline.py")
    with tempfile.TemporaryDirectory() as crops:
        for side in ("ours", "theirs"):
            command = [sys.executable, script, clip, "--side", side, "--crops", crops]
            command += ["--reference", reference]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])["seconds"]


if __name__ == "__main__":
    main()
