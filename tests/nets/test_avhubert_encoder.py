import json

import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.nets import avhubert
from tfbench.nets.avhubert_encoder import VARIANTS, PretrainedEncoder, build, load, seeded


def test_settings_rebuild_the_network_through_json():
    net = seeded(1)
    again = build(json.loads(json.dumps(net.settings)))
    again.load_state_dict(net.state_dict())
    audio = torch.randn(1, 5, 104)
    assert again.settings == net.settings
    with torch.no_grad():
        assert torch.equal(again.eval().encoder(None, audio).last, net.encoder(None, audio).last)


def test_labels_are_the_nearest_centres():
    net = seeded(0, (7, 3))
    frames = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    wanted = torch.cdist(frames.double(), net.centres.double()).argmin(1)
    assert torch.equal(net.label(frames), wanted)
    assert len(set(wanted.tolist())) > 3
    with pytest.raises(InputError, match=r"features \(T, 3\); got \(50, 2\)"):
        net.label(frames[:, :2])


def test_official_encoders_are_variants_that_know_no_centres(monkeypatch: pytest.MonkeyPatch):
    assert VARIANTS == avhubert.ENCODERS
    official = avhubert.Frozen(seeded().encoder, "avhubert.base")
    monkeypatch.setattr(avhubert, "load_encoder", lambda _: official)
    found = load("base")
    assert found.module.encoder is official.module
    assert found.sha256 == official.sha256
    assert not any(value.is_meta for value in found.module.state_dict().values())
    with pytest.raises(InputError, match=r"features \(T, 0\)"):
        found.module.label(torch.zeros(4, 39))


def test_an_encoder_may_predict_nothing():
    assert (
        "classes"
        in PretrainedEncoder({**seeded().settings["encoder"], "classes": []}).settings["encoder"]
    )
