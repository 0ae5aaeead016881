from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluators.speech import ENCODER, STILL, kept, sample
from tests.metrics.fake_views import FakeViews
from tfbench.core.config import load_config
from tfbench.core.errors import AssetError, ConfigError, InputError, MissingAsset, Unscorable
from tfbench.core.registry import parse_name
from tfbench.core.types import Speech
from tfbench.core.views import Part, ViewKey
from tfbench.evaluators._speech import with_deltas
from tfbench.evaluators.av_syncnet import AVSyncNetConfig, AVSyncNetTrainee
from tfbench.faces.crop import FaceBox
from tfbench.nets import avhubert_encoder
from tfbench.nets._avhubert_decoder import EOS, PAD
from tfbench.nets.av_syncnet import AVSyncNet
from tfbench.nets.avhubert import audio_features, normalised
from tfbench.training.bundle import write_bundle

DECODER = {"decoder_layers": 1, "decoder_dim": 16, "decoder_ffn": 32, "decoder_heads": 2} | {
    "decoder_dropout": 0.0,
    "vocabulary": 30,
    "beam": 2,
    "sound_first": 0,
    "word_drop": 0.0,
}
PLAIN = {"ctc": 0.0, "frame_loss": 0.0, "sound": 0.0, "label_smoothing": 0.0}
TIMES = (("ab", 0.0, 0.2), ("no", 0.24, 0.48))


def trainee(clips=None, **settings) -> AVSyncNetTrainee:
    torch.manual_seed(0)
    made = AVSyncNetTrainee(AVSyncNetConfig(**{**ENCODER, **DECODER, **STILL, **settings}))
    made.log = lambda *_, **__: None
    if clips:
        made.fit_to(clips)
    return made


@pytest.fixture
def clips(tmp_path: Path):
    return [kept(tmp_path, "ab no", 0, times=TIMES), kept(tmp_path, "Nobody!", 1, 9)]


def batch_of(made: AVSyncNetTrainee, clips):
    return made.collate([made.example([clip], np.random.default_rng(0)) for clip in clips])


def reached(net: torch.nn.Module) -> dict[str, bool]:
    parts = {
        "sound": net.encoder.feature_extractor_audio,
        "mouths": net.encoder.feature_extractor_video,
        "transformer": net.encoder.encoder,
        "decoder": net.reader.decoder,
        "alignment": net.alignment,
    }
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
        for name, part in parts.items()
    }


def test_without_variation_an_example_is_the_clip(clips):
    made = trainee(clips)
    batch = batch_of(made, clips)
    assert batch["padding"].tolist() == [[False] * 12, [False] * 9 + [True] * 3]
    assert torch.equal(batch["audio"][0], clips[0].array("audio"))
    assert not batch["audio"][1, 9:].any()
    text = [int(k) for k in batch["text"][1] if k != PAD]
    assert text[-1] == EOS
    assert made.net.spell(text) == "nobody"
    batch["place"][:, 0] = batch["place"][:, 0].abs()
    centre = clips[0].array("mouths")[:, 4:92, 4:92]
    found = made.video(batch)
    assert (found[0] - normalised(centre)).abs().max() < 0.02
    assert not found[1, 9:].any()


def test_a_run_of_words_has_its_frames_and_its_subwords(clips):
    made = trainee(clips, runs=1.0)
    seen = set()
    for seed in range(60):
        drawn = made.example(clips[:1], np.random.default_rng(seed))
        text = made.net.spell(drawn["text"].tolist())
        seen.add(text)
        assert len(drawn["audio"]) == len(drawn["mouths"]) == len(drawn["letters"])
        if text == "ab":
            assert torch.equal(drawn["audio"][0], clips[0].array("audio")[0])
            assert len(drawn["audio"]) in {5, 6, 7}
    assert seen == {"ab", "no", "ab no"}


def test_varied_streams_keep_the_same_frames(clips):
    made = trainee(clips, stretch=0.3, jitter=0.2)
    drawn = made.example(clips[:1], np.random.default_rng(1))
    sound, mouths = clips[0].array("audio"), clips[0].array("mouths")
    assert len(drawn["audio"]) != 12
    for one, picture in zip(drawn["audio"], drawn["mouths"], strict=True):
        (at,) = torch.nonzero((sound == one).all(1))[0].tolist()
        assert torch.equal(picture, mouths[at])


