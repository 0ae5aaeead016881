"""Training of the emotion network: its examples, its loss, and how it is measured."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.core.types import Clip, Sample, TensorVideo
from tfbench.core.views import Part
from tfbench.evaluators.base import Figure, Kept
from tfbench.evaluators.emotion import EmotionConfig, EmotionTrainee
from tfbench.faces.arkit import of_both_sides
from tfbench.nets.emotion import Emotion as Network

SHADES = {"happy": 200, "neutral": 128, "sad": 40}


def kept(
    folder: Path,
    name: str,
    emotion: str | None,
    level: int | None,
    shade: int,
    expression: torch.Tensor | None = None,
) -> Kept:
    """Faces of one gray with a little noise."""
    noise = np.random.RandomState(len(name)).randint(-9, 10, (4, 3, 64, 64))
    faces = torch.from_numpy((shade + noise).astype(np.uint8))
    video = TensorVideo(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    sample = Sample(name, Clip(video), name, emotion=emotion, level=level)
    known = {} if expression is None else {"expression": expression}
    return Kept.write(folder / f"{name}.safetensors", sample, {"faces": faces} | known)


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


def test_the_loss_is_the_smoothed_cross_entropy(clips):
    trainee = tiny(clips, smoothing=0.2).eval()
    examples = batch(trainee, clips)
    examples["look"].zero_()
    chances = trainee.net.probabilities(examples["faces"]).log().detach().numpy()
    labels = np.full((8, 3), 0.2 / 3)
    labels[np.arange(8), examples["emotion"].numpy()] += 0.8
    wanted = -(labels * chances).sum(axis=1).mean()
    assert float(trainee.loss(examples).detach()) == pytest.approx(wanted, abs=1e-3)


def test_known_expressions_are_learnt_beside(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(EmotionTrainee, "log", lambda *_: None)
    draws = np.random.RandomState(0).rand(6, 4, 52).astype(np.float32)
    draws[..., 7] = 0.5
    known = [
        kept(tmp_path, f"clip-{k}", emotion, 1, 90, torch.from_numpy(draws[k]))
        for k, emotion in enumerate(["happy", "sad"] * 3)
    ]
    trainee = EmotionTrainee(EmotionConfig(expression=0.5))
    trainee.fit_to(known)
    assert "expressions" not in trainee.parts()
    examples = batch(trainee.eval(), known)
    torch.nn.init.zeros_(trainee.expressions.linear.weight)
    torch.nn.init.zeros_(trainee.expressions.linear.bias)
    rows = draws.reshape(-1, 52)
    spread = np.maximum(rows.std(axis=0, ddof=1), 0.02)
    error = (((examples["expression"].numpy() - rows.mean(axis=0)) / spread) ** 2).mean()
    alone = EmotionTrainee(EmotionConfig(expression=0.0))
    alone.fit_to(known)
    alone.net = trainee.net
    assert alone.expressions is None
    added = float((trainee.loss(examples) - alone.eval().loss(examples)).detach())
    assert added == pytest.approx(0.5 * error, rel=1e-4)


def test_expressions_are_kept_with_their_frames():
    trainee = EmotionTrainee()
    expression = torch.from_numpy(np.random.RandomState(1).rand(32, 52).astype(np.float32))
    faces = torch.zeros(30, 3, 64, 64, dtype=torch.uint8)
    views = SimpleNamespace(parts=lambda key: (Part("track-0", 2, 32, faces),))
    sample = Sample("a", Clip(TensorVideo(faces)), "a", expression=expression)
    found = trainee.keep(sample, views)
    assert torch.equal(found["expression"], of_both_sides(expression)[2:32:2])
    assert len(found["faces"]) == 15
    assert set(trainee.keep(replace(sample, expression=None), views)) == {"faces"}


def test_the_loss_falls(clips):
    trainee = tiny(clips, lr=3e-3, smoothing=0.0)
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
