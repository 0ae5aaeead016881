import json
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tfbench.core.errors import ConfigError, InputError, MissingAsset
from tfbench.nets import avhubert
from tfbench.nets._avhubert_decoder import EOS, PAD
from tfbench.nets.av_syncnet import (
    VARIANTS,
    AVSyncNet,
    build,
    filled,
    from_reader,
    l1_distances,
    lip_loss,
    load,
    seeded,
)


def streams(frames: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, frames, 104), torch.randn(2, frames, 88, 88)


def test_each_stream_alone_is_encoded_as_by_the_encoder():
    net = seeded()
    audio, video = streams()
    with torch.no_grad():
        assert torch.equal(net.hear(audio), net.encoder(None, audio).last)
        assert torch.equal(net.see(video), net.encoder(video, None).last)
    assert net.hear(audio).shape == (2, 7, net.dim)


def test_what_comes_after_the_end_changes_nothing():
    net = seeded(align_kernel=3)
    audio, video = streams()
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 4:] = True
    audio[1, 4:] = video[1, 4:] = 0
    with torch.no_grad():
        for both, alone in (
            (net.hear(audio, padding), net.hear(audio[1:, :4])),
            (net.see(video, padding), net.see(video[1:, :4])),
        ):
            assert torch.allclose(both[1, :4], alone[0], atol=1e-5)
            aligned = net.align(both, padding)[1, :4]
            assert torch.allclose(aligned, net.align(alone)[0], atol=1e-5)


def test_the_convolution_begins_as_a_mean_over_its_frames():
    plain, net = seeded(), AVSyncNet(*_sizes(), align_kernel=3)
    x = torch.randn(1, 6, net.dim)
    assert plain.align(x) is x
    padded = F.pad(x - x.mean(1), (0, 0, 1, 1))
    mean = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    wanted = (mean - mean.mean(2, keepdim=True)) / mean.std(2, correction=0, keepdim=True)
    assert torch.allclose(net.align(x), wanted, atol=1e-3)


def test_the_convolution_alone_cannot_bring_unrelated_features_together():
    net = AVSyncNet(*_sizes(), align_kernel=3)
    torch.manual_seed(0)
    # What all features share must not bring them together either.
    heard, seen = torch.randn(2, 4, 100, net.dim) + torch.randn(net.dim)
    optimizer = torch.optim.Adam(net.alignment.parameters(), 5e-3)
    found = []
    for _ in range(200):
        apart = l1_distances(net.align(heard), net.align(seen)).mean() / net.dim
        optimizer.zero_grad()
        apart.backward()
        optimizer.step()
        found.append(float(apart.detach()))
    # Of two independent normal numbers the mean distance is 2 / sqrt(pi).
    assert found[0] == pytest.approx(2 / math.sqrt(math.pi), abs=0.1)
    assert found[-1] > 0.3


def _sizes() -> tuple[dict, dict, list]:
    settings = seeded().settings
    return settings["encoder"], settings["decoder"], settings["subwords"]


def test_settings_rebuild_the_network_through_json():
    net = seeded(3, align_kernel=5)
    again = build(json.loads(json.dumps(net.settings)))
    again.load_state_dict(net.state_dict())
    audio, _ = streams()
    assert again.settings == net.settings
    with torch.no_grad():
        assert torch.equal(again.eval().hear(audio), net.hear(audio))
    assert again.tokenise("hi you") == net.tokenise("hi you")


def test_texts_become_subwords_and_texts_again():
    net = seeded()
    tokens = net.tokenise("It's me!")
    assert tokens[-1] == EOS
    assert net.spell(tokens) == "it's me"
    with pytest.raises(InputError, match="no subword has 2"):
        net.tokenise("2 of us")


