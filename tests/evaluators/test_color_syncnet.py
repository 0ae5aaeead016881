"""Training of Wav2Lip's expert on faces that flash with the sound."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tfbench.core.config import load_config
from tfbench.core.errors import ConfigError, Unscorable
from tfbench.core.registry import parse_name
from tfbench.core.types import Clip, FaceTrack, Sample, Speech, TensorVideo
from tfbench.core.views import Part
from tfbench.evaluators.base import Kept
from tfbench.evaluators.color_syncnet import (
    ColorSyncNetConfig,
    ColorSyncNetTrainee,
    TalkingFace,
    first_column,
    mel_chunks,
    recoloured,
)
from tfbench.media.spectral import log_mel
from tfbench.nets.color_syncnet import ColorSyncNet

CONFIG = ColorSyncNetConfig(widths=(4, 4, 8, 8, 8), side=48, batch=4, windows=4)
N = 40


def flashing(folder: Path, n: int = 6, side: int = 48) -> list[Kept]:
    """Keep clips in which brightness and loudness follow one random curve."""
    made = []
    for k in range(n):
        rng = np.random.default_rng(k)
        curve = torch.from_numpy(rng.uniform(0, 1, N)).float()
        faces = (255 * curve)[:, None, None, None].expand(N, 3, side, side)
        rows = (5 * torch.arange(1 + 16 * N // 5) + 4) // 16
        mel = (8 * curve[rows.clamp(max=N - 1)] - 4)[:, None].expand(-1, 80)
        arrays = {"faces": faces.to(torch.uint8), "mel": mel.contiguous()}
        video = TensorVideo(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
        sample = Sample(f"c{k}", Clip(video), "p")
        made.append(Kept.write(folder / f"{k}.safetensors", sample, arrays))
    return made


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Kept]:
    return flashing(tmp_path_factory.mktemp("kept"))


def trainee(**changes) -> ColorSyncNetTrainee:
    torch.manual_seed(0)
    made = ColorSyncNetTrainee(replace(CONFIG, **changes))
    made.log = lambda *_, **__: None
    return made


def test_an_example_pairs_faces_with_their_sound(clips):
    made = trainee(augment=False)
    for k in range(10):
        one = made.example(clips, np.random.default_rng(k))
        assert one["faces"].shape == (4, 5, 3, 48, 48)
        assert one["mel"].shape == (4, 80, 16)
        assert (float(one["gain"]), float(one["level"])) == (1, 0)
        # The first column of a chunk belongs to the window's first frame.
        seen = one["faces"][:, 0].float().mean((1, 2, 3)) / 255
        torch.testing.assert_close(seen, (one["mel"][:, 5, 0] + 4) / 8, atol=0.01, rtol=0)
        assert len({tuple(w.flatten()[::500].tolist()) for w in one["faces"]}) == 4


def test_augmented_sound_stays_in_its_range(clips):
    made = trainee()
    for k in range(10):
        one = made.example(clips, np.random.default_rng(k))
        assert float(one["mel"].abs().max()) <= 4
    faces = torch.tensor([[0, 255], [0, 255]], dtype=torch.uint8)
    changed = recoloured(faces, torch.tensor([0.5, 1.0]), torch.tensor([0.25, 0.5]))
    assert changed.tolist() == [[0.25, 0.75], [0.5, 1.0]]


def test_columns_are_those_of_the_reference():
    # int(80. * (frame / float(25))) of color_syncnet_train.py, where floats are exact enough.
    for frame in range(2000):
        assert first_column(frame) == int(80.0 * frame / 25.0)
    assert [first_column(k, Fraction(30000, 1001)) for k in (1, 3)] == [2, 8]
    assert first_column(-1) == -4


def test_chunks_beyond_the_ends_are_silent():
    mel = torch.arange(20.0)[:, None].expand(20, 80)
    before, inside, after, beyond = mel_chunks(mel, [-4, 2, 10, 30])[:, 7]
    assert before.tolist() == [-4.0] * 4 + list(range(12))
    assert inside.tolist() == list(range(2, 18))
    assert after.tolist() == [*range(10, 20), *[-4.0] * 6]
    assert beyond.tolist() == [-4.0] * 16
    # Digital silence is what is padded with.
    assert log_mel(torch.zeros(800)).unique().tolist() == [-4.0]


def test_the_loss_weighs_right_and_wrong_pairs_alike(clips):
    made = trainee(augment=False).eval()
    one = made.example(clips, np.random.default_rng(0))
    with torch.no_grad():
        loss = made.loss(made.collate([one]))
        heard = made.net.embed_sound(one["mel"][:, None])
        seen = made.net.embed_faces(made.net.look(one["faces"].float() / 255)[:, 0])
        cosine = (heard @ seen.T).double().clamp(1e-9, 1 - 1e-9)
        own = torch.eye(4, dtype=torch.bool)
        expected = (-cosine[own].log().mean() - (1 - cosine[~own]).log().mean()) / 2
    assert float(loss) == pytest.approx(float(expected), rel=1e-3)


def test_it_learns_to_tell_pairs_apart(clips):
    made = trainee(augment=False)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(16):
        batch = made.collate([made.example(clips, rng) for _ in range(3)])
        loss = made.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:3])


def test_it_is_measured_on_held_out_clips(clips):
    made = trainee().eval()
    with torch.inference_mode():
        figures = {figure.name: figure for figure in made.assess(clips)}
    assert made.monitor in figures
    assert 0 <= figures["pairs told apart"].value <= 100
    assert figures["offset within 1 frame"].value >= figures["offset exact"].value
    assert figures["loss"].n == 6


class OneView:
    def __init__(self, values: torch.Tensor, waveform: torch.Tensor) -> None:
        self.part = Part("track-0", 3, 3 + len(values), values)
        self.waveform = waveform

    def parts(self, key):
        return (self.part,)

    def speech(self, side):
        return Speech(self.waveform)


def test_faces_are_kept_with_the_sound_of_their_time():
    faces = torch.zeros(30, 3, 48, 48, dtype=torch.uint8)
    sound = torch.sin(torch.arange(640.0 * 40) ** 1.5)
    kept = trainee().keep(None, OneView(faces, sound))
    assert kept["faces"].shape == (30, 3, 48, 48)
    assert kept["mel"].shape == (97, 80)
    assert torch.equal(kept["mel"], log_mel(sound[3 * 640 : 33 * 640]))
    short = trainee().keep(None, OneView(faces, sound[: 640 * 20]))
    assert (len(short["faces"]), len(short["mel"])) == (17, 55)
    with pytest.raises(Unscorable, match="at least 9"):
        trainee().keep(None, OneView(faces, sound[: 640 * 10]))
    with pytest.raises(Unscorable, match="silent"):
        trainee().keep(None, OneView(faces, torch.zeros(640 * 40)))


def track(boxes: list[list[float]]) -> FaceTrack:
    n = len(boxes)
    return FaceTrack(0, torch.tensor(boxes), torch.zeros(n, 5, 2), torch.ones(n))


def test_the_box_is_stretched_to_the_square():
    """Corners of the box, which count from the first pixel's edge, become those of the square."""
    crop = TalkingFace(64, smooth=1, below=0.25)
    (row,) = crop.regions(track([[10.0, 20.0, 42.0, 60.0]]))
    a, b, c, d, e, f = row.tolist()
    assert (b, d) == (0, 0)
    # From the centre of the first pixel inside to half a step into the result.
    assert a * 10 + c == pytest.approx(64 / 32 / 2 - 0.5, abs=1e-5)
    assert e * 20 + f == pytest.approx(64 / 50 / 2 - 0.5, abs=1e-5)
    assert a * 41 + c == pytest.approx(63.5 - 64 / 32 / 2, abs=1e-5)
    assert e * 69 + f == pytest.approx(63.5 - 64 / 50 / 2, abs=1e-5)
    frame = torch.zeros(1, 3, 80, 60, dtype=torch.uint8)
    frame[:, :, 20:70, 10:42] = 200
    cut = crop.cut(frame, row[None])
    assert cut.shape == (1, 3, 64, 64)
    assert cut[:, :, 1:-1, 1:-1].unique().tolist() == [200]


