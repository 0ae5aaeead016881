"""Plugins are found by name without being imported, inside and outside of the package."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.core.plugins import copy_tree, make_distribution, run_python
from tfbench.core import registry as registry_module
from tfbench.core import stubs
from tfbench.core.errors import ConfigError, UnknownName
from tfbench.core.registry import (
    KINDS,
    Kind,
    Name,
    Registry,
    clear_cache,
    lazy_attributes,
    parse_name,
    public_names,
    registry,
)

METRIC = '''"""Counts blinks.

More text.
"""

raise RuntimeError("imported while listing")

ALIASES = ("eyelids", "blink-rate")

__all__ = ["Blinks", "count"]


class Blinks:
    pass
'''


@pytest.fixture(autouse=True)
def _fresh():
    clear_cache()
    yield
    clear_cache()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands in for tfbench/metrics, as the package `plugged`."""
    package = tmp_path / "plugged"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry_module.Kind, "folder", property(lambda _self: package))
    monkeypatch.setitem(KINDS, "metrics", Kind("plugged", "metric"))
    monkeypatch.setitem(KINDS, "networks", Kind("plugged", "network", is_module=True))
    yield package
    for name in [name for name in importlib.sys.modules if name.split(".")[0] == "plugged"]:
        del importlib.sys.modules[name]


def test_listing_reads_facts_and_imports_nothing(folder: Path) -> None:
    (folder / "blinks.py").write_text(METRIC)
    (entry,) = Registry("metrics").entries()
    assert (entry.name, entry.class_name, entry.summary) == ("blinks", "Blinks", "Counts blinks.")
    assert entry.aliases == ("eyelids", "blink-rate")
    assert (entry.source, entry.error, entry.module) == ("tfbench", None, "plugged.blinks")
    assert entry.path == folder / "blinks.py"


@pytest.mark.parametrize("spelling", ["blinks", "BLINKS", "b_l-inks", "EyeLids", "blinkrate"])
def test_case_dashes_and_underscores_do_not_matter(folder: Path, spelling: str) -> None:
    (folder / "blinks.py").write_text(METRIC)
    assert Registry("metrics").find(spelling).name == "blinks"


def test_only_plugins_are_listed(folder: Path) -> None:
    plugin = '"""X."""\n__all__ = ["Thing"]\nclass Thing: ...\n'
    (folder / "thing.py").write_text(plugin)
    (folder / "base.py").write_text(plugin)
    (folder / "_hidden.py").write_text(plugin)
    (folder / "notes.txt").write_text(plugin)
    (folder / "helper.py").write_text('__all__ = ["compute"]\ndef compute(): ...\n')
    (folder / "bare.py").write_text("class Thing: ...\n")
    (folder / "borrowed.py").write_text('from plugged.thing import Thing\n__all__ = ["Thing"]\n')
    (folder / "data").mkdir()
    paper = folder / "paper"
    paper.mkdir()
    (paper / "__init__.py").write_text('from plugged.thing import Thing\n__all__ = ["Thing"]\n')
    assert Registry("metrics").names() == ("paper", "thing")


def test_a_network_is_a_module_with_load_and_variants(folder: Path) -> None:
    (folder / "syncnet.py").write_text(
        '"""S."""\n__all__ = ["SyncNet", "load"]\nVARIANTS = {"v2": 1}\n'
        "class SyncNet: ...\ndef load(variant): return VARIANTS[variant]\n"
    )
    (folder / "frozen.py").write_text('__all__ = ["Frozen"]\nclass Frozen: ...\n')
    networks = Registry("networks")
    assert networks.names() == ("syncnet",)
    assert networks.find("syncnet").class_name == ""
    assert networks.load("SyncNet").load("v2") == 1


