"""Views on real pixels: the demo's talking photograph, changed in known ways."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tfbench.core.errors import InputError, Unscorable
from tfbench.core.types import Clip, Speech, TensorVideo, TrackSettings
from tfbench.core.views import ViewKey
from tfbench.datasets.demo import Demo, DemoConfig
from tfbench.faces.crop import FaceBox, FaceInFrame, SyncNetCrop, WholeFrame
from tfbench.faces.detect import FaceDetector
from tfbench.faces.mouth import MouthCrop
from tfbench.metrics.lmd import LMD
from tfbench.metrics.lse import LSE
from tfbench.metrics.psnr import PSNR
from tfbench.nets.frozen import Frozen
from tfbench.nets.landmarks import Landmarks
from tfbench.nets.syncnet import seeded
from tfbench.preparation.arrays import Arrays
from tfbench.preparation.first_pass import FaceFinder
from tfbench.preparation.views import ClipViews

N = 40
SHORT = TrackSettings(min_frames=24)


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    patch = pytest.MonkeyPatch()
    patch.setenv("TFBENCH_HOME", str(tmp_path_factory.mktemp("home")))
    demo = Demo(DemoConfig(N))
    clip = demo.sample(demo.index()[0]).clip
    patch.undo()
    return Clip(TensorVideo(torch.cat(list(clip.video.frames()))), clip.speech)


class Counting(FaceDetector):
    """Counts the frames that it is given."""

    seen = 0

    def detect(self, frames):
        self.seen += len(frames)
        return super().detect(frames)


@pytest.fixture(scope="module")
def detector() -> Counting:
    return Counting()


def views(tmp_path: Path, detector: FaceDetector, keys, **clips: Clip) -> ClipViews:
    sha256 = {side: f"{side}-{id(clip)}" for side, clip in clips.items()}
    finder = FaceFinder(detector, Arrays(tmp_path / "faces"))
    features = Arrays(tmp_path / "features")
    return ClipViews("a", "a", clips, sha256, keys, finder, features, torch.device("cpu"))


def mean(frames: torch.Tensor) -> torch.Tensor:
    return frames.float().mean((1, 2, 3))


def key(crop, name="mean", side="pred", context=0, extract=mean) -> ViewKey:
    return ViewKey(name, side, crop, context=context, extract=extract)


def changed(clip: Clip, frames: torch.Tensor) -> Clip:
    return replace(clip, video=TensorVideo(frames))


def why(tmp_path: Path, detector: FaceDetector, clip: Clip, crop=None) -> str:
    wanted = key(crop or SyncNetCrop(tracking=SHORT))
    with pytest.raises(Unscorable) as caught:
        views(tmp_path, detector, [wanted], pred=clip).parts(wanted)
    return str(caught.value)


def test_all_views_of_a_clip_share_one_detection(tmp_path: Path, detector, talking: Clip):
    keys = [
        key(SyncNetCrop(tracking=SHORT), "a"),
        key(FaceBox(), "b"),
        key(WholeFrame(), "c"),
        key(SyncNetCrop(tracking=TrackSettings(min_frames=30)), "d"),
        key(SyncNetCrop(tracking=TrackSettings(min_frames=24, shot_threshold=27.0)), "e"),
    ]
    before = detector.seen
    found = views(tmp_path, detector, keys, pred=talking)
    for wanted in keys:
        (part,) = found.parts(wanted)
        assert part.values.shape == (N,)
        assert (part.start, part.stop) == (0, N)
    assert detector.seen - before == N


def test_detection_is_cached_by_content(tmp_path: Path, detector, talking: Clip):
    wanted = key(FaceBox())
    first = views(tmp_path, detector, [wanted], pred=talking).parts(wanted)
    before = detector.seen
    again = views(tmp_path, detector, [wanted], pred=talking).parts(wanted)
    assert detector.seen == before
    assert torch.equal(first[0].values, again[0].values)


@pytest.mark.parametrize("context", [0, 4])
def test_chunks_do_not_show_in_values(tmp_path: Path, detector, talking: Clip, context: int):
    def windows(frames: torch.Tensor) -> torch.Tensor:
        values = frames.float().mean((1, 2, 3))
        return torch.stack(
            [values[k : k + context + 1].sum() for k in range(len(values) - context)]
        )

    wanted = key(WholeFrame(), context=context, extract=windows)
    (part,) = views(tmp_path, detector, [wanted], pred=talking).parts(wanted)
    assert part.values.shape == (N - context,)
    torch.testing.assert_close(part.values, windows(talking.video.tensor))


def test_no_face(tmp_path: Path, detector, talking: Clip):
    noise = torch.randint(0, 256, talking.video.tensor.shape, dtype=torch.uint8)
    assert "no face" in why(tmp_path, detector, changed(talking, noise))


def test_a_face_that_leaves_at_a_cut(tmp_path: Path, detector, talking: Clip):
    frames = talking.video.tensor.clone()
    frames[15:] = 128
    assert "shots of fewer than 24 frames" in why(tmp_path, detector, changed(talking, frames))


def test_a_face_that_is_too_small(tmp_path: Path, detector, talking: Clip):
    small = torch.nn.functional.interpolate(talking.video.tensor.float(), (160, 160)).byte()
    assert "100" in why(tmp_path, detector, changed(talking, small))


def test_a_short_clip_names_both_lengths(tmp_path: Path, detector, talking: Clip):
    reason = why(tmp_path, detector, talking, SyncNetCrop())
    assert f"{N} frames" in reason
    assert "100" in reason


def test_two_faces_are_two_tracks(tmp_path: Path, detector, talking: Clip):
    twice = torch.cat([talking.video.tensor, talking.video.tensor.flip(3)], 3)
    wanted = key(SyncNetCrop(tracking=SHORT))
    parts = views(tmp_path, detector, [wanted], pred=changed(talking, twice)).parts(wanted)
    assert [part.name for part in parts] == ["track-0", "track-1"]


def test_one_frame(tmp_path: Path, detector, talking: Clip):
    one = changed(talking, talking.video.tensor[:1])
    assert "1 frame" in why(tmp_path, detector, one)
    psnr = PSNR()
    found = views(tmp_path, detector, psnr.needs, pred=one, ref=one)
    assert [row.value for row in psnr.measure(found)] == [float("inf")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, ::2, ::2], "make them one size"),
        (lambda x: x[:-6], "they may differ by 5"),
    ],
)
def test_a_reference_of_another_size_or_length(
    tmp_path: Path, detector, talking: Clip, change, message: str
):
    other = changed(talking, change(talking.video.tensor))
    psnr = PSNR()
    with pytest.raises(Unscorable, match=message):
        psnr.measure(views(tmp_path, detector, psnr.needs, pred=other, ref=talking))


def test_a_few_frames_of_difference_are_cut(tmp_path: Path, detector, talking: Clip):
    shorter = changed(talking, talking.video.tensor[:-3])
    psnr = PSNR()
    found = views(tmp_path, detector, psnr.needs, pred=shorter, ref=talking)
    assert found.parts(psnr.needs[0])[0].stop == N - 3


def test_the_true_face_places_the_crop_on_both_sides(tmp_path: Path, detector, talking: Clip):
    """Noise instead of the scored face: the crop still lies where the true face is."""
    frames = talking.video.tensor.clone()
    frames[:, :, 230:, :] = 0
    whole, face = PSNR("frame"), PSNR("face")
    keys = [*whole.needs, *face.needs]
    found = views(tmp_path, detector, keys, pred=changed(talking, frames), ref=talking)
    assert face.measure(found)[0].value > whole.measure(found)[0].value + 10


def test_missing_sound_is_a_reason(tmp_path: Path, detector, talking: Clip):
    metric = LSE("syncnet_short", Frozen(seeded(0), "syncnet.seeded"))
    mute = replace(talking, speech=None)
    with pytest.raises(Unscorable, match="scored clip has no sound"):
        metric.measure(views(tmp_path, detector, metric.needs, pred=mute))


def test_sound_that_is_shorter_than_the_picture(tmp_path: Path, detector, talking: Clip):
    metric = LSE("syncnet_short", Frozen(seeded(0), "syncnet.seeded"))
    short = replace(talking, speech=Speech(talking.speech.waveform[: 20 * 640]))
    rows = metric.measure(views(tmp_path, detector, metric.needs, pred=short))
    assert all(row.value is not None for row in rows)


def test_a_side_that_the_protocol_lacks(tmp_path: Path, detector, talking: Clip):
    psnr = PSNR()
    with pytest.raises(Unscorable, match="gives no true clip"):
        psnr.measure(views(tmp_path, detector, psnr.needs, pred=talking))


def boxes_of(frames: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """The boxes themselves, and the mean brightness of the whole frame."""
    return torch.cat([boxes, mean(frames)[:, None]], 1)


def located(side: str) -> ViewKey:
    return ViewKey("boxes", side, FaceInFrame(), extract=boxes_of, located=True)


def test_a_located_view_gets_each_frame_with_its_box(tmp_path: Path, detector, talking: Clip):
    wanted, size = located("pred"), talking.video.tensor.shape[2:]
    (part,) = views(tmp_path, detector, [wanted], pred=talking).parts(wanted)
    assert part.values.shape == (N, 5)
    torch.testing.assert_close(part.values[:, 4], mean(talking.video.tensor))
    assert (part.values[:, 2] > part.values[:, 0]).all()
    assert (part.values[:, :4] < max(size)).all()


def test_a_face_that_comes_late_keeps_its_box(tmp_path: Path, detector, talking: Clip):
    """Values of a track that starts inside a chunk belong to its own frames."""
    frames = talking.video.tensor.clone()
    frames[:10] = 128
    late = changed(talking, frames)
    wanted = located("pred")
    (part,) = views(tmp_path, detector, [wanted], pred=late).parts(wanted)
    (whole,) = views(tmp_path, detector, [wanted], pred=talking).parts(wanted)
    assert part.start == 10
    torch.testing.assert_close(part.values[7:, :4], whole.values[17:, :4])


def pairs(tmp_path: Path, detector, pred: Clip, ref: Clip):
    keys = located("pred"), located("ref")
    return views(tmp_path, detector, keys, pred=pred, ref=ref).pairs(*keys)


def test_pairs_hold_the_same_frames_of_both_sides(tmp_path: Path, detector, talking: Clip):
    frames = talking.video.tensor.clone()
    frames[:10] = 128
    ((pred, ref),) = pairs(tmp_path, detector, changed(talking, frames[:-3]), talking)
    assert (pred.start, pred.stop) == (ref.start, ref.stop) == (10, N - 3)
    assert pred.values.shape == ref.values.shape == (N - 13, 5)
    torch.testing.assert_close(pred.values[:, 4], ref.values[:, 4])


def test_two_faces_are_paired_by_place(tmp_path: Path, detector, talking: Clip):
    """The scored clip is half as large, and its left face is seen for a shorter time."""
    frames = talking.video.tensor
    twice = torch.cat([frames, frames.flip(3)], 3)
    half = twice.float()[:, :, ::2, ::2].byte()
    half[:8, :, :, : half.shape[3] // 2] = 128
    found = pairs(tmp_path, detector, changed(talking, half), changed(talking, twice))
    assert sorted((p.start, p.name) for p, _ in found)[0][0] == 0
    assert sorted(len(p.values) for p, _ in found) == [N - 8, N]
    for pred, ref in found:
        assert (pred.values[:, :4] - ref.values[:, :4] / 2).abs().mean() < 6


def test_a_face_on_one_side_only_is_refused(tmp_path: Path, detector, talking: Clip):
    frames = talking.video.tensor.clone()
    empty = changed(talking, torch.full_like(frames, 128))
    with pytest.raises(Unscorable, match=r"scored clip: .*no face"):
        pairs(tmp_path, detector, empty, talking)
    with pytest.raises(Unscorable, match=r"true clip: .*no face"):
        pairs(tmp_path, detector, talking, empty)


def test_a_face_that_is_mostly_gone_is_refused(tmp_path: Path, detector, talking: Clip):
    long = changed(talking, talking.video.tensor.repeat(2, 1, 1, 1))
    frames = long.video.tensor.clone()
    frames[30:] = 128
    with pytest.raises(Unscorable, match=f"in 30 of {2 * N} frames"):
        pairs(tmp_path, detector, changed(talking, frames), long)


def test_pairs_of_another_length_are_refused(tmp_path: Path, detector, talking: Clip):
    with pytest.raises(Unscorable, match="they may differ by 5"):
        pairs(tmp_path, detector, changed(talking, talking.video.tensor[:-6]), talking)


def test_the_identity_image_shows_exactly_one_face(tmp_path: Path, detector, talking: Clip):
    still = talking.video.tensor[:1]
    wanted = located("identity")
    image = Clip(TensorVideo(still))
    (part,) = views(tmp_path, detector, [wanted], identity=image).parts(wanted)
    assert (part.name, part.values.shape) == ("stills", (1, 5))
    two = Clip(TensorVideo(torch.cat([still, still], 3)))
    with pytest.raises(Unscorable, match="shows 2 faces"):
        views(tmp_path, detector, [wanted], identity=two).parts(wanted)
    none = Clip(TensorVideo(torch.full_like(still, 99)))
    with pytest.raises(Unscorable, match="shows 0 faces"):
        views(tmp_path, detector, [wanted], identity=none).parts(wanted)


def test_the_driving_speech_and_its_words(tmp_path: Path, detector, talking: Clip):
    found = views(tmp_path, detector, [], driving=talking)
    assert found.speech("driving") is talking.speech
    with pytest.raises(Unscorable, match="no transcript"):
        found.transcript()


def test_an_extractor_that_fails_leaves_the_other_views_alone(tmp_path: Path, detector, talking):
    def refuses(frames: torch.Tensor) -> torch.Tensor:
        raise InputError("frames of 11 pixels at least")

    def breaks(frames: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    keys = [key(WholeFrame(), name, extract=f) for name, f in (("a", refuses), ("b", breaks))]
    good = key(WholeFrame(), "c")
    found = views(tmp_path, detector, [*keys, good], pred=talking)
    assert len(found.parts(good)[0].values) == N
    with pytest.raises(Unscorable, match="11 pixels"):
        found.parts(keys[0])
    with pytest.raises(ZeroDivisionError):
        found.parts(keys[1])


def test_sides_that_are_one_clip_are_computed_once(tmp_path: Path, detector, talking: Clip):
    calls = []

    def counted(frames: torch.Tensor) -> torch.Tensor:
        calls.append(len(frames))
        return mean(frames)

    keys = [
        ViewKey("mean", side, WholeFrame(), extract=counted)
        for side in ("pred", "ref", "appearance")
    ]
    finder = FaceFinder(detector)
    sha256 = {"pred": "a", "ref": "b", "appearance": "b"}
    clips = dict.fromkeys(sha256, talking)
    features, device = Arrays(tmp_path), torch.device("cpu")
    found = ClipViews("a", "a", clips, sha256, keys, finder, features, device)
    for wanted in keys:
        assert len(found.parts(wanted)[0].values) == N
    assert sum(calls) == 2 * N


class FixedPoints:
    """Landmarks at fixed places in the box; counts the frames that it is given."""

    n_points = 68

    def __init__(self) -> None:
        self.seen = 0
        self.places = torch.rand(68, 2, generator=torch.Generator().manual_seed(0)) / 2 + 0.25

    def points(self, frames: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        self.seen += len(frames)
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        return low + self.places * (high - low)


class NoPoints(FixedPoints):
    def points(self, frames: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        raise self.error


def lmd_of(detector: FixedPoints) -> LMD:
    return LMD("ipd", Frozen(Landmarks(detector), "landmarks.fixed", sha256="0" * 64))


def mouth(lmd: LMD, side: str = "pred", size: int = 96) -> ViewKey:
    """Pixels of the mouth, placed by the landmarks that a metric needs."""
    crop = MouthCrop(lmd.needs[0], size)
    return ViewKey(f"mouth-{size}", side, crop, extract=lambda frames: frames)


def test_mouths_and_lmd_share_the_landmarks_and_one_detection(
    tmp_path: Path, detector, talking: Clip
):
    points = FixedPoints()
    lmd = lmd_of(points)
    keys = [mouth(lmd), mouth(lmd, size=64), mouth(lmd, "ref"), key(FaceBox()), *lmd.needs]
    before = detector.seen
    other = changed(talking, talking.video.tensor.flip(3))
    found = views(tmp_path, detector, keys, pred=talking, ref=other)
    for wanted in keys[:3]:
        (part,) = found.parts(wanted)
        assert part.values.shape == (N, 3, wanted.crop.size, wanted.crop.size)
        assert (part.start, part.stop, part.name) == (0, N, "track-0")
    assert lmd.measure(found)[0].value is not None
    assert detector.seen - before == points.seen == 2 * N


def test_mouths_are_cut_by_the_landmarks_of_their_own_clip(tmp_path: Path, detector, talking: Clip):
    """Chunks do not show, also where a track starts inside one."""
    frames = talking.video.tensor.clone()
    frames[:10] = 128
    late = changed(talking, frames)
    lmd = lmd_of(FixedPoints())
    wanted = mouth(lmd, "ref")
    landmarks = lmd.needs[1]
    found = views(tmp_path, detector, [wanted], pred=talking, ref=late)
    (part,), (points,) = found.parts(wanted), found.parts(landmarks)
    assert (part.start, part.stop) == (10, N)
    regions = wanted.crop.regions(found._tracks("ref", wanted.crop.tracking)[0], points.values)
    assert torch.equal(part.values, wanted.crop.cut(frames[10:], regions))


def test_a_clip_without_a_face_has_no_mouth(tmp_path: Path, detector, talking: Clip):
    empty = changed(talking, torch.full_like(talking.video.tensor, 128))
    wanted = mouth(lmd_of(FixedPoints()))
    with pytest.raises(Unscorable, match=r"scored clip: .*no face"):
        views(tmp_path, detector, [wanted, key(WholeFrame())], pred=empty).parts(wanted)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(InputError("a box lies outside"), Unscorable), (ZeroDivisionError("bug"), ZeroDivisionError)],
)
def test_landmarks_that_fail_leave_the_other_views_alone(
    tmp_path: Path, detector, talking: Clip, error: Exception, raised: type[Exception]
):
    points = NoPoints()
    points.error = error
    wanted, whole = mouth(lmd_of(points)), key(WholeFrame())
    found = views(tmp_path, detector, [wanted, whole], pred=talking)
    with pytest.raises(raised, match=str(error)):
        found.parts(wanted)
    assert len(found.parts(whole)[0].values) == N


def test_landmarks_are_kept_by_content(tmp_path: Path, detector, talking: Clip):
    """A late track of one of two faces comes back as it was, for metrics and for crops."""
    both = torch.cat([talking.video.tensor, talking.video.tensor.flip(3)], 3)
    both[:5, :, :, : both.shape[3] // 2] = 128
    clip, points = changed(talking, both), FixedPoints()
    lmd = lmd_of(points)
    landmarks, wanted = lmd.needs[0], mouth(lmd)
    first = views(tmp_path, detector, [landmarks, wanted], pred=clip)
    found = first.parts(landmarks), first.parts(wanted)
    assert points.seen == 2 * N - 5
    again = views(tmp_path, detector, [landmarks, wanted], pred=clip)
    for one, other in zip(found, (again.parts(landmarks), again.parts(wanted)), strict=True):
        assert len(one) == len(other) == 2
        for p, q in zip(one, other, strict=True):
            assert torch.equal(p.values, q.values)
            assert (p.name, p.start, p.stop, p.frame) == (q.name, q.start, q.stop, q.frame)
    assert points.seen == 2 * N - 5


@pytest.mark.parametrize("change", [{"kept": "next"}, {"evaluator": "1" * 64}, {"kept": ""}])
def test_landmarks_of_another_origin_are_found_anew(
    tmp_path: Path, detector, talking: Clip, change: dict[str, str]
):
    points = FixedPoints()
    landmarks = lmd_of(points).needs[0]
    for wanted in (landmarks, replace(landmarks, **change)):
        views(tmp_path, detector, [wanted], pred=talking).parts(wanted)
    assert points.seen == 2 * N


def test_landmarks_that_fail_are_not_kept(tmp_path: Path, detector, talking: Clip):
    points = NoPoints()
    points.error = ZeroDivisionError("bug")
    landmarks = lmd_of(points).needs[0]
    with pytest.raises(ZeroDivisionError):
        views(tmp_path, detector, [landmarks], pred=talking).parts(landmarks)
    landmarks = lmd_of(FixedPoints()).needs[0]
    assert len(views(tmp_path, detector, [landmarks], pred=talking).parts(landmarks)[0].values) == N


def test_mouths_of_two_faces(tmp_path: Path, detector, talking: Clip):
    frames = talking.video.tensor
    twice = changed(talking, torch.cat([frames, frames.flip(3)], 3))
    wanted = mouth(lmd_of(FixedPoints()))
    one, other = views(tmp_path, detector, [wanted], pred=twice).parts(wanted)
    assert one.values.shape == other.values.shape == (N, 3, 96, 96)
    assert (one.values.float() - other.values.float()).abs().mean() > 2


def test_mouths_of_stills_and_of_pairs(tmp_path: Path, detector, talking: Clip):
    lmd = lmd_of(FixedPoints())
    stills = Clip(TensorVideo(talking.video.tensor[::20]))
    wanted = mouth(lmd, "identity")
    (part,) = views(tmp_path, detector, [wanted], identity=stills).parts(wanted)
    assert part.values.shape == (2, 3, 96, 96)
    both = replace(mouth(lmd, "pair"), extract=lambda pred, ref: torch.stack([pred, ref], 1))
    other = changed(talking, talking.video.tensor.flip(1))
    found = views(tmp_path, detector, [both], pred=other, ref=talking)
    (part,) = found.parts(both)
    assert part.values.shape == (N, 2, 3, 96, 96)
    # The true clip's landmarks place both sides, which differ in the order of their colours.
    assert torch.equal(part.values[:, 0].flip(1), part.values[:, 1])
