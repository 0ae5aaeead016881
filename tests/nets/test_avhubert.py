"""AV-HuBERT beside recorded outputs of its public code.

The numbers of `GOLDEN` and `FOUND`, and the counts and hashes of `PUBLISHED`, were computed by
facebookresearch/av_hubert at 258fb50 with fairseq at afc77bdf, the commit that it pins: its classes
AVHubertModel, HubertEncoderWrapper, TransformerDecoder and SequenceGenerator, built with the
settings below (in the public names), in evaluation mode, with weights filled by `value` under the
public names; for the decoders, `embed_tokens.weight` was then multiplied by 4. Inputs are those of
`streams`; numpy's global generator was seeded with 5 before each masked prediction.
"""

import hashlib
import itertools
import json
import zlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from python_speech_features import logfbank
from torch import nn

from tfbench.core.errors import InputError, MissingAsset
from tfbench.nets._avhubert_decoder import EOS, PAD, beam_search
from tfbench.nets._avhubert_front import VideoFront
from tfbench.nets._avhubert_load import SIZES
from tfbench.nets._avhubert_masks import draw_spans, spans_elsewhere
from tfbench.nets.avhubert import (
    AVHubert,
    AVHubertReader,
    Decoder,
    DecoderSettings,
    EncoderSettings,
    Reading,
    audio_features,
    normalised,
    seeded,
)

TINY = EncoderSettings(
    layers=3, dim=16, ffn=32, heads=4, conv_pos=8, conv_pos_groups=4, label_dim=6, classes=(12,)
)
KINDS = {
    "input": {},
    "feature": {"masking": "feature"},
    "add": {"fuse": "add"},
    "after": {"norm_first": False},
    "dot": {"similarity": "dot", "own_projections": False, "prelu": False},
}
TINY_DECODER = DecoderSettings(subwords=30, layers=2, dim=16, ffn=24, heads=2, memory_dim=16)

LARGE = EncoderSettings(layers=24, dim=1024, ffn=4096, heads=16)
LARGE_DECODER = DecoderSettings(layers=9, dim=1024, ffn=4096, heads=8, memory_dim=1024)
LABELS = (2004,)
"""2,000 clusters and fairseq's four special labels."""

PUBLISHED = {
    "base": (103_330_280, "d179e40f30c0f9ffc766e10af824cd4be097930630541af3bd6c724bdf4532fe"),
    "large": (325_398_504, "1f5e665647a2e11bae60296d3cf90dccb9bcc6b2008b69bd102711f89c5f8a08"),
    "base reader": (
        160_613_608,
        "12676a38068aa9b0f2779ce1e91f449472de1369d26dead7164a11cc9e5db840",
    ),
    "large reader": (
        477_332_200,
        "664363ae53525c5db58718332ff93abcee66aaf6ba5fdfd46784256b999e23e0",
    ),
}
"""Parameters, and sha256 of the JSON of the sorted list of [name, shape] of parameters and buffers
but counters of batches and `_float_tensor`. Readers are built with the labels of pre-training."""

GOLDEN = {
    "input video padded": ((1, 8), [-0.21226, 0.1024, 1.42418, -0.07504]),
    "input audio": ((0, 3), [2.25762, 0.26003, 2.28757, -1.18253]),
    "input both": ((0, 12), [-0.27405, 0.18219, 1.42801, 0.09419]),
    "input layer2": ((1, 6), [-1.72588, -1.13999, 1.86789, 1.21932]),
    "input masked padded": ((3,), [-2.12112, 3.08022, 5.20696, -4.01843]),
    "input masked alone": ((2,), [-2.77032, 1.45769, 4.91652, -4.49234]),
    "feature masked": ((5,), [-6.01593, 2.43481, 3.5151, -3.52956]),
    "add both": ((1, 0), [1.00403, -1.28658, -1.55322, -0.4259]),
    "after both": ((1, 0), [-0.36856, 0.57864, 1.2492, 0.23259]),
    "dot masked": ((7,), [22.87734, 2.85603, -4.231, 15.86826]),
}
FORCED = {
    "before": ((1, 3), [3.98051, 9.95315, -2.62721, 0.30556]),
    "after": ((0, 2), [-0.42664, 0.58823, -3.4777, 0.63591]),
}
FOUND = {
    ("before", 10, 1.3, 0): ([18] * 13, -0.39412, [18] + [7] * 12, -0.50952),
    ("before", 3, 1.0, 1): ([18] * 13, -0.88442, [18] * 3 + [7] * 10, -1.00821),
    ("after", 10, 1.3, 1): ([10] * 13, -0.74915, [18, 4, 7, 7, 7] + [10] * 8, -0.96387),
    ("after", 3, 1.0, 0): ([10] * 13, -1.67385, [18] + [10] * 12, -1.89561),
}
"""Beam, penalty and utterance -> the best text and its score, and the last ones."""


