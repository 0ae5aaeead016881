import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import whisper

from tfbench.core.assets import manifest
from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.media.audio import read_speech
from tfbench.media.text import normalise
from tfbench.nets.frozen import state_sha256
from tfbench.nets.whisper import VARIANTS, Transcriber, load, load_state, seeded


@pytest.fixture(scope="module")
def net() -> Transcriber:
    return seeded(0)


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    steps = torch.arange(round(16_000 * seconds)) / 16_000
    loudness = 0.2 * (1 + torch.sin(2 * torch.pi * 3 * steps))
    return (loudness * torch.randn(len(steps), generator=generator)).clamp(-1, 1)


def write(net: Transcriber, path: Path, **changes: object) -> Path:
    """In the format of OpenAI's files, whose parameters are float16."""
    state = {name: value.half() for name, value in net.net.state_dict().items()}
    torch.save({"dims": asdict(net.net.dims), "model_state_dict": state} | changes, path)
    return path


def packages_own(net: whisper.model.Whisper, waveform: torch.Tensor, language: str | None) -> str:
    options = {"temperature": 0.0, "condition_on_previous_text": False, "fp16": False}
    return whisper.transcribe(net, waveform, language=language, **options)["text"].strip()


def test_every_whisper_asset_is_a_variant():
    assert set(VARIANTS.values()) == {name for name in manifest() if name.startswith("whisper-")}
    for variant, asset in VARIANTS.items():
        published = variant.replace("_en", ".en").replace("_", "-")
        assert whisper._MODELS[published] in manifest()[asset].urls


@pytest.mark.parametrize("multilingual", [False, True])
def test_a_file_loads_as_the_package_loads_it(tmp_path: Path, multilingual: bool):
    path = write(seeded(3, multilingual=multilingual), tmp_path / "tiny.pt")
    ours, theirs = load_state(path).eval(), whisper.load_model(str(path), device="cpu")
    assert state_sha256(ours.net.state_dict()) == state_sha256(theirs.state_dict())
    assert ours.english_only is not multilingual
    text = ours.transcribe(noise(1))
    assert text
    assert text == packages_own(theirs, noise(1), "en")


def test_long_sound_is_heard_to_its_end_as_the_package_does(net: Transcriber):
    texts = [net.transcribe(noise(seconds)) for seconds in (2, 70)]
    assert len(texts[1]) > len(texts[0])
    assert texts == [packages_own(net.net, noise(seconds), "en") for seconds in (2, 70)]


def test_the_same_sound_gives_the_same_text_and_other_weights_another(net: Transcriber):
    assert net.transcribe(noise(1)) == net.transcribe(noise(1).double())
    assert net.transcribe(noise(1)) != seeded(1).transcribe(noise(1))


def test_the_language_may_be_named_or_left_to_the_network():
    net = seeded(2, multilingual=True)
    detected = net.net.detect_language(torch.zeros(80, 3000))[1]
    assert len(detected) == 99
    for language in (None, "zh"):
        assert net.transcribe(noise(1), language) == packages_own(net.net, noise(1), language)
    with pytest.raises(InputError, match="knows no language 'english'; it has en, zh"):
        net.transcribe(noise(1), "english")


@pytest.mark.parametrize(
    ("language", "what"), [("de", "understand 'de'"), (None, "tell languages")]
)
def test_an_english_network_hears_english_only(net: Transcriber, language: str | None, what: str):
    with pytest.raises(InputError, match=f"English only and cannot {what}"):
        net.transcribe(noise(1), language)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(16_000), "the sound is silent"),
        (torch.zeros(0), "the sound has no sample"),
        (torch.full((9,), torch.nan), "not finite"),
        (torch.ones(2, 9), r"hears float \(S,\) at 16 kHz; got torch.float32 \(2, 9\)"),
        (torch.ones(9, dtype=torch.int16), r"torch.int16"),
    ],
)
def test_what_cannot_be_heard_is_refused(net: Transcriber, waveform: torch.Tensor, message: str):
    with pytest.raises(InputError, match=message):
        net.transcribe(waveform)


def test_a_network_that_is_not_here_is_not_fetched():
    with pytest.raises(MissingAsset, match="whisper-base-en"):
        load("base_en")


def test_a_cut_off_file_is_refused(net: Transcriber, tmp_path: Path):
    path = write(net, tmp_path / "tiny.pt")
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(AssetError, match="no readable checkpoint"):
        load_state(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": {"n_mels": 80}}, "no Whisper of OpenAI: dims: .*missing"),
        ({"dims": None}, "no Whisper of OpenAI: dims"),
        ({"model_state_dict": {}}, "lacks parameter 'encoder.positional_embedding'"),
    ],
)
def test_another_architecture_is_named(
    net: Transcriber, tmp_path: Path, changes: dict[str, object], message: str
):
    with pytest.raises(AssetError, match=message):
        load_state(write(net, tmp_path / "tiny.pt", **changes))


def test_a_bare_state_dict_is_refused(net: Transcriber, tmp_path: Path):
    torch.save(net.net.state_dict(), tmp_path / "state.pt")
    with pytest.raises(AssetError, match="lacks 'dims' or 'model_state_dict'"):
        load_state(tmp_path / "state.pt")


@pytest.mark.weights
def test_official_weights_hear_the_well_known_sentence(shared_data: Path):
    path = os.environ.get("TFBENCH_WHISPER_EN")
    if not path:
        pytest.skip("TFBENCH_WHISPER_EN names no file of an English Whisper, such as tiny.en.pt")
    speech = read_speech(shared_data / "audio" / "jfk.flac")
    assert normalise(load_state(Path(path)).transcribe(speech.waveform)) == (
        "and so my fellow americans ask not what your country can do for you "
        "ask what you can do for your country"
    )
