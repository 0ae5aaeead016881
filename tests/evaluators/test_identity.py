"""Training of the identity network: its loss, its examples, and how it is measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import Clip, Sample, TensorVideo
from tfbench.core.views import Part
from tfbench.evaluators._faces import LOOK, draw_look, varied
from tfbench.evaluators.base import Kept
from tfbench.evaluators.identity import (
    Compared,
    IdentityConfig,
    IdentityTrainee,
    Pairs,
    arc_face,
    clip_pairs,
    verification,
)
from tfbench.nets.identity import Identity as Network


def kept(folder: Path, name: str, person: str, seed: int, n: int = 3) -> Kept:
    """Faces of noise on a colour that tells the person."""
    draw = np.random.RandomState(seed)
    tint = 60 + 150 * np.eye(3)["abc".index(person)][:, None, None]
    pixels = np.clip(tint + draw.normal(0, 20, (n, 3, 64, 64)), 0, 255).astype(np.uint8)
    video = TensorVideo(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    sample = Sample(name, Clip(video), person)
    return Kept.write(folder / f"{name}.safetensors", sample, {"faces": torch.from_numpy(pixels)})


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    folder = tmp_path_factory.mktemp("kept")
    return [kept(folder, f"{p}{k}", p, 10 * k + ord(p)) for p in "abc" for k in range(2)]


def tiny(**settings) -> IdentityTrainee:
    torch.manual_seed(0)
    trainee = IdentityTrainee(IdentityConfig(steps=20, ramp=0.0, warmup=1, **settings))
    trainee.net = Network(16, (4, 8, 8), (1, 1, 1))
    return trainee


def batch(trainee: IdentityTrainee, clips: list[Kept], seed: int = 0, n: int = 8):
    rng = np.random.default_rng(seed)
    return trainee.collate([trainee.example(clips, rng) for _ in range(n)])


def test_the_margin_is_added_to_the_angle():
    angles = torch.tensor([[0.3, 1.2, 2.0], [2.5, 0.1, 3.0]], dtype=torch.float64)
    person = torch.tensor([1, 0])
    got = arc_face(angles.cos(), person, 0.4, 30.0)
    moved = angles.clone()
    moved[0, 1] += 0.4
    moved[1, 0] += 0.4
    torch.testing.assert_close(got, 30 * moved.cos())


def test_the_logit_falls_with_the_angle_even_beyond_pi():
    angles = torch.linspace(0.05, 3.1, 200, dtype=torch.float64)[:, None]
    logits = arc_face(angles.cos(), torch.zeros(200, dtype=torch.int64), 0.5, 1.0)[:, 0]
    assert (logits.diff() < 0).all()
    assert float(logits.diff().abs().max()) < 0.02


def test_the_loss_falls_on_two_people(clips):
    trainee = tiny(lr=3e-3)
    trainee.fit_to(clips[:4])
    optimizer = trainee.configure_optimizers()["optimizer"]
    examples = batch(trainee, clips[:4])
    losses = []
    for _ in range(20):
        value = trainee.loss(examples)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_examples_depend_on_rng_only(clips):
    trainee = tiny()
    trainee.fit_to(clips)
    one, same, other = (batch(trainee, clips, seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["look"], other["look"])
    assert one["face"].dtype == torch.uint8


def test_one_person_is_refused(clips):
    with pytest.raises(InputError, match="two or more people"):
        tiny().fit_to(clips[:2])


def test_directions_are_the_same_after_a_resume(clips):
    first, second = tiny(), tiny()
    first.fit_to(clips)
    torch.rand(3)
    second.fit_to(clips[::-1])
    assert torch.equal(first.directions, second.directions)
    assert first.people == second.people == {"a": 0, "b": 1, "c": 2}
    assert list(first.parts()) == ["net"]


def test_a_network_that_sees_colours_verifies_them(clips, monkeypatch):
    """Embeddings that are the mean colour tell these people apart without a fault."""

    def colours(_self, frames: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(frames.float().mean((2, 3)) - 110, dim=1)

    monkeypatch.setattr(Network, "embed", colours)
    trainee = tiny().train()
    figures = {figure.name: figure for figure in trainee.assess(clips)}
    assert trainee.net.training
    assert figures[IdentityTrainee.monitor].value == 100
    assert figures["verification AUC of clips"].value == 1
    assert figures[IdentityTrainee.monitor].n == 2 * 3 * 8
    assert figures["verification accuracy of clips"].n == 2 * 3


def test_assess_is_the_same_twice(clips):
    trainee = tiny()
    assert trainee.assess(clips) == trainee.assess(clips)


def test_pairs_of_clips_are_balanced():
    people = ["b", "a", "c", "a", "b", "c", "a", "d"]
    same, other = clip_pairs(people)
    assert sorted(same) == [(0, 4), (1, 3), (1, 6), (2, 5), (3, 6)]
    assert len(other) == len(same)
    assert all(people[i] != people[j] and people[j] != "d" for i, j in other)
    with pytest.raises(InputError, match="have 2 such people"):
        clip_pairs(["a", "a", "b", "b", "c"])


def test_verification_by_hand():
    """Three people, each a fold. The threshold between 0.6 and 0.2 is right for all but c's own."""
    same = Compared(np.array([0.9, 0.6, 0.1]), np.arange(3), np.arange(3))
    other = Compared(np.array([0.2, 0.0, -0.5]), np.arange(3), np.array([1, 2, 0]))
    accuracy, area = verification(Pairs(same, other), " of clips")
    # Without a: 0.6 and 0.1 against 0.0, threshold 0.05, which a's pairs, 0.9 and 0.2, halve.
    # Without b: 0.9 and 0.1 against -0.5, threshold -0.2: 0.6 is right, 0.0 wrong.
    # Without c: 0.9 and 0.6 against 0.2, threshold 0.4: 0.1 is wrong, -0.5 right.
    assert accuracy.value == pytest.approx(100 * (2 / 3 + 1 / 3) / 2)
    assert area.value == pytest.approx(8 / 9)
    assert (accuracy.n, accuracy.unit, accuracy.of) == (6, "%", "pairs")
    assert accuracy.low <= accuracy.value <= accuracy.high