@cache
def value(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw one parameter from its name, the same in every framework."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        drawn = drawn / np.sqrt(np.prod(shape[1:]))
    elif name.endswith(("running_var", "weight", "weight_g")):
        drawn = 1 + 0.1 * np.abs(drawn)
    else:
        drawn = 0.1 * drawn
    return torch.from_numpy(drawn).float()


def filled(net: nn.Module, prefix: str = "") -> nn.Module:
    for name, parameter in net.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            parameter.copy_(value(prefix + name, tuple(parameter.shape)))
    return net.eval()


@cache
def streams() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two utterances of 13 frames: mouths, sound, and padding after frame 9 of the second."""
    draw = np.random.RandomState(7)
    mouths, sound = (draw.standard_normal((2, 13, *one)) for one in ((88, 88), (104,)))
    padding = torch.zeros(2, 13, dtype=torch.bool)
    padding[1, 9:] = True
    return torch.from_numpy(mouths).float(), torch.from_numpy(sound).float(), padding


@cache
def encoder(kind: str) -> AVHubert:
    return filled(AVHubert(replace(TINY, **KINDS[kind])))


@cache
def reader_encoder() -> AVHubert:
    return filled(AVHubert(replace(TINY, classes=())), "encoder.w2v_model.")


@cache
def decoder(norm: str) -> tuple[Decoder, torch.Tensor]:
    after = {"norm_first": False, "scaled": True} if norm == "after" else {}
    net = filled(Decoder(replace(TINY_DECODER, **after)), "decoder.")
    with torch.no_grad():
        net.embed_tokens.weight.mul_(4)
        return net, reader_encoder()(streams()[0]).last


@pytest.mark.parametrize("case", GOLDEN)
@torch.no_grad()
def test_outputs_are_those_of_the_public_code(case: str):
    kind, what, *rest = case.split()
    net, (mouths, sound, padding) = encoder(kind), streams()
    if rest == ["alone"]:
        mouths, sound, padding = mouths[:1], sound[:1], None
    if rest != ["padded"]:
        padding = None
    if what == "masked":
        draw = np.random.RandomState(5)
        if kind == "feature":
            draw.random_sample(2)  # the public code decides first which stream is dropped
        every = torch.zeros(mouths.shape[:2], dtype=torch.bool) if padding is None else padding
        found = net.predict(mouths, sound, draw, every)
        result = found.logits[0][found.masked]
    elif what.startswith("layer"):
        result = net(mouths, sound).layers[int(what[-1]) - 1]
    else:
        chosen = mouths if what != "audio" else None, sound if what != "video" else None
        result = net(*chosen, padding).last
    place, wanted = GOLDEN[case]
    assert result[place][:4].tolist() == pytest.approx(wanted, abs=3e-5)


@pytest.mark.parametrize("norm", FORCED)
@torch.no_grad()
def test_given_texts_are_followed_as_by_the_public_code(norm: str):
    net, encoded = decoder(norm)
    tokens = torch.tensor([[EOS, 5, 6, 7, 8], [EOS, 9, 4, PAD, PAD]])
    padding = streams()[2] if norm == "before" else None
    if padding is not None:
        encoded = reader_encoder()(streams()[0], None, padding).last
    place, wanted = FORCED[norm]
    assert net(tokens, encoded, padding)[place][:4].tolist() == pytest.approx(wanted, abs=3e-5)


@pytest.mark.parametrize("case", FOUND)
@torch.no_grad()
def test_texts_found_are_those_of_the_public_search(case: tuple[str, int, float, int]):
    norm, beam, penalty, row = case
    net, encoded = decoder(norm)
    memory = net.begin(encoded[row : row + 1])

    def follow(parents: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        memory.keep(parents)
        return net.step(last, memory)

    found = beam_search(follow, beam, penalty, 13)
    best, best_score, last, last_score = FOUND[case]
    assert len(found) == beam
    assert [list(found[0].tokens), list(found[-1].tokens)] == [best, last]
    assert [found[0].score, found[-1].score] == pytest.approx([best_score, last_score], abs=2e-5)


def rows(net: nn.Module, prefix: str = "") -> list[list[object]]:
    return [
        [prefix + name, list(parameter.shape)]
        for name, parameter in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    ]


@pytest.mark.parametrize("what", PUBLISHED)
def test_every_parameter_has_its_public_name_and_shape(what: str):
    size, *reads = what.split()
    settings = EncoderSettings() if size == "base" else LARGE
    with torch.device("meta"):
        if reads:
            other = DecoderSettings() if size == "base" else LARGE_DECODER
            net, written = AVHubert(settings), Decoder(other)
            labels = [["encoder.w2v_model.label_embs_concat", [sum(LABELS), settings.label_dim]]]
            found = rows(net, "encoder.w2v_model.") + rows(written, "decoder.") + labels
            count = sum(p.numel() for one in (net, written) for p in one.parameters())
            count += sum(LABELS) * settings.label_dim
        else:
            net = AVHubert(replace(settings, classes=LABELS))
            found, count = rows(net), sum(p.numel() for p in net.parameters())
    digest = hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()
    assert (count, digest) == PUBLISHED[what]
    assert SIZES[size] == (settings.layers, settings.dim)


@torch.no_grad()
def test_subwords_one_by_one_are_told_as_all_at_once():
    net, encoded = decoder("before")
    tokens = torch.tensor([[EOS, 5, 6, 7], [EOS, 9, 4, 3], [EOS, 5, 8, 4]])
    wanted = net(tokens, encoded[:1].expand(3, -1, -1)).log_softmax(2)
    memory = net.begin(encoded[:1])
    for place in range(4):
        found = net.step(tokens[:, place], memory)
        assert (found - wanted[:, place]).abs().max() < 1e-5
    memory.keep(torch.tensor([2, 2, 0]))
    again = net.step(torch.tensor([7, 7, 7]), memory)
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("longest", [1, 2, 3])
def test_a_search_scores_what_it_finds(penalty: float, longest: int):
    table = np.random.RandomState(longest).standard_normal((6, 6)) * 2
    table = np.log(np.exp(table) / np.exp(table).sum(1, keepdims=True))

    def score(text: tuple[int, ...]) -> float:
        steps = itertools.pairwise((EOS, *text, EOS))
        return sum(table[a, b] for a, b in steps) / (len(text) + 1) ** penalty

    letters = [n for n in range(6) if n not in {PAD, EOS}]
    texts = [t for n in range(1, longest + 1) for t in itertools.product(letters, repeat=n)]
    found = beam_search(lambda _, last: torch.from_numpy(table)[last].float(), 5, penalty, longest)
    best = max(texts, key=score)
    assert all(one.score == pytest.approx(score(one.tokens), abs=1e-5) for one in found)
    assert found[0].score <= score(best) + 1e-5
    assert {one.tokens for one in found} <= set(texts)
    assert len({one.tokens for one in found}) == len(found)
    if longest == 1:
        assert found[0].tokens == best


def test_a_text_that_ends_early_is_found():
    table = torch.full((5, 5), -9.0)
    table[EOS, 4] = table[4, 3] = table[3, EOS] = -0.1
    found = beam_search(lambda _, last: table[last], 2, 1.0, 50)
    assert found[0].tokens == (4, 3)
    assert found[0].score == pytest.approx(-0.1)


def test_a_search_needs_a_beam_and_room():
    with pytest.raises(InputError, match="got 0 and 3"):
        beam_search(lambda _, last: torch.zeros(len(last), 5), 0, 1.0, 3)


def mouths(n: int, seed: int = 0) -> torch.Tensor:
    pixels = np.random.RandomState(seed).randint(0, 256, (n, 88, 88))
    return torch.from_numpy(pixels.astype(np.uint8))


def test_lips_are_read():
    reader = seeded(reading=Reading(beam=5, aligned=False))
    frames = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (7, 3, 160, 160)))
    frames = frames.to(torch.uint8)
    assert reader.crop.name == "frame-160"
    assert (reader.text, reader.located) == ("english", False)
    kept = reader.prepare(frames)
    assert (kept.dtype, kept.shape) == (torch.uint8, (7, 88, 88))
    weights = torch.tensor([0.299, 0.587, 0.114])
    pixel = (frames[3, :, 36, 123].float() * weights).sum()
    assert abs(int(kept[3, 0, 87]) - float(pixel)) <= 0.5 + 1e-4
    text = reader.read(kept)
    assert text == reader.read(kept)
    assert set(text) <= set(" abcdefghstuvw<unk>")
    assert len(reader.write(video=kept)) <= 5
    assert reader.read(kept[:0]) == ""


def test_one_frame_is_enough():
    reader = seeded()
    assert isinstance(reader.read(mouths(1)), str)
    encoded = reader.encode(video=mouths(1))
    assert encoded.last.shape == (1, 16)
    assert [layer.shape for layer in encoded.layers] == [(1, 16)] * 2


def test_mouths_are_aligned_by_landmarks():
    try:
        crop = seeded().crop
    except MissingAsset as error:
        pytest.skip(str(error))
    assert crop.name == "mouth-96.dlib68"


@torch.no_grad()
def test_one_utterance_is_encoded_from_either_stream_or_both():
    reader = seeded(1)
    waveform = torch.from_numpy(np.random.RandomState(0).uniform(-0.5, 0.5, 6400)).float()
    sound = audio_features(waveform, 9)
    found = [
        reader.encode(video=mouths(9)).last,
        reader.encode(audio=sound).last,
        reader.encode(mouths(9), sound).last,
    ]
    assert all(one.shape == (9, 16) for one in found)
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.combinations(found, 2))
    together = reader.encoder(normalised(mouths(9))[None], sound[None])
    assert torch.equal(together.last[0], found[2])
    assert reader.write(audio=sound)[0].tokens


def test_sound_is_prepared_as_the_public_code_does():
    levels = np.random.RandomState(0).randint(-3000, 3000, 16000).astype(np.int16)
    banks = logfbank(levels, samplerate=16000).astype(np.float32)
    banks = np.concatenate([banks, np.zeros((-len(banks) % 4, 26), np.float32)]).reshape(-1, 104)
    for frames in (None, 20, 27):
        n = len(banks) if frames is None else frames
        wanted = np.zeros((n, 104), np.float32)
        wanted[: len(banks)] = banks[:n]
        wanted = torch.nn.functional.layer_norm(torch.from_numpy(wanted), (104,))
        found = audio_features(torch.from_numpy(levels / 32768).float(), frames)
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-5


def test_subwords_are_joined_to_words():
    reader = seeded()
    names = dict(zip(reader.subwords, itertools.count(), strict=False))
    pieces = ["\u2581a", "s", "t", "</s>", "\u2581b", "<pad>", "u", "<s>"]
    assert reader.spell([names[piece] for piece in pieces]) == "ast bu"
    assert reader.spell([]) == ""
    assert reader.spell([3]) == "<unk>"


@torch.no_grad()
def test_padding_and_neighbours_change_nothing():
    net, (seen, heard, padding) = encoder("input"), streams()
    alone = net(seen[1:, :9], heard[1:, :9]).last
    together = net(seen.masked_fill(padding[..., None, None], 0.0), heard, padding).last[1:, :9]
    # Black frames after the end, as a collated batch has, are what the stem sees beyond it.
    assert (together - alone).abs().max() < 1e-5


@torch.no_grad()
def test_long_clips_go_through_the_resnet_in_pieces(monkeypatch: pytest.MonkeyPatch):
    net = seeded().encoder.feature_extractor_video
    clip = normalised(mouths(30))[None]
    whole = net(clip)
    monkeypatch.setattr("tfbench.nets._avhubert_front.PIECE", 7)
    assert (net(clip) - whole).abs().max() < 1e-6


def trained(**changes: object) -> AVHubertReader:
    reader = seeded(2)
    settings = replace(reader.encoder.settings, **changes)
    other = AVHubertReader(settings, reader.decoder.settings, reader.subwords)
    other.load_state_dict(reader.state_dict())
    return other.train()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    seen, heard, _ = streams()
    return torch.tensor([[EOS, 5, 6], [EOS, 7, PAD]]), seen[:, :5], heard[:, :5]


def test_everything_but_the_mask_learns_from_texts():
    torch.manual_seed(0)
    reader = trained(layerdrop=0.0)
    tokens, seen, heard = batch()
    reader(tokens, seen, heard).log_softmax(2)[:, :2, 4].sum().backward()
    still = [n for n, p in reader.named_parameters() if p.grad is None or not p.grad.any()]
    # A key's bias shifts all scores of a query alike, so that only rounding reaches it.
    assert [name for name in still if not name.endswith("k_proj.bias")] == ["encoder.mask_emb"]


def test_the_front_ends_learn_as_much_as_they_are_told():
    found = []
    for factor in (1.0, 0.1, 0.0):
        torch.manual_seed(0)
        reader = trained(front_gradient=factor).eval()
        tokens, seen, heard = batch()
        reader(tokens, seen, heard)[..., 4].sum().backward()
        gradient = reader.encoder.feature_extractor_audio.proj.weight.grad
        found.append(torch.zeros(()) if gradient is None else gradient)
    assert torch.allclose(found[1], 0.1 * found[0], rtol=1e-4)
    assert found[0].any()
    assert not found[2].any()


def test_evaluation_repeats_itself_and_training_does_not():
    torch.manual_seed(0)
    reader = trained()
    tokens, seen, heard = batch()
    assert not torch.equal(reader(tokens, seen, heard), reader(tokens, seen, heard))
    reader.eval()
    assert torch.equal(reader(tokens, seen, heard), reader(tokens, seen, heard))


def test_dropped_layers_are_passed_by():
    reader = trained(layerdrop=1.0, dropout=0.0, input_dropout=0.0)
    _, seen, heard = batch()
    layers = reader.encoder(seen, heard).layers
    assert torch.equal(layers[0], layers[1])


@pytest.mark.parametrize(("sound_dropped", "kept"), [(1.0, 0), (0.0, 1)])
def test_one_stream_may_be_left_out_in_pretraining(sound_dropped: float, kept: int):
    settings = replace(
        seeded().encoder.settings,
        classes=(5, 3),
        layerdrop=0.0,
        modality_dropout=1.0,
        audio_dropout=sound_dropped,
        front_gradient=1.0,
    )
    torch.manual_seed(0)
    net = AVHubert(settings).train()
    seen, heard, padding = streams()
    found = net.predict(seen, heard, np.random.RandomState(0), padding)
    assert [one.shape for one in found.logits] == [(2, 13, 5), (2, 13, 3)]
    assert not (found.masked & padding).any()
    sum(one[found.masked].sum() for one in found.logits).backward()
    fronts = net.feature_extractor_video, net.feature_extractor_audio
    moved = [bool(front.proj.weight.grad.any()) for front in fronts]
    assert moved == [kept == 0, kept == 1]
    assert net.final_proj.weight.grad.any()
    assert net.label_embs_concat.grad.any()


def test_masks_cover_about_what_they_should():
    mask = draw_spans(40, 400, None, 0.8, 10, np.random.RandomState(0))
    assert len(set(mask.sum(1))) == 1
    # Spans overlap: 32 of 10 frames in 400 leave (1 - 10 / 400)^32 = 44 % uncovered.
    assert mask.mean() == pytest.approx(0.55, abs=0.05)
    assert not draw_spans(3, 9, None, 0.0, 5, np.random.RandomState(0)).any()
    ends = draw_spans(2, 30, [30, 6], 0.3, 5, np.random.RandomState(0))
    assert not ends[1, 6:].any()
    assert draw_spans(1, 1, None, 0.3, 5, np.random.RandomState(0)).shape == (1, 1)


def test_masked_mouths_come_from_elsewhere():
    mask = torch.zeros(1, 12, dtype=torch.bool)
    mask[0, 4:7] = True
    x = torch.arange(12.0).reshape(1, 12, 1)
    firsts = {
        tuple(spans_elsewhere(x, mask, np.random.RandomState(seed))[0, 4:7, 0].tolist())
        for seed in range(40)
    }
    assert (0.0, 1.0, 2.0) in firsts
    assert (11.0, 11.0, 11.0) in firsts
    assert not any(first in {1, 2, 3, 4, 5, 6} for first, *_ in firsts - {(1.0, 2.0, 3.0)})


def test_in_training_nothing_is_computed_of_what_fills_a_batch():
    torch.manual_seed(0)
    front = VideoFront((4, 4, 4, 6, 8), 5).train()
    mouths = torch.randn(2, 9, 88, 88)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 4:] = True
    first = front(mouths, padding)
    mouths[1, 4:] = 100.0
    assert torch.equal(front(mouths, padding), first)
    for module in front.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for row, n in ((0, 9), (1, 4)):
        alone = front(mouths[row : row + 1, :n])
        assert torch.allclose(front(mouths, padding)[row, :n], alone[0], atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_the_gpu_agrees_with_the_cpu():
    reader = seeded(1)
    clip, sound = mouths(40), torch.from_numpy(np.random.RandomState(0).randn(40, 104)).float()
    wanted, found = reader.encode(clip, sound).last, reader.write(video=clip)
    reader.cuda()
    assert (reader.encode(clip.cuda(), sound.cuda()).last.cpu() - wanted).abs().max() < 1e-4
    assert reader.write(video=clip.cuda())[0].tokens == found[0].tokens
