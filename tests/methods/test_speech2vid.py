"""Speech2Vid: its networks, what reaches them, and the videos it makes."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.methods.faces import of_still, of_video, photograph
from tfbench.core.config import load_config
from tfbench.core.errors import AssetError, ConfigError, GenerationError, MissingAsset
from tfbench.core.registry import parse_name
from tfbench.core.types import Sample
from tfbench.evaluators.base import Kept
from tfbench.media.spectral import mfcc
from tfbench.methods import base
from tfbench.methods._editing import FaceEditor
from tfbench.methods._residual import begin_residual
from tfbench.methods._speech2vid_nets import FaceGenerator, begin_with_vgg_face, gaussian_blur
from tfbench.methods.speech2vid import (
    CHECKED_EVERY,
    SOUND,
    Speech2Vid,
    Speech2VidConfig,
    sound_windows,
)
from tfbench.training.bundle import write_bundle

SMALL = {
    "size": 32,
    "audio": (4, 4, 4, 4, 4),
    "identity": (4, 4, 4, 4, 4),
    "hidden": 8,
    "features": 8,
    "seed_channels": 8,
    "decoder": (8, 8, 4, 4),
    "deblur_width": 4,
    "far": 3,
}


def settings(name: str, *words: str) -> Speech2VidConfig:
    return load_config(Speech2VidConfig, "methods", parse_name(name), words)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "bundle"
    method = Speech2Vid(Speech2VidConfig(**SMALL))
    with torch.no_grad():
        method.generator.decoder.last.weight *= 50  # so that sounds differ by whole gray levels
    # Has seen a batch, as every network that was trained.
    method.generator(torch.randn(2, 12, 35), torch.rand(2, 3, 32, 32))
    write_bundle(folder, method.eval(), {"config": {}}, ())
    return folder


@pytest.fixture(scope="module")
def method(bundle: Path) -> Speech2Vid:
    return Speech2Vid(Speech2VidConfig(**SMALL, weights=str(bundle))).eval()


def video(method: Speech2Vid, request) -> torch.Tensor:
    method.check(request)
    return torch.cat(list(method.frames(request)))


def test_the_papers_sizes():
    """112 x 112 in and out, features of 256, five stills on 15 channels (Sections 3.2 and 4.2)."""
    net = FaceGenerator(stills=5).eval()
    assert net.identity_encoder.conv1[0].weight.shape == (96, 15, 7, 7)
    still, feature, *maps = net.look(torch.rand(1, 15, 112, 112))
    assert still.shape == (1, 3, 112, 112)
    assert feature.shape == (1, 256)
    assert [m.shape[1:] for m in maps] == [(256, 14, 14), (512, 7, 7)]
    assert net(torch.zeros(2, 12, 35), torch.rand(2, 15, 112, 112)).shape == (2, 3, 112, 112)


@pytest.mark.parametrize(("skips", "n"), [("none", 0), ("two", 2), ("early", 3)])
def test_skips(skips: str, n: int):
    net = FaceGenerator(32, 1, (4,) * 5, (4,) * 5, 8, 8, 8, (8, 8, 4, 4), skips).eval()
    assert len(net.look(torch.rand(1, 3, 32, 32))) == 2 + n
    assert net(torch.zeros(1, 12, 35), torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)


def test_a_residual_generator_adds_to_the_first_still():
    net = FaceGenerator(32, 2, (4,) * 5, (4,) * 5, 8, 8, 8, (8, 8, 4, 4))
    begin_residual(net)
    sound, stills = torch.zeros(2, 12, 35), torch.rand(2, 6, 32, 32)
    assert torch.equal(net(sound, stills), stills[:, :3])
    again = FaceGenerator(**net.settings)
    torch.nn.init.zeros_(again.colours.weight)
    torch.nn.init.ones_(again.colours.bias)
    # Beyond white a gradient still comes back; what is shown is cut off there.
    assert torch.equal(again(sound, stills), stills[:, :3] + 1)
    assert torch.equal(again.eval()(sound, stills), torch.ones(2, 3, 32, 32))


class VGGM(torch.nn.Module):
    """The first layers of VGG-M with batch normalisation, as the port on the web names them."""

    def __init__(self) -> None:
        super().__init__()
        for k, (n_in, n_out, kernel, stride) in enumerate(
            [(3, 96, 7, 2), (96, 256, 5, 2), (256, 512, 3, 1), (512, 512, 3, 1), (512, 512, 3, 1)]
        ):
            conv = torch.nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2)
            self.add_module(f"conv{k + 1}", conv)
            norm = torch.nn.BatchNorm2d(n_out)
            torch.nn.init.normal_(norm.running_mean)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
            self.add_module(f"bn{k + 49}", norm)

    def layer(self, k: int, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(x, 3, 2, 1) if k in (2, 3) else x
        return F.relu(getattr(self, f"bn{k + 48}")(getattr(self, f"conv{k}")(x)))


@pytest.mark.parametrize("stills", [1, 5])
def test_vgg_face_begins_the_identity_encoder(tmp_path: Path, stills: int):
    torch.manual_seed(4)
    theirs = VGGM().eval()
    torch.save(theirs.state_dict(), tmp_path / "vgg.pth")
    net = FaceGenerator(stills=stills, features=8, hidden=8, seed_channels=8).eval()
    begin_with_vgg_face(net, tmp_path / "vgg.pth")
    face = torch.rand(1, 3, 112, 112)
    _, maps = net.identity_encoder(face.repeat(1, stills, 1, 1))
    mean = torch.tensor([131.4538, 103.9875, 91.4623])[:, None, None]
    # Beyond the picture's edge the reference sees the mean, this one black.
    inner = (..., slice(2, -2), slice(2, -2))
    wanted = theirs.layer(1, 255 * face - mean)
    torch.testing.assert_close(maps[1][inner], wanted[inner], atol=2e-3, rtol=1e-3)
    for k in range(2, 6):
        torch.testing.assert_close(maps[k], theirs.layer(k, maps[k - 1]), atol=1e-3, rtol=1e-3)
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(AssetError, match=r"lacks 'conv1\.bias'"):
        begin_with_vgg_face(net, tmp_path / "other.pth")
    small = FaceGenerator(32, 1, (4,) * 5, (4,) * 5, 8, 8, 8, (8, 8, 4, 4))
    with pytest.raises(ConfigError, match="leave identity as it is"):
        begin_with_vgg_face(small, tmp_path / "vgg.pth")


def test_a_wrong_size_is_refused():
    with pytest.raises(ConfigError, match="multiple of 16"):
        FaceGenerator(size=50)


@pytest.mark.parametrize("name", ["tiny", "paper", "tiny+no_skip", "paper+early_skip+five_stills"])
def test_settings_build(name: str):
    Speech2Vid(replace(settings(f"speech2vid.{name}"), weights=""))


def test_sound_is_cut_around_the_middle_of_the_frame():
    waveform = torch.randn(32_000, generator=torch.Generator().manual_seed(5)) / 4
    windows = sound_windows(waveform, 10, 3, Fraction(25))
    # Frame 10 lasts from 0.40 to 0.44 s; 35 columns of 25 ms, 10 ms apart, last 0.365 s, so that
    # the first begins at 0.42 - 0.1825 s, to 10 ms.
    columns = mfcc(waveform, SOUND)[:, 1:]
    torch.testing.assert_close(windows[0], columns[24:59].T)
    torch.testing.assert_close(windows[2], columns[32:67].T)
    both = sound_windows(waveform, 0, 50, Fraction(25))
    torch.testing.assert_close(both[10:13], windows)
    assert sound_windows(waveform[:1], 0, 1, Fraction(25)).shape == (1, 12, 35)


def test_blur_is_gaussian():
    spot = torch.zeros(2, 3, 31, 31)
    spot[..., 15, 15] = 1
    blurred = gaussian_blur(spot, torch.tensor([1.0, 2.5]))
    offsets = torch.arange(31) - 15.0
    for row, sigma in zip(blurred, (1.0, 2.5), strict=True):
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        kernel = torch.where(offsets.abs() <= 8, kernel, torch.zeros(()))
        kernel = kernel / kernel.sum()
        torch.testing.assert_close(row[1], kernel[:, None] * kernel, atol=1e-6, rtol=1e-4)
    flat = torch.full((1, 3, 20, 20), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, torch.tensor([2.0])), flat)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    frames = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
    sound = torch.arange(20.0)[:, None, None].expand(-1, 12, 35)
    sample = Sample("one", None, "a")
    return Kept.write(tmp_path / "one.safetensors", sample, {"faces": frames, "sound": sound})


def test_stills_come_from_far_away_and_sound_from_the_frame(kept: Kept):
    method = Speech2Vid(Speech2VidConfig(**SMALL, stills=2, augment=False, sample_every=5))
    for k in range(40):
        drawn = method.example([kept], np.random.default_rng(k))
        frame = int(drawn["face"][0, 0, 0])
        assert frame % 5 == 0
        assert float(drawn["sound"][0, 0]) == frame
        assert drawn["stills"].shape == (6, 32, 32)
        assert all(abs(int(s) - frame) >= 3 for s in drawn["stills"][:, 0, 0])


def test_of_several_candidates_the_still_is_held_like_the_frame(kept: Kept):
    method = Speech2Vid(Speech2VidConfig(**SMALL, candidates=200, augment=False))
    for k in range(20):
        # Frames are flat and of the gray of their number: the most like are the nearest allowed.
        drawn = method.example([kept], np.random.default_rng(k))
        assert abs(int(drawn["face"][0, 0, 0]) - int(drawn["stills"][0, 0, 0])) == 3


def test_stills_of_a_mouth_at_rest_come_from_the_ends(kept: Kept):
    n = kept.shapes["faces"][0]
    method = Speech2Vid(Speech2VidConfig(**SMALL, ends=2, augment=False))
    stills = set()
    for k in range(40):
        drawn = method.example([kept], np.random.default_rng(k))
        frame, still = int(drawn["face"][0, 0, 0]), int(drawn["stills"][0, 0, 0])
        assert abs(still - frame) >= 3
        stills.add(still)
    assert stills == {0, 1, n - 2, n - 1}
    assert all(len(method._still_places(k, m)) for m in range(1, 9) for k in range(m))


def test_it_is_measured_from_the_still_that_is_held_alike(kept: Kept):
    figures = {}
    for candidates in (1, 8):
        method = Speech2Vid(Speech2VidConfig(**SMALL, candidates=candidates)).eval()
        with torch.no_grad():
            figures[candidates] = {f.name: f.value for f in method.assess([kept])}
    n = kept.shapes["faces"][0]
    # The first frame that is at least 3 away.
    offs = [3, *range(5, n, 5)]
    assert figures[1]["L1 of the still"] == pytest.approx(sum(offs) / len(offs))
    assert figures[8]["L1 of the still"] == pytest.approx(3)


def test_the_loss_sums_over_pixels_and_parts_are_apart(kept: Kept, monkeypatch):
    method = Speech2Vid(Speech2VidConfig(**SMALL, augment=False))
    monkeypatch.setattr(method, "log", lambda *_args: None)
    batch = method.collate([method.example([kept], np.random.default_rng(k)) for k in range(4)])
    faces = batch["face"].float() / 255
    drawn = method.generator(batch["sound"], batch["stills"].float() / 255)
    by_torch = F.l1_loss(drawn, faces, reduction="sum") / 4
    torch.manual_seed(1)
    loss = method.loss(batch)
    torch.manual_seed(1)
    share = torch.rand(4)
    blurred = gaussian_blur(faces, (0.002 + 0.018 * share) * 32)
    sharpened = F.l1_loss(method.sharpener(blurred), faces, reduction="sum") / 4
    torch.testing.assert_close(loss, by_torch + sharpened)
    for part, other in (("generator", sharpened), ("sharpener", by_torch)):
        parameters = list(getattr(method, part).parameters())
        gradients = torch.autograd.grad(other, parameters, allow_unused=True, retain_graph=True)
        assert all(g is None for g in gradients)


def test_faces_are_darkened_with_their_stills(tmp_path: Path):
    frames = torch.full((20, 3, 32, 32), 200, dtype=torch.uint8)
    arrays = {"faces": frames, "sound": torch.zeros(20, 12, 35)}
    kept = Kept.write(tmp_path / "gray.safetensors", Sample("one", None, "a"), arrays)
    method = Speech2Vid(Speech2VidConfig(**SMALL, augment=False, darken=True))
    gains = []
    for k in range(20):
        drawn = method.example([kept], np.random.default_rng(k))
        assert torch.equal(drawn["face"], drawn["stills"])
        gains.append(float(drawn["face"][0, 0, 0]) / 200)
    assert 0.34 < min(gains) < 0.7 < 1 < max(gains) < 1.16


def test_several_stills_are_distinct_and_measured_as_they_are_learnt_from(kept: Kept):
    method = Speech2Vid(Speech2VidConfig(**SMALL, stills=3, augment=False))
    for k in range(20):
        stills = method.example([kept], np.random.default_rng(k))["stills"].unflatten(0, (3, 3))
        assert len(torch.unique(stills, dim=0)) == 3
    each = method._stills_for_each(kept.array("faces"))
    n = kept.shapes["faces"][0]
    assert each.shape == (len(range(0, n, CHECKED_EVERY)), 9, 32, 32)
    for row in each.unflatten(1, (3, 3)):
        assert len(torch.unique(row, dim=0)) == 3


@pytest.mark.parametrize("residual_from", [0, 2])
def test_from_a_step_on_the_generator_adds_to_the_still(monkeypatch, residual_from: int):
    step = [0]
    monkeypatch.setattr(Speech2Vid, "global_step", property(lambda _: step[0]))
    made, adds = Speech2Vid(Speech2VidConfig(**SMALL, residual_from=residual_from)), []
    for step[0] in range(3):
        made.on_train_batch_start(None, 0)
        adds.append(made.generator.settings["residual"])
    assert adds == [False, False, residual_from == 2]
    checkpoint: dict = {}
    made.on_save_checkpoint(checkpoint)
    again = Speech2Vid(Speech2VidConfig(**SMALL, residual_from=residual_from))
    again.on_load_checkpoint(checkpoint)
    assert again.generator.settings["residual"] == adds[-1]


def test_dark_faces_count_as_much_as_light_ones(monkeypatch):
    faces = torch.tensor([200, 50], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 32, 32)
    batch = {"face": faces, "stills": faces, "sound": torch.zeros(2, 12, 35)}
    for relative, wanted in ((False, 0.1 * 125 / 255), (True, 0.1 * 80 / 255)):
        method = Speech2Vid(Speech2VidConfig(**SMALL, relative=relative))
        monkeypatch.setattr(method, "log", lambda *_args: None)
        monkeypatch.setattr(method.generator, "forward", lambda _, stills: 0.9 * stills)
        # The other network's loss is apart, and its deviation is drawn.
        monkeypatch.setattr(method.sharpener, "forward", lambda _: faces.float() / 255)
        # Each face is off by a tenth of itself; weighed alike, by a tenth of the harmonic mean.
        assert float(method.loss(batch)) == pytest.approx(wanted * 3 * 32**2, rel=1e-4)


def test_optimisers():
    assert isinstance(Speech2Vid(Speech2VidConfig(**SMALL)).configure_optimizers(), torch.optim.SGD)
    adam = Speech2Vid(Speech2VidConfig(**SMALL, optimizer="adamw")).configure_optimizers()
    assert isinstance(adam["optimizer"], torch.optim.AdamW)


def test_a_still_talks_in_its_lower_half(method: Speech2Vid):
    made = video(method, of_still(0.4))
    assert made.shape == (10, 3, 160, 160)
    changed = (made != photograph()).any(1).any(0)
    assert changed[90:150].any() and not changed[:78].any()
    assert (made[0] != made[5]).any(), "the sound changes, so must the face"


def test_batches_change_nothing_beyond_rounding(method: Speech2Vid):
    request = of_video(7, 0.5, absent=(6,))
    whole = video(method, request)
    method.batch = 2
    parts = video(method, request)
    method.batch = 32
    assert (whole.float() - parts).abs().max() <= 1
    assert torch.equal(parts[6], request.source.video.tensor[6])
    assert method.unedited == 1


def test_the_whole_face_or_its_lower_half_sharpened_or_not(method: Speech2Vid):
    request, plain = of_still(0.08), video(method, of_still(0.08)).float()
    before = method.config
    try:
        method.config = replace(before, blend="whole")
        whole = video(method, request).float()
        method.config = replace(before, deblur=False)
        soft = video(method, request).float()
    finally:
        method.config = before
    rows = {
        name: (x - photograph()).abs().amax((0, 1, 3))
        for name, x in {"lower": plain, "whole": whole}.items()
    }
    assert not rows["lower"][:78].any()
    assert rows["whole"][40:78].any()
    assert (soft - plain).abs().max() > 0


def test_a_face_at_the_edge_is_not_darkened_by_what_is_beyond(method: Speech2Vid, monkeypatch):
    # A chin that is cut off; what is drawn is the whole face, as it was before.
    request, cut = of_still(0.04), of_still(0.04, identity=photograph()[:, :, :118])
    size = method.generator.settings["size"]
    whole = FaceEditor(request, method.detector, method.crop.regions, size)
    face = next(whole.pieces(1)).faces.float()
    monkeypatch.setattr(method, "_drawn", lambda *_: face)
    off = video(method, cut).int() - photograph()[:, :, :118].int()
    assert float(off[:, :, 60:].float().mean().abs()) < 2
    assert int(off.min()) > -100


def test_silence_and_a_moment_of_sound(method: Speech2Vid):
    silent = replace(of_still(0.2).speech, waveform=torch.zeros(3200))
    assert len(video(method, replace(of_still(0.2), speech=silent))) == 5
    assert len(video(method, of_still(0.1, fps=30))) == 3


def test_five_stills_are_taken_from_the_source_or_repeat(bundle: Path, tmp_path: Path):
    torch.manual_seed(0)
    write_bundle(tmp_path, Speech2Vid(Speech2VidConfig(**SMALL, stills=5)).eval(), {}, ())
    five = Speech2Vid(Speech2VidConfig(weights=str(tmp_path))).eval()
    assert len(video(five, of_video(7, 0.2))) == 5
    assert len(video(five, of_still(0.1))) == 2


def test_sound_ends_with_a_source_that_stops(method: Speech2Vid, tmp_path: Path):
    clip = method.generate(of_video(6, 1.0, length="stop"), tmp_path / "out.mp4")
    assert clip.video.n_frames == 6
    assert clip.speech.seconds == pytest.approx(6 / 25, abs=0.07)  # a packet of AAC has 64 ms


def test_what_training_begins_with_does_not_generate(bundle: Path):
    begun = Speech2Vid(Speech2VidConfig(**SMALL, init=str(bundle)))
    with pytest.raises(GenerationError, match="has no trained weights"):
        begun.ready()
    assert any(p.requires_grad for p in begun.parameters())


def test_weights_and_who_is_who(bundle: Path, method: Speech2Vid, monkeypatch, tmp_path: Path):
    assert method.label == f"speech2vid.{bundle.parent.name}"
    method.named = "speech2vid.tiny+no_deblur"
    assert method.label == f"speech2vid.{bundle.parent.name}+no_deblur"
    method.named = ""
    record = json.loads((bundle / "bundle.json").read_bytes())
    weights = method.provenance()["weights"]
    assert weights == {name: part["sha256"] for name, part in record["parts"].items()}
    with pytest.raises(GenerationError, match="has no trained weights"):
        Speech2Vid(Speech2VidConfig(**SMALL)).check(of_still())
    with pytest.raises(MissingAsset, match=r"no weights .speech2vid\.huge"):
        Speech2Vid(Speech2VidConfig(**SMALL, weights="speech2vid.huge"))
    monkeypatch.setattr(base, "SHIPPED", bundle.parent)
    with pytest.raises(ConfigError, match="have size = 32, asked for is 48"):
        Speech2Vid(Speech2VidConfig(**{**SMALL, "size": 48}, weights="bundle"))
    record["name"] = "wav2lip"
    (tmp_path / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(MissingAsset, match="wanted is one of speech2vid"):
        Speech2Vid(Speech2VidConfig(**SMALL, weights=str(tmp_path)))