def test_the_area_is_mann_whitneys():
    draw = np.random.default_rng(0)
    same = Compared(draw.normal(1, 1, 60).round(1), np.arange(60) % 6, np.arange(60) % 6)
    other = Compared(draw.normal(0, 1, 60).round(1), np.arange(60) % 6, (np.arange(60) + 1) % 6)
    area = verification(Pairs(same, other))[1]
    wanted = mannwhitneyu(same.cosines, other.cosines).statistic / 3600
    assert area.value == pytest.approx(wanted, abs=1e-12)
    assert area.low < area.value < area.high


def test_faces_that_are_not_varied_stay():
    faces = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    still = torch.zeros(2, len(LOOK))
    torch.testing.assert_close(varied(faces, still), faces.float(), atol=2e-3, rtol=0)
    still[:, LOOK.index("mirror")] = 1
    torch.testing.assert_close(varied(faces, still), faces.float().flip(3), atol=2e-3, rtol=0)


def test_faces_move_as_they_should():
    faces = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    look = torch.zeros(1, len(LOOK))
    look[:, LOOK.index("right")] = 2 / 16  # one pixel, in halves of the side
    moved = varied(faces, look)
    torch.testing.assert_close(moved[..., :-1], faces.float()[..., 1:], atol=2e-3, rtol=0)
    look = torch.zeros(1, len(LOOK))
    look[:, LOOK.index("light")] = -0.5
    torch.testing.assert_close(varied(faces, look), faces.float() / 2, atol=2e-3, rtol=0)
    look = torch.zeros(1, len(LOOK))
    look[:, [LOOK.index("hole_width"), LOOK.index("hole_height")]] = 0.5
    covered = (varied(faces, look) - faces.float()).abs().amax(dim=1)[0] > 0.5
    assert not covered[:4].any()
    assert covered[4:12, 4:12].float().mean() > 0.9


def test_half_precision_moves_nothing():
    faces = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    looks = torch.stack([draw_look(np.random.default_rng(seed), 0.5) for seed in (1, 2)])
    with torch.autocast("cpu", torch.bfloat16):
        half = varied(faces, looks)
    assert half.dtype == torch.float32
    assert torch.equal(half, varied(faces, looks))


def test_the_loss_is_computed_in_half_precision(clips):
    trainee = tiny().eval()
    trainee.fit_to(clips)
    examples = batch(trainee, clips)
    whole = trainee.loss(examples)
    with torch.autocast("cpu", torch.bfloat16):
        half = trainee.loss(examples)
    assert half.dtype == torch.float32
    assert float(half.detach()) == pytest.approx(float(whole.detach()), rel=0.1)


def test_some_faces_are_left_as_they_are():
    rng = np.random.default_rng(0)
    looks = torch.stack([draw_look(rng, 0.5) for _ in range(400)])
    share = {name: float((looks[:, LOOK.index(name)] == 0).float().mean()) for name in LOOK}
    assert share["turn"] == pytest.approx(0.3, abs=0.08)
    assert share["light"] == pytest.approx(0.3, abs=0.08)
    assert share["hole_width"] == pytest.approx(0.5, abs=0.08)
    assert share["mirror"] == pytest.approx(0.5, abs=0.08)


class Shown:
    """Views of given parts."""

    def __init__(self, *parts: Part) -> None:
        self.found = parts

    def parts(self, key):
        assert key.side == "pred"
        return self.found


def test_every_third_face_is_kept_and_all_of_a_short_clip():
    faces = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1).expand(40, 3, 64, 64)
    views = Shown(Part("track-1", 7, 40, faces[7:]), Part("track-0", 0, 7, faces[:7]))
    found = tiny().keep(None, views)["faces"]
    assert found[:, 0, 0, 0].tolist() == list(range(0, 40, 3))
    short = tiny().keep(None, Shown(Part("track-0", 0, 8, faces[:8])))["faces"]
    assert short[:, 0, 0, 0].tolist() == list(range(8))
    with pytest.raises(Unscorable, match="two faces"):
        tiny().keep(None, Shown(Part("track-0", 0, 7, faces[:7]), Part("track-1", 6, 9, faces[:3])))
