"""dlib's face network in PyTorch beside dlib itself: time a face and largest difference.

    python benchmarks/dlib_resnet.py CLIP_OR_FOLDER ...

Two frames of every clip that is given, their faces aligned by dlib, go through both.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dlib
import numpy as np
import torch

from tfbench.core.errors import TfbenchError
from tfbench.datasets.folder import VIDEO_ENDINGS
from tfbench.faces.detect import FaceDetector
from tfbench.faces.landmarks import dlib_file
from tfbench.media.video import VideoFile
from tfbench.nets import dlib_resnet


def main(places: list[str]) -> None:
    """Measure and print."""
    module = dlib_resnet.load("v1").module
    found = chips(module, [path for place in places for path in clips(Path(place))])
    theirs = dlib.face_recognition_model_v1(str(dlib_file(dlib_resnet.NETWORK)))
    start = time.perf_counter()
    wanted = np.array(theirs.compute_face_descriptor(found))
    print(f"{1000 * (time.perf_counter() - start) / len(found):7.2f} ms a face  dlib")
    batch = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            module.net(batch[:1])
            start = time.perf_counter()
            ours = module.net(batch).numpy()
        spent = 1000 * (time.perf_counter() - start) / len(found)
        print(f"{spent:7.2f} ms a face  PyTorch, {threads} threads")
    largest, value = np.abs(ours - wanted).max(), np.abs(wanted).max()
    print(f"{len(found)} chips; largest difference {largest:.1e}, largest value {value:.2f}")


def clips(place: Path) -> list[Path]:
    """Return a clip, or all clips below a folder."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [path for path in files if path.suffix.lower() in VIDEO_ENDINGS]


def chips(module: dlib_resnet.DlibFaces, paths: list[Path]) -> list[np.ndarray]:
    """Align the first face of two frames of each clip."""
    detector, made = FaceDetector(), []
    for path in paths:
        try:
            frames = next(VideoFile(path).frames(10, 12))
        except TfbenchError as error:
            print(error)
            continue
        for frame, seen in zip(frames, detector.detect(frames), strict=True):
            if len(seen.boxes):
                made.append(module.aligner.chip(frame, seen.boxes[0].tolist()))
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