@pytest.mark.parametrize(
    "text",
    [
        'class Late: ...\nALIASES: tuple[str, ...] = ("tardy",)\n__all__ = ("Late",)\n',
        '"""About a\nclass that is in prose."""\nALIASES = ("tardy",)\n__all__ = ["Late"]\n'
        "class Late: ...\n",
    ],
)
def test_facts_are_found_wherever_they_stand(folder: Path, text: str) -> None:
    (folder / "late.py").write_text(text)
    (entry,) = Registry("metrics").entries()
    assert (entry.class_name, entry.aliases) == ("Late", ("tardy",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = (\n", "never closed"),
        ('__all__ = ["A"]\nALIASES = ("a",) + OTHER\nclass A: ...\n', "ALIASES must be a literal"),
        ('__all__ = ["A"]\nALIASES = "one"\nclass A: ...\n', "ALIASES must be a literal"),
    ],
)
def test_a_broken_file_is_listed_with_its_error(folder: Path, text: str, says: str) -> None:
    (folder / "broken.py").write_text(text)
    (folder / "fine.py").write_text('__all__ = ["Fine"]\nclass Fine: ...\n')
    metrics = Registry("metrics")
    assert metrics.names() == ("broken", "fine")
    assert says in str(metrics.find("broken").error)
    assert metrics.load("fine").__name__ == "Fine"
    with pytest.raises(ConfigError, match="broken"):
        metrics.load("broken")


def test_collisions_name_both(folder: Path) -> None:
    (folder / "joy_gen.py").write_text('__all__ = ["A"]\nclass A: ...\n')
    (folder / "other.py").write_text('ALIASES = ("JoyGen",)\n__all__ = ["B"]\nclass B: ...\n')
    with pytest.raises(ConfigError, match=r"'joy_gen' of plugged\.joy_gen .*'JoyGen' of plugged"):
        Registry("metrics")


def test_an_alias_that_respells_its_own_name_is_no_collision(folder: Path) -> None:
    (folder / "joygen.py").write_text('ALIASES = ("JoyGen",)\n__all__ = ["A"]\nclass A: ...\n')
    assert Registry("metrics").find("joy_gen").name == "joygen"


def test_an_unknown_name_says_what_was_meant_and_what_there_is(folder: Path) -> None:
    (folder / "synctalklip.py").write_text('__all__ = ["A"]\nclass A: ...\n')
    (folder / "zoo.py").write_text('__all__ = ["B"]\nclass B: ...\n')
    metrics = Registry("metrics")
    with pytest.raises(UnknownName, match=r"no metric 'sync_talk'; did you mean 'synctalklip'\?"):
        metrics.find("sync_talk")
    with pytest.raises(UnknownName, match=r"no metric 'qqq'; there are: synctalklip, zoo"):
        metrics.load("qqq")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownName, match="methods, metrics"):
        registry("metric")


def test_a_kind_without_a_folder_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module.Kind, "folder", property(lambda _self: tmp_path / "no"))
    assert Registry("evaluators").names() == ()
    with pytest.raises(UnknownName, match="there are: none"):
        Registry("evaluators").find("syncnet")


def test_a_class_that_calls_itself_otherwise_is_refused(folder: Path) -> None:
    (folder / "one.py").write_text('__all__ = ["A"]\nclass A:\n    name = "two"\n')
    with pytest.raises(ConfigError, match="calls itself 'two'"):
        Registry("metrics").load("one")


def test_what_ships_is_listed_and_can_be_loaded() -> None:
    own = [importlib.import_module(f"tfbench.{kind}") for kind in stubs.STUBBED]
    assert own
    assert {"psnr", "frechet"} <= set(registry("metrics").names())
    assert {"still", "ground_truth", "files", "external"} <= set(registry("methods").names())
    assert {"self", "cross"} <= set(registry("protocols").names())
    for kind in KINDS:
        for entry in registry(kind).entries():
            assert entry.error is None
            assert entry.summary.strip(), f"{entry.module} has no docstring"
            if entry.class_name and entry.source == "tfbench":
                assert registry(kind).load(entry.name).name == entry.name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("psnr", Name("psnr")),
        ("joygen.tiny", Name("joygen", "tiny")),
        ("joygen+no_depth", Name("joygen", None, ("no_depth",))),
        ("joygen.tiny+no_depth+x-1", Name("joygen", "tiny", ("no_depth", "x-1"))),
        ("whisper.tiny.en", Name("whisper", "tiny.en")),
    ],
)
def test_names_are_parsed_and_printed(text: str, name: Name) -> None:
    assert parse_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text", ["", ".tiny", "a.", "a+", "a++b", "a+b.c", "../a", "a/b", "a b", "é", "a.b\n", "a+x+x"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        parse_name(text)


def test_public_names_leave_out_names_of_files(folder: Path) -> None:
    (folder / "psnr.py").write_text('__all__ = ["PSNR", "psnr"]\nclass PSNR: ...\n')
    (folder / "base.py").write_text('__all__ = ["Base"]\nclass Base: ...\n')
    assert public_names("metrics") == {"Base": "plugged.base", "PSNR": "plugged.psnr"}


def test_a_public_name_of_two_files_is_refused(folder: Path) -> None:
    for stem in ("one", "two"):
        (folder / f"{stem}.py").write_text('__all__ = ["Same"]\nclass Same: ...\n')
    with pytest.raises(ConfigError, match=r"plugged\.one and plugged\.two both offer 'Same'"):
        public_names("metrics")


def test_lazy_attributes_import_one_file(folder: Path) -> None:
    (folder / "one.py").write_text('__all__ = ["One"]\nclass One: ...\n')
    (folder / "two.py").write_text('__all__ = ["Two"]\nraise RuntimeError\n')
    package = importlib.import_module("plugged")
    package.__getattr__, package.__dir__ = lazy_attributes("metrics")
    assert package.One.__module__ == "plugged.one"
    assert vars(package)["One"] is package.One
    assert {"One", "Two"} <= set(dir(package))
    with pytest.raises(AttributeError, match="'plugged' has no attribute 'Three'"):
        package.Three  # noqa: B018


