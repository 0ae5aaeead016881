"""Training of the emotion network: its examples, its loss, and how it is measured."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import Clip, Sample, TensorVideo
from tfbench.evaluators.base import Figure, Kept
from tfbench.evaluators.emotion import EmotionConfig, EmotionTrainee
from tfbench.nets.emotion import Emotion as Network

SHADES = {"happy": 200, "neutral": 128, "sad": 40}


def kept(folder: Path, name: str, emotion: str | None, level: int | None, shade: int) -> Kept:
    """Faces of one gray with a little noise."""
    noise = np.random.RandomState(len(name)).randint(-9, 10, (4, 3, 64, 64))
    faces = torch.from_numpy((shade + noise).astype(np.uint8))
    video = TensorVideo(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    sample = Sample(name, Clip(video), name, emotion=emotion, level=level)
    return Kept.write(folder / f"{name}.safetensors", sample, {"faces": faces})


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    folder = tmp_path_factory.mktemp("kept")
    plan = [("neutral", 1)] * 6 + [("happy", 1), ("happy", 3), ("sad", 3)]
    return [
        kept(folder, f"clip-{k}", emotion, level, SHADES[emotion])
        for k, (emotion, level) in enumerate(plan)
    ]


def tiny(clips: list[Kept], **settings) -> EmotionTrainee:
    torch.manual_seed(0)
    trainee = EmotionTrainee(EmotionConfig(steps=20, warmup=1, **settings))
    trainee.fit_to(clips)
    trainee.net = Network(trainee.net.classes, 16, (4, 8, 8), (1, 1, 1))
    return trainee


def batch(trainee: EmotionTrainee, clips: list[Kept], seed: int = 0, n: int = 8):
    rng = np.random.default_rng(seed)
    return trainee.collate([trainee.example(clips, rng) for _ in range(n)])


def test_classes_are_learnt_in_order(clips):
    trainee = tiny(clips)
    assert trainee.net.classes == ("happy", "neutral", "sad")
    assert trainee.chances == {"neutral": 1 / 6, "happy": 1 / 2, "sad": 1}
    assert trainee.parts() == {"net": trainee.net}


def test_each_emotion_is_drawn_equally_often(clips):
    drawn = Counter(batch(tiny(clips), clips, n=900)["emotion"].tolist())
    assert [drawn[k] for k in range(3)] == pytest.approx([300] * 3, abs=60)


def test_examples_depend_on_rng_only(clips):
    trainee = tiny(clips)
    one, same, other = (batch(trainee, clips, seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["look"], other["look"])


def test_the_loss_without_mixing_is_the_smoothed_cross_entropy(clips):
    trainee = tiny(clips, mix=0.0, smoothing=0.2).eval()
    examples = batch(trainee, clips)
    assert (examples["shown"] == 1).all()
    examples["look"].zero_()
    chances = trainee.net.probabilities(examples["face"]).log().detach().numpy()
    labels = np.full((8, 3), 0.2 / 3)
    labels[np.arange(8), examples["emotion"].numpy()] += 0.8
    wanted = -(labels * chances).sum(axis=1).mean()
    assert float(trainee.loss(examples).detach()) == pytest.approx(wanted, abs=1e-3)


def test_a_face_that_is_not_shown_does_not_count(clips):
    trainee = tiny(clips, mix=0.4).eval()
    examples = batch(trainee, clips)
    examples["shown"] = torch.zeros(8)
    turned = {name: value.roll(1, 0) for name, value in examples.items()}
    turned["shown"] = torch.ones(8)
    torch.testing.assert_close(trainee.loss(examples), trainee.loss(turned))


def test_the_loss_falls(clips):
    trainee = tiny(clips, lr=3e-3, mix=0.0, smoothing=0.0)
    optimizer = trainee.configure_optimizers()["optimizer"]
    examples = batch(trainee, clips, n=12)
    losses = []
    for _ in range(25):
        value = trainee.loss(examples)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    assert losses[-1] < 0.3 * losses[0]


def by_shade(_self, frames: torch.Tensor) -> torch.Tensor:
    """Probabilities that take what is dark for sad, and the rest for neutral."""
    dark = (frames.float().mean((1, 2, 3)) < 80).float()
    return torch.stack([torch.zeros_like(dark), 1 - dark, dark], 1)


def test_figures(clips, monkeypatch):
    monkeypatch.setattr(Network, "probabilities", by_shade)
    trainee = tiny(clips).train()
    figures = {figure.name: figure for figure in trainee.assess(clips)}
    assert trainee.net.training
    assert figures[EmotionTrainee.monitor] == Figure.share("accuracy", 7, 9)
    assert figures["accuracy of frames"].value == pytest.approx(100 * 28 / 36)
    assert figures["accuracy of neutral"] == Figure.share("accuracy of neutral", 6, 6)
    assert figures["accuracy at level 1"].value == 0
    assert figures["accuracy at level 1"].n == 1
    assert figures["accuracy at level 3"].value == 50
    assert (figures["accuracy at level 3 or neutral"].n) == 8
    assert figures["accuracy at level 3 or neutral"].value == pytest.approx(100 * 7 / 8)
    assert "accuracy at level 2" not in figures


def test_clips_without_what_is_needed_are_refused(clips, tmp_path: Path):
    unknown = kept(tmp_path, "quiet", None, None, 100)
    with pytest.raises(InputError, match="emotion of clip quiet is unknown"):
        EmotionTrainee().fit_to([*clips, unknown])
    with pytest.raises(InputError, match="two or more emotions"):
        EmotionTrainee().fit_to(clips[:3])
    with pytest.raises(InputError, match="shows 'awe'; the network knows happy, neutral, sad"):
        tiny(clips).assess([kept(tmp_path, "other", "awe", 1, 100)])
