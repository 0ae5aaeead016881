"""What SyncTalklip's training begins with: the expert, a generator of its own, Wav2Lip's faces."""

from pathlib import Path

import pytest
import torch

from tests.methods.faces import of_still
from tests.methods.synctalklip.helpers import (
    batch,
    reached,
    training,
    write_expert,
)
from tfbench.core.errors import AssetError, ConfigError, GenerationError, MissingAsset, UnknownName
from tfbench.core.registry import parse_name
from tfbench.evaluators.base import Kept
from tfbench.methods._residual import begin_residual
from tfbench.methods.synctalklip import SyncTalklip, SyncTalklipConfig
from tfbench.methods.wav2lip import Wav2Lip, Wav2LipConfig
from tfbench.nets.av_syncnet import seeded
from tfbench.nets.bundle import load_network
from tfbench.training.bundle import write_bundle
from tfbench.training.stages import stages


def test_another_expert_is_refused(bundle: Path, expert: str, tmp_path: Path):
    with pytest.raises(ConfigError, match="must be an av_syncnet"):
        training("syncnet.puppets")
    with pytest.raises(AssetError, match="is no network's bundle, but one of synctalklip"):
        training(str(bundle))
    with pytest.raises(MissingAsset):
        training("av_syncnet.large_lrs2")
    with pytest.raises(ConfigError, match="landmarks mediapipe478"):
        training(expert, landmarks="mediapipe478")
    net = seeded(1)
    net.settings["reading"]["aligned"] = False
    with pytest.raises(ConfigError, match="middle of the frame"):
        training(write_expert(tmp_path, net))


def test_training_begins_with_a_pretrained_generator(bundle: Path, expert: str, tmp_path: Path):
    first = SyncTalklip(SyncTalklipConfig(weights=str(bundle)))
    made = training(expert, init=str(bundle))
    for name, value in first.parts()["net"].state_dict().items():
        assert torch.equal(made.net.state_dict()[name], value)
    own = made.hearing.audio_map.weight
    assert torch.equal(own, first.hearing.audio_map.weight)
    # Of the encoder that is thrown away, the linear layer stays.
    again = training(expert, init=str(bundle), encoder_from="expert")
    assert torch.equal(again.hearing.audio_map.weight, own)
    assert torch.equal(again.hearing.audio_map.bias, first.hearing.audio_map.bias)
    with pytest.raises(GenerationError, match="no trained weights"):
        made.check(of_still())
    wider = write_expert(tmp_path, seeded(1, dim=32))
    with pytest.raises(ConfigError, match=r"width 16.*width 32.*encoder_from=expert"):
        training(wider, init=str(bundle))
    assert training(wider, init=str(bundle), encoder_from="expert").hearing.dim == 32


def test_an_encoder_of_another_expert_is_not_compared(
    bundle: Path, expert: str, clips: list[Kept], tmp_path: Path
):
    other = write_expert(tmp_path, seeded(2))
    with pytest.raises(ConfigError, match=r"was not trained with the expert.*encoder_from=expert"):
        training(other, init=str(bundle))
    made = training(other, init=str(bundle), encoder_from="expert")
    sound = clips[0].array("sound")[None]
    with torch.inference_mode():
        heard = made.eval().hearing(sound)
        torch.testing.assert_close(heard, made.expert.module.hear(sound))
    # Both have trained it, and features are those of the second.
    assert set(made.supervisors) == {made.expert.sha256, training(expert).expert.sha256}
    made.fit_to(clips)
    write_bundle(tmp_path / "both", made, {"config": {}}, ())
    assert training(other, init=str(tmp_path / "both")).comparable
    with pytest.raises(ConfigError, match="was not trained with the expert"):
        training(expert, init=str(tmp_path / "both"))
    frozen = training(other, init=str(bundle), contrast_sound="frozen").eval()
    alone = training(other, init=str(bundle), contrast="none").eval()
    with torch.inference_mode():
        assert not torch.allclose(frozen.hearing(sound), heard)
        assert "own sound nearest" in {figure.name for figure in frozen.assess(clips[:1])}
        assert "own sound nearest" not in {figure.name for figure in alone.assess(clips[:1])}
    # A generator that nobody judged is told by the expert that its encoder began with.
    with pytest.raises(ConfigError, match="was not trained with the expert"):
        training(other, init=str(bundle), hold_weight=0.5)
    # What is held near another expert's features can be compared with that one afterwards.
    held = training(other, init=str(bundle), hold_weight=0.5, contrast="none")
    assert held.comparable
    write_bundle(tmp_path / "held", held.eval(), {"config": {}}, ())
    assert training(other, init=str(tmp_path / "held")).comparable
    wider = write_expert(tmp_path / "wider", seeded(1, dim=32))
    with pytest.raises(ConfigError, match=r"width 16.*width 32"):
        training(wider, init=str(bundle), hold_weight=0.5, contrast="none")
    silent = training(expert, contrast="none", lip_weight=0.0)
    write_bundle(tmp_path / "alone", silent.eval(), {"config": {}}, ())
    assert training(expert, init=str(tmp_path / "alone")).comparable
    with pytest.raises(ConfigError, match="was not trained with the expert"):
        training(other, init=str(tmp_path / "alone"))


