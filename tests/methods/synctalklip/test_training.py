"""What trains which of SyncTalklip's networks, and what its training refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.methods.synctalklip.helpers import (
    GENERATOR,
    SIDE,
    N,
    batch,
    kept_clip,
    named,
    reached,
    training,
    write_expert,
)
from tfbench.core.errors import ConfigError, InputError
from tfbench.evaluators.base import Figure, Kept
from tfbench.methods._synctalklip_data import Stretch, draw_stretch, excerpt, unread, varied
from tfbench.methods._synctalklip_losses import mouths_of, put_back, see_drawn
from tfbench.nets.av_syncnet import lip_loss, seeded
from tfbench.nets.avhubert import normalised
from tfbench.nets.frozen import state_sha256


def test_each_loss_trains_the_parts_that_the_paper_trains(expert: str, clips: list[Kept]):
    made = training(expert)
    given = batch(made, clips)

    def drawn() -> tuple[Tensor, Tensor, Tensor]:
        heard = made.hearing(given["sound"], given["padding"])
        return heard, *made._pair(given, heard)

    heard, real, faces = drawn()
    assert reached(made, F.l1_loss(faces, real)) == GENERATOR
    heard, _, faces = drawn()
    assert reached(made, made.lip_loss(given, made.see(given, faces))) == GENERATOR
    heard, _, faces = drawn()
    seen = made.see(given, faces)
    loss = made.contrast_loss(given, heard, seen, made.scale())
    assert reached(made, loss) == GENERATOR | {"scale"}
    # By way of f_a alone, without the faces: the base variant tunes the encoder by it, too.
    heard, _, faces = drawn()
    loss = made.contrast_loss(given, heard, made.see(given, faces.detach()), made.scale())
    assert reached(made, loss) == {"encoder", "scale"}
    made.config = replace(made.config, contrast_sound="frozen")
    heard, _, faces = drawn()
    loss = made.contrast_loss(given, heard, made.see(given, faces.detach()), made.scale())
    assert reached(made, loss) == {"scale"}
    heard, _, faces = drawn()
    loss = made.contrast_loss(given, heard, made.see(given, faces), made.scale())
    assert reached(made, loss) == GENERATOR | {"scale"}
    made.config = replace(made.config, contrast="infonce", contrast_sound="tuned")
    heard, _, faces = drawn()
    loss = made.contrast_loss(given, heard, made.see(given, faces))
    assert reached(made, loss) == GENERATOR


def test_the_linear_layer_of_talklip_is_trained_and_not_kept(expert: str, clips: list[Kept]):
    made = training(expert, contrast="infonce", project=True)
    owned = made.configure_optimizers()["optimizer"].param_groups
    parameters = {id(p) for group in owned for p in group["params"]}
    assert {id(p) for p in made.projection.parameters()} < parameters
    loss = made.loss(batch(made, clips))
    assert reached(made, loss) == GENERATOR | {"critic", "projection"}
    assert list(made.parts()) == ["net", "hearing"]


def test_all_losses_together_never_reach_the_expert(expert: str, clips: list[Kept]):
    made = training(expert)
    before = made.expert.sha256
    optimizer = made.configure_optimizers()["optimizer"]
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, part in named(made).items():
        assert all((id(p) in owned) == (name != "expert") for p in part.parameters())
    loss = made.loss(batch(made, clips))
    assert reached(made, loss) == GENERATOR | {"critic", "scale"}
    optimizer.step()
    assert all(p.grad is None for p in made.expert.module.parameters())
    assert not made.expert.module.training
    assert state_sha256(made.expert.module.state_dict()) == before
    assert {name.partition(".")[0] for name in made.state_dict()} == {
        "net",
        "hearing",
        "critic",
        "scale",
    }
    assert made.supervisors == (before,)


def test_the_sound_alone_is_taught_without_drawing(
    expert: str, clips: list[Kept], monkeypatch: pytest.MonkeyPatch
):
    alone = {"l1_weight": 0.0, "adversarial_weight": 0.0, "lip_weight": 0.0, "contrast": "none"}
    made = training(expert, clips, shape_weight=2.0, hold_weight=0.5, **alone)
    assert made.taught_by == (made.mouth_crop.points.evaluator,) != ("",)
    given = batch(made, clips)
    monkeypatch.setattr(made, "draw", None)
    shape = made.sound_losses(given, made.hearing(given["sound"], given["padding"]))["shape loss"]
    assert reached(made, shape[1]) == {"encoder", "audio_map"}
    total = made.loss(given)
    assert total.item() == pytest.approx(2 * shape[1].item(), rel=1e-4)
    # It begins as the expert's encoder, and nothing has drifted yet.
    with torch.no_grad():
        made.hearing.encoder.encoder.layers[0].fc1.weight.mul_(1.5)
    heard = made.hearing(given["sound"], given["padding"])
    losses = made.sound_losses(given, heard)
    assert losses["drift"][1].item() > 1e-3
    assert reached(made, losses["drift"][1]) == {"encoder"}
    (_, off), (_, drifted) = losses["shape loss"], losses["drift"]
    total = made.loss(given).item()
    assert total == pytest.approx(2 * off.item() + 0.5 * drifted.item(), rel=1e-4)


def test_held_out_clips_are_measured_by_what_the_sound_is_taught(expert: str, clips: list[Kept]):
    weights = {"shape_weight": 2.0, "hold_weight": 0.5, "l1_weight": 0.0, "lip_weight": 0.0}
    made = training(expert, clips, contrast="none", **weights)
    with torch.no_grad():
        measured = {figure.name: figure.value for figure in made.eval().assess(clips)}
    expected = 2 * measured["shape loss"] + 0.5 * measured["drift"]
    assert measured["loss"] == pytest.approx(expected, rel=1e-5)
    assert measured["drift"] == pytest.approx(0.0, abs=1e-6)


def test_the_losses_and_their_weights(expert: str, clips: list[Kept]):
    made = training(expert, lip_weight=0.01, contrast_weight=0.3, adversarial_weight=0.2).eval()
    given = batch(made, clips)
    net = made.expert.module
    with torch.no_grad():
        total = float(made.loss(given))
        heard = made.hearing(given["sound"], given["padding"])
        real, drawn = made._pair(given, heard)
        seen = made.see(given, drawn)
        logits = net.write_logits(seen, given["tokens"], given["padding"])
        lip = float(lip_loss(logits, given["tokens"]))
        contrast = float(made.contrast_loss(given, heard, seen))
        fooled = float(F.binary_cross_entropy(made.critic(drawn), torch.ones(len(drawn))))
        judged = float(F.binary_cross_entropy(made.critic(real), torch.ones(len(real))))
        judged += float(F.binary_cross_entropy(made.critic(drawn), torch.zeros(len(drawn))))
        # Equation 12 with loops.
        a, v, by_hand = heard.flatten(0, 1), seen.flatten(0, 1), 0.0
        for rows in given["rows"].split(given["drawn"].tolist()):
            for i in rows:
                away = [float((a[i] - v[j]).abs().sum()) for j in rows if j != i]
                by_hand += float((a[i] - v[i]).abs().sum()) - sum(away) / len(away)
    assert contrast == pytest.approx(by_hand / net.dim / 2, rel=1e-4)
    off = float((drawn - real).abs().mean())
    expected = 0.93 * off + 0.2 * fooled + judged + 0.01 * lip + 0.3 * contrast
    assert total == pytest.approx(expected, rel=1e-5)
    made.config = replace(
        made.config, lip_weight=0, contrast="none", adversarial_weight=0, l1_weight=1
    )
    with torch.no_grad():
        assert float(made.loss(given)) == pytest.approx(off, rel=1e-5)


def test_conv_compares_after_the_experts_convolution(tmp_path: Path, clips: list[Kept]):
    made = training(write_expert(tmp_path, seeded(1, align_kernel=5))).eval()
    given = batch(made, clips)
    with torch.no_grad():
        heard = made.hearing(given["sound"], given["padding"])
        seen = made.expert.module.see(normalised(given["mouths"]), given["padding"])
        pairs = made.compared(given, heard, seen)
        align = made.expert.module.align
        rows = given["rows"][: given["drawn"][0]]
        expected = align(heard, given["padding"]).flatten(0, 1)[rows]
        lips = align(seen, given["padding"]).flatten(0, 1)[rows]
    assert torch.equal(pairs[0][0], expected)
    assert torch.equal(pairs[0][1], lips)
    assert not torch.allclose(expected, heard.flatten(0, 1)[rows])
    assert not torch.allclose(lips, seen.flatten(0, 1)[rows])
    heard = made.hearing(given["sound"], given["padding"])
    _, faces = made._pair(given, heard)
    loss = made.contrast_loss(given, heard, made.see(given, faces), made.scale())
    assert reached(made, loss) == GENERATOR | {"scale"}


def test_only_drawn_frames_change_what_is_seen(expert: str, clips: list[Kept]):
    made = training(expert, groups=1).eval()
    given = batch(made, clips)
    seen: list[Tensor] = []
    made.expert.module.see = lambda video, _padding: seen.append(video) or video
    faces = torch.rand(len(given["rows"]), 3, SIDE, SIDE)
    other = faces.clone()
    other[3] = 0
    with torch.no_grad():
        for given_faces in (faces, other):
            made.see(given, given_faces)
    changed = (seen[0] != seen[1]).flatten(0, 1).flatten(1).any(1).nonzero().flatten()
    assert changed.tolist() == [int(given["rows"][3])]
    # All other frames are the true ones.
    true = normalised(given["mouths"])
    same = (seen[0] == true).flatten(0, 1).flatten(1).all(1)
    same |= given["padding"].flatten()
    assert sorted(given["rows"].tolist()) == (~same).nonzero().flatten().tolist()
    # In the middle of the mouth nothing but the drawn face is seen.
    row = int(given["rows"][3])
    dark = normalised(torch.zeros(1, 88, 88))[0, 40, 40]
    assert torch.equal(seen[1].flatten(0, 1)[row, 40, 40], dark)


def test_one_face_moves_features_of_the_frames_near_it_alone(expert: str, clips: list[Kept]):
    """The front end of the expert sees two frames before and after."""
    made = training(expert, groups=1).eval()
    given = batch(made, clips[:1])
    front = made.expert.module.encoder.feature_extractor_video
    seen: list[Tensor] = []
    made.expert.module.see = lambda video, _padding: seen.append(front(video)) or video
    faces = torch.rand(len(given["rows"]), 3, SIDE, SIDE)
    other = faces.clone()
    other[2] = 1 - other[2]
    with torch.no_grad():
        for given_faces in (faces, other):
            made.see(given, given_faces)
    moved = (seen[0] - seen[1]).abs().amax((0, 2)).gt(1e-6).nonzero().flatten()
    row = int(given["rows"][2])
    assert moved.tolist() == list(range(max(row - 2, 0), min(row + 3, N)))


def test_gradients_to_drawn_frames_alone_are_the_same(expert: str):
    net = training(expert).expert.module
    rows = torch.tensor([0, 1, 9, 14, 15, 16, 30 + 7, 30 + 19])
    padding = torch.arange(30) >= torch.tensor([[30], [20]])
    true = torch.randint(0, 256, (2, 30, 88, 88), dtype=torch.uint8)
    found = []
    for see in (see_drawn, lambda net, video, _rows, padding: net.see(video, padding)):
        torch.manual_seed(0)
        drawn = (255 * torch.rand(len(rows), 88, 88)).requires_grad_()
        seen = see(net, put_back(true, drawn, rows, padding), rows, padding)
        (gradient,) = torch.autograd.grad((seen[~padding] ** 3).sum(), drawn)
        found.append((seen[~padding], gradient))
    assert found[0][1].abs().flatten(1).amax(1).min() > 0
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-4)


def test_clips_of_other_lengths_in_a_batch_change_nothing(expert: str, clips: list[Kept]):
    made = training(expert).eval()
    both = batch(made, clips)
    rng = np.random.default_rng(0)
    examples = [made.example([clip], rng) for clip in clips]
    with torch.no_grad():
        values = []
        for given in (both, *(made.collate([one]) for one in examples)):
            heard = made.hearing(given["sound"], given["padding"])
            _, drawn = made._pair(given, heard)
            seen = made.see(given, drawn)
            values.append((drawn, float(made.lip_loss(given, seen))))
            values[-1] += (float(made.contrast_loss(given, heard, seen)),)
    together, *single = values
    assert both["padding"].any()
    torch.testing.assert_close(together[0], torch.cat([one[0] for one in single]))
    for k in (1, 2):
        assert together[k] == pytest.approx(sum(one[k] for one in single) / 2, rel=1e-4, abs=1e-5)


def test_an_example_and_its_frames(expert: str, clips: list[Kept]):
    made = training(expert, groups=3)
    one = made.example(clips[:1], np.random.default_rng(4))
    at, faces = one["at"], clips[0].array("faces")
    assert torch.equal(one["faces"], faces[at])
    assert len(at) == 15
    assert torch.equal(one["sound"], clips[0].array("sound"))
    others = [k for k in range(N) if torch.equal(faces[k], one["reference"])]
    assert others
    assert others[0] not in at.tolist()
    assert made.expert.module.spell(one["tokens"].tolist()) == "set blue"
    assert torch.equal(one["mouths"], clips[0].array("mouths"))
    at_rest = training(expert, groups=1, ends=1).example(clips[:1], np.random.default_rng(4))
    assert any(torch.equal(at_rest["reference"], faces[k]) for k in (0, N - 1))
    drawn_alike = training(expert, groups=3, context="faces")
    cut = drawn_alike.example(clips[:1], np.random.default_rng(4))
    assert torch.equal(cut["faces"], one["faces"])
    # True faces in the place of drawn ones change nothing.
    given = drawn_alike.collate([cut])
    seen: list[Tensor] = []
    drawn_alike.expert.module.see = lambda video, _padding: seen.append(video) or video
    given["mouths"][0, at] = clips[0].array("mouths")[at]
    drawn_alike.see(given, cut["faces"].float() / 255)
    torch.testing.assert_close(seen[0][0], normalised(cut["mouths"]), atol=0.02, rtol=0)


def test_what_the_expert_sees_sways_in_training_alone(expert: str, clips: list[Kept]):
    made = training(expert, sway=0.1)
    given = batch(made, clips)
    assert given["sway"].shape == (2, 4)
    assert float(given["sway"].abs().max()) <= 0.1
    drawn = given["faces"].float() / 255
    still = made.see({k: v for k, v in given.items() if k != "sway"}, drawn)
    assert not torch.equal(made.see(given, drawn), still)
    assert "sway" not in batch(training(expert), clips)


def test_frames_of_one_clip_are_compared_where_there_are_enough(expert: str, clips: list[Kept]):
    with pytest.raises(ConfigError, match="at least 5, or contrast=none"):
        training(expert, window=2, groups=2)
    made = training(expert, window=1, groups=2, contrast="none", lip_weight=0.0)
    assert batch(made, clips)["drawn"].tolist() == [2, 2]


def test_what_is_mirrored_and_darkened_stays_in_place(tmp_path: Path):
    read = excerpt(kept_clip(tmp_path, 0), Stretch(0, N, "set blue"), [3, 4, 20], 30)
    read["maps"] = torch.tensor([[0.5, 0.1, 10.0, -0.05, 0.4, 30.0]]).repeat(3, 1)

    def mouths(one: dict[str, torch.Tensor]) -> torch.Tensor:
        return mouths_of(one["faces"].float() / 255, one["maps"])

    seen = set()
    for seed in range(12):
        given = varied(read, np.random.default_rng(seed))
        mirrored = not torch.equal(given["maps"], read["maps"])
        gain = float(given["faces"].float().mean() / read["faces"].float().mean())
        pairs = [(given[name].float(), read[name].float()) for name in ("reference", "mouths")]
        for x, y in [*pairs, (mouths(given), mouths(read))]:
            wanted = gain * (y.flip(-1) if mirrored else y)
            # Rounding, and what becomes lighter than white.
            off = (x - wanted.clamp(max=255)).abs()
            assert float(off.mean()) < (1.0 if gain < 1 else 6.0)
        assert given["sound"] is read["sound"]
        seen |= {mirrored, "darker" if gain < 0.8 else "as light"}
    assert seen == {True, False, "darker", "as light"}


def test_of_a_long_clip_some_words_are_read(tmp_path: Path):
    times = tuple((f"w{chr(97 + k)}", 0.5 + 0.6 * k, 1.0 + 0.6 * k) for k in range(9))
    clip = kept_clip(tmp_path, 0, 150, "no matter", word_times=times)
    texts = set()
    for seed in range(30):
        start, stop, text = draw_stretch(clip, 60, np.random.default_rng(seed))
        words = text.split()
        first = ord(words[0][1]) - 97
        assert [w for w, _, _ in times[first : first + len(words)]] == words
        assert start == int(25 * times[first][1])
        assert stop - start <= 60
        assert stop >= 25 * times[first + len(words) - 1][2]
        assert len(words) == 4
        texts.add(text)
    assert len(texts) == 6
    assert draw_stretch(clip, 150, np.random.default_rng(0)) == (0, 150, "no matter")
    unknown = kept_clip(tmp_path, 1, 150)
    assert draw_stretch(unknown, 60, np.random.default_rng(0)) == (0, 150, "set blue")
    # Where nobody reads it, it is cut, so that memory is bounded.
    starts = set()
    for seed in range(200):
        part = draw_stretch(unknown, 60, np.random.default_rng(seed), read=False)
        assert (part.stop - part.start, part.text) == (60, "")
        starts.add(part.start)
    assert min(starts) < 3
    assert 87 < max(starts) <= 90


def test_words_outside_of_the_kept_frames_are_not_read(tmp_path: Path):
    """The face is seen from frame 10 to frame 50: from 0.4 to 2 seconds."""
    times = (("a", 0.0, 0.3), ("b", 0.3, 0.6), ("c", 0.6, 1.9), ("d", 1.9, 2.3), ("e", 2.3, 2.5))
    clip = kept_clip(tmp_path, 0, 40, "a b, c d e", start=10, word_times=times)
    assert draw_stretch(clip, 60, np.random.default_rng(0)) == (0, 40, "b c")
    texts = {draw_stretch(clip, 36, np.random.default_rng(seed)).text for seed in range(20)}
    assert texts == {"b", "c"}
    whole = kept_clip(tmp_path, 1, 40, "B, C!", start=10, word_times=times[1:3])
    assert draw_stretch(whole, 60, np.random.default_rng(0)).text == "B, C!"
    never = kept_clip(tmp_path, 2, 40, "a e", start=10, word_times=(times[0], times[-1]))
    assert "none of its words is said while the face is seen" in unread(never, 60, len)


def test_clips_that_cannot_be_read_are_refused(expert: str, tmp_path: Path):
    made = training(expert)
    silent, numbers = kept_clip(tmp_path, 0, words=""), kept_clip(tmp_path, 1, words="call 911")
    with pytest.raises(InputError, match=r"c0: it has no transcript.*lip_weight=0"):
        made.fit_to([silent])
    with pytest.raises(InputError, match=r"1 of 2 clips.*c1: .*1, 9"):
        made.fit_to([kept_clip(tmp_path, 2), numbers])
    timed = kept_clip(tmp_path, 3, words="set blue", word_times=(("set", 0, 1), ("blue2", 1, 2)))
    with pytest.raises(InputError, match="c3: 'blue2' does not fit"):
        made.fit_to([timed])
    with pytest.raises(InputError, match="1, 9"):
        made.example([numbers], np.random.default_rng(0))
    # Four times the longest is read as a whole, where words have no times.
    short = training(expert, longest=25)
    long = kept_clip(tmp_path, 4, 101)
    short.fit_to([kept_clip(tmp_path, 5, 100)])
    short.fit_to([kept_clip(tmp_path, 6, 101, word_times=(("set", 0, 1), ("blue", 1, 2)))])
    with pytest.raises(InputError, match=r"c4: it has 101 frames.* 4 x longest = 100"):
        short.fit_to([long])
    # Without the loss, nobody has to read them.
    free = training(expert, lip_weight=0.0)
    free.fit_to([silent, numbers])
    given = batch(free, [silent, numbers])
    assert given["tokens"].numel() == 0
    assert torch.isfinite(free.loss(given))
    free.config = replace(free.config, longest=25)
    assert len(free.example([long], np.random.default_rng(0))["sound"]) == 25


def test_held_out_clips_are_measured(expert: str, clips: list[Kept]):
    made = training(expert, lip_weight=0.01, contrast_weight=0.5).eval()
    with torch.inference_mode():
        found = {figure.name: figure for figure in made.assess(clips)}
        once = {figure.name: figure.value for figure in made.assess(clips[:1])}
        # The same, frame by frame.
        faces = clips[0].array("faces").float() / 255
        heard = made.hearing(clips[0].array("sound")[None])
        pairs = zip(faces.split(1), heard[0].split(1), strict=True)
        drawn = torch.cat([made.draw(face, faces[:1], sound) for face, sound in pairs])
        seen = made.expert.module.see(normalised(clips[0].array("mouths"))[None])
    assert once["L1"] == pytest.approx(255 * float((drawn - faces).abs().mean()), rel=1e-4)
    nearest = (heard[0][:, None] - seen[0][None]).abs().sum(-1).argmin(0)
    share = 100 * float((nearest == torch.arange(N)).float().mean())
    assert once["own sound nearest, true mouths"] == pytest.approx(share)
    expected = 0.93 * once["L1"] / 255 + 0.01 * once["lip loss"]
    expected += 0.5 * (5 * 2) * once["contrastive loss"]
    assert once["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["own sound nearest"].unit == "%"
    assert found["lip loss, true mouths"].n == 2
    # What learning does to F alone moves no figure.
    with torch.inference_mode():
        made.scale.weight.fill_(3.0)
        moved = {figure.name: figure.value for figure in made.assess(clips[:1])}
    assert moved == once


def test_held_out_clips_that_cannot_be_read_stop_nothing(
    expert: str, clips: list[Kept], tmp_path: Path
):
    made = training(expert, lip_weight=0.01, longest=25).eval()
    others = [
        kept_clip(tmp_path, 0, words=""),
        kept_clip(tmp_path, 1, words="call 911"),
        kept_clip(tmp_path, 2, 101),
    ]

    def measured(held_out: list[Kept]) -> dict[str, Figure]:
        with torch.inference_mode():
            return {figure.name: figure for figure in made.assess(held_out)}

    both, alone, without = measured([*clips, *others]), measured(clips), measured(others)
    counts = {name: figure.n for name, figure in both.items()}
    assert counts["loss"] == counts["lip loss"] == counts["lip loss, true mouths"] == 2
    assert {counts[name] for name in counts if "lip" not in name and name != "loss"} == {5}
    for name in ("loss", "lip loss"):
        assert both[name] == alone[name]
    # Where none can be read, the loss lacks that term.
    assert "lip loss" not in without
    expected = 0.93 * without["L1"].value / 255
    expected += 1.3e-4 * 5 * without["contrastive loss"].value
    assert without["loss"].value == pytest.approx(expected, rel=1e-5)
    assert without["loss"].n == 3
