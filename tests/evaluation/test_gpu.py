"""The same numbers on a GPU, to the accuracy of float32 without TF32."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.evaluation.world import build, make_clips
from tfbench.datasets.demo import Demo, DemoConfig
from tfbench.evaluation.run import evaluate
from tfbench.metrics.lse import LSE
from tfbench.nets.frozen import Frozen
from tfbench.nets.syncnet import seeded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_an_evaluation_on_the_gpu(tmp_path: Path):
    clips = make_clips(tmp_path / "clips")
    for kind in ("cpu", "gpu"):
        evaluate(build(clips, tmp_path / kind), accelerator=kind)
    rows = [(tmp_path / kind / "scores.jsonl").read_text() for kind in ("cpu", "gpu")]
    assert rows[0].count("psnr.frame") == rows[1].count("psnr.frame") == 4


def test_lse_on_the_gpu(tmp_path: Path):
    values = {}
    for kind in ("cpu", "gpu"):
        metric = LSE("syncnet_short", Frozen(seeded(0), "syncnet.seeded"))
        evaluation = replace(
            build(tmp_path, tmp_path / kind), dataset=Demo(DemoConfig(40)), metrics=(metric,)
        )
        result = evaluate(evaluation, accelerator=kind)
        values[kind] = [cell.value for cell in result.cells]
    assert values["gpu"] == pytest.approx(values["cpu"], abs=1e-2)
