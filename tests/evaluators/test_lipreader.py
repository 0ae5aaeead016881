from itertools import groupby
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch

from tests.metrics.fake_views import FakeViews
from tfbench.core.config import load_config
from tfbench.core.errors import ConfigError, InputError, Unscorable
from tfbench.core.registry import parse_name
from tfbench.core.types import Clip, Sample, TensorVideo
from tfbench.core.views import Part, ViewKey
from tfbench.evaluators._mouths import (
    SILENCE,
    UNKNOWN,
    draw_place,
    draw_run,
    error_rate,
    least_frames,
    spread_letters,
)
from tfbench.evaluators.base import Kept
from tfbench.evaluators.lipreader import LipReaderConfig, LipReaderTrainee
from tfbench.faces.crop import FaceBox
from tfbench.metrics._error_rates import count_errors
from tfbench.nets.lipreader import ALPHABET, LIPNET, spell

TINY = {
    "window": 88,
    "size": 16,
    "widths": (4, 6, 8),
    "kernels": (3, 3, 3),
    "features": 24,
    "hidden": 24,
    "dropout": 0.0,
    "steps": 60,
    "batch": 2,
    "beam": 4,
}
STILL = {"runs": 0, "turn": 0, "move": 0, "zoom": 0, "gamma": 0, "stretch": 0, "jitter": 0} | {
    "hidden_frames": 0
}
TIMES = (("bin", 0.2, 0.5), ("blue", 0.5, 0.8), ("at", 0.8, 1.0), ("f", 1.0, 1.2))
TIMES += (("two", 1.2, 1.5), ("now", 1.5, 1.9))
SENTENCE = "bin blue at f two now"


def mouths(n: int, seed: int) -> torch.Tensor:
    pixels = np.random.RandomState(seed).randint(0, 256, (n, 12, 12))
    return torch.from_numpy(pixels.astype(np.uint8)).repeat_interleave(8, 1).repeat_interleave(8, 2)


def sample(text: str | None, times: tuple | None = None, who: str = "a", n: int = 50) -> Sample:
    video = TensorVideo(torch.zeros(n, 3, 4, 4, dtype=torch.uint8))
    name = f"{who}-{text}".replace(" ", "-")
    return Sample(
        id=name, clip=Clip(video), identity=who, split="x", transcript=text, word_times=times
    )


def kept(folder: Path, text: str | None, times=None, who: str = "a", n: int = 50, seed=0) -> Kept:
    path = folder / f"{who}-{seed}.safetensors"
    return Kept.write(path, sample(text, times, who, n), {"mouths": mouths(n, seed)})


def trainee(**settings) -> LipReaderTrainee:
    torch.manual_seed(0)
    made = LipReaderTrainee(LipReaderConfig(**{**TINY, **settings}))
    made.log = lambda *_, **__: None
    return made


def test_the_papers_widths_are_settings():
    config = LipReaderConfig(**LIPNET)
    assert (config.widths, config.hidden, config.size) == ((32, 64, 96), 256, 88)
    assert LipReaderTrainee(config).net.settings["hidden"] == 256


def test_letters_are_spread_evenly_over_a_words_time():
    letters = spread_letters([("two", 0.2, 0.44), ("it's", 0.6, 0.76)], 22)
    text = "".join("_" if k == SILENCE else ALPHABET[k] for k in letters)
    assert text == "_____ttwwoo____it's___"
    assert (spread_letters(None, 4) == UNKNOWN).all()


def test_a_run_of_words_has_its_frames_and_its_letters():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        start, stop, run = draw_run(TIMES, 50, spell(SENTENCE), rng)
        text = "".join(ALPHABET[n - 1] for n in run)
        seen.add(text)
        assert text in SENTENCE
        assert stop - start >= least_frames(run)
        if text == "blue at":
            assert start in {10, 11, 12}
            assert stop in {25, 26, 27}
    assert len(seen) > 10