def test_equation_5_is_the_mean_over_frames_of_scaled_distances(clips):
    made = trainee(clips, tau=0.5)
    heard, seen = torch.zeros(1, 2, 16), torch.zeros(1, 2, 16)
    heard[0, 0, :2] = torch.tensor([3.0, -1.0])
    seen[0, 1, 5] = 2.0
    assert made.distances(heard, seen).tolist() == [[2.0, 1.0]]
    assert trainee(clips).distances(heard, seen).tolist() == [[4 / 16, 2 / 16]]


def test_equation_6_weighs_both_losses(clips):
    batch = batch_of(trainee(clips), clips)
    found = []
    for lip, av in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
        made = trainee(clips, lambda_lip=lip, lambda_av=av, **PLAIN)
        found.append(float(made.loss(batch).detach()))
    assert found[2] == pytest.approx(2 * found[0] + 3 * found[1], rel=1e-5)
    assert found[0] > 0
    assert found[1] > 0


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"lambda_av": 0}, {"mouths", "transformer", "decoder"}),
        ({"lambda_lip": 0}, {"sound", "mouths", "transformer"}),
        ({"lambda_lip": 0, "align_kernel": 3}, {"sound", "mouths", "transformer", "alignment"}),
        ({"lambda_av": 0, "freeze": 1}, {"decoder"}),
        ({"lambda_av": 0, "sound": 1}, {"sound", "mouths", "transformer", "decoder"}),
        ({"sound": 1, "sound_first": 1}, {"sound", "transformer", "decoder"}),
    ],
)
def test_losses_reach_the_parts_that_they_train(clips, settings: dict, wanted: set[str]):
    made = trainee(clips, **{**PLAIN, **settings})
    made.loss(batch_of(made, clips)).backward()
    assert {name for name, hit in reached(made.net).items() if hit} == wanted


def test_what_helps_to_learn_reaches_the_encoder_and_is_not_shipped(clips):
    made = trainee(clips, **{**PLAIN, "ctc": 1.0, "frame_loss": 1.0, "lambda_av": 0})
    made.loss(batch_of(made, clips)).backward()
    assert made.ctc_layer.weight.grad.any()
    assert made.letters.weight.grad.any()
    assert made.parts() == {"net": made.net}


def test_letters_are_asked_of_the_video_front_end_too(clips):
    made = trainee(clips, **{**PLAIN, "frame_loss": 1.0, "lambda_av": 0})
    batch = batch_of(made, clips)
    made.loss(batch).backward()
    assert made.letters_seen.weight.grad.any()
    made.zero_grad()
    told = {}
    made.log = lambda name, value: told.update({name: float(value.detach())})
    with torch.no_grad():
        total = float(made.loss(batch))
        looked = made.net.encoder.look(made.video(batch), batch["padding"])
        logits = made.letters_seen(looked)[0]
    wanted = batch["letters"][0]
    assert (batch["letters"][1] == -100).all()
    by_hand = -logits.log_softmax(1)[torch.arange(12), wanted].mean()
    assert told["letters_seen"] == pytest.approx(float(by_hand), rel=1e-4)
    subwords = float((batch["text"] != PAD).sum()) / 2
    share = subwords * (told["lips_letters"] + told["letters_seen"]) / 2
    assert total == pytest.approx(told["lips"] + share, rel=1e-4)


class At(AVSyncNetTrainee):
    step = 0

    @property
    def global_step(self) -> int:
        return self.step


def test_letters_fade_and_the_rate_rises_again_once_lips_are_learnt():
    made = At(AVSyncNetConfig(steps=1000, warmup=100, sound_first=400, frame_until=0.5))
    weights = []
    for made.step in (0, 399, 400, 550, 700, 900):
        weights.append(made._letters_count())
    assert weights == pytest.approx([1, 1, 1, 0.5, 0, 0])
    plain = At(AVSyncNetConfig(steps=1000, warmup=100, sound_first=0))
    for step in (0, 50, 99, 100, 399, 500, 999):
        assert made._rate(step) == plain._rate(step)
    for step, share in ((400, 0.01), (449, 0.5), (499, 1.0)):
        assert made._rate(step) == pytest.approx(share * plain._rate(step))


