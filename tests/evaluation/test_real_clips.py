"""Real faces, changed in known ways: every metric must move the way it should."""

from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import gaussian_blur

from tfbench.core.types import Clip, TensorVideo
from tfbench.evaluation.evaluators import build_metric, evaluator_set
from tfbench.faces.detect import FaceDetector
from tfbench.media.video import open_clip
from tfbench.preparation.arrays import Arrays
from tfbench.preparation.first_pass import FaceFinder
from tfbench.preparation.views import ClipViews

N = 27
NAMES = ("csim", "csim.one_shot", "frechet", "lmd", "lmd.eat", "psnr.face", "ssim.face")


@pytest.fixture(scope="module")
def score(shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Score one clip of VoxCeleb2 against another, both given by name and change."""
    finder = FaceFinder(FaceDetector(), Arrays(tmp_path_factory.mktemp("faces")))
    features = Arrays(tmp_path_factory.mktemp("features"))
    offline = evaluator_set("offline")
    metrics = [build_metric(name, offline) for name in NAMES]

    def clip(name: str, change: str) -> Clip:
        path = shared_data / "voxceleb2" / f"{name}.mp4"
        (frames,) = open_clip(path).video.frames(0, N, N)
        if change.startswith("blur"):
            sigma = float(change.removeprefix("blur"))
            frames = gaussian_blur(frames, [4 * int(sigma) + 1] * 2, [sigma])
        return Clip(TensorVideo(frames))

    def measure(pred: tuple[str, str], ref: tuple[str, str]) -> dict[str, float]:
        clips = {"pred": clip(*pred), "ref": clip(*ref)}
        clips["appearance"] = clips["ref"]
        clips["identity"] = Clip(TensorVideo(clips["ref"].video.tensor[:1]))
        names = {"pred": pred, "ref": ref, "appearance": ref, "identity": (*ref, "still")}
        sha256 = {side: "-".join(name) for side, name in names.items()}
        keys = [key for metric in metrics for key in metric.needs]
        views = ClipViews("a", "a", clips, sha256, keys, finder, features, torch.device("cpu"))
        found = {}
        for metric in metrics:
            rows = metric.measure(views)
            numbers = metric.aggregate(rows, features.kept)
            found |= {f"{metric.info.definition} {n.column}": n.value for n in numbers}
        return found

    return measure


@pytest.fixture(scope="module")
def itself(score) -> dict[str, float]:
    return score(("Input_00002", ""), ("Input_00002", ""))


@pytest.fixture(scope="module")
def blurred(score) -> list[dict[str, float]]:
    return [score(("Input_00002", f"blur{s}"), ("Input_00002", "")) for s in (1, 4)]


@pytest.fixture(scope="module")
def stranger(score) -> dict[str, float]:
    return score(("Input_00010", ""), ("Input_00002", ""))


def test_a_clip_against_itself(itself):
    assert itself["csim.paired CSIM"] == pytest.approx(1, abs=1e-9)
    assert itself["csim.one_shot CSIM"] > 0.95
    assert itself["psnr.face PSNR"] == float("inf")
    assert itself["ssim.face SSIM"] == pytest.approx(1, abs=1e-6)
    assert itself["lmd.ipd LMD"] == itself["lmd.eat M-LMD"] == itself["lmd.eat F-LMD"] == 0
    assert itself["frechet.face FD (onet)"] == pytest.approx(0, abs=1e-6)


def test_blur_lowers_fidelity_step_by_step(itself, blurred):
    for name, sign in (("psnr.face PSNR", 1), ("ssim.face SSIM", 1), ("csim.paired CSIM", 1)):
        values = [found[name] for found in (itself, *blurred)]
        assert values == sorted(values, reverse=sign > 0)
        assert len(set(values)) == 3
    distances = [found["frechet.face FD (onet)"] for found in (itself, *blurred)]
    assert distances == sorted(distances)
    assert distances[2] > distances[1] > 1e-3


def test_another_person_is_seen_as_one(itself, blurred, stranger):
    for name in ("csim.paired CSIM", "csim.one_shot CSIM"):
        assert stranger[name] < blurred[1][name] < 1
    assert stranger["psnr.face PSNR"] < blurred[1]["psnr.face PSNR"]
    assert stranger["lmd.ipd LMD"] > 3 * blurred[0]["lmd.ipd LMD"]
    assert stranger["frechet.face FD (onet)"] > blurred[1]["frechet.face FD (onet)"]


def test_the_same_person_elsewhere_is_nearer_than_a_stranger(score, stranger):
    same = score(("Pose_Source_741400163", ""), ("Audio_Source_741400104", ""))
    assert same["csim.paired CSIM"] > stranger["csim.paired CSIM"] + 0.03
