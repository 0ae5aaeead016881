"""Wav2Lip: its networks against the public code, what trains which of them, and its videos."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.evaluators.test_color_syncnet import flashing
from tests.methods.faces import of_still, of_video, photograph
from tests.nets.test_color_syncnet import write_official
from tfbench.core.config import load_config
from tfbench.core.errors import AssetError, ConfigError, GenerationError, MissingAsset, UnknownName
from tfbench.core.registry import parse_name
from tfbench.core.types import Request, Speech
from tfbench.evaluators.base import Kept
from tfbench.evaluators.color_syncnet import (
    ColorSyncNetConfig,
    ColorSyncNetTrainee,
    first_column,
    mel_chunks,
)
from tfbench.media.spectral import log_mel
from tfbench.methods._editing import soft_edge
from tfbench.methods._wav2lip_nets import LipGenerator
from tfbench.methods.wav2lip import Wav2Lip, Wav2LipConfig
from tfbench.training.bundle import write_bundle

SIDE = 64
SMALL = Wav2LipConfig(
    width=2, most=8, side=SIDE, critic_width=2, batch=2, lr=1e-3, frames_at_once=4
)


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundle of an expert that has learnt nothing."""
    torch.manual_seed(1)
    trainee = ColorSyncNetTrainee(ColorSyncNetConfig(widths=(4, 4, 4, 4, 8), side=SIDE))
    folder = tmp_path_factory.mktemp("expert") / "bundle"
    write_bundle(folder, trainee.eval(), {"config": {}}, ())
    return str(folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    return flashing(tmp_path_factory.mktemp("kept"), 2, SIDE)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, expert: str) -> Path:
    torch.manual_seed(0)
    made = Wav2Lip(replace(SMALL, expert=expert, smooth=3))
    made.gather()
    # Has seen a batch, as every network that was trained.
    made.draw(torch.rand(2, 3, SIDE, SIDE), torch.rand(2, 3, SIDE, SIDE), torch.randn(2, 80, 16))
    # What is drawn shall differ by more than rounding.
    made.net.output_block[1].weight.data *= 100
    folder = tmp_path_factory.mktemp("run") / "bundle"
    write_bundle(folder, made.eval(), {"config": {}}, ())
    return folder


@pytest.fixture(scope="module")
def method(bundle: Path) -> Wav2Lip:
    return Wav2Lip(Wav2LipConfig(weights=str(bundle), frames_at_once=4)).eval()


def training(expert: str, **changes) -> Wav2Lip:
    torch.manual_seed(0)
    made = Wav2Lip(replace(SMALL, expert=expert, **changes))
    made.log = lambda *_, **__: None
    made.gather()
    return made


def batch(made: Wav2Lip, clips: list[Kept]) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    return made.collate([made.example(clips, rng) for _ in range(2)])


def video(method: Wav2Lip, request: Request) -> torch.Tensor:
    method.check(request)
    return torch.cat(list(method.frames(request)))


def test_an_example_is_fed_as_the_reference_feeds_it(expert: str, clips: list[Kept]):
    made = training(expert)
    one = made.window(clips[0], 7, 20)
    faces, mel = clips[0].array("faces"), clips[0].array("mel")
    assert torch.equal(one["faces"], faces[7:12])
    assert torch.equal(one["reference"], faces[20:25])
    # hq_wav2lip_train.py: frame k hears int(80 (k - 1) / 25) on; the expert int(80 * 7 / 25) on.
    for k in range(5):
        start = int(80.0 * (7 + k - 1) / 25.0)
        assert torch.equal(one["sound"][k], mel[start : start + 16].T)
    assert torch.equal(one["mel"], mel[22:38].T)
    # Before the beginning is silence.
    assert bool((made.window(clips[0], 0, 20)["sound"][0, :, :4] == -4).all())