def test_words_are_hidden_from_the_decoder_in_training_alone(clips):
    made = trainee(clips, **{**PLAIN, "word_drop": 0.9})
    batch = batch_of(made, clips)
    shares, write = [], made.net.write_logits

    def watched(*args):
        shares.append(args[3] if len(args) > 3 else 0)
        return write(*args)

    made.net.write_logits = watched
    with torch.no_grad():
        made.loss(batch)
        made.eval().assess(clips)
    assert shares == [0.9, 0, 0]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"sound": 0.0, "sound_first": 5}, "give sound_first=0, or sound above 0"),
        ({"steps": 5, "sound_first": 5}, "sound_first=5 leaves none of steps=5"),
        ({"steps": 60, "sound_first": 700}, "a lower sound_first, such as 0"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict, why: str):
    with pytest.raises(ConfigError, match=why):
        AVSyncNetConfig(**settings)


def test_ctc_is_the_sum_over_all_ways_to_say_a_text(clips):
    made = trainee(clips)
    a, b = 5, 6
    with torch.no_grad():
        made.ctc_layer.weight.zero_()
        chances = torch.full_like(made.ctc_layer.bias, 1e-6)
        chances[[0, a, b]] = torch.tensor([0.5, 0.2, 0.3])
        made.ctc_layer.bias.copy_(chances.log())
    text = torch.tensor([[a, b, EOS], [a, EOS, PAD]])
    padding = torch.tensor([[False] * 3, [False, False, True]])
    found = made._ctc(torch.zeros(2, 3, 16), text, padding)
    total = float(chances.sum())
    one = (0.2 * 0.3 * (3 * 0.5 + 0.2 + 0.3)) / total**3
    other = (0.2 * 0.2 + 2 * 0.2 * 0.5) / total**2
    assert float(found.detach()) == pytest.approx(-(np.log(one) + np.log(other)) / 2, rel=1e-4)


def test_two_clips_are_learnt_by_heart_and_streams_come_together(clips):
    made = trainee(clips, lambda_av=30, steps=60, move=0, label_smoothing=0)
    made.eval()
    with torch.no_grad():
        before = {f.name: f.value for f in made.assess(clips)}
    made.train()
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    batch = batch_of(made, clips)
    batch["place"][:, 0] = batch["place"][:, 0].abs()
    for _ in range(60):
        loss = made.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.eval()
    with torch.no_grad():
        figures = {f.name: f.value for f in made.assess(clips)}
    assert figures["distance"] < before["distance"]
    assert figures["WER"] == figures["CER"] == figures["WER of sound"] == 0
    assert figures["WER against another clip's words"] >= 100
    assert figures["CER by CTC"] < min(before["CER by CTC"], 60)
    assert figures["loss of lips"] < 1
    assert made.monitor == "CER"
    again = AVSyncNetTrainee(made.config).eval()
    again.adopt(made.parts())
    with torch.no_grad():
        of_bundle = {f.name: f.value for f in again.assess(clips)}
    # The layer of CTC is not part of a bundle.
    assert of_bundle == {name: value for name, value in figures.items() if name != "CER by CTC"}


def test_ctc_reads_the_best_path_without_repeats_and_blanks(clips):
    made = trainee(clips, **PLAIN).eval()
    with torch.no_grad():
        assert "CER by CTC" not in {f.name for f in made.assess(clips)}
    made = trainee(clips, ctc=1.0).eval()
    numbers = {piece: k for k, piece in enumerate(made.net.reader.subwords)}
    begin, a, b = (numbers[piece] for piece in ("\u2581", "a", "b"))
    path = torch.tensor([begin, a, a, 0, a, b, 0, 0, b, b, 0, 0])
    made.ctc_layer.forward = lambda seen: torch.nn.functional.one_hot(
        path[: seen.shape[1]], len(numbers)
    ).float()[None]
    with torch.no_grad():
        assert made._measured(clips[0])["ctc"] == "aabb"


def test_a_frame_of_sound_finds_its_own_mouth_where_both_are_the_same(clips):
    made = trainee(clips)
    made.eval()
    made.net.hear = lambda audio: (
        torch.arange(audio.shape[1]).float()[None, :, None].repeat(1, 1, 16)
    )
    made.net.see = lambda video: made.net.hear(video).roll(1, 1)
    with torch.no_grad():
        figures = {f.name: f.value for f in made.assess(clips[:1])}
    assert figures["own frame nearest"] == 0
    assert figures["nearest within 1 frame"] == pytest.approx(100 * 11 / 12)
    assert figures["distance"] == pytest.approx((11 + 11) / 12)