def test_importing_the_packages_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import tfbench.metrics, tfbench.methods, tfbench.datasets
assert "PSNR" in dir(tfbench.metrics)
heavy = {"torch", "torchmetrics", "lightning_fabric", "pytorch_lightning", "numpy", "pydantic"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    run_python(code, Path(registry_module.__file__).parents[2], tmp_path)


def test_stubs_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert stubs.main(["--check"]) == 0, "run python -m tfbench.core.stubs"
    assert capsys.readouterr().out == ""


def test_stale_stubs_are_told_and_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "one.py").write_text('__all__ = ["One"]\nclass One: ...\n')
    monkeypatch.setattr(stubs, "STUBBED", ("metrics",))
    assert stubs.main(["--check"]) == 1
    assert not (folder / "__init__.pyi").exists()
    assert stubs.main([]) == 0
    assert "from plugged.one import One as One" in (folder / "__init__.pyi").read_text()
    assert stubs.main(["--check"]) == 0
    assert "stale" in capsys.readouterr().out


PLUGINS = {
    "metrics": ("blinkiness", "Blinkiness"),
    "methods": ("frozen_face", "FrozenFace"),
    "datasets": ("my_clips", "MyClips"),
}


def _file(class_name: str) -> str:
    return (
        f'"""A {class_name} from a test."""\n\nALIASES = ("alias_{class_name}",)\n\n'
        f'__all__ = ["{class_name}"]\n\n\nclass {class_name}:\n    """One."""\n'
    )


def test_plugins_of_another_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"outside/__init__.py": "raise RuntimeError('imported while listing')\n"}
    points = {}
    for kind, (name, class_name) in PLUGINS.items():
        files[f"outside/{kind}_file.py"] = _file(class_name)
        points[kind] = {name: f"outside.{kind}_file:{class_name}"}
    make_distribution(tmp_path, "outside-plugins", files, points)
    monkeypatch.syspath_prepend(str(tmp_path))
    for kind, (name, class_name) in PLUGINS.items():
        entry = registry(kind).find(name)
        assert (entry.name, entry.class_name, entry.source) == (name, class_name, "outside-plugins")
        assert entry.summary == f"A {class_name} from a test."
        assert registry(kind).find(f"Alias-{class_name}") is entry
    with pytest.raises(ConfigError, match="of outside-plugins cannot be loaded: RuntimeError"):
        registry("metrics").load("blinkiness")
    (tmp_path / "outside" / "__init__.py").write_text("")
    importlib.invalidate_caches()
    for kind, (name, class_name) in PLUGINS.items():
        assert registry(kind).load(name).__name__ == class_name


def test_an_entry_point_may_name_the_module_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = "VARIANTS = {}\ndef load(variant): ...\n"
    files = {"solo_metric.py": _file("Solo"), "solo_net.py": network}
    points = {"metrics": {"solo": "solo_metric"}, "networks": {"solonet": "solo_net"}}
    make_distribution(tmp_path, "solo", files, points)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry("metrics").load("solo").__name__ == "Solo"
    assert registry("networks").load("solonet").VARIANTS == {}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("no_such_package_here.x:Y", "no module named 'no_such_package_here'"),
        ("bad_package.absent:Y", r"no module named 'bad_package\.absent'"),
        ("bad_package.syntax:Y", "syntax"),
        ("bad_package.raises:Y", "OSError: no licence file"),
        ("bad_package.fine:Absent", "has no class Absent"),
        ("bad_package.fine:number", "has no class number"),
        ("bad_package.bare", "no literal __all__"),
        ("not a module", "wanted module:Class"),
    ],
)
def test_a_broken_entry_point_breaks_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    files = {
        "bad_package/__init__.py": "",
        "bad_package/syntax.py": "def (:\n",
        "bad_package/raises.py": 'raise OSError("no licence file")\n',
        "bad_package/fine.py": "number = 1\n",
        "bad_package/bare.py": "class Bare: ...\n",
    }
    make_distribution(tmp_path, "bad-plugins", files, {"metrics": {"bad": value}})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"bad", "psnr"} <= set(registry("metrics").names())
    with pytest.raises(ConfigError, match=f"'bad' of bad-plugins cannot be loaded: .*{says}"):
        registry("metrics").load("bad")


def test_an_entry_point_with_a_name_that_nobody_could_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_distribution(
        tmp_path, "odd", {"odd_one.py": _file("A")}, {"metrics": {"a.b": "odd_one:A"}}
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "is not a name" in str(registry("metrics").find("a.b").error)


def test_an_entry_point_that_claims_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_distribution(
        tmp_path, "rival", {"rival.py": _file("A")}, {"metrics": {"P-SNR": "rival:A"}}
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"'P-SNR' of rival \(rival\).*tfbench\.metrics\.psnr"):
        registry("metrics")


def test_one_file_is_all_that_a_plugin_inside_takes(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "copy of the tree")
    for kind, (name, class_name) in PLUGINS.items():
        (tree / "tfbench" / kind / f"{name}.py").write_text(_file(class_name))
    lines = ["from tfbench.core.registry import registry"]
    for kind, (name, class_name) in PLUGINS.items():
        lines += [
            f"assert registry('{kind}').find('Alias-{class_name}').name == '{name}'",
            f"assert registry('{kind}').load('{name}').__doc__ == 'One.'",
            f"from tfbench.{kind} import {class_name}",
        ]
    lines.append("import tfbench; print(tfbench.__file__)")
    assert str(tree) in run_python("\n".join(lines), tree, tmp_path)
