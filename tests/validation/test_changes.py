import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, signal
from skimage.transform import SimilarityTransform

from tests.evaluation.world import make_clips
from tfbench.core.errors import InputError, UnknownName
from tfbench.core.registry import registry
from tfbench.core.types import Clip, Speech, TensorVideo
from tfbench.media.video import open_clip
from tfbench.validation.change import Subject
from tfbench.validation.changes import CHANGES, changes_named
from tfbench.validation.faces import MOUTH, TEMPLATE

SIZE, LENGTH = 96, 20


def picture(seed: int, n: int = LENGTH, size: int = SIZE) -> torch.Tensor:
    """Smooth frames that drift, uint8 (n, 3, size, size)."""
    draws = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(draws.standard_normal((3, size, size)), (0, 3, 3), mode="wrap")
    still = 128 + 60 * noise / noise.std()
    frames = np.stack([np.roll(still, k, axis=2) for k in range(n)])
    return torch.from_numpy(frames.clip(0, 255).astype(np.uint8))


def clip(seed: int = 0, n: int = LENGTH) -> Clip:
    sound = torch.from_numpy(np.random.default_rng(seed).uniform(-0.5, 0.5, n * 640))
    return Clip(TensorVideo(picture(seed, n)), Speech(sound.float()))


def places(_clip: Clip) -> np.ndarray:
    """The same face in every frame, 0.6 of the template's size."""
    return np.repeat((TEMPLATE * 0.6 + 14)[None], _clip.video.n_frames, 0)


def subject(**more: object) -> Subject:
    return Subject("case", clip(), points=places, **more)


def changed(name: str, level: float, who: Subject | None = None) -> torch.Tensor:
    return torch.cat(list(CHANGES[name].frames(who or subject(), level)))


def test_names_and_claims_are_those_of_the_registry():
    metrics = registry("metrics")
    for name, change in CHANGES.items():
        assert change.name == name
        claims = [(c.metric, c.column) for c in (*change.responds, *change.ignores)]
        assert len(set(claims)) == len(claims), name
        assert change.responds
        for claim in (*change.responds, *change.ignores):
            assert claim.metric in metrics.names()
            assert claim.why
        strengths = [change.strength(level) for level in change.levels]
        assert strengths == sorted(strengths)
        assert min(strengths) > 0
        assert change.strength(change.untouched) == 0


def test_an_unknown_change_is_named_with_the_likely_one():
    with pytest.raises(UnknownName, match="did you mean 'blur'"):
        changes_named(["blurr"])
    assert [c.name for c in changes_named(["noise", "blur"])] == ["blur", "noise"]


@pytest.mark.parametrize("level", [2, 10])
def test_sound_moves_by_640_samples_a_frame(level: int):
    who, change = subject(), CHANGES["sound_shift"]
    before = who.clip.speech.waveform
    early = change.speech(who, level).waveform
    late = change.speech(who, -level).waveform
    k = 640 * level
    assert torch.equal(early[:-k], before[k:])
    assert not early[-k:].any()
    assert torch.equal(late[k:], before[:-k])
    assert not late[:k].any()
    assert len(early) == len(late) == len(before)
    # An independent measure: where the cross-correlation peaks.
    peak = signal.correlate(before.numpy(), early.numpy(), method="fft").argmax()
    assert peak - (len(before) - 1) == k
    assert torch.equal(changed("sound_shift", level), who.clip.video.tensor)


def test_sound_of_a_silent_clip_stays_absent():
    who = Subject("case", Clip(clip().video))
    assert CHANGES["sound_shift"].speech(who, 5) is None