def test_the_same_clips_give_the_same_network_again(clips):
    one, again = trainee(clips), trainee(clips[::-1])
    assert one.net.settings == again.net.settings
    for seed in range(5):
        first, second = (t.example(clips, np.random.default_rng(seed)) for t in (one, again))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_begins_with_a_pretrained_encoder(clips, tmp_path: Path):
    source = avhubert_encoder.seeded(3)
    _write(source, tmp_path / "run" / "bundle")
    made = trainee(clips, init=str(tmp_path / "run" / "bundle"))
    given = source.encoder.state_dict()
    own = made.net.encoder.state_dict()
    assert all(torch.equal(v, given[k]) for k, v in own.items() if k != "mask_emb")


def test_it_begins_with_another_av_syncnet_and_its_vocabulary(clips, tmp_path: Path):
    source = trainee(clips)
    write_bundle(tmp_path / "run" / "bundle", source, {}, ())
    more = [kept(tmp_path, "quite other words", 2)]
    made = trainee(more, init=str(tmp_path / "run" / "bundle"))
    assert made.net.settings == source.net.settings
    given = source.net.state_dict()
    for name, value in made.net.state_dict().items():
        # A bundle has half precision.
        assert torch.allclose(value, given[name], atol=2e-3, rtol=2e-3), name
    made.loss(batch_of(made, more)).backward()
    assert not any(p is q for p in made.parameters() for q in source.parameters())
    for changed in ({"align_kernel": 3}, {"decoder_ffn": 12}):
        with pytest.raises(ConfigError, match=f"its {next(iter(changed))} is"):
            trainee(init=str(tmp_path / "run" / "bundle"), **changed).gather()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"dim": 32}, "its dim is 16, here it is 32"),
        # Of these no parameter's shape tells.
        ({"heads": 4}, "its heads is 2, here it is 4"),
        ({"widths": (4, 4, 4, 6, 10)}, r"its widths is \(4, 4, 4, 6, 8\), here it is"),
    ],
)
def test_another_architecture_is_refused_before_clips_are_looked_at(tmp_path, changed, why):
    bundle = tmp_path / "run" / "bundle"
    _write(avhubert_encoder.seeded(3), bundle)
    with pytest.raises(ConfigError, match=f"another architecture: {why}"):
        trainee(init=str(bundle), **changed).gather()


@pytest.mark.parametrize("changed", [{"norm_first": False}, {"fuse": "add"}, {"prelu": False}])
def test_an_encoder_that_computes_otherwise_is_no_beginning(tmp_path: Path, changed: dict):
    bundle = tmp_path / "run" / "bundle"
    sizes = avhubert_encoder.seeded(3).settings["encoder"]
    _write(avhubert_encoder.PretrainedEncoder({**sizes, **changed}), bundle)
    with pytest.raises(ConfigError, match=f"its {next(iter(changed))} is"):
        trainee(init=str(bundle)).gather()


def test_the_first_iteration_with_another_mask_is_a_beginning(clips, tmp_path: Path):
    bundle = tmp_path / "run" / "bundle"
    sizes = avhubert_encoder.seeded(3).settings["encoder"]
    source = avhubert_encoder.PretrainedEncoder({**sizes, "masking": "feature"})
    _write(source, bundle)
    made = trainee(init=str(bundle))
    made.gather()
    made.fit_to(clips)
    given, found = source.encoder.state_dict(), made.net.encoder.state_dict()
    assert given["mask_emb"].shape != found["mask_emb"].shape
    assert all(torch.equal(v, given[k]) for k, v in found.items() if k != "mask_emb")
    assert not any(p is q for p in made.parameters() for q in source.parameters())


def test_what_it_begins_with_is_looked_for_before_clips(tmp_path: Path):
    with pytest.raises((AssetError, MissingAsset)):
        trainee(init=str(tmp_path / "nothing" / "bundle")).gather()
    trainee().gather()


def _write(net: torch.nn.Module, folder: Path) -> None:
    from tfbench.evaluators.avhubert import AVHubertTrainee

    source = AVHubertTrainee()
    source.adopt({"net": net})
    write_bundle(folder, source, {}, ())


def test_another_network_is_no_beginning(clips):
    with pytest.raises(
        ConfigError, match=r"init=syncnet\.grid holds no pre-trained AV-HuBERT and no AV"
    ):
        trainee(clips, init="syncnet.grid")