def test_boxes_are_averaged_over_the_frames_around():
    boxes = [[float(k * k), 0.0, k * k + 32.0, 32.0] for k in range(7)]
    rows = TalkingFace(32, smooth=5, below=0).regions(track(boxes))
    squares = np.arange(7.0) ** 2
    means = [squares[max(k - 2, 0) : k + 3].mean() for k in range(7)]
    assert (-rows[:, 2]).tolist() == pytest.approx(means, abs=1e-4)
    assert rows[:, 0].tolist() == pytest.approx([1] * 7)


def test_a_crop_s_name_tells_its_settings():
    assert TalkingFace(64, 13).name == "talking-64.13.0.05"
    tracking = replace(TalkingFace(64).tracking, min_frames=0)
    assert TalkingFace(64, tracking=tracking).name == "talking-64.5.0.05.min0"
    for bad in ({"smooth": 4}, {"size": 0}, {"below": -1.0}):
        with pytest.raises(ConfigError, match="odd number of frames"):
            TalkingFace(**({"size": 64} | bad))


def test_the_official_settings_are_the_published_network():
    config = load_config(ColorSyncNetConfig, "evaluators", parse_name("color_syncnet.official"))
    made, published = ColorSyncNetTrainee(config).net, ColorSyncNet()
    assert made.settings == published.settings
    assert (config.lr, config.batch * config.windows) == (1e-4, 64)