def test_an_encoder_that_is_left_as_it_is(expert: str, clips: list[Kept]):
    made = training(expert, encoder_rate=0.0)
    optimizer = made.configure_optimizers()["optimizer"]
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not any(id(p) in owned for p in made.hearing.encoder.parameters())
    assert reached(made, made.loss(batch(made, clips))) == {"net", "audio_map", "critic", "scale"}
    slower = training(expert, encoder_rate=0.5).configure_optimizers()["optimizer"]
    assert {group["lr"] for group in slower.param_groups} == {1e-4, 5e-5}


def test_the_generator_begins_with_the_faces_of_wav2lip(
    expert: str, clips: list[Kept], tmp_path: Path
):
    c = training(expert).config
    sizes = {name: getattr(c, name) for name in ("width", "most", "side", "decoder_width")}
    torch.manual_seed(5)
    other = Wav2Lip(Wav2LipConfig(**sizes, critic_width=2))
    begin_residual(other.net)
    other.supervisors = ("f" * 64,)
    source = str(tmp_path / "wav2lip" / "bundle")
    write_bundle(Path(source), other.eval(), {"config": {}}, ())
    made = training(expert, faces_from=source)
    theirs = other.net.state_dict()
    assert all(torch.equal(x, theirs[name]) for name, x in made.net.state_dict().items())
    assert made.net.settings["residual"]
    assert set(made.supervisors) == {"f" * 64, load_network(expert).sha256}
    made.loss(batch(made, clips)).backward()
    with pytest.raises(ConfigError, match=r"has decoder_width = \d+, asked for is 1"):
        training(expert, faces_from=source, decoder_width=1)
    with pytest.raises(ConfigError, match=r"wav2lip; speech2vid\.tiny is one of speech2vid"):
        training(expert, faces_from="speech2vid.tiny")
    with pytest.raises(MissingAsset, match="no weights 'nowhere'"):
        training(expert, faces_from="nowhere")


@pytest.mark.parametrize("name", ["synctalklip.tiny", "synctalklip.tiny+grid"])
def test_what_ships_is_one_command(name: str):
    runs = stages(SyncTalklipConfig, "methods", parse_name(name), ["precision=bf16"], [])
    first, *drawn, last = (run.config for run in runs)
    assert (first.drawing, first.shape_weight > 0, first.before) == (False, True, ())
    assert {(c.lip_weight, c.contrast, c.window, c.weights) for c in drawn} == {(0, "none", 1, "")}
    assert (last.lip_weight > 0, last.contrast, last.batch) == (True, "l1", 2)
    assert all(run.config.precision == "bf16" for run in runs)


def test_what_a_line_sets_wins_over_the_command_line(tmp_path: Path):
    name = parse_name("synctalklip.tiny")
    given = tmp_path / "own.yaml"
    given.write_text("lip_weight: 0.02\nwidth: 4\n")
    words = ["contrast=infonce", "adversarial_weight=0.07", "hold_weight=0.3", "seed=7"]
    first, *drawn, last = (
        run.config for run in stages(SyncTalklipConfig, "methods", name, words, [given])
    )
    assert (first.drawing, first.hold_weight, first.seed, first.width) == (False, 0.5, 7, 4)
    for config in drawn:
        assert (config.lip_weight, config.contrast, config.adversarial_weight) == (0, "none", 0)
        assert config.hold_weight == 0.1
    assert (last.lip_weight, last.contrast, last.adversarial_weight) == (0.02, "infonce", 0.07)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "an empty line"),
        ("+nothing steps=5", "no overlay 'synctalklip\\+nothing'"),
        ("steps=5 init=x", "'init' cannot be set there"),
        ("steps=5 steps=6", "given twice"),
        ("hearing", "'hearing' is not a setting"),
    ],
)
def test_lines_that_mean_nothing_are_refused(line: str, says: str):
    words = [f'before=["{line}"]']
    with pytest.raises((ConfigError, UnknownName), match=f"before, '.*{says}"):
        stages(SyncTalklipConfig, "methods", parse_name("synctalklip.tiny"), words, [])