class Located(FakeViews):
    def parts(self, key: ViewKey) -> tuple[Part, ...]:
        return tuple(Part(f"track-{n}", 0, len(v), v) for n, v in enumerate(self.values["pred"]))

    def speech(self, side: str) -> Speech:
        return self.sound


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> AVSyncNetTrainee:
    made = trainee()
    key = ViewKey("mouths-96", "pred", FaceBox(size=96))
    monkeypatch.setattr(AVSyncNetTrainee, "keys", (key,))
    return made


def test_mouths_and_sound_of_the_same_frames_are_kept(keeper: AVSyncNetTrainee):
    pixels = torch.randint(0, 256, (10, 96, 96), dtype=torch.uint8)
    views = Located({"pred": [pixels]})
    views.sound = Speech(torch.sin(torch.arange(8 * 640 + 100) / 7.0))
    found = keeper.keep(sample("ab", n=10), views)
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        "mouths": (8, 96, 96),
        "audio": (8, 104),
        "mfcc": (8, 39),
    }
    assert torch.equal(found["audio"], audio_features(views.sound.waveform, 8))


def test_clips_that_cannot_serve_are_left_out(keeper: AVSyncNetTrainee):
    views = Located({"pred": [torch.zeros(10, 96, 96, dtype=torch.uint8)]})
    views.sound = Speech(torch.zeros(6400))
    for text in (None, "...", "at 2"):
        with pytest.raises(Unscorable, match=r"transcript|spelt"):
            keeper.keep(sample(text, n=10), views)
    with pytest.raises(Unscorable, match="silent"):
        keeper.keep(sample("ab", n=10), views)
    views.sound = Speech(torch.ones(4 * 640))
    with pytest.raises(Unscorable, match="4 frames of a mouth with sound; at least 5"):
        keeper.keep(sample("ab", n=10), views)


def test_texts_that_do_not_fit_are_refused(clips, tmp_path: Path):
    with pytest.raises(InputError, match="1 of 3 clips have no transcript"):
        trainee([*clips, kept(tmp_path, None, 2)])
    with pytest.raises(ConfigError, match="no room for the 28 signs"):
        trainee(clips, vocabulary=27)


def test_words_of_letters_that_no_training_text_has_can_be_cut(clips, tmp_path: Path):
    drawn = trainee(clips).example([kept(tmp_path, "Quiz's", 3)], np.random.default_rng(0))
    assert trainee(clips).net.spell(drawn["text"].tolist()) == "quiz's"


def test_deltas_are_slopes_of_a_line():
    line = torch.arange(9.0)[:, None] * torch.tensor([2.0, -1.0])
    found = with_deltas(line)
    assert found.shape == (9, 6)
    assert torch.allclose(found[2:-2, 2:4], torch.tensor([2.0, -1.0]).expand(5, -1))
    assert torch.allclose(found[4, 4:], torch.zeros(2), atol=1e-6)
    assert found[0, 2] == pytest.approx((1 * 2 + 2 * 4) / 10)


def test_the_papers_sizes():
    config = load_config(AVSyncNetConfig, "evaluators", parse_name("av_syncnet.paper"))
    assert (config.layers, config.dim, config.ffn, config.heads) == (24, 1024, 4096, 16)
    assert (config.steps, config.decoder_layers, config.ctc, config.sound) == (180_000, 9, 0, 0)
    assert (config.word_drop, config.clip, config.decoder_dropout) == (0, 0, 0.1)
    assert config.encoder()["activation_dropout"] == 0.1
    assert not config.decoder_scaled
    decoder = {"layers": 9, "dim": 1024, "ffn": 4096, "heads": 8}
    letters = [(sign, -1.0) for sign in "abcdefgh"] + [(f"a{k}", -1.0) for k in range(988)]
    with torch.device("meta"):
        net = AVSyncNet(config.encoder(), decoder, letters)
    # The published large reader (tests/nets/test_avhubert.py) without the labels of pre-training.
    assert sum(p.numel() for p in net.parameters()) == 477_332_200 - 2004 * 256


def test_the_default_is_small(tmp_path: Path):
    texts = ["bin blue at f two now", "lay red by q nine again", "place green in k seven please"]
    made = AVSyncNetTrainee()
    made.fit_to([kept(tmp_path, text, k) for k, text in enumerate(texts)])
    assert sum(p.numel() for p in made.net.parameters()) < 1_500_000