def test_words_too_quick_for_ctc_are_left_in_their_sentence():
    quick = (("balloon", 0.0, 0.2),)
    assert draw_run(quick, 50, spell("balloon"), np.random.default_rng(0))[:2] == (0, 50)
    assert least_frames(spell("balloon")) == 9


def test_an_example_is_drawn_from_the_generator_alone(tmp_path: Path):
    clips = [kept(tmp_path, SENTENCE, TIMES), kept(tmp_path, "open words", None, seed=1)]
    made = trainee()
    for seed in range(20):
        one, same = (made.example(clips, np.random.default_rng(seed)) for _ in range(2))
        assert all(torch.equal(one[name], same[name]) for name in one)
        n = len(one["mouths"])
        assert one["mouths"].shape == (n, 96, 96)
        assert len(one["letters"]) == len(one["hidden"]) == n
        assert n >= least_frames(one["text"].tolist())


def test_without_variation_an_example_is_the_clip_and_the_windows_are_its_centre(tmp_path: Path):
    clip = kept(tmp_path, SENTENCE, TIMES)
    made = trainee(**STILL, size=44)
    example = made.example([clip], np.random.default_rng(0))
    assert torch.equal(example["mouths"], clip.array("mouths"))
    assert "".join(ALPHABET[n - 1] for n in example["text"]) == SENTENCE
    example["place"][:, 0] = example["place"][:, 0].abs()
    (found,) = made._vary(made.collate([example]))
    centre = clip.array("mouths")[:, 4:92, 4:92].float() / 255
    wanted = torch.nn.functional.avg_pool2d(centre.clamp(min=1e-3), 2)
    wanted = (wanted - wanted.mean()) / wanted.std()
    assert (found - wanted).abs().max() < 0.02


def test_places_are_turned_moved_zoomed_and_mirrored_within_bounds():
    rng = np.random.default_rng(0)
    places = torch.stack([draw_place(LipReaderConfig(), 72, rng) for _ in range(300)])
    scale = places[:, :, :2].norm(dim=1) * 96 / 72
    assert 0.9 <= scale.min() < 0.92
    assert 1.08 < scale.max() <= 1.1
    assert places[:, :, 2].abs().max() * 48 <= 4
    assert 100 < (places[:, 0, 0] < 0).sum() < 200


