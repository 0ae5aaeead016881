import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from tests.evaluators.speech import ENCODER, STILL, kept
from tfbench.core.errors import ConfigError, InputError
from tfbench.evaluators.avhubert import (
    AVHubertConfig,
    AVHubertTrainee,
    _agreement,
    cluster,
    masked_loss,
)
from tfbench.nets._avhubert_encoder import Predicted
from tfbench.nets.avhubert_encoder import PretrainedEncoder
from tfbench.nets.bundle import load_bundle
from tfbench.training.bundle import write_bundle

TIMES = (("ab", 0.0, 0.2), ("no", 0.24, 0.48))
SMALL = {"clusters": 4, "label_dim": 8, "modality_dropout": 0.0}


def trainee(clips=None, **settings) -> AVHubertTrainee:
    torch.manual_seed(0)
    made = AVHubertTrainee(AVHubertConfig(**{**ENCODER, **STILL, **SMALL, **settings}))
    made.log = lambda *_, **__: None
    if clips:
        made.fit_to(clips)
    return made


@pytest.fixture
def clips(tmp_path: Path):
    return [kept(tmp_path, "ab no", 0, 14, TIMES), kept(tmp_path, None, 1, 11)]


def test_equation_3_by_hand():
    chances = torch.tensor([[[0.5, 0.5], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]])
    labels, masked = torch.tensor([[0, 1, 0, 0]]), torch.tensor([[True, False, True, False]])
    inside = torch.tensor([[True, True, True, False]])
    found = masked_loss(chances.log(), labels, masked, inside, 0.0)
    assert float(found) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2, abs=1e-6)
    found = masked_loss(chances.log(), labels, masked, inside, 0.25)
    wanted = -(math.log(0.5) + math.log(0.1) + 0.25 * math.log(0.8)) / 3
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_clusters_are_found_and_are_the_same_again():
    draw = np.random.RandomState(0)
    centres = np.array([[0, 0, 5], [5, 0, 0], [0, 5, 0]], np.float32)
    frames = torch.from_numpy(np.repeat(centres, 60, 0) + 0.1 * draw.standard_normal((180, 3)))
    found = cluster(frames.split(50), 3, 1000, seed=0)
    assert torch.equal(found, cluster(frames.split(50), 3, 1000, seed=0))
    order = torch.cdist(torch.from_numpy(centres), found).argmin(1)
    assert (found[order] - torch.from_numpy(centres)).abs().max() < 0.1
    few = cluster(frames.split(50), 3, 40, seed=0)
    assert not torch.equal(few, found)
    with pytest.raises(InputError, match="180 frames cannot be put into 200 clusters"):
        cluster([frames], 200, 1000, seed=0)
    with pytest.raises(InputError, match="0 frames"):
        cluster([], 2, 10, seed=0)


def test_an_example_has_the_labels_of_its_frames(clips):
    made = trainee(clips, longest=6, jitter=0.2)
    assert made.net.centres.shape == (4, 39)
    mouths, labels = clips[0].array("mouths"), made.net.label(clips[0].array("mfcc"))
    lengths = set()
    for seed in range(20):
        drawn = made.example(clips[:1], np.random.default_rng(seed))
        lengths.add(len(drawn["labels"]))
        for picture, label in zip(drawn["mouths"], drawn["labels"], strict=True):
            (at,) = torch.nonzero((mouths == picture).flatten(1).all(1))[0].tolist()
            assert labels[at] == label
    assert len(lengths) > 1


def test_the_same_clips_give_the_same_labels_again(clips):
    one, again = trainee(clips), trainee(clips)
    assert one.labels.keys() == again.labels.keys() == {str(clip.path) for clip in clips}
    assert all(torch.equal(one.labels[k], again.labels[k]) for k in one.labels)
    assert len(set(torch.cat(list(one.labels.values())).tolist())) == 4


@pytest.mark.parametrize("masking", ["input", "feature"])
def test_labels_are_learnt_and_everything_is_trained(clips, masking: str):
    made = trainee(clips, masking=masking, alpha=1.0)
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    batch = made.collate([made.example([clip], np.random.default_rng(0)) for clip in clips])
    losses = []
    for step in range(40):
        loss = made.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            still = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
            assert still == []
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_masks_come_from_the_generator_that_a_resume_continues(clips):
    made = trainee(clips)
    batch = made.collate([made.example([clip], np.random.default_rng(0)) for clip in clips])
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(float(made.loss(batch).detach()))
    assert found[0] == found[1] != found[2]