def test_logits_at_a_place_depend_on_the_subwords_before_it_alone():
    net = seeded()
    seen = torch.randn(2, 5, net.dim)
    one, other = net.tokenise("abc"), net.tokenise("abd")
    with torch.no_grad():
        both = net.write_logits(seen, filled([one, other]))
        reader = net.reader.decoder(torch.tensor([[EOS, *one[:-1]]]), seen[:1])
        longer = net.write_logits(seen, filled([one, net.tokenise("abcdef")]))
        same = net.write_logits(seen[:1].expand(2, -1, -1), filled([one, other]))
    assert torch.allclose(both[0], reader[0], atol=1e-6)
    assert torch.allclose(longer[0, : len(one)], both[0], atol=1e-5)
    last = len(one) - 2
    assert torch.allclose(same[0, : last + 1], same[1, : last + 1], atol=1e-6)
    assert not torch.allclose(same[0, last + 1], same[1, last + 1], atol=1e-3)


def test_words_before_are_hidden_but_never_the_beginning_and_the_end():
    net = seeded()
    told = []
    net.reader.decoder.forward = lambda before, *_: told.append(before) or torch.zeros(1)
    tokens = filled([net.tokenise("abcdefgh" * 20), net.tokenise("ab")])
    torch.manual_seed(0)
    for share in (0.0, 0.3, 0.9999):
        net.write_logits(torch.zeros(2, 5, net.dim), tokens, word_drop=share)
    whole, some, none = told
    assert torch.equal(whole[0], torch.cat([torch.tensor([EOS]), tokens[0, :-1]]))
    hidden = some != whole
    assert 0.2 < float(hidden[0].float().mean()) < 0.4
    assert (some[hidden] == net.reader.subwords.index("<unk>")).all()
    assert none[:, 0].tolist() == [EOS, EOS]
    assert (none[0, 1:] == 3).all()
    assert torch.equal(none == PAD, whole == PAD)


def test_equation_4_is_the_sum_over_a_text_and_the_mean_over_texts():
    chances = torch.tensor([[[0.5, 0.3, 0.1, 0.1], [0.2, 0.2, 0.5, 0.1]]] * 2)
    tokens = torch.tensor([[0, 2], [2, PAD]])
    wanted = -(math.log(0.5) + math.log(0.5) + math.log(0.1)) / 2
    assert float(lip_loss(chances.log(), tokens)) == pytest.approx(wanted, abs=1e-6)
    others = math.log(0.3 * 0.1 * 0.1) + math.log(0.2 * 0.2 * 0.1) + math.log(0.5 * 0.3 * 0.1)
    smooth = 0.7 * wanted - 0.3 * others / 3 / 2
    assert float(lip_loss(chances.log(), tokens, 0.3)) == pytest.approx(smooth, abs=1e-6)


def test_distances_are_sums_of_absolute_differences():
    a = torch.tensor([[1.0, -2.0], [0.0, 4.0]])
    v = torch.tensor([[0.0, 1.0], [0.5, 4.0]])
    assert l1_distances(a, v).tolist() == [4.0, 0.5]
    assert l1_distances(a[:, None], v[None]).tolist() == [[4.0, 6.5], [3.0, 0.5]]


def test_a_reader_is_taken_as_it_is_without_alignment():
    reader = avhubert.seeded(2)
    net = from_reader(reader)
    audio, video = streams()
    assert net.align(audio) is audio
    assert net.reader is reader
    with torch.no_grad():
        assert torch.equal(net.see(video), reader.encoder(video).last)
    assert not any(value.is_meta for value in net.state_dict().values())
    assert build(net.settings).settings == net.settings


def test_official_readers_are_variants_whose_files_are_asked_for():
    assert {name for name, asset in VARIANTS.items() if asset} == set(avhubert.VARIANTS)
    with pytest.raises(MissingAsset, match="talklip-reader-lrs2"):
        load("large_lrs2")


def test_an_official_reader_keeps_its_hash_so_that_it_cannot_judge_what_it_trained(monkeypatch):
    reader = avhubert.Frozen(avhubert.seeded(), "avhubert.large_lrs3")
    monkeypatch.setattr(avhubert, "load", lambda _: reader)
    assert load("large_lrs3").sha256 == reader.sha256


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="odd number of frames"):
        seeded(align_kernel=4)
    with pytest.raises(ConfigError, match="3 scores for 16 subwords"):
        seed = avhubert.seeded()
        wide = replace(seed.decoder.settings)
        avhubert.AVHubertReader(seed.encoder.settings, wide, seed.subwords, None, (0.0,) * 3)