def test_two_clips_are_learnt_by_heart(tmp_path: Path):
    clips = []
    for text in ("ab", "no"):
        pictures = torch.cat([mouths(1, ord(letter)).expand(5, -1, -1) for letter in text])
        arrays = {"mouths": pictures // 2 + pictures.flip(2) // 2}
        told = sample(text, ((text, 0.0, 0.4),), n=10)
        clips.append(Kept.write(tmp_path / text, told, arrays))
    made = trainee(**STILL)
    made.fit_to(clips)
    optimizer = torch.optim.Adam(made.parameters(), 3e-2)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(60):
        loss = made.loss(made.collate([made.example(clips, rng) for _ in range(4)]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    made.eval()
    with torch.inference_mode():
        figures = {figure.name: figure.value for figure in made.assess(clips)}
    assert figures["CER"] == figures["WER"] == 0
    assert figures["WER against another clip's words"] == 100
    assert "WER, told the grammar" not in figures


def test_clips_without_times_of_words_learn_by_ctc_alone(tmp_path: Path):
    clip = kept(tmp_path, "open words")
    made = trainee(**STILL)
    made.loss(made.collate([made.example([clip], np.random.default_rng(0))])).backward()
    assert made.known.weight.grad is None
    assert made.net.letters.weight.grad.abs().max() > 0


def test_sentences_of_the_grammar_and_others_are_told_apart(tmp_path: Path):
    clips = [kept(tmp_path, SENTENCE, TIMES, "a"), kept(tmp_path, "open words", None, "b", seed=1)]
    made = trainee().eval()
    with torch.inference_mode():
        figures = {figure.name: figure for figure in made.assess(clips)}
    assert list(figures) == [
        "CER",
        "WER",
        "WER of grammar sentences",
        "WER of open sentences",
        "WER against another clip's words",
        "WER, told the grammar",
    ]
    assert figures["WER, told the grammar"].n == figures["WER of open sentences"].n == 1
    assert made.monitor in figures
    with torch.inference_mode():
        again = made.assess(clips)
    assert list(figures.values()) == list(again)


def test_rates_are_of_all_words_together_and_intervals_draw_people():
    said = ["we speak slowly", "yes", "a longer sentence is here", "no"]
    read = ["we speak", "yes no", "a longer one is here", "so"]
    errors = [count_errors(*pair) for pair in zip(said, read, strict=True)]
    by_clip = error_rate("WER", errors, ["a"] * 4)
    assert by_clip.value == pytest.approx(100 * jiwer.wer(said, read))
    assert error_rate("CER", errors, ["a"] * 4).value == pytest.approx(100 * jiwer.cer(said, read))
    assert by_clip.low < by_clip.value < by_clip.high
    halves = error_rate("WER", errors, ["a", "a", "b", "b"])
    first = 100 * jiwer.wer(said[:2], read[:2])
    second = 100 * jiwer.wer(said[2:], read[2:])
    assert (halves.low, halves.high) == pytest.approx(sorted((first, second)))


def test_what_is_shipped_is_the_reader_alone():
    made = trainee()
    assert made.parts() == {"net": made.net}
    assert made.net.settings["size"] == 16


class Located(FakeViews):
    """A face that is seen from a frame on."""

    start = 0

    def parts(self, key: ViewKey) -> tuple[Part, ...]:
        return tuple(
            Part(f"track-{n}", self.start, self.start + len(v), v)
            for n, v in enumerate(self.values["pred"])
        )


@pytest.fixture
def keeper() -> LipReaderTrainee:
    made = trainee()
    made.net.__dict__["crop"] = FaceBox(size=96)
    return made


def test_a_mouth_that_comes_late_keeps_its_times(keeper: LipReaderTrainee):
    late = Located({"pred": [mouths(47, 0)]})
    late.start = 3
    (key,) = keeper.keys
    assert key.extract(torch.zeros(2, 3, 96, 96, dtype=torch.uint8)).shape == (2, 96, 96)
    found = keeper.keep(sample(SENTENCE, TIMES), late)["mouths"]
    assert (found.shape, found.dtype) == ((50, 96, 96), torch.uint8)
    assert torch.equal(found[3:], mouths(47, 0))
    assert torch.equal(found[0], found[3])


def test_clips_that_cannot_serve_are_left_out(keeper: LipReaderTrainee):
    seen = Located({"pred": [mouths(50, 0)]})
    for text in (None, "...", "at f 2 now"):
        with pytest.raises(Unscorable, match=r"transcript|spelt"):
            keeper.keep(sample(text), seen)
    with pytest.raises(Unscorable, match="2 tracks"):
        keeper.keep(sample("yes"), Located({"pred": [mouths(25, 0), mouths(25, 1)]}))
    with pytest.raises(Unscorable, match="20 frames without"):
        keeper.keep(sample("yes"), Located({"pred": [mouths(30, 0)]}))


def test_training_without_words_is_refused_with_a_count(tmp_path: Path):
    clips = [kept(tmp_path, "yes"), kept(tmp_path, None, seed=1)]
    with pytest.raises(InputError, match="1 of 2 clips have no transcript"):
        trainee().fit_to(clips)
    with pytest.raises(InputError, match="0 of 0"):
        trainee().fit_to([])


@pytest.mark.parametrize("wrong", ["runs=2", "zoom=1.0", "frame_until=0", "widths=[1,2]"])
def test_settings_out_of_range_are_refused(wrong: str):
    with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
        load_config(LipReaderConfig, "evaluators", parse_name("lipreader"), [wrong])


def test_a_frame_of_two_words_says_one_letter_at_a_time():
    letters = spread_letters(TIMES, 50)
    assert [ALPHABET[k] for k, _ in groupby(letters) if k != SILENCE] == list("binblueatftwonow")
