"""Whether every frame of the puppets' splits shows one face, after compression too.

    python benchmarks/puppets_splits.py SPLIT ...

Makes the splits with their usual settings, decodes them, and gives every frame to facenet-pytorch's
MTCNN with its defaults and to tfbench's own detector. Clips with a frame in which the first does
not see exactly one face above 0.95 are listed, and those in which the second, by which metrics
track faces, sees one above 0.9 in less than 60 % of the frames. `plan.REDRAWN` says with which
attempt they begin instead; the second rule was applied to `test` alone.
"""

from __future__ import annotations

import sys
import time

from facenet_pytorch import MTCNN

from tfbench.datasets.puppets import Puppets, PuppetsConfig
from tfbench.faces.detect import FaceDetector


def main(splits: list[str]) -> None:
    """Make, look and print."""
    mtcnn, quick = MTCNN(keep_all=True), FaceDetector()
    for split in splits:
        dataset = Puppets(PuppetsConfig(split=split))
        start = time.monotonic()
        made = dataset.prepare()
        print(f"{split}: {made.n_clips} clips, {time.monotonic() - start:.0f} s")
        lowest = 1.0
        for row in dataset.index():
            scores, tracked = [], []
            for frames in dataset.sample(row).clip.video.frames():
                scores += _scores(mtcnn, frames)
                tracked += [len(d) == 1 and float(d.scores[0]) > 0.9 for d in quick.detect(frames)]
            lowest = min(lowest, *scores)
            share = sum(tracked) / len(tracked)
            if min(scores) <= 0.95 or share < 0.6:
                print(f"  {row.id}: lowest {min(scores):.3f}, {share:.0%} of the frames tracked")
        print(f"  lowest {lowest:.4f}")


def _scores(mtcnn: MTCNN, frames) -> list[float]:
    """The score of each frame's face; 0 where there is not exactly one."""
    _, found = mtcnn.detect(frames.permute(0, 2, 3, 1).numpy())
    rows = [[float(p) for p in row if p is not None] for row in found]
    return [row[0] if len(row) == 1 else 0.0 for row in rows]


if __name__ == "__main__":
    main(sys.argv[1:])
