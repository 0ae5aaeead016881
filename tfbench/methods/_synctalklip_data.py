"""What SyncTalklip keeps of a clip, and what of that a training step reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import FPS, SAMPLE_RATE
from tfbench.core.views import ViewKey
from tfbench.evaluators._mouths import MOST_LOST
from tfbench.faces.landmarks import mediapipe_to_68
from tfbench.faces.mouth import MOUTH
from tfbench.methods._pixel_loss import dimmed, draw_gains
from tfbench.methods._synctalklip_losses import mouth_maps, mouths_of
from tfbench.nets.avhubert import CROP, WINDOW, audio_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tfbench.core.types import Sample
    from tfbench.core.views import Crop, Views
    from tfbench.evaluators.base import Kept

__all__ = [
    "SHORTEST",
    "Stretch",
    "draw_stretch",
    "draw_sway",
    "draw_windows",
    "excerpt",
    "kept",
    "lip_shapes",
    "place_view",
    "together",
    "unread",
    "varied",
]

SHORTEST = 25
"""Frames of a clip that is trained on; a window is shorter."""
SAMPLES_PER_FRAME = SAMPLE_RATE // int(FPS)
AT_ONCE = 4
"""A clip whose words cannot be parted is read as a whole up to so many times `longest`."""
EDGE = (CROP - WINDOW) // 2
"""Pixels between the edges of the aligned mouth and of what is read of it."""


class Stretch(NamedTuple):
    """A part of a kept clip: its frames from `start` up to `stop`, and what is said in them."""

    start: int
    stop: int
    text: str


def place_view(crop: Crop) -> ViewKey:
    """Ask for a crop's regions themselves, one row a frame."""
    return ViewKey("places", "pred", crop, extract=_places, located=True)


def _places(_frames: Tensor, regions: Tensor) -> Tensor:
    return regions