def test_blur_is_a_convolution_with_a_gaussian():
    sigma = 1.6 / 100 * SIZE
    x = np.arange(-12, 13)
    kernel = np.exp(-(x**2) / (2 * sigma**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    frame = subject().clip.video.tensor[3, 1].numpy().astype(float)
    wanted = signal.convolve2d(np.pad(frame, 12, mode="edge"), kernel, mode="valid")
    got = changed("blur", 1.6)[3, 1].numpy()
    assert np.abs(got - wanted).max() < 1.0


def test_noise_has_its_sigma_and_is_the_same_at_all_levels():
    who = Subject("case", Clip(TensorVideo(torch.full((8, 3, 64, 64), 128, dtype=torch.uint8))))
    weak = changed("noise", 4, who).double() - 128
    strong = changed("noise", 16, who).double() - 128
    assert weak.std() == pytest.approx((16 + 1 / 12) ** 0.5, rel=0.02)
    assert np.corrcoef(weak.flatten(), strong.flatten())[0, 1] > 0.99
    assert abs(np.corrcoef(strong[0].flatten(), strong[1].flatten())[0, 1]) < 0.05
    assert torch.equal(changed("noise", 4, who), changed("noise", 4, who))


def test_jpeg_is_what_pillow_writes():
    held = io.BytesIO()
    frame = subject().clip.video.tensor[0].permute(1, 2, 0).numpy()
    Image.fromarray(frame).save(held, "JPEG", quality=20, subsampling=2)
    wanted = np.asarray(Image.open(held))
    assert np.array_equal(changed("jpeg", 20)[0].permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("name", ["blur", "noise", "jpeg", "h264", "resolution", "stutter"])
def test_damage_grows_with_every_level(name: str):
    true = subject().clip.video.tensor.double()
    errors = [
        ((changed(name, level).double() - true) ** 2).mean().item()
        for level in CHANGES[name].levels
    ]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_resolution_is_what_pillow_makes_of_it():
    frame = subject().clip.video.tensor[2].permute(1, 2, 0).numpy()
    small = Image.fromarray(frame).resize((SIZE // 4, SIZE // 4), Image.Resampling.BILINEAR)
    wanted = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    got = changed("resolution", 4)[2].permute(1, 2, 0).numpy()
    assert np.abs(got.astype(int) - wanted.astype(int)).max() <= 1


def test_a_stutter_repeats_the_frame_before_and_hits_the_same_frames_again():
    who = subject()
    true = who.clip.video.tensor
    hit = {}
    for level in (10, 20, 40, 80):
        got = changed("stutter", level)
        hit[level] = {k for k in range(1, LENGTH) if torch.equal(got[k], got[k - 1])}
        assert len(hit[level]) == round(level / 100 * (LENGTH - 1))
        assert all(torch.equal(got[k], true[k]) for k in range(LENGTH) if k not in hit[level])
    assert hit[10] < hit[20] < hit[40] < hit[80]


def test_a_move_goes_by_whole_pixels_right_and_down():
    true = subject().clip.video.tensor
    k = round(8 / 100 * SIZE)
    got = changed("move", 8)
    assert torch.equal(got[:, :, k:, k:], true[:, :, :-k, :-k])
    assert torch.equal(got[:, :, 0, k:], true[:, :, 0, :-k])


def test_jitter_moves_every_frame_by_its_own_shift():
    true = subject().clip.video.tensor
    got = changed("jitter", 6)
    most = round(6 / 100 * SIZE)
    inner = slice(most, -most)
    seen = set()
    for before, after in zip(true[:6], got[:6], strict=True):
        fits = [
            (dy, dx)
            for dy in range(-most, most + 1)
            for dx in range(-most, most + 1)
            if torch.equal(before.roll((dy, dx), (1, 2))[:, inner, inner], after[:, inner, inner])
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) > 3


def test_a_shrunken_picture_lies_in_the_middle():
    ramp = torch.arange(SIZE, dtype=torch.float32).repeat(3, SIZE, 1)[None].to(torch.uint8)
    small = changed("shrink", 20, Subject("case", Clip(TensorVideo(ramp))))[0, 0, SIZE // 2]
    inner = round(0.8 * SIZE)
    first = (SIZE - inner) // 2
    # The same grey values in four fifths of the room.
    wanted = (np.arange(inner) + 0.5) * SIZE / inner - 0.5
    got = small[first : first + inner].double().numpy()
    assert np.abs(got - wanted)[1:-1].max() <= 0.6
    assert (small[:first] == small[first]).all()


def test_a_frozen_mouth_is_the_first_frames_and_nothing_else_changes():
    true = subject().clip.video.tensor
    got = changed("frozen_mouth", 50)
    half = LENGTH // 2
    assert torch.equal(got[:half], true[:half])
    x, y = np.rint(np.array(MOUTH.centre) * 0.6 + 14).astype(int)
    middle = (..., slice(y - 4, y + 4), slice(x - 4, x + 4))
    for k in range(half, LENGTH):
        assert (got[k][middle].int() - true[0][middle].int()).abs().max() <= 1
    assert torch.equal(got[:, :, :30], true[:, :, :30])
    assert torch.equal(got[:, :, :, :20], true[:, :, :, :20])


def test_another_face_is_brought_to_the_place_of_the_first():
    turn = SimilarityTransform(scale=1.1, rotation=0.2, translation=(-5, 3))

    def both(one: Clip) -> np.ndarray:
        points = places(one)
        return points if one is who.clip else turn(points[0])[None].repeat(len(points), 0)

    other = clip(7)
    who = Subject("case", clip(), others=(other,), points=both)
    got = changed("other_person", 100, who)[5, 0].numpy().astype(float)
    y, x = np.rint(np.array([72.0, 56.5]) * 0.6 + 14).astype(int)
    spots = [(y + dy, x + dx) for dy in (-6, 0, 6) for dx in (-6, 0, 6)]
    centres = turn(np.array([(col + 0.5, row + 0.5) for row, col in spots])) - 0.5
    source = other.video.tensor[5, 0].numpy().astype(float)
    wanted = ndimage.map_coordinates(source, centres[:, ::-1].T, order=1)
    assert np.abs(np.array([got[spot] for spot in spots]) - wanted).max() < 1.0


def test_opacity_is_linear():
    who = subject(others=(clip(7),))
    true = who.clip.video.tensor.double()
    whole, half = changed("other_person", 100, who), changed("other_person", 50, who)
    assert ((half.double() - true) - (whole.double() - true) / 2).abs().max() <= 1


def test_other_lips_follow_the_other_clip_forth_and_back():
    short = clip(7, n=10)
    who = subject(others=(short,))
    got = changed("other_lips", 100, who)
    y, x = np.rint(np.array([94.0, 56.5]) * 0.6 + 14).astype(int)
    for k, source in ((0, 0), (9, 9), (10, 8), (17, 1), (18, 0), (19, 1)):
        gap = got[k, :, y, x].int() - short.video.tensor[source, :, y, x].int()
        assert gap.abs().max() <= 1


def test_an_emotion_takes_the_frames_at_the_same_share_of_the_time():
    levels = tuple(clip(k, n=10) for k in (1, 2, 3))
    who = subject(others=levels)
    got = changed("other_emotion", 2, who)
    assert len(got) == LENGTH
    assert torch.equal(got, levels[1].video.tensor.repeat_interleave(2, 0)[:LENGTH])


@pytest.mark.parametrize("name", ["other_lips", "other_person", "other_emotion"])
def test_a_change_without_its_other_clip_is_refused(name: str):
    with pytest.raises(InputError, match=r"no (other clip|clip of emotion)"):
        changed(name, CHANGES[name].levels[0])


def test_places_of_faces_are_asked_for():
    who = Subject("case", clip())
    with pytest.raises(InputError, match="places of faces"):
        changed("frozen_mouth", 100, who)


@pytest.mark.parametrize("name", CHANGES)
def test_one_frame_and_odd_sizes_pass(name: str):
    tiny = Clip(TensorVideo(picture(0, 1, 33)), Speech(torch.zeros(640)))
    who = Subject("case", tiny, others=(tiny, tiny, tiny), points=places)
    for level in CHANGES[name].levels[:2]:
        made = CHANGES[name].apply(who, level)
        assert made.video.n_frames == 1
        assert made.speech.waveform.shape == (640,)


def test_a_file_serves_as_well_as_a_tensor(tmp_path):
    path = next(make_clips(tmp_path / "clips", n=1).iterdir())
    who = Subject("case", open_clip(path))
    assert changed("blur", 0.8, who).shape == (12, 3, 48, 48)
