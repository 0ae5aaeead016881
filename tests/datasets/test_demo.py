import numpy as np
import torch

from tfbench.datasets.demo import MOUTH, Demo, DemoConfig
from tfbench.faces.detect import FaceDetector
from tfbench.media.audio import to_int16


def test_every_frame_shows_one_face():
    clip = Demo(DemoConfig(40))[0].clip
    frames = torch.cat(list(clip.video.frames()))
    found = FaceDetector().detect(frames[::4])
    assert [len(d) for d in found] == [1] * 10
    assert min(float(d.scores[0]) for d in found) > 0.95


def test_lips_move_with_the_sound():
    clip = Demo(DemoConfig(60))[1].clip
    frames = torch.cat(list(clip.video.frames())).float()
    x, y = (int(v) for v in MOUTH)
    dark = 255 - frames[:, :, y + 2 : y + 9, x - 8 : x + 8].mean((1, 2, 3))
    loud = clip.speech.waveform[: 60 * 640].reshape(60, 640).square().mean(1).sqrt()
    assert np.corrcoef(dark.numpy(), loud.numpy())[0, 1] > 0.7


def test_it_is_the_same_every_time(tmp_path, monkeypatch):
    waves = []
    for name in "ab":
        monkeypatch.setenv("TFBENCH_HOME", str(tmp_path / name))
        waves.append(to_int16(Demo(DemoConfig(20))[2].clip.speech.waveform))
    assert torch.equal(*waves)
    files = [next((tmp_path / name).rglob("clip-2.mp4")).read_bytes() for name in "ab"]
    assert files[0] == files[1]
