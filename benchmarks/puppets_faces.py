"""How real networks see the puppets: MTCNN finds their faces, dlib tells them apart.

    python benchmarks/puppets_faces.py [IDENTITIES] [RESOLUTION]

Four clips of every identity of the split `train` as they are first drawn, that is, before
generation rejects any; five frames of each clip. MTCNN is facenet-pytorch's own with its defaults.
dlib's embeddings (one frame a clip, so light and clothes differ) give the area under the curve of
same against different identity.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from facenet_pytorch import MTCNN

from tfbench.datasets.puppets.clip import render_clip
from tfbench.datasets.puppets.plan import plan
from tfbench.faces.detect import FaceDetector
from tfbench.nets import dlib_resnet

FRAMES = 5


def main(identities: int = 100, resolution: int = 128) -> None:
    """Measure and print."""
    real, ours = MTCNN(keep_all=True), FaceDetector()
    embedder = dlib_resnet.load("v1").module
    found, agreed, people, embeddings = [], [], [], []
    for spec in plan("train", 4 * identities):
        clip = render_clip(spec, resolution)
        rng = np.random.default_rng([spec.seed, 99])
        chosen = sorted(rng.choice(clip.n_frames, FRAMES, replace=False))
        frames = torch.cat(list(clip.frames()))[torch.tensor(chosen)]
        _, scores = real.detect(frames.permute(0, 2, 3, 1).numpy())
        found += [[float(p) for p in row if p is not None] for row in scores]
        detections = ours.detect(frames)
        agreed += [d.scores.tolist() for d in detections]
        if len(detections[0]):
            people.append(spec.identity)
            embeddings.append(embedder.embed(frames[:1], detections[0].boxes[:1])[0].numpy())
    _report("facenet-pytorch's MTCNN", found)
    _report("tfbench's detector", agreed)
    print(f"dlib: {len(people)} faces, area under the curve {_auc(people, embeddings):.4f}")


def _report(name: str, rows: list[list[float]]) -> None:
    best = np.array([max(row, default=0) for row in rows])
    single = np.array([len(row) == 1 for row in rows])
    shares = [f"above {least} in {(single & (best > least)).mean():.2%}" for least in (0.95, 0.9)]
    print(f"{name}: {len(rows)} frames; one face, {', '.join(shares)}")


def _auc(people: list[int], embeddings: list[np.ndarray]) -> float:
    from scipy.stats import mannwhitneyu

    table, who = np.stack(embeddings), np.array(people)
    first, second = np.triu_indices(len(who), 1)
    distance = np.linalg.norm(table[first] - table[second], axis=1)
    same = who[first] == who[second]
    wins = mannwhitneyu(distance[~same], distance[same]).statistic
    return float(wins / same.sum() / (~same).sum())


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