def test_two_iterations_the_second_clusters_what_the_first_has_learnt(clips, tmp_path: Path):
    first = trainee(clips)
    bundle = tmp_path / "first" / "bundle"
    write_bundle(bundle, first, {}, ())
    second = trainee(clips, labels=str(bundle), layer=1, clusters=3)
    assert second.net.centres.shape == (3, 16)
    net = load_bundle(bundle).module
    assert isinstance(net, PretrainedEncoder)
    with torch.no_grad():
        mouths = clips[0].array("mouths")[:, 4:92, 4:92].float()
        video = ((mouths / 255 - 0.421) / 0.165)[None]
        wanted = net.encoder(video, clips[0].array("audio")[None]).layers[0][0]
    assert torch.allclose(second.features(clips[0]), wanted, atol=1e-5)
    assert torch.equal(second.labels[str(clips[0].path)], second.net.label(wanted))
    second.eval()
    with torch.no_grad():
        figures = second.assess(clips)
    assert second.monitor in {figure.name for figure in figures}
    again = trainee(labels=str(bundle), layer=1, clusters=3)
    again.adopt({"net": second.net})
    again.eval()
    with torch.no_grad():
        assert again.assess(clips) == figures


def test_figures_tell_what_is_told_without_a_look(clips):
    made = trainee(clips).eval()
    with torch.no_grad():
        figures = {figure.name: figure for figure in made.assess(clips)}
    labels = torch.cat([made.labels[str(clip.path)] for clip in clips])
    most = int(labels.bincount().max())
    assert figures["most frequent label"].value == pytest.approx(100 * most / 25)
    assert figures["purity"].n == 14
    assert 0 <= figures["normalised mutual information"].value <= 1
    with torch.no_grad():
        assert "purity" not in {figure.name for figure in made.assess(clips[1:])}


@pytest.mark.parametrize(("n", "sizes"), [(1, [1]), (2, [2]), (8, [8]), (9, [5, 4])])
def test_held_out_clips_are_masked_together_as_in_training(tmp_path: Path, n: int, sizes: list):
    clips = [kept(tmp_path, None, seed, 10 + seed) for seed in range(n)]
    made = trainee(clips).eval()
    batches = []
    predict = made.net.encoder.predict
    lengths = iter([10 + seed for seed in range(n)])

    def watched(video, audio, draw, padding):
        batches.append(len(video))
        for mouths, sound, own in zip(video, audio, padding, strict=True):
            length = next(lengths)
            assert own.tolist() == [False] * length + [True] * (len(own) - length)
            assert not mouths[length:].any()
            assert not sound[length:].any()
        return predict(video, audio, draw, padding)

    made.net.encoder.predict = watched
    with torch.no_grad():
        figures = {figure.name: figure for figure in made.assess(clips)}
    assert batches == sizes
    assert figures[made.monitor].n == n
    assert 0 <= figures[made.monitor].value <= 100


def test_a_told_share_is_that_of_each_clips_masked_frames(clips):
    made = trainee(clips).eval()
    labels = [made.labels[str(clip.path)] for clip in clips]
    masked = torch.zeros(2, 14, dtype=torch.bool)
    masked[0, 3:7] = masked[1, 2:7] = True
    guesses = torch.zeros(2, 14, dtype=torch.int64)
    guesses[0, :14], guesses[1, :11] = labels[0], labels[1]
    guesses[0, 3] = (guesses[0, 3] + 1) % 4
    guesses[0, 0] = (guesses[0, 0] + 1) % 4
    logits = torch.nn.functional.one_hot(guesses, 4).float()
    made.net.encoder.predict = lambda *_: Predicted((logits,), masked)
    assert made._told(clips, labels, 0) == [75.0, 100.0]


def test_agreement_is_that_of_scikit_learn():
    draw = np.random.RandomState(0)
    labels, signs = draw.randint(0, 5, 200), draw.randint(0, 3, 200)
    signs[:120] = labels[:120] % 3
    purity, information = _agreement(labels, signs)
    assert information == pytest.approx(normalized_mutual_info_score(labels, signs))
    by_hand = sum(np.bincount(signs[labels == k]).max() for k in range(5)) / 200
    assert purity == pytest.approx(by_hand)
    assert _agreement(np.zeros(4, int), np.zeros(4, int)) == (1.0, 0.0)


def test_bad_labels_are_refused(clips, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"labels=syncnet\.grid holds no AV-HuBERT encoder"):
        trainee(clips, labels="syncnet.grid")
    bundle = tmp_path / "first" / "bundle"
    write_bundle(bundle, trainee(clips), {}, ())
    with pytest.raises(ConfigError, match="which has 2 layers"):
        trainee(labels=str(bundle), layer=3).gather()
    with pytest.raises(InputError, match="25 frames cannot be put into 40 clusters"):
        trainee(clips, clusters=40)