def kept(sample: Sample, views: Views, keys: Sequence[ViewKey]) -> dict[str, Tensor]:
    """Keep faces, mouths, the map between both, and the sound of their time.

    Args:
        sample: The clip.
        views: Of the clip.
        keys: Views of the faces, of the mouths (96 x 96), of the places of both, and of the
            landmarks.

    Returns:
        "faces" uint8 (T, 3, S, S); "mouths" uint8 (T, 88, 88); "maps" float32 (T, 6), of
        `mouth_maps`; "lips" float32 (T, 40), of `lip_shapes`; "sound" float32 (T, 104); "start"
        int64 (1,), number of the first frame.

    Raises:
        Unscorable: There is no face that is seen all the time, or no sound, or faces and mouths
            are not of the same frames.
    """
    parts = [views.parts(key) for key in keys]
    start, stop, n_frames = parts[0][0].start, parts[0][0].stop, sample.clip.video.n_frames
    lost = n_frames - (stop - start)
    if len(parts[0]) > 1 or lost > MOST_LOST:
        raise Unscorable(
            f"SyncTalklip learns from one face that is seen all the time; this clip has "
            f"{len(parts[0])} tracks, and {lost} of {n_frames} frames without the first"
        )
    spans = {(found[0].start, found[0].stop) for found in parts}
    if len(spans) > 1:
        raise Unscorable(
            f"faces and mouths must be of the same frames; they are of {sorted(spans)}, from the "
            "first up to the last but one"
        )
    waveform = views.speech("pred").waveform
    n = min(stop, len(waveform) // SAMPLES_PER_FRAME) - start
    if n < SHORTEST:
        raise Unscorable(f"{n} frames of a face with sound; at least {SHORTEST} are needed")
    waveform = waveform[start * SAMPLES_PER_FRAME :][: n * SAMPLES_PER_FRAME]
    if not bool(waveform.any()):
        raise Unscorable("the sound is silent")
    faces, mouths, of_faces, of_mouths, points = (found[0].values[:n] for found in parts)
    of_mouths = of_mouths - torch.tensor([0.0, 0, EDGE, 0, 0, EDGE])
    return {
        "faces": faces,
        "mouths": mouths[:, EDGE:-EDGE, EDGE:-EDGE],
        "maps": mouth_maps(of_faces, of_mouths),
        "lips": lip_shapes(points, of_mouths),
        "sound": audio_features(waveform, n),
        "start": torch.tensor([start]),
    }


def lip_shapes(points: Tensor, mouths: Tensor) -> Tensor:
    """Say where the points of the lips lie around their middle.

    Args:
        points: float (n, 68, 2) or MediaPipe's (n, 478, 2), landmarks in pixels of the frame.
        mouths: float (n, 6), transforms from the frame to the aligned mouth.

    Returns:
        float32 (n, 40), x y of the 20 points, in pixels of the aligned mouth.
    """
    whole = mediapipe_to_68(points) if points.shape[1] == 478 else points
    lips = whole[:, MOUTH].double()
    turned = torch.einsum("nij,npj->npi", mouths.double().view(-1, 2, 3)[:, :, :2], lips)
    return (turned - turned.mean(1, keepdim=True)).flatten(1).float()


def unread(clip: Kept, longest: int, tokenise: Callable[[str], object]) -> str:
    """Say why what is said in a clip cannot be read; "" where it can.

    Args:
        clip: With a transcript, at best with the times of words.
        longest: Frames that are read at once; four times as many where words have no times.
        tokenise: Of the expert.
    """
    n, timed = clip.shapes["faces"][0], clip.facts.get("word_times")
    if not isinstance(clip.facts.get("transcript"), str):
        return "it has no transcript"
    if not timed and n > AT_ONCE * longest:
        return (
            f"it has {n} frames, of which at most {AT_ONCE} x longest = {AT_ONCE * longest} are "
            "read at once, and no word_times by which to cut it; cut the file, or raise longest"
        )
    words = _seen_words(clip)
    if timed and not words:
        return "none of its words is said while the face is seen; look at word_times"
    try:
        for one in (_said(clip), *(word for word, _, _ in words)):
            tokenise(one)
    except InputError as error:
        return str(error)
    return ""


def _seen_words(clip: Kept) -> list[tuple[str, float, float]]:
    """Return the words whose middle lies in the kept frames, with begin and end in frames."""
    times = clip.facts.get("word_times") or ()
    n, offset = clip.shapes["faces"][0], int(clip.array("start")[0]) if times else 0
    words = [
        (str(word), float(begin * FPS) - offset, float(end * FPS) - offset)
        for word, begin, end in times
    ]
    return [one for one in words if 0 <= (one[1] + one[2]) / 2 <= n]


def _said(clip: Kept) -> str:
    """Return what is said while the face is seen; the transcript, where no word lies outside."""
    words = _seen_words(clip)
    if len(words) == len(clip.facts.get("word_times") or ()):
        return str(clip.facts.get("transcript") or "")
    return " ".join(word for word, _, _ in words)


def draw_stretch(
    clip: Kept, longest: int, rng: np.random.Generator, *, read: bool = True
) -> Stretch:
    """Return a whole clip, or a part of one that is too long.

    Where the times of words are known, words whose middle lies outside of the kept frames are left
    out of the text, and a part is as many words in a row as fit. Where they are not, nobody knows
    whether the face is seen during all of the text, nor what is said in a part.

    Args:
        clip: Of which "start" and the number of frames are looked at.
        longest: Frames.
        rng: Where chance comes from.
        read: Whether the text matters: without times such a clip stays whole; otherwise it is cut
            anywhere, and the part has no text.
    """
    n, words = clip.shapes["faces"][0], _seen_words(clip)
    if n <= longest or (read and not words):
        return Stretch(0, n, _said(clip))
    if not words:
        start = int(rng.integers(n - longest + 1))
        return Stretch(start, start + longest, "")
    begins, ends = [begin for _, begin, _ in words], [end for *_, end in words]
    first = last = int(rng.integers(len(words)))
    while last + 1 < len(words) and ends[last + 1] - begins[first] < longest - 1:
        last += 1
    while first > 0 and ends[last] - begins[first - 1] < longest - 1:
        first -= 1
    start = min(max(int(begins[first]), 0), n - SHORTEST)
    stop = min(max(int(ends[last]) + 1, start + SHORTEST), n, start + longest)
    return Stretch(start, stop, " ".join(word for word, _, _ in words[first : last + 1]))


def draw_windows(n: int, window: int, groups: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw windows that share no frame, and leave at least one frame out.

    Args:
        n: Frames that there are, more than `window`.
        window: Frames of one.
        groups: How many; fewer, where there are not so many frames.
        rng: Where chance comes from.

    Returns:
        Numbers of their frames, ascending.
    """
    groups = max(min(groups, (n - 1) // window), 1)
    firsts = np.sort(rng.choice(n - groups * (window - 1), groups, replace=False))
    firsts += np.arange(groups) * (window - 1)
    numbers: NDArray[np.int64] = (firsts[:, None] + np.arange(window)).ravel()
    return numbers


def excerpt(
    clip: Kept, stretch: Stretch, at: Sequence[int], other: int, opacity: Tensor | None = None
) -> dict[str, Tensor]:
    """Read what a training step needs of a clip.

    Args:
        clip: Where from.
        stretch: What of it is heard and read, T frames.
        at: Numbers of the frames in it that are drawn, N, ascending.
        other: Number of the clip's frame that shows the person.
        opacity: float32 (S, S), with which true faces are put into the true mouths, as drawn ones
            are; None leaves these as they are.

    Returns:
        "faces" uint8 (N, 3, S, S), "maps" float32 (N, 6), "at" int64 (N,), "reference" uint8
        (3, S, S), "lips" float32 (T, 40), "sound" float32 (T, 104) and "mouths" uint8
        (T, 88, 88).
    """
    start, stop = stretch.start, stretch.stop
    rows, maps = torch.tensor(at), clip.array("maps", start, stop)
    low, high = (at[0], at[-1] + 1) if opacity is None else (0, stop - start)
    faces, mouths = (
        clip.array("faces", start + low, start + high),
        clip.array("mouths", start, stop),
    )
    if opacity is not None:
        mouths = mouths_of(faces.float() / 255, maps, mouths.float(), opacity).round().byte()
    return {
        "faces": faces[rows - low],
        "maps": maps[rows],
        "at": rows,
        "reference": clip.array("faces", other, other + 1)[0],
        "lips": clip.array("lips", start, stop),
        "sound": clip.array("sound", start, stop),
        "mouths": mouths,
    }


def varied(read: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Mirror every other excerpt and make it darker or lighter, faces and mouths alike."""
    gain, mirrored = draw_gains(rng, 1), rng.random() < 0.5
    seen = {name: dimmed(read[name], gain) for name in ("faces", "reference", "mouths")}
    if mirrored:
        side = seen["faces"].shape[-1]
        seen = {name: x.flip(-1) for name, x in seen.items()}
        a, b, c, d, e, f = read["maps"].unbind(1)
        last = WINDOW - 1
        rows = (a, -b, side - 1 - last * a - c, -d, e, f + last * d)
        seen["maps"] = torch.stack(rows, 1)
    return read | seen


def draw_sway(most: float, rng: np.random.Generator) -> dict[str, Tensor]:
    """Draw how far one clip's mouths are moved, turned and scaled; see `swayed`.

    Returns:
        "sway" float32 (4,), from -`most` to `most`; nothing where `most` is 0.
    """
    return {"sway": torch.from_numpy(rng.uniform(-most, most, 4)).float()} if most else {}


def together(examples: Sequence[Any]) -> dict[str, Tensor]:
    """Join drawn frames one after the other, and fill up what is as long as a clip.

    Returns:
        "faces", "maps" and "rows" int64 (N,), each drawn frame's place among all B T frames;
        "drawn" int64 (B,), how many belong to each clip; "reference" (B, 3, S, S); "lips"
        (B, T, 40), "sound" (B, T, 104), "mouths" (B, T, 88, 88) and "padding" bool (B, T). "sway"
        (B, 4), where it was drawn.
    """
    sways = [e["sway"] for e in examples if "sway" in e]
    lengths = torch.tensor([len(e["sound"]) for e in examples])
    longest = int(lengths.max())
    return {
        "faces": torch.cat([e["faces"] for e in examples]),
        "maps": torch.cat([e["maps"] for e in examples]),
        "rows": torch.cat([k * longest + e["at"] for k, e in enumerate(examples)]),
        "drawn": torch.tensor([len(e["at"]) for e in examples]),
        "reference": torch.stack([e["reference"] for e in examples]),
        "lips": pad_sequence([e["lips"] for e in examples], batch_first=True),
        "sound": pad_sequence([e["sound"] for e in examples], batch_first=True),
        "mouths": pad_sequence([e["mouths"] for e in examples], batch_first=True),
        "padding": torch.arange(longest) >= lengths[:, None],
        **({"sway": torch.stack(sways)} if sways else {}),
    }
