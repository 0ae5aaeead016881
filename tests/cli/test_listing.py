"""`tfbench list` says what there is, and what one thing can be set to."""

import pytest

from tfbench.cli import listing
from tfbench.core.registry import registry


def test_everything_is_listed(run):
    said = run("list")
    assert said.code == 0
    for kind in listing.KINDS:
        for name in registry(kind).names():
            assert name in said.text


def test_a_variant_shows_its_own_values_and_what_they_mean(run):
    text = " ".join(run("list", "methods", "syncTalklip+no_lip").text.split())
    assert "synctalklip.tiny (usual)" in text
    assert "synctalklip+no_contrast Without the contrastive loss (Table 3)." in text
    assert "settings of synctalklip.tiny+no_lip" in text
    assert "lip_weight 0.0 Of Eq. 4" in text
    assert "groups 8 Windows of one clip that are drawn" in text
    assert "steps 900" in text


@pytest.mark.parametrize(
    ("kind", "name", "parts"),
    [
        ("metrics", "wer", ("definitions", "wer.free_grid")),
        ("networks", "syncnet", ("syncnet.v2 tfbench assets get syncnet-v2", "ships with")),
        ("datasets", "folder", ("root has to be given", "A CSV file; None looks for")),
        ("protocols", "cross", ("another clip drives each face",)),
    ],
)
def test_what_one_thing_can_be_set_to(run, kind: str, name: str, parts: tuple[str, ...]):
    text = " ".join(run("list", kind, name).text.split())
    assert all(part in text for part in parts), text


def test_what_has_no_settings_shows_none(run):
    assert "settings" not in run("list", "protocols", "self").text


@pytest.mark.parametrize("kind", ["methods", "datasets", "evaluators"])
def test_every_setting_says_what_it_means(kind: str):
    for name in registry(kind).names():
        config = getattr(registry(kind).load(name), "Config", None)
        if config is not None:
            meanings = listing.meanings(config)
            absent = [field for field in config.__dataclass_fields__ if not meanings.get(field)]
            assert not absent, f"{name} says nothing of {absent}"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("metods",), "no kind 'metods'; there are methods, metrics"),
        (("methods", "synctalkli"), "did you mean 'synctalklip'?"),
        (("methods", "synctalklip.tinny"), "no variant 'synctalklip.tinny'"),
    ],
)
def test_wrong_names_are_answered_with_right_ones(run, words: tuple[str, ...], reason: str):
    said = run("list", *words)
    assert said.code == 1
    assert reason in said.text
