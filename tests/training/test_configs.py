"""Every shipped set of training settings builds its network."""

import pytest

from tfbench.core.config import load_config
from tfbench.core.paths import configs_dir
from tfbench.core.registry import parse_name, registry
from tfbench.evaluation.evaluators import evaluator_sets
from tfbench.nets.syncnet import SyncNet

FILES = sorted((configs_dir() / "evaluators").glob("*.yaml"))
VARIANTS = [path.stem for path in FILES if path.stem not in evaluator_sets()]


@pytest.mark.parametrize("name", [*registry("evaluators").names(), *VARIANTS])
def test_settings_build_a_network(name: str):
    parsed = parse_name(name)
    kind = registry("evaluators").load(parsed.stem)
    trainee = kind(load_config(kind.Config, "evaluators", parsed))
    # Some networks are made by `fit_to`, which learns from clips how large they are.
    if trainee.monitor in {"CER", "offset within 1 frame"} and hasattr(trainee, "net"):
        (net,) = trainee.parts().values()
        module = registry("networks").load(parsed.stem)
        again = module.build(net.settings)
        assert {k: v.shape for k, v in again.state_dict().items()} == {
            k: v.shape for k, v in net.state_dict().items()
        }


def test_the_official_syncnet_has_the_published_size():
    kind = registry("evaluators").load("syncnet")
    config = load_config(kind.Config, "evaluators", parse_name("syncnet.official"))
    net = kind(config).net
    published = SyncNet()
    assert {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in published.state_dict().items()
    }
    assert sum(p.numel() for p in net.parameters()) == 13_631_616
