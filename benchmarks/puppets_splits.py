"""Whether every frame of the puppets' splits shows one face, after compression too.

    python benchmarks/puppets_splits.py SPLIT ...

Makes the splits with their usual settings, decodes them, and gives every frame to facenet-pytorch's
MTCNN with its defaults and to tfbench's own detector. Listed are clips with a frame in which the
first does not see exactly one face above 0.95; those in which the second, by which metrics track
faces, sees one above 0.9 in less than 60 % of the frames; and those in whose first frame it sees
none when it is held and written anew, as the method `still` does. `plan.REDRAWN` says with which
attempt they begin instead; the rules of the second were applied to `test` alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from facenet_pytorch import MTCNN

from tfbench.core.types import Video
from tfbench.datasets.puppets import Puppets, PuppetsConfig
from tfbench.faces.detect import FaceDetector
from tfbench.media.video import VideoFile, write_video


def main(splits: list[str], folder: Path) -> None:
    """Make, look and print."""
    mtcnn, quick = MTCNN(keep_all=True), FaceDetector()
    for split in splits:
        dataset = Puppets(PuppetsConfig(split=split))
        start = time.monotonic()
        made = dataset.prepare()
        print(f"{split}: {made.n_clips} clips, {time.monotonic() - start:.0f} s")
        lowest = 1.0
        for row in dataset.index():
            video = dataset.sample(row).clip.video
            scores = [score for frames in video.frames() for score in _scores(mtcnn, frames)]
            tracked = _tracked(quick, video)
            still = _tracked(quick, _held(video, folder / "still.mp4"))
            lowest = min(lowest, *scores)
            share = sum(tracked) / len(tracked)
            if min(scores) <= 0.95 or share < 0.6 or not all(still):
                seen = "" if all(still) else ", its still not"
                print(f"  {row.id}: lowest {min(scores):.3f}, {share:.0%} tracked{seen}")
        print(f"  lowest {lowest:.4f}")


def _held(video: Video, path: Path) -> Video:
    """A second of the first frame, as it is after writing."""
    first = next(video.frames(0, 1))
    write_video(path, [first.expand(25, -1, -1, -1)], 25, None, comment="a still")
    return VideoFile(path)


def _tracked(quick: FaceDetector, video: Video) -> list[bool]:
    """Whether metrics see one face in each frame."""
    found = [d for frames in video.frames() for d in quick.detect(frames)]
    return [len(d) == 1 and float(d.scores[0]) > 0.9 for d in found]


def _scores(mtcnn: MTCNN, frames) -> list[float]:
    """The score of each frame's face; 0 where there is not exactly one."""
    _, found = mtcnn.detect(frames.permute(0, 2, 3, 1).numpy())
    rows = [[float(p) for p in row if p is not None] for row in found]
    return [row[0] if len(row) == 1 else 0.0 for row in rows]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(sys.argv[1:], Path(place))