def test_the_lower_half_is_not_seen(method: Wav2Lip):
    faces, sound = torch.rand(1, 3, SIDE, SIDE), torch.randn(1, 80, 16)
    other = faces.clone()
    other[:, :, SIDE // 2 :] = torch.rand(1, 3, SIDE // 2, SIDE)
    reference = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        first = method.draw(faces, reference, sound)
        assert torch.equal(first, method.draw(other, reference, sound))
        other[:, :, : SIDE // 2] = 0
        assert not torch.equal(first, method.draw(other, reference, sound))
        assert not torch.equal(first, method.draw(faces, reference, -sound))


def test_each_loss_reaches_its_own_network(expert: str):
    made = training(expert)
    real = torch.rand(2, 3, SIDE, SIDE)
    drawn = torch.rand(2, 3, SIDE, SIDE, requires_grad=True)
    fooled, judged = made._quality_losses(real, drawn)
    of_generator = torch.autograd.grad(fooled, drawn, retain_graph=True)[0]
    assert of_generator.abs().sum() > 0
    # The upper half is not judged.
    assert not of_generator[:, :, : SIDE // 2].any()
    first = next(made.critic.parameters())
    assert torch.autograd.grad(fooled, first, allow_unused=True) == (None,)
    assert torch.autograd.grad(judged, drawn, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(judged, first)[0].abs().sum() > 0


def test_one_adam_equals_two_that_take_turns(expert: str, clips: list[Kept]):
    """The reference's order of `hq_wav2lip_train.py`, with an optimiser for each network."""
    made, theirs = training(expert), training(expert)
    given = batch(made, clips)
    optimizer = made.configure_optimizers()["optimizer"]
    made.loss(given).backward()
    optimizer.step()

    of_net = torch.optim.Adam(theirs.net.parameters(), 1e-3, (0.5, 0.999))
    of_critic = torch.optim.Adam(theirs.critic.parameters(), 1e-3, (0.5, 0.999))
    real, drawn = theirs._pair(given)
    fake = theirs.critic(drawn.flatten(0, 1))
    total = 0.07 * F.binary_cross_entropy(fake, torch.ones_like(fake))
    total = total + (1 - 0.07) * (drawn - real).abs().mean()
    total.backward()
    of_net.step()
    of_critic.zero_grad()
    fake = theirs.critic(drawn.detach().flatten(0, 1))
    true = theirs.critic(real.flatten(0, 1))
    F.binary_cross_entropy(true, torch.ones_like(true)).backward()
    F.binary_cross_entropy(fake, torch.zeros_like(fake)).backward()
    of_critic.step()
    for one, other in zip(made.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_the_weights_of_the_losses(expert: str, clips: list[Kept]):
    made = training(expert, adversarial_from=1)
    given = batch(made, clips)
    made.eval()

    def loss() -> float:
        return float(made.loss(given).detach())

    with torch.no_grad():
        real, drawn = made._pair(given)
        off, sync = float(F.l1_loss(drawn, real)), float(made._sync_loss(given["mel"], drawn))
        losses = made._quality_losses(real.flatten(0, 1), drawn.flatten(0, 1))
    fooled, judged = (float(value) for value in losses)
    assert loss() == pytest.approx(off, rel=1e-5)
    made.syncing = True
    assert loss() == pytest.approx(0.97 * off + 0.03 * sync, rel=1e-5)
    made.config = replace(made.config, adversarial_from=0)
    expected = 0.90 * off + 0.03 * sync + 0.07 * fooled + judged
    assert loss() == pytest.approx(expected, rel=1e-5)


def test_the_expert_counts_from_its_first_good_loss_on(expert: str, clips: list[Kept]):
    made = training(expert, sync_below=0.0).eval()
    with torch.inference_mode():
        figures = {figure.name: figure.value for figure in made.assess(clips)}
    assert not made.syncing
    sync, off = figures["sync loss"], figures["L1"] / 255
    assert figures["loss"] == pytest.approx(0.03 * sync + 0.97 * off)
    made.config = replace(made.config, sync_below=sync + 1)
    with torch.inference_mode():
        made.assess(clips)
    assert made.syncing
    # It stays so, also over a resume.
    made.config = replace(made.config, sync_below=0.0)
    with torch.inference_mode():
        made.assess(clips)
    checkpoint: dict = {}
    made.on_save_checkpoint(checkpoint)
    again = training(expert)
    again.on_load_checkpoint(checkpoint)
    assert again.syncing


def test_no_window_is_measured_with_itself_as_the_person(expert: str):
    for ends in (0, 5):
        made = training(expert, ends=ends)
        assert all(made._other_end(k, 12) != k for k in range(12))
    assert [made._other_end(k, 12) for k in (0, 4, 11)] == [11, 0, 0]


def test_an_expert_of_no_weight_measures_alone(expert: str, clips: list[Kept]):
    """Frames stay scattered, however good its loss is."""
    made = training(expert, sync_below=99.0, sync_weight=0.0, scattered=True).eval()
    with torch.inference_mode():
        figures = {figure.name: figure.value for figure in made.assess(clips)}
    assert figures["sync loss"] < 99
    assert figures["loss"] == pytest.approx(figures["L1"] / 255)
    assert not made.syncing


def test_what_is_held_out_is_measured_by_what_is_learned_from(expert: str, clips: list[Kept]):
    learned = {"mouth_weight": 20.0, "structure_weight": 0.3, "relative": True}
    made = training(expert, sync_weight=0.0, adversarial_weight=0.0, **learned).eval()
    with torch.no_grad():
        figures = {f.name: f.value for f in made.assess(clips[:1])}
        n = clips[0].shapes["faces"][0] - 4
        starts = [round(k * (n - 1) / 3) for k in range(4)]
        windows = [made.window(clips[0], k, (k + n // 2) % n) for k in starts]
        loss = float(made.loss(made.collate(windows)))
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["loss"] > figures["L1"] / 255


def test_from_a_step_on_the_generator_adds_to_what_it_sees(
    expert: str, clips: list[Kept], monkeypatch: pytest.MonkeyPatch
):
    step = [0]
    monkeypatch.setattr(Wav2Lip, "global_step", property(lambda _: step[0]))
    made, adds = training(expert, residual_from=2), []
    for step[0] in range(3):
        made.on_train_batch_start(None, 0)
        adds.append(made.net.settings["residual"])
    assert adds == [False, False, True]
    given = batch(made, clips)
    _, drawn = made._pair(given)
    seen = given["reference"].float() / 255
    assert torch.equal(drawn[..., SIDE // 2 :, :], seen[..., SIDE // 2 :, :])
    # It goes on with what it has learnt, after a pause too.
    checkpoint: dict = {}
    made.on_save_checkpoint(checkpoint)
    again = training(expert, residual_from=2)
    again.on_load_checkpoint(checkpoint)
    for one in (made, again):
        one.net.output_block[1].weight.data.fill_(1)
        step[0] = 3
        one.on_train_batch_start(None, 0)
        assert one.net.settings["residual"]
        assert bool((one.net.output_block[1].weight == 1).all())


def test_the_expert_is_neither_trained_nor_saved(expert: str, clips: list[Kept]):
    made = training(expert)
    made.syncing = True
    made.loss(batch(made, clips)).backward()
    assert all(p.grad is None for p in made.expert.module.parameters())
    assert all(p.grad is not None for p in made.net.parameters())
    assert {name.partition(".")[0] for name in made.state_dict()} == {"net", "critic"}
    assert made.supervisors == (made.expert.sha256,)
    assert not made.expert.module.training
    # With a weight of nothing it measures alone.
    assert training(expert, sync_weight=0.0).supervisors == ()


def test_another_expert_is_refused(expert: str, bundle: Path):
    with pytest.raises(ConfigError, match="faces of 96 pixels"):
        training(expert, side=96)
    with pytest.raises(ConfigError, match="must be a color_syncnet"):
        training("syncnet.puppets")
    with pytest.raises(UnknownName, match=r"color_syncnet\.official"):
        training("color_syncnet.nothing")
    with pytest.raises(MissingAsset):
        training("color_syncnet.official")


def test_a_bundle_holds_the_generator_and_its_supervisor(bundle: Path, expert: str):
    record = json.loads((bundle / "bundle.json").read_text())
    assert list(record["parts"]) == ["net"]
    taken = Wav2Lip(Wav2LipConfig(weights=str(bundle)))
    assert taken.supervisors == tuple(record["supervisors"])
    assert len(taken.supervisors) == 1
    # What the network is fed comes with it.
    assert (taken.crop.size, taken.crop.smooth) == (SIDE, 3)
    assert taken.critic.settings["side"] == SIDE
    assert taken.provenance()["weights"] == {"net": record["parts"]["net"]["sha256"]}


@pytest.mark.parametrize("n", [1, 3, 4, 5, 11])
def test_any_number_of_frames(method: Wav2Lip, n: int):
    made = video(method, of_still(n / 25))
    assert made.shape == (n, *photograph().shape[1:])
    assert made.dtype == torch.uint8


def test_the_size_of_a_batch_changes_nothing(method: Wav2Lip, bundle: Path):
    request = of_video(9, 0.36)
    made = video(method, request)
    for n in (1, 32):
        other = Wav2Lip(replace(method.config, frames_at_once=n)).eval()
        assert (video(other, request).int() - made.int()).abs().max() <= 1


def test_only_the_face_changes_and_it_follows_the_sound(method: Wav2Lip):
    request = of_still(0.32)
    made, still = video(method, request), photograph()
    assert torch.equal(made[:, :, :, :8], still.expand(8, -1, -1, -1)[:, :, :, :8])
    assert (made.int() - still.int()).abs().max() > 20
    silent = video(method, replace(request, speech=Speech(torch.zeros(5120))))
    assert not torch.equal(made, silent)


def test_the_sound_of_a_frame_begins_one_frame_before_it(method: Wav2Lip):
    request = of_still(1.0)
    mel = log_mel(request.speech.waveform)
    chunks = method._sound(request, [0, 7, 20, 24])
    for chunk, frame in zip(chunks[1:3], (7, 20), strict=True):
        start = int(80 * (frame - 1) / 25)
        torch.testing.assert_close(chunk, mel[start : start + 16].T, atol=2e-4, rtol=0)
    assert bool((chunks[0, :, :4] == -4).all())
    assert bool((chunks[3, :, 8:] == -4).all())
    # Other rates, and speech shorter than a chunk.
    request = replace(of_still(1.0), fps=Fraction(30))
    start = int(80 * (15 / 30 - 1 / 25))  # 40 ms before, at any rate
    torch.testing.assert_close(
        method._sound(request, [15])[0], mel[start : start + 16].T, atol=2e-4, rtol=0
    )
    short = method._sound(of_still(0.05), [0])
    assert bool((short[0, :, 9:] == -4).all())
    assert bool((method._sound(of_still(0.05), [40]) == -4).all())


def test_frames_without_a_face_pass_through(method: Wav2Lip):
    request = of_video(8, 0.4, absent=(0, 1))
    made = video(method, request)
    assert bool((made[:2] == 128).all())
    assert method.unedited == 4  # the source starts over after 8 frames
    assert len(made) == 10


def test_the_same_frame_as_reference(method: Wav2Lip):
    request = of_video(6, 0.24)
    same = Wav2Lip(replace(method.config, reference="same")).eval()
    assert not torch.equal(video(same, request), video(method, request))


def test_pictures_without_exactly_one_face_are_refused(method: Wav2Lip):
    for still in (torch.zeros(1, 3, 3, 3, dtype=torch.uint8), photograph().repeat(1, 1, 1, 2)):
        with pytest.raises(GenerationError, match="exactly one face"):
            video(method, of_still(identity=still))
    with pytest.raises(GenerationError, match="no trained weights"):
        Wav2Lip(SMALL).check(of_still())


def test_an_official_checkpoint_is_named_and_fed_as_the_authors_do(tmp_path: Path):
    official = write_official(tmp_path / "wav2lip_gan.pth", LipGenerator())
    made = Wav2Lip(Wav2LipConfig(weights=str(official), width=2, critic_width=2))
    assert made.label == "wav2lip.wav2lip_gan"
    assert (made.net.lead, made.net.side) == (0, 96)
    made.check(of_still())
    with pytest.raises(MissingAsset):
        Wav2Lip(Wav2LipConfig(weights="wav2lip-gan", width=2, critic_width=2))
    path = tmp_path / "empty.pth"
    path.write_bytes(b"")
    with pytest.raises(AssetError):
        Wav2Lip(Wav2LipConfig(weights=str(path), width=2, critic_width=2))


def test_a_soft_edge():
    assert bool((soft_edge(8, 0) == 1).all())
    edge = soft_edge(8, 0.25)
    assert edge[4].tolist() == [0.25, 0.75, 1, 1, 1, 1, 0.75, 0.25]
    assert torch.equal(edge, edge.T)
    assert float(edge[0, 1]) == 0.25


@pytest.mark.parametrize("name", ["wav2lip.tiny", "wav2lip.paper"])
def test_settings_build_networks(name: str):
    config = load_config(Wav2LipConfig, "methods", parse_name(name))
    made = Wav2Lip(replace(config, weights=""))
    n = sum(p.numel() for p in made.net.parameters())
    assert n == 36_298_035 if name == "wav2lip.paper" else n < 2.6e6
    overlay = load_config(Wav2LipConfig, "methods", parse_name(f"{name}+no_gan+same_reference"))
    assert (overlay.adversarial_weight, overlay.reference) == (0, "same")


@pytest.mark.parametrize("scattered", [False, True])
def test_faces_are_mirrored_and_darkened_with_the_reference(
    expert: str, clips: list[Kept], scattered: bool
):
    plain, made = (
        training(expert, scattered=scattered, augment=augment) for augment in (False, True)
    )
    true, given = (m.example(clips, np.random.default_rng(0)) for m in (plain, made))
    assert torch.equal(true["sound"], given["sound"])
    assert not torch.equal(true["faces"], given["faces"])

    draw = torch.Generator().manual_seed(0)
    shape = (5, 3, SIDE, SIDE)
    true = {
        name: torch.randint(1, 220, shape, dtype=torch.uint8, generator=draw)
        for name in ("faces", "reference")
    }
    looks = set()
    for seed in range(6):
        given = made._augmented(true, np.random.default_rng(seed), scattered)
        looks_here = set()
        for k in range(5):
            was, now = (torch.stack([x[name][k] for name in true]).float() for x in (true, given))
            ratios = {turned: now / (was.flip(-1) if turned else was) for turned in (False, True)}
            turned = bool(ratios[True].std() < ratios[False].std())
            gain = float(ratios[turned].median())
            wanted = gain * (was.flip(-1) if turned else was)
            torch.testing.assert_close(now, wanted.clamp(max=255), rtol=0, atol=1.5)
            looks_here.add((turned, round(gain, 2)))
        # A window of one clip is one video.
        assert scattered or len(looks_here) == 1
        looks |= looks_here
    mirrored, gains = zip(*looks, strict=True)
    assert set(mirrored) == {False, True}
    assert 0.34 < min(gains) < 0.7 < 0.9 < max(gains) < 1.16


def test_the_lower_half_alone_is_put_back(method: Wav2Lip):
    edge = soft_edge(SIDE, 0.06, lower=True)
    assert not edge[: SIDE // 2].any()
    assert float(edge[3 * SIDE // 4, SIDE // 2]) == 1
    assert torch.equal(soft_edge(SIDE, 0), torch.ones(SIDE, SIDE))
    lower = Wav2Lip(replace(method.config, put_back="lower")).eval()
    first = []
    for made in (video(method, of_still(0.08)), video(lower, of_still(0.08))):
        rows = (made != photograph()).any(0).any(0).any(1)
        first.append(int(rows.nonzero()[0]))
    assert first[0] + SIDE // 8 < first[1]


def test_scattered_frames_come_from_five_clips_until_the_expert_counts(
    expert: str, clips: list[Kept]
):
    made = training(expert, scattered=True, sync_below=-1.0)
    drawn = made.example(clips, np.random.default_rng(1))
    alone = training(expert).example(clips, np.random.default_rng(1))
    assert {k: v.shape for k, v in drawn.items()} == {k: v.shape for k, v in alone.items()}
    known = [
        (face, mel_chunks(clip.array("mel"), [first_column(at - made.net.lead)])[0])
        for clip in clips
        for at, face in enumerate(clip.array("faces"))
    ]
    for face, sound in zip(drawn["faces"], drawn["sound"], strict=True):
        assert any(torch.equal(face, f) and torch.equal(sound, s) for f, s in known)
    made.syncing = True
    drawn = made.example(clips, np.random.default_rng(1))
    assert all(torch.equal(drawn[name], alone[name]) for name in alone)


@pytest.mark.parametrize("scattered", [False, True])
def test_the_person_is_shown_by_frames_at_the_ends(expert: str, clips: list[Kept], scattered: bool):
    made = training(expert, scattered=scattered, ends=2)
    rng = np.random.default_rng(0)
    shown = torch.cat([made.example(clips, rng)["reference"][:1] for _ in range(20)])
    ends = []
    for faces in (clip.array("faces") for clip in clips):
        n = len(faces) if scattered else len(faces) - 4
        ends += [faces[k] for k in (0, 1, n - 2, n - 1)]
    assert all(any(torch.equal(one, end) for end in ends) for one in shown)


def test_the_frame_that_is_drawn_does_not_show_the_person(expert: str):
    made = training(expert, ends=1)
    assert made.other_places(9, 4).tolist() == [0, 8]
    assert made.other_places(9, 0).tolist() == [8]
    assert made.other_places(9, [0, 8]).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert len(training(expert).other_places(9, 4)) == 8
