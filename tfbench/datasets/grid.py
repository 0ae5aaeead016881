"""GRID: 34 people say sentences such as "bin blue at f two now", 1000 each, 3 s a clip.

Source: Cooke, Barker, Cunningham and Shao 2006, "An audio-visual corpus for speech perception and
automatic speech recognition", JASA 120(5). Frontal faces before blue, 25 frames a second, 360x288
pixels (720x576 in the larger download). There is no video of speaker 21, and a few clips are empty
or damaged.

Licence: CC BY 4.0, as recorded at Zenodo (record 3625687).

How to obtain it: `s<n>.zip` and `alignments.zip` from https://zenodo.org/records/3625687, or
`s<n>/video/s<n>.mpg_vcd.zip` and `s<n>/align/s<n>.tar` below https://spandh.dcs.shef.ac.uk/
gridcorpus. In Zenodo's `alignments.zip` many folders carry another speaker's number (lhotse,
`recipes/grid.py`, has the right ones); where that shows, the index is refused.

Layout below the root; any ending of a video will do, and alignments may be missing:

- `s1/bbaf2n.mpg`, or deeper, such as `s1/video/mpg_6000/bbaf2n.mpg`;
- `align/s1/bbaf2n.align`, `alignments/s1/bbaf2n.align` or `s1/align/bbaf2n.align`;
- or a flat folder of clips with `align/bbaf2n.align`: its speakers are not known, and every clip
  counts as a person of its own, unless the folder is named as a speaker is.

The file's name tells the words. A line of an alignment is "start end word" in 1/25000 s, with
"sil" and "sp" for silence: in speaker 1's 1000 files all numbers are multiples of 250 (10 ms) and
all end at 74500 (2.98 s of clips of 3.00 s), and the end of speech in the sound of 500 of them
moves by 25000 a second (Theil-Sen slope, r = 0.985). The word at the edge reaches about 60 ms
farther than the sound is loud.

Splits, by one of two rules:

- "sentence": a hash of a sentence's words puts 80 of a hundred sentences in train, 5 in val and 15
  in test, whoever says them, so that no sentence of one split occurs in another. Of speaker 1's
  1000 clips it gives 804, 50 and 146. All speakers are in all splits.
- "speaker": test is all that speakers 1, 2, 20 and 22 say, the unseen speakers of LipNet (Assael et
  al. 2016). What the others say is val where the hash says val, and otherwise train; a sentence
  of test may occur in train, said by somebody else, as in the literature.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfbench.core.errors import InputError
from tfbench.core.types import Sample
from tfbench.datasets.base import Dataset, Row
from tfbench.datasets.folder import video_files
from tfbench.media.grammar import words_of_code
from tfbench.media.video import open_clip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Grid", "GridConfig", "read_alignment", "split_of"]

UNITS = 25_000
"""Units of an alignment in a second."""

SILENCES = ("sil", "sp")
UNSEEN = ("s1", "s2", "s20", "s22")
SPEAKER = re.compile(r"s([1-9]|[12]\d|3[0-4])")


@dataclass(frozen=True)
class GridConfig:
    """Settings of the data set `grid`.

    Attributes:
        root: Where the speakers' folders are, or a flat folder of clips.
        split: "train", "val", "test", or "all" of them.
        speakers: Only these, such as ("s1", "s34"); none means all.
        holdout: What test keeps from train: "sentence" or "speaker".
    """

    root: Path
    split: Literal["train", "val", "test", "all"] = "test"
    speakers: tuple[str, ...] = ()
    holdout: Literal["sentence", "speaker"] = "sentence"


@dataclass(frozen=True)
class _File:
    """One clip on disk; `speaker` is "" where it is not known, `alignment` None without one."""

    path: Path
    speaker: str
    words: tuple[str, ...]
    split: str
    alignment: Path | None = None


class Grid(Dataset):
    """Real people who say sentences of six words, with the words' times.

    Args:
        config: Where the corpus is, and what of it.
    """

    name = "grid"
    evaluators = "grid"
    Config = GridConfig

    def __init__(self, config: GridConfig) -> None:
        self.config = config

    @property
    def label(self) -> str:
        """Name and split, the rule where it is not by sentence, and the speakers if chosen."""
        config = self.config
        rule = ["unseen"] if config.holdout == "speaker" else []
        chosen = ["+".join(config.speakers)] if config.speakers else []
        return "-".join([self.name, config.split, *rule, *chosen])

    def index(self) -> tuple[Row, ...]:
        """Return one row for every clip of the split."""
        return tuple(
            Row(key, file.speaker or key, str(file.path.stat().st_size))
            for key, file in sorted(self._files.items())
        )

    def sample(self, row: Row) -> Sample:
        """Decode one clip.

        Raises:
            InputError: The clip is damaged, or its alignment is, or has other words.
        """
        file = self._files[row.id]
        return Sample(
            id=row.id,
            clip=open_clip(file.path),
            identity=row.identity,
            split=file.split,
            transcript=" ".join(file.words),
            word_times=_word_times(file),
        )

    @cached_property
    def _files(self) -> Mapping[str, _File]:
        config = self.config
        found = self._all_files()
        there = {file.speaker for file in found.values()}
        _check_speakers(there, config)
        chosen = {
            key: file
            for key, file in found.items()
            if file.speaker in (config.speakers or there) and config.split in ("all", file.split)
        }
        if not chosen:
            raise InputError(
                f"no clip below {config.root} is in '{config.split}' by {config.holdout}; there "
                f"are {len(found)} clips, of {', '.join(sorted(there)) or 'unknown speakers'}"
            )
        alignments = {speaker: self._alignments(speaker, chosen.values()) for speaker in there}
        return {
            key: replace(file, alignment=alignments[file.speaker].get(file.path.stem))
            for key, file in chosen.items()
        }

    def _all_files(self) -> dict[str, _File]:
        root = self.config.root
        found: dict[str, _File] = {}
        for key, path in video_files(root).items():
            if any(part.startswith(".") for part in Path(key).parts):
                continue
            speaker = _speaker(root, path)
            name = f"{speaker}/{path.stem}" if speaker else key
            if name in found:
                raise InputError(f"{found[name].path} and {path} are one clip; keep one of them")
            words = _words(path)
            found[name] = _File(path, speaker, words, self._split(speaker, words))
        return found

    def _split(self, speaker: str, words: Sequence[str]) -> str:
        by_sentence = split_of(words)
        if self.config.holdout == "sentence":
            return by_sentence
        if speaker in UNSEEN:
            return "test"
        return "val" if by_sentence == "val" else "train"

    def _alignments(self, speaker: str, files: Iterable[_File]) -> dict[str, Path]:
        """Find a speaker's alignments: a clip's code -> the file."""
        codes = {file.path.stem for file in files if file.speaker == speaker}
        root = self.config.root
        folders = [root / "align"]
        if speaker:
            own = [
                root / "align" / speaker,
                root / "alignments" / speaker,
                root / speaker / "align",
            ]
            folders = own + folders
        every = ({path.stem: path for path in folder.glob("*.align")} for folder in folders)
        paths = next(filter(None, every), {})
        if paths and 2 * len(codes & set(paths)) < len(codes):
            raise InputError(
                f"{next(iter(paths.values())).parent} has the alignments of only "
                f"{len(codes & set(paths))} of {len(codes)} clips{speaker and f' of {speaker}'}: "
                "they are another speaker's or not complete. Zenodo's folders are not in order; "
                "rename or remove them"
            )
        return paths


def read_alignment(path: Path) -> tuple[tuple[str, float, float], ...]:
    """Read the words of an `.align` file, without silences.

    Returns:
        (word, start, end) in seconds.

    Raises:
        InputError: The file cannot be read, or a line is not "start end word" with start < end.
    """
    times = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"the alignment {path} cannot be read: {error}") from error
    for line in filter(str.strip, lines):
        match = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\S+)\s*", line)
        if match is None or int(match[1]) >= int(match[2]):
            raise InputError(f"a line of {path} is '{line}'; wanted is such as '23750 29500 bin'")
        if match[3] not in SILENCES:
            times.append((match[3], int(match[1]) / UNITS, int(match[2]) / UNITS))
    return tuple(times)


def split_of(words: Sequence[str]) -> str:
    """Tell in which split a sentence is, by the rule "sentence"."""
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    bucket = int.from_bytes(digest[:4], "big") % 100
    return "train" if bucket < 80 else "val" if bucket < 85 else "test"


def _word_times(file: _File) -> tuple[tuple[str, float, float], ...] | None:
    if file.alignment is None:
        return None
    times = read_alignment(file.alignment)
    said = tuple(word for word, _, _ in times)
    if said != file.words:
        raise InputError(
            f"{file.alignment} has the words '{' '.join(said)}', and the name of {file.path} "
            f"stands for '{' '.join(file.words)}'; remove or replace the wrong file"
        )
    return times


def _speaker(root: Path, path: Path) -> str:
    folders = (root.resolve().name, *path.relative_to(root).parts[:-1])
    return next((folder for folder in folders if SPEAKER.fullmatch(folder)), "")


def _words(path: Path) -> tuple[str, ...]:
    try:
        return words_of_code(path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}. Keep only clips of GRID below the root") from error


def _check_speakers(there: Iterable[str], config: GridConfig) -> None:
    """Refuse speakers that are asked for and not there, and unseen speakers without names."""
    absent = sorted(set(config.speakers) - set(there))
    if absent:
        known = ", ".join(sorted(filter(None, there))) or "none"
        raise InputError(
            f"no clip of {', '.join(absent)} below {config.root}; speakers there: {known}"
        )
    if config.holdout == "speaker" and not config.speakers and "" in there:
        raise InputError(
            f"clips below {config.root} lie in no folder of a speaker such as s1, so they cannot "
            "be split by speaker; take holdout 'sentence' or move them"
        )
