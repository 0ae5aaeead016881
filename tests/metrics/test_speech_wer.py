import jiwer
import pytest
import torch

from tests.metrics.fake_views import FakeViews
from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import Transcript
from tfbench.metrics.speech_wer import SpeechWER
from tfbench.nets.frozen import Frozen
from tfbench.nets.whisper import seeded

WORDS = ["my", "fellow", "citizens", "ask", "world", "not"]


class ToneReader(torch.nn.Module):
    """Hears a word in each 0.1 s, by its level."""

    def __init__(self) -> None:
        super().__init__()
        self.languages: list[str | None] = []

    def transcribe(self, waveform: torch.Tensor, language: str | None = "en") -> str:
        if not waveform.any():
            raise InputError("the sound is silent")
        self.languages.append(language)
        levels = waveform.reshape(-1, 1600).mean(1)
        return " ".join(WORDS[round(float(level) * 10)] for level in levels)


def sound(text: str) -> torch.Tensor:
    levels = torch.tensor([WORDS.index(word) / 10 for word in text.split()])
    return levels.repeat_interleave(1600)


def build(definition: str | None = None) -> SpeechWER:
    return SpeechWER(definition, Frozen(ToneReader(), "tones.test", "a" * 64))


def views(heard: str, said: str | None, case: str = "case") -> FakeViews:
    return FakeViews({}, {"pred": sound(heard)}, said, case)


PAIRS = [
    ("My fellow citizens!", "my fellow world"),
    ("ask not", "ask my world not"),
    ("Not", "my my fellow"),
]


def test_rates_are_those_of_jiwer_clip_by_clip_and_over_all_words():
    metric = build()
    rows = []
    for n, (said, heard) in enumerate(PAIRS):
        found = metric.measure(views(heard, said, str(n)))
        clean = said.lower().strip("!")
        assert found[0].value == pytest.approx(100 * jiwer.wer(clean, heard))
        assert found[1].value == pytest.approx(100 * jiwer.cer(clean, heard))
        assert [row.column for row in found] == ["speech WER", "speech CER"]
        metric.update(sound(heard), said)
        rows += found
    refs, hyps = [said.lower().strip("!") for said, _ in PAIRS], [heard for _, heard in PAIRS]
    word, character = metric.aggregate(rows)
    assert word.value == pytest.approx(100 * jiwer.wer(refs, hyps))
    assert character.value == pytest.approx(100 * jiwer.cer(refs, hyps))
    assert metric.compute()["speech WER"].item() == pytest.approx(word.value)
    assert word.n == 3
    assert word.warning == ""


def test_above_100_is_not_clipped():
    assert build().measure(views("my my fellow", "not"))[0].value == 300.0


@pytest.mark.parametrize(
    ("definition", "language", "rules"),
    [("english", "en", "english"), ("multilingual", None, "basic")],
)
def test_a_definition_names_language_and_rules(definition: str, language: str | None, rules: str):
    metric = build(definition)
    (row, _) = metric.measure(views("my world", "my world"))
    assert metric.network.module.languages == [language]
    assert row.note == f"reference of the data set; text by Whisper's {rules} normaliser"


def test_a_reference_that_a_network_heard_is_circular():
    class Heard(FakeViews):
        def transcript(self) -> Transcript:
            return Transcript("my world", "whisper.base_en")

    with pytest.raises(Unscorable, match=r"written by whisper\.base_en.*circular"):
        build().measure(Heard({}, {"pred": sound("my world")}))


def test_no_words_no_sound_and_silence_are_refused():
    with pytest.raises(Unscorable, match="no transcript"):
        build().measure(views("my world", None))
    with pytest.raises(Unscorable, match="no sound"):
        build().measure(FakeViews(words="my world"))
    with pytest.raises(InputError, match="the sound is silent"):
        build().measure(FakeViews({}, {"pred": torch.zeros(1600)}, "my world"))


def test_it_looks_at_no_frame():
    assert build().needs == ()
    assert build().info.crop == ""


def test_with_a_whisper_it_runs_from_end_to_end():
    waveform = torch.rand(8000, generator=torch.Generator().manual_seed(0)) - 0.5
    network = Frozen(seeded(0), "whisper.seeded")
    metric = SpeechWER(network=network)
    metric.update(waveform, "hello world")
    (word, character) = metric.measure(FakeViews({}, {"pred": waveform}, "hello world"))
    assert metric.compute()["speech WER"].item() == word.value >= 100.0
    assert character.value > 0
    assert metric.info.evaluator == "whisper.seeded"
    with pytest.raises(InputError, match="English only"):
        SpeechWER("multilingual", network).update(waveform, "hello world")
