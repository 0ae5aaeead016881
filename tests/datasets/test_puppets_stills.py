"""Moments of puppets: which frames they are, and what is known of them."""

import numpy as np
import pytest
import torch

from tests.datasets.puppets.fakes import FakeClip
from tfbench.core.errors import ConfigError
from tfbench.datasets import puppets_stills
from tfbench.datasets.puppets import Puppets, PuppetsConfig
from tfbench.datasets.puppets.plan import plan
from tfbench.datasets.puppets_stills import Moments, PuppetsStills, PuppetsStillsConfig


class Numbered(FakeClip):
    """Frames, and what is known of them, are numbered."""

    n_frames = 21

    @property
    def truth(self):
        return {"expression": np.arange(21.0)[:, None].repeat(52, 1).astype(np.float32)}

    def frames(self, chunk, chosen):
        for start in range(0, len(chosen), chunk):
            piece = torch.tensor(chosen[start : start + chunk], dtype=torch.uint8)
            yield piece[:, None, None, None].expand(-1, 3, 8, 8)


@pytest.mark.parametrize(
    ("n", "chosen"), [(1, [10]), (3, [3, 10, 17]), (21, list(range(21))), (99, list(range(21)))]
)
def test_frames_are_spread_over_the_clip(monkeypatch, n, chosen):
    monkeypatch.setattr(puppets_stills, "render_puppets", Numbered)
    made = Moments(n)(plan("train", 1)[0], 8)
    shown = torch.cat(list(made.frames(2)))
    assert shown[:, 0, 0, 0].tolist() == chosen
    assert made.truth["expression"][:, 0].tolist() == chosen
    assert made.speech is None


def test_a_sample_is_silent_and_keeps_who_and_how(monkeypatch, tmp_path):
    monkeypatch.setenv("TFBENCH_HOME", str(tmp_path))
    data = PuppetsStills(PuppetsStillsConfig(split="val", size=2, frames=3), render=Moments(3))
    whole = Puppets(PuppetsConfig("val", 2))
    assert data.label == "puppets_stills-val-n2-3frames"
    assert [row.identity for row in data.index()] == [row.identity for row in whole.index()]
    assert data.checksum() != whole.checksum()
    other = PuppetsStills(PuppetsStillsConfig(split="val", size=2, frames=4))
    assert data.checksum() != other.checksum()
    sample = data[1]
    spec = plan("val", 2)[1]
    assert (sample.emotion, sample.level) == (spec.emotion, spec.level)
    assert (sample.transcript, sample.word_times, sample.clip.speech) == (None, None, None)
    assert sample.clip.video.n_frames == 3
    assert sample.expression.shape == (3, 52)
    assert sample.landmarks.shape == (3, 68, 2)


def test_no_frame_is_refused():
    with pytest.raises(ConfigError, match="1 frame or more; got 0"):
        PuppetsStillsConfig(frames=0)
