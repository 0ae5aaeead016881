from pathlib import Path

import pytest

from tests.evaluation.world import make_clips
from tests.validation.small import study
from tfbench.validation.study import Findings, Study, validate


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("clips"), n=3)


@pytest.fixture(scope="session")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Findings]:
    """A small validation and what it has found."""
    run = study(clips, tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        return run, validate(run, accelerator="cpu")
