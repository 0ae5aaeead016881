"""Whether every frame of the puppets' splits shows one face, after compression too.

    python benchmarks/puppets_splits.py SPLIT ...

Makes the splits with their usual settings, decodes them, and gives every frame to facenet-pytorch's
MTCNN with its defaults. Clips with a frame that does not have exactly one face above 0.95 are
listed; `plan.REDRAWN` says with which attempt they begin instead.
"""

from __future__ import annotations

import sys
import time

from facenet_pytorch import MTCNN

from tfbench.datasets.puppets import Puppets, PuppetsConfig


def main(splits: list[str]) -> None:
    """Make, look and print."""
    mtcnn = MTCNN(keep_all=True)
    for split in splits:
        dataset = Puppets(PuppetsConfig(split=split))
        start = time.monotonic()
        made = dataset.prepare()
        print(f"{split}: {made.n_clips} clips, {time.monotonic() - start:.0f} s")
        scores = []
        for row in dataset.index():
            own = [
                score
                for f in dataset.sample(row).clip.video.frames()
                for score in _scores(mtcnn, f)
            ]
            scores += own
            if min(own) <= 0.95:
                print(f"  {row.id}: {sum(s <= 0.95 for s in own)} frames, lowest {min(own):.3f}")
        print(f"  {len(scores)} frames, lowest {min(scores):.4f}")


def _scores(mtcnn: MTCNN, frames) -> list[float]:
    """The score of each frame's face; 0 where there is not exactly one."""
    _, found = mtcnn.detect(frames.permute(0, 2, 3, 1).numpy())
    rows = [[float(p) for p in row if p is not None] for row in found]
    return [row[0] if len(row) == 1 else 0.0 for row in rows]


if __name__ == "__main__":
    main(sys.argv[1:])
