"""Whether the puppets' lips say what their voice says, judged from outside the generator.

    python benchmarks/puppets_lips.py [CLIPS] [RESOLUTION] [SPLIT] [DETECTOR]

Landmarks come from a detector of `tfbench.nets.landmarks` on the rendered frames (dlib68 unless
said; faces found by MTCNN), phone times from pocketsphinx, which aligns the text to the rendered
sound; the generator's own phones and curves are not used. Clips with a word that pocketsphinx's
dictionary lacks are left out. The aperture is the mean height of the inner lips at three places
over the distance between the outer corners of the eyes, less what the detector measures on the same
head at rest with closed lips.

Printed: the share of /p b m/ with a closed frame (aperture below 0.02, a tenth of an open
mouth), the correlation of each vowel's widest aperture with its openness, and by how many frames
the aperture comes after the phones at the best correlation of both in time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np
import pocketsphinx
import torch

from tfbench.core.types import FPS
from tfbench.datasets.puppets.actor import draw
from tfbench.datasets.puppets.clip import RenderedClip, render_clip
from tfbench.datasets.puppets.identity import draw_identity
from tfbench.datasets.puppets.plan import plan
from tfbench.datasets.puppets.setting import background
from tfbench.datasets.puppets.spec import ClipSpec
from tfbench.faces.detect import FaceDetector
from tfbench.nets import landmarks

OPENNESS = {
    "AA": 3, "AE": 3, "AO": 3, "AH": 3, "AY": 3, "AW": 3, "OY": 3,
    "EH": 2, "OW": 2, "EY": 2, "ER": 2, "IH": 1, "UH": 1, "IY": 1, "UW": 1,
}  # fmt: skip
"""Of vowels, by the height of the tongue: open, mid, close."""
CONSONANT = 0.7  # openness of one that is not made with the lips
LIPS = ("P", "B", "M")
CLOSED = 0.02
STEP = 0.01  # seconds between pocketsphinx's frames
MIDDLE = 0.0078  # seconds; frames are 25.6 ms long, and a phone changes between two middles

Aligned = list[tuple[str, float, float]]


@dataclass
class Seen:
    """What was measured.

    Attributes:
        lips: Of each /p b m/ its smallest aperture, the emotion and the beard.
        vowels: Of each vowel its name, largest aperture, the emotion and the beard.
        pairs: Of each clip its apertures and phones.
    """

    lips: list[tuple[float, str, str]] = field(default_factory=list)
    vowels: list[tuple[str, float, str, str]] = field(default_factory=list)
    pairs: list[tuple[np.ndarray, Aligned]] = field(default_factory=list)


def main(
    clips: int = 60, resolution: int = 256, split: str = "test", detector: str = "dlib68"
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    seen, left_out = Seen(), 0
    for spec in plan(split, clips):
        clip = render_clip(spec, resolution)
        phones = align(clip)
        if phones is None:
            left_out += 1
            continue
        found = apertures(clip, detector)
        note(seen, found, phones, spec)
    report(seen, left_out)


def note(seen: Seen, found: np.ndarray, phones: Aligned, spec: ClipSpec) -> None:
    """Measure one clip."""
    beard = draw_identity(spec.identity).beard
    seen.pairs.append((found, phones))
    for name, start, end in phones:
        inside = found[within(start, end, len(found))]
        if name in LIPS:
            seen.lips.append((float(inside.min()), spec.emotion, beard))
        elif name in OPENNESS:
            seen.vowels.append((name, float(inside.max()), spec.emotion, beard))


def align(clip: RenderedClip) -> Aligned | None:
    """Return the phones with their times, None if a word is not in the dictionary."""
    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL", bestpath=False)
    words = [word.lower().strip(".,?!") for word in clip.spec.text.replace("-", " ").split()]
    if any(decoder.lookup_word(word) is None for word in words):
        return None
    sound = (clip.speech.waveform.numpy() * 32767).astype(np.int16).tobytes()
    decoder.set_align_text(" ".join(words))
    for again in (False, True):
        if again:
            decoder.set_alignment()
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
    phones = [phone for word in decoder.get_alignment() for phone in word]
    edges = [np.array([p.start, p.start + p.duration]) * STEP + MIDDLE for p in phones]
    return [(p.name, *edge.tolist()) for p, edge in zip(phones, edges, strict=True)]


def apertures(clip: RenderedClip, detector: str) -> np.ndarray:
    """Return (T,), how far the inner lips are apart in each frame, 0 at rest."""
    frames = torch.cat([*clip.frames(), resting(clip)])
    network = landmarks.load(detector).module
    points = network.as_68(network.extract(frames, boxes(frames))).numpy()
    eyes = np.median(np.linalg.norm(points[:, 45] - points[:, 36], axis=-1))
    apart = np.linalg.norm(points[:, [61, 62, 63]] - points[:, [67, 66, 65]], axis=-1)
    heights = apart.mean(1) / eyes
    return heights[:-1] - heights[-1]


def resting(clip: RenderedClip) -> torch.Tensor:
    """Draw the speaker without any expression, (1, 3, H, W)."""
    part = clip.speaker
    posed = part.actor.pose(np.zeros(52, np.float32), np.zeros(3, np.float32))
    drawn = draw([posed], background(clip.setting, clip.height, clip.width))
    return torch.from_numpy(drawn).permute(2, 0, 1)[None]


def boxes(frames: torch.Tensor, every: int = 4) -> torch.Tensor:
    """Find the face in every fourth frame and the last; between them it moves evenly."""
    chosen = sorted({*range(0, len(frames), every), len(frames) - 1})
    found = FaceDetector().detect(frames[chosen])
    rows = np.array([d.boxes[0].tolist() for d in found])
    spread = [np.interp(np.arange(len(frames)), chosen, column) for column in rows.T]
    return torch.tensor(np.stack(spread, 1)).float()


def within(start: float, end: float, n_frames: int) -> np.ndarray:
    """Return the frames whose middle lies in an interval of seconds, at least the nearest."""
    middles = (np.arange(n_frames) + 0.5) / float(FPS)
    inside = np.flatnonzero((middles >= start) & (middles <= end))
    return inside if len(inside) else np.argmin(np.abs(middles - (start + end) / 2), keepdims=True)


def lag_frames(pairs: list[tuple[np.ndarray, Aligned]]) -> tuple[float, float]:
    """Return by how many frames the lips come after the sound, and the correlation there."""
    lags = np.arange(-30, 31)
    rows: list[list[np.ndarray]] = [[] for _ in lags]
    for found, phones in pairs:
        fine = openness(phones, int(len(found) / float(FPS) / STEP))
        places = ((np.arange(len(found)) + 0.5) / float(FPS) / STEP).astype(int)
        for row, lag in zip(rows, lags, strict=True):
            said = fine[np.clip(places - lag, 0, len(fine) - 1)]
            row.append(np.stack([standard(said), standard(found)]))
    values = [float(np.corrcoef(np.concatenate(row, 1))[0, 1]) for row in rows]
    best = int(np.argmax(values))
    return float(lags[best] * STEP * float(FPS)), values[best]


def openness(phones: Aligned, length: int) -> np.ndarray:
    """Return how open the phones are in steps of 10 ms, smoothed over 0.1 s."""
    fine = np.zeros(length)
    for name, start, end in phones:
        value = 0.0 if name in (*LIPS, "SIL") else OPENNESS.get(name, CONSONANT)
        fine[round(start / STEP) : round(end / STEP)] = value
    window = np.hanning(13)[1:-1]
    return np.convolve(fine, window / window.sum(), "same")


def standard(values: np.ndarray) -> np.ndarray:
    """Return values with mean 0 and variance 1."""
    return (values - values.mean()) / max(float(values.std()), 1e-9)


def report(seen: Seen, left_out: int) -> None:
    """Print what was seen."""
    print(f"{len(seen.pairs)} clips, {left_out} left out")
    line("all", seen.lips, seen.vowels)
    for place, what in ((-2, "emotion"), (-1, "beard")):
        for name in sorted({row[place] for row in seen.vowels}):
            lips = [row for row in seen.lips if row[place] == name]
            line(f"{what} {name}", lips, [row for row in seen.vowels if row[place] == name])
    for vowel in sorted(OPENNESS, key=OPENNESS.__getitem__):
        own = [row[1] for row in seen.vowels if row[0] == vowel]
        if own:
            print(
                f"  {vowel}: openness {OPENNESS[vowel]}, {len(own)} of aperture {np.mean(own):.3f}"
            )
    lag, best = lag_frames(seen.pairs)
    print(f"the lips come {lag:+.2f} frames after the sound (correlation {best:.3f})")


def line(name: str, lips: list, vowels: list) -> None:
    """Print what was seen in some of the clips."""
    closed = np.mean([row[0] < CLOSED for row in lips]) if lips else np.nan
    pairs = np.array([(row[1], OPENNESS[row[0]]) for row in vowels])
    print(
        f"{name}: /p b m/ closed {closed:.1%} of {len(lips)}; "
        f"{len(vowels)} vowels, correlation {np.corrcoef(pairs.T)[0, 1]:.3f}"
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]), *sys.argv[3:5])
