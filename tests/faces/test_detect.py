"""Detection against facenet-pytorch's own MTCNN, on a photograph and on real clips."""

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from facenet_pytorch import MTCNN
from skimage import data

from tfbench.core.errors import ConfigError, InputError
from tfbench.faces.detect import DetectorSettings, FaceDetector


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def photo():
    """One face of about 110 pixels: uint8 (1, 3, 512, 512)."""
    return torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None]


def decoded(path, count, every=1):
    """Read `count` frames, each `every`-th: uint8 (count, 3, H, W)."""
    with av.open(str(path)) as container:
        frames = []
        for index, frame in enumerate(container.decode(video=0)):
            if index % every == 0:
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
            if len(frames) == count:
                break
    return torch.stack(frames).permute(0, 3, 1, 2)


def overlap(a, b):
    """Intersection over union of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.clip(high - low, 0, None).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def reference(frames):
    """Run facenet-pytorch's MTCNN at full resolution: boxes and points of the largest face."""
    settings = DetectorSettings()
    smallest = min(settings.min_face, settings.min_share * min(frames.shape[2:]))
    net = MTCNN(min_face_size=smallest, keep_all=True)
    pixels = frames.permute(0, 2, 3, 1).contiguous().numpy()
    boxes, _, points = net.detect(pixels, landmarks=True)
    return [(b[0].astype(float), p[0].astype(float)) for b, p in zip(boxes, points, strict=True)]


@pytest.mark.parametrize(
    ("clip", "every"),
    [
        ("hdtf/WDA_AlexandriaOcasioCortez_000.mp4", 40),
        ("hdtf/unnamed_30fps.mp4", 40),
        ("grid/multi/bbaf2n.mpg", 20),
        ("mead/M003/video/front/disgusted/level_1/015.mp4", 30),
    ],
)
def test_agrees_with_facenet_pytorch_on_real_clips(detector, shared_data, clip, every):
    """facenet-pytorch's own boxes change by about 7 % when its smallest face changes by 10 %."""
    frames = decoded(shared_data / clip, 4, every)
    found = detector.detect(frames)
    assert [len(d) for d in found] == [1] * 4
    wanted = reference(frames)
    overlaps = [
        overlap(d.boxes[0].double().numpy(), box) for d, (box, _) in zip(found, wanted, strict=True)
    ]
    assert np.mean(overlaps) > 0.9
    assert min(overlaps) > 0.8
    for d, (box, points) in zip(found, wanted, strict=True):
        away = np.linalg.norm(d.points[0].double().numpy() - points, axis=1)
        assert away.mean() < 0.05 * (box[2] - box[0])


def test_finds_the_face_of_a_photograph(detector, photo):
    (found,) = detector.detect(photo)
    ((box, points),) = reference(photo)
    assert len(found) == 1
    assert overlap(found.boxes[0].numpy(), box) > 0.85
    assert found.points[0].numpy() == pytest.approx(points, abs=4)
    assert found.scores[0] > 0.99
    left_eye, right_eye, nose, left_mouth, right_mouth = found.points[0].tolist()
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_boxes_are_in_pixels_of_the_full_frame(detector, photo):
    large = F.interpolate(photo, (1280, 1280), mode="bilinear", antialias=True)
    (small,), (found,) = detector.detect(photo), detector.detect(large)
    assert overlap(small.boxes[0].numpy() * 2.5, found.boxes[0].numpy()) > 0.85


def test_finds_faces_that_fill_small_videos(detector, photo):
    face = photo[:, :, 0:240, 110:350]
    for side in (224, 96):
        (found,) = detector.detect(
            F.interpolate(face, (side, side), mode="bilinear", antialias=True)
        )
        assert len(found) == 1


def test_finds_two_faces_the_most_certain_first(detector, photo):
    face = photo[:, :, 0:240, 110:350]
    (found,) = detector.detect(torch.cat([face, face.flip(3)], dim=3))
    assert len(found) == 2
    assert found.scores[0] >= found.scores[1]
    assert sorted((found.boxes[:, 0] > 240).tolist()) == [False, True]


def test_the_company_of_a_frame_does_not_matter(detector, photo):
    frames = torch.cat([photo.roll(8 * k, dims=3) for k in range(10)])
    frames[3] = 0
    whole = detector.detect(frames)
    again = detector.detect(frames)
    alone = [found for frame in frames.split(1) for found in detector.detect(frame)]
    assert [len(found) for found in whole] == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    for a, b, c in zip(whole, again, alone, strict=True):
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.scores, b.scores)
        assert torch.allclose(a.boxes, c.boxes, atol=1e-2)
        assert torch.allclose(a.points, c.points, atol=1e-2)


def test_memory_layout_does_not_matter(detector, photo):
    interleaved = photo.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    a, b = detector.detect(photo)[0], detector.detect(interleaved)[0]
    assert torch.allclose(a.boxes, b.boxes, atol=1e-2)


@pytest.mark.parametrize("size", [(0, 3, 64, 64), (2, 3, 200, 300), (2, 3, 8, 8), (1, 3, 1, 500)])
def test_frames_without_a_face(detector, size):
    found = detector.detect(torch.zeros(size, dtype=torch.uint8))
    assert len(found) == size[0]
    for one in found:
        assert one.boxes.shape == (0, 4)
        assert one.points.shape == (0, 5, 2)
        assert one.scores.shape == (0,)


def test_noise_is_no_face(detector):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (2, 3, 240, 320), generator=generator, dtype=torch.uint8)
    assert [len(found) for found in detector.detect(noise)] == [0, 0]


def test_version_tells_settings_apart(detector):
    assert detector.version == FaceDetector().version
    assert detector.version != FaceDetector(DetectorSettings(min_face=61)).version
    assert detector.version.replace("-", "").isalnum()


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(1, 64, 64, 3, dtype=torch.uint8),
        torch.zeros(1, 3, 64, 64),
        torch.zeros(3, 64, 64, dtype=torch.uint8),
    ],
)
def test_refuses_other_frames(detector, frames):
    with pytest.raises(InputError, match="uint8"):
        detector.detect(frames)


@pytest.mark.parametrize(
    "change",
    [
        {"thresholds": (0.6, 0.7)},
        {"thresholds": (0.6, 0.7, 1.7)},
        {"overlaps": (0.5, 0.5)},
        {"factor": 1.0},
        {"min_face": 0},
        {"min_share": -0.1},
        {"working_size": 4},
    ],
)
def test_refuses_impossible_settings(change):
    with pytest.raises(ConfigError):
        DetectorSettings(**change)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(detector, photo):
    (cpu,), (gpu,) = detector.detect(photo), FaceDetector(device="cuda").detect(photo)
    assert torch.allclose(cpu.boxes, gpu.boxes, atol=1.0)
