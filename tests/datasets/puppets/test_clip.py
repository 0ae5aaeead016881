"""Clips: sound, frames and truth of one spec belong together."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tfbench.core.errors import InputError
from tfbench.datasets.puppets.clip import render_clip
from tfbench.datasets.puppets.head import head
from tfbench.datasets.puppets.identity import draw_identity
from tfbench.datasets.puppets.model import morphable
from tfbench.datasets.puppets.spec import ClipSpec, SceneSpec

SPEC = ClipSpec("a", 11, "Bring my blue bag home.", "open", "happy", 2, 5)
SCENE = SceneSpec("s", 12, "Please wait for me.", "open", "neutral", 1, 6, 0, 13, "left")


def _bits(clip) -> str:
    digest = hashlib.sha256(clip.utterance.waveform.tobytes())
    for frames in clip.frames():
        digest.update(frames.numpy().tobytes())
    for name in sorted(clip.truth):
        digest.update(clip.truth[name].tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def clip():
    return render_clip(SPEC, 64)


@pytest.fixture(scope="module")
def scene():
    return render_clip(SCENE, 96)


def test_sound_and_frames_are_equally_long(clip):
    frames = torch.cat(list(clip.frames(chunk=5)))
    assert frames.dtype == torch.uint8
    assert frames.shape == (clip.n_frames, 3, 64, 64)
    assert clip.speech.seconds == pytest.approx(clip.n_frames / 25, abs=1e-6)
    assert clip.speech.waveform.abs().max() > 0.1
    assert [word.lower() for word, _, _ in clip.utterance.words] == [
        "bring",
        "my",
        "blue",
        "bag",
        "home",
    ]


def test_truth_has_a_row_for_every_frame(clip):
    n = clip.n_frames
    shapes = {name: values.shape for name, values in clip.truth.items()}
    width = morphable(64).sizes.total
    assert shapes == {
        "landmarks": (n, 68, 2),
        "coefficients": (n, width),
        "expression": (n, 52),
        "rotation": (n, 3),
    }
    assert all(np.isfinite(values).all() for values in clip.truth.values())


def test_coefficients_give_the_landmarks_back(clip):
    model = morphable(64)
    coefficients = model.split(torch.from_numpy(clip.truth["coefficients"]))
    assert model.landmarks(coefficients).numpy() == pytest.approx(clip.truth["landmarks"], abs=2e-3)
    assert coefficients.expression.numpy() == pytest.approx(clip.truth["expression"])


def test_coefficients_give_the_light_and_the_skin_back(clip):
    model = morphable(64)
    coefficients = model.split(torch.from_numpy(clip.truth["coefficients"][:1]))
    normals = torch.tensor([[[0.0, 0.0, 1.0]]])
    white = torch.ones(1, 1, 3)
    lit = model.illuminate(white, normals, coefficients.gamma)[0, 0].numpy()
    light = clip.speaker.actor.light
    assert lit == pytest.approx(light[0] + light[2] + 2 * light[6], rel=1e-4)
    forehead = head().landmarks[27]
    skin = model.texture(coefficients.texture)[0, forehead].numpy()
    assert skin == pytest.approx(draw_identity(SPEC.identity).skin, abs=0.05)


def test_the_mouth_moves_while_it_speaks(clip):
    landmarks = clip.truth["landmarks"]
    gap = np.linalg.norm(landmarks[:, 66] - landmarks[:, 62], axis=1)
    width = np.linalg.norm(landmarks[:, 54] - landmarks[:, 48], axis=1)
    assert (gap / width).max() > 0.15
    assert (gap / width).min() < 0.03


def test_another_attempt_changes_the_setting_and_not_the_speech(clip):
    other = render_clip(replace(SPEC, attempt=1), 64)
    assert np.array_equal(other.utterance.waveform, clip.utterance.waveform)
    assert not np.array_equal(other.setting.gamma, clip.setting.gamma)
    assert other.n_frames == clip.n_frames


def test_the_same_spec_gives_the_same_bits_in_another_process(clip):
    code = (
        "from tests.datasets.puppets.test_clip import SPEC, _bits\n"
        "from tfbench.datasets.puppets.clip import render_clip\n"
        "print(_bits(render_clip(SPEC, 64)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == _bits(clip) == _bits(render_clip(SPEC, 64))


def test_geometry_agrees_with_the_landmarks(clip):
    truth = clip.geometry(3)
    assert truth.depth.shape == (64, 64)
    x, y = clip.truth["landmarks"][3, 30].astype(int)
    assert truth.parts[y, x] == 0
    assert truth.heads[y, x]


def test_a_scene_is_wide_and_masks_the_speakers_head(scene):
    frames = next(scene.frames(chunk=2))
    assert frames.shape == (2, 3, 96, 192)
    mask = scene.truth["scene_mask"]
    assert mask.shape == (scene.n_frames, 96, 192)
    assert mask.dtype == bool
    columns = np.nonzero(mask.any((0, 1)))[0]
    assert columns.min() > 96  # the listener stands left, so the speaker stands right
    assert 0.02 < mask.mean() < 0.3
    x, y = scene.truth["landmarks"][0].mean(0).astype(int)
    assert mask[0, y, x]


def test_coefficients_of_a_scene_give_its_landmarks_back(scene):
    model = morphable(96, 192)
    coefficients = model.split(torch.from_numpy(scene.truth["coefficients"]))
    assert model.landmarks(coefficients).numpy() == pytest.approx(
        scene.truth["landmarks"], abs=2e-3
    )


def test_a_frame_or_size_that_cannot_be_is_refused(clip):
    with pytest.raises(InputError, match=r"frames 0 to \d+; frame -1 was asked for"):
        clip.geometry(-1)
    with pytest.raises(InputError, match="16 pixels or more, not at 0"):
        render_clip(SPEC, 0)


def test_in_a_scene_they_look_at_each_other(scene):
    yaw = scene.truth["rotation"][:, 1]
    assert yaw.mean() < -0.15  # to the left in the picture, where the listener is
    mirrored = render_clip(replace(SCENE, side="right"), 96)
    assert mirrored.truth["rotation"][:, 1].mean() > 0.15
    assert scene.geometry(0).actors.max() == 1
