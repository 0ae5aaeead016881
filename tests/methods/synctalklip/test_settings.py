"""SyncTalklip's settings: names, overlays, what ships, and what does not fit together."""

from dataclasses import asdict, replace

import pytest

from tfbench.core.config import load_config
from tfbench.core.errors import ConfigError
from tfbench.core.registry import parse_name, registry
from tfbench.methods.synctalklip import SyncTalklip, SyncTalklipConfig
from tfbench.methods.wav2lip import Wav2Lip, Wav2LipConfig
from tfbench.nets.bundle import load_network


def test_a_training_without_a_loss_is_refused():
    nothing = {"l1_weight": 0.0, "adversarial_weight": 0.0, "lip_weight": 0.0, "contrast": "none"}
    with pytest.raises(ConfigError, match="no loss has a weight"):
        SyncTalklipConfig(**nothing)
    with pytest.raises(ConfigError, match="hold_weight with encoder_rate"):
        SyncTalklipConfig(**nothing, hold_weight=1.0, encoder_rate=0.0)
    assert not SyncTalklipConfig(**nothing, shape_weight=1.0).drawing
    assert SyncTalklipConfig(**nothing | {"contrast": "l1"}).drawing
    with pytest.raises(ConfigError, match="no loss has a weight"):
        SyncTalklipConfig(**nothing | {"contrast": "l1", "contrast_weight": 0.0})


def test_the_user_types_it_as_the_paper_does():
    for name in ("syncTalklip", "SyncTalkLip", "sync-talklip"):
        assert registry("methods").find(name).name == "synctalklip"
    config = load_config(SyncTalklipConfig, "methods", parse_name("syncTalklip.tiny+no_lip"))
    assert (config.side, config.lip_weight) == (64, 0)


@pytest.mark.parametrize(
    ("overlay", "changed"),
    [
        ("freeze", {"contrast_sound": "frozen"}),
        ("infonce", {"contrast": "infonce", "contrast_weight": 1e-3}),
        ("no_contrast", {"contrast": "none"}),
        ("no_lip", {"lip_weight": 0.0}),
        (
            "pretrain",
            {"lip_weight": 0, "contrast": "none", "adversarial_weight": 0}
            | {"l1_weight": 1, "encoder_rate": 0},
        ),
        (
            "hearing",
            {"l1_weight": 0, "lip_weight": 0, "contrast": "none", "adversarial_weight": 0}
            | {"shape_weight": 1, "hold_weight": 0.5},
        ),
    ],
)
def test_overlays_change_what_they_are_named_after(overlay: str, changed: dict[str, object]):
    plain = load_config(SyncTalklipConfig, "methods", parse_name("synctalklip.paper"))
    other = load_config(SyncTalklipConfig, "methods", parse_name(f"synctalklip.paper+{overlay}"))
    assert {
        key: value for key, value in asdict(other).items() if value != getattr(plain, key)
    } == changed


@pytest.mark.parametrize("name", ["synctalklip.tiny", "synctalklip.paper", "synctalklip.talklip"])
def test_settings_build_networks(name: str):
    config = load_config(SyncTalklipConfig, "methods", parse_name(name))
    made = SyncTalklip(config)
    n = sum(p.numel() for p in made.net.parameters())
    assert n < 2e6 if name.endswith("tiny") else n == 33_485_363
    if name.endswith("talklip"):
        assert (config.contrast, config.contrast_weight) == ("infonce", 1e-3)
        assert config.project


def test_the_shipped_expert_supervises_tiny_and_none_is_refused():
    tiny = load_config(SyncTalklipConfig, "methods", parse_name("synctalklip.tiny"), [])
    made = SyncTalklip(tiny)
    made.gather()
    # And what is noted with the faces of Wav2Lip that it begins with.
    other = load_config(Wav2LipConfig, "methods", parse_name(tiny.faces_from), [])
    theirs = Wav2Lip(other).supervisors
    expert = load_network("av_syncnet.puppets").sha256
    assert {expert, *theirs} <= set(made.supervisors)
    assert made.hearing.settings["teacher"] == expert
    assert made.taught_by == (made.mouth_crop.points.evaluator,)
    tiny = replace(tiny, expert="")
    with pytest.raises(ConfigError, match="none is named: train one with `tfbench train av_sync"):
        SyncTalklip(tiny).gather()
