"""Settings come from defaults, files and words, and everything wrong is named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from tests.core.plugins import make_distribution
from tfbench.core import config as config_module
from tfbench.core.config import (
    canonical_json,
    fingerprint,
    load_config,
    load_mapping,
    to_plain,
)
from tfbench.core.errors import ConfigError, UnknownName
from tfbench.core.paths import configs_dir
from tfbench.core.registry import clear_cache, parse_name, registry


class Mode(StrEnum):
    FAST = "fast"
    EXACT = "exact"


@dataclass(frozen=True)
class Settings:
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    rate: Annotated[float, Field(gt=0)] = 1e-4
    label: str = "none"
    note: str | None = None
    root: Path = Path("data")
    fps: Annotated[Fraction, Field(gt=0)] = Fraction(25)
    mode: Mode = Mode.FAST
    length: Literal["loop", "stop"] = "loop"
    sizes: tuple[int, ...] = (1, 2)
    window: tuple[float, float] = (0.0, 1.0)
    flag: bool = False
    limit: int | None = None
    derived: int = dataclasses.field(default=7, init=False)


@dataclass(frozen=True)
class Required:
    command: str
    release: str
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the configs of methods; `still` stands for any method."""
    monkeypatch.setattr(config_module, "configs_dir", lambda: tmp_path)
    (tmp_path / "methods").mkdir()
    return tmp_path / "methods"


def load(*words: str, name: str = "still", cls: type[Any] = Settings) -> Any:
    return load_config(cls, "methods", parse_name(name), list(words))


def one(key: str, word: str) -> Any:
    return getattr(load(f"{key}={word}"), key)


def test_defaults_variant_overlays_and_words_in_this_order(files: Path) -> None:
    (files / "still.tiny.yaml").write_text("steps: 1\nrate: 1\nlabel: tiny\nnote: tiny\n")
    (files / "still+a.yaml").write_text("rate: 2\nlabel: a\nnote: a\n")
    (files / "still+b.yaml").write_text("label: b\nnote: b\n")
    made = load("note=word", name="still.tiny+a+b")
    assert (made.steps, made.rate, made.label, made.note) == (1, 2.0, "b", "word")
    assert load(name="still+b+a").label == "a"
    assert load(name="still.tiny").sizes == (1, 2)
    assert load() == Settings()


def test_the_stem_is_found_as_the_registry_finds_it(files: Path) -> None:
    (files / "ground_truth.tiny.yaml").write_text("steps: 3\n")
    assert load(name="GroundTruth.tiny").steps == 3
    with pytest.raises(UnknownName, match="no method 'grund_truth'; did you mean 'ground_truth'"):
        load(name="grund_truth")


def test_kinds_without_a_registry_take_the_stem_as_it_is(files: Path) -> None:
    (files.parent / "runs").mkdir()
    (files.parent / "runs" / "big.gpu.yaml").write_text("steps: 4\n")
    assert load_config(Settings, "runs", parse_name("big.gpu")).steps == 4


def test_types_that_yaml_cannot_write(files: Path) -> None:
    (files / "still.x.yaml").write_text(
        "root: a/b\nfps: 30000/1001\nmode: exact\nsizes: [3]\nwindow: [0, .inf]\nrate: 1\n"
    )
    made = load(name="still.x")
    assert (made.root, made.fps) == (Path("a/b"), Fraction(30000, 1001))
    assert made.mode is Mode.EXACT
    assert made.sizes == (3,)
    assert made.window == (0.0, math.inf)
    assert isinstance(made.rate, float)
    (files / "still.y.yaml").write_text("fps: 25\n")
    assert load(name="still.y").fps == Fraction(25)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("stepps: 3", r"unknown key 'stepps'; did you mean 'steps'\?; allowed keys: steps, rate"),
        ("derived: 3", "unknown key 'derived'"),
        ("steps: ten", 'steps: got "ten", wanted integer'),
        ("steps: '3'", 'steps: got "3", wanted integer'),
        ("steps: 3.0", r"steps: got 3\.0, wanted integer"),
        ("steps: true", "steps: got true, wanted integer"),
        ("steps: 0", "steps: got 0, wanted greater than or equal to 1"),
        ("steps: 1001", "steps: got 1001, wanted less than or equal to 1000"),
        ("steps:", "steps: got null, wanted integer"),
        ("rate: 0", "rate: got 0, wanted greater than 0"),
        ("label: 3", "label: got 3, wanted string"),
        ("note: 3", "note: got 3, wanted string or null"),
        ("limit: x", 'limit: got "x", wanted integer or null'),
        ("root: 3", "root: got 3, wanted string"),
        ("fps: fast", 'fps: got "fast", wanted .*fraction'),
        ("fps: 0", "fps: got 0, wanted greater than 0"),
        ("mode: slow", "mode: got \"slow\", wanted 'fast' or 'exact'"),
        ("length: x", "length: got \"x\", wanted 'loop' or 'stop'"),
        ("sizes: [1, x]", r'sizes: got \[1, "x"\], wanted \[1\]: integer'),
        ("sizes: 3", "sizes: got 3, wanted array"),
        ("window: [1]", r"window: got \[1\], wanted \[1\]"),
        ("flag: yes", 'flag: got "yes", wanted boolean'),
        ("rate: .nan", "line 1: '.nan' is not a number"),
        ("steps: 1\nsteps: 2", "line 2: the key 'steps' stands twice"),
        ("- steps", r'holds \["steps"\]; wanted a mapping'),
        ("steps", 'holds "steps"; wanted a mapping'),
        ("3: x", "the key 3 is not text"),
        ("steps: [1", "line 2?"),
        ("steps: 1\n---\nsteps: 2", "but found another document"),
        ("note: !!python/name:os.system", "tag .* is not allowed"),
        ("note: \x00", "special characters are not allowed"),
        ("<<: {steps: 3}", "unknown key '<<'"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_key(files: Path, line: str, says: str) -> None:
    path = files / "still.x.yaml"
    path.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=f"still\\.x\\.yaml: ?.*{says}|{says}") as caught:
        load(name="still.x")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_wrong_value_is_told_even_where_a_later_layer_replaces_it(files: Path) -> None:
    (files / "still.x.yaml").write_text("steps: 0\n")
    with pytest.raises(ConfigError, match=r"still\.x\.yaml: steps"):
        load("steps=5", name="still.x")


def test_unknown_variants_and_overlays_list_those_that_exist(files: Path) -> None:
    for name in ("still.tiny", "still.large", "still+no_depth", "stiller.odd"):
        (files / f"{name}.yaml").touch()
    with pytest.raises(UnknownName) as caught:
        load(name="still.tinny")
    assert "no variant 'still.tinny'; did you mean 'tiny'?" in str(caught.value)
    assert "there are: still.large, still.tiny (in " in str(caught.value)
    with pytest.raises(UnknownName, match=r"no overlay 'still\+x'; there are: still\+no_depth \("):
        load(name="still.tiny+x")
    with pytest.raises(UnknownName, match="there are: none"):
        load(name="ground_truth.tiny")


@pytest.mark.parametrize(
    ("key", "word", "value"),
    [
        ("rate", "1e-4", 1e-4),
        ("steps", "7", 7),
        ("steps", " 7 ", 7),
        ("steps", "0x1F", 31),
        ("steps", "010", 10),
        ("label", "no", "no"),
        ("label", "1:30", "1:30"),
        ("label", "2026-01-02", "2026-01-02"),
        ("label", "7", "7"),
        ("label", "", ""),
        ("label", "null", "null"),
        ("label", '"7"', "7"),
        ("label", "'a b'", "a b"),
        ("label", "a # b", "a # b"),
        ("label", "a: b", "a: b"),
        ("label", "a=b", "a=b"),
        ("label", "&a b", "&a b"),
        ("label", "python x.py --out {out} --n [1]", "python x.py --out {out} --n [1]"),
        ("label", "{python} x", "{python} x"),
        ("label", "{a: b}", "{a: b}"),
        ("label", '"quoted path/x" --out {out}', '"quoted path/x" --out {out}'),
        ("label", "Ünïcode 名", "Ünïcode 名"),
        ("note", "null", None),
        ("note", "~", None),
        ("note", "x", "x"),
        ("limit", "null", None),
        ("root", "2024", Path("2024")),
        ("root", "/a b/c #1: x", Path("/a b/c #1: x")),
        ("root", "~/x", Path("~/x")),
        ("fps", "30000/1001", Fraction(30000, 1001)),
        ("fps", "29.97", Fraction(2997, 100)),
        ("mode", "exact", Mode.EXACT),
        ("sizes", "[4, 5]", (4, 5)),
        ("sizes", "[]", ()),
        ("window", "[-.inf, 1e3]", (-math.inf, 1000.0)),
        ("flag", "true", True),
    ],
)
def test_words(files: Path, key: str, word: str, value: Any) -> None:
    made = one(key, word)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["steps"], "'steps' is not a setting; wanted key=value"),
        (["=3"], "unknown key ''"),
        (["rates=3"], "unknown key 'rates'; did you mean 'rate'"),
        (["steps=1", "steps=2"], "'steps' is given twice"),
        (["steps=no"], 'steps: got "no", wanted integer'),
        (["flag=on"], 'flag: got "on", wanted boolean'),
        (["sizes=1,2"], 'sizes: got "1,2", wanted array'),
        (["sizes=[1"], r'sizes: got "\[1", wanted array'),
        (["sizes="], "sizes: got null, wanted array"),
    ],
)
def test_wrong_words_name_the_command_line(files: Path, words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^command line: {says}"):
        load(*words)


def test_settings_from_code(files: Path) -> None:
    given = {"root": Path("x"), "mode": Mode.EXACT, "fps": Fraction(30), "sizes": (1,), "rate": 2}
    made = load_config(Settings, "methods", parse_name("still"), given)
    assert (made.root, made.mode, made.fps) == (Path("x"), Mode.EXACT, Fraction(30))
    assert (made.sizes, made.rate) == ((1,), 2.0)
    with pytest.raises(ConfigError, match=r"settings: label: got <object .*which settings cannot"):
        load_config(Settings, "methods", parse_name("still"), {"label": object()})
    with pytest.raises(ConfigError, match="settings: unknown key '3'"):
        load_config(Settings, "methods", parse_name("still"), {3: 3})


def test_required_settings_and_settings_that_do_not_fit_together(files: Path) -> None:
    with pytest.raises(ConfigError, match="still needs the setting 'release'; give release=VALUE"):
        load("command=x", cls=Required)
    assert load("command=x", "release=1", cls=Required).release == "1"
    with pytest.raises(ConfigError, match="still do not fit together: low 3 is above high 1"):
        load("command=x", "release=1", "low=3", cls=Required)


def test_what_cannot_be_a_settings_class(files: Path) -> None:
    @dataclass
    class Thawed:
        x: int = 1

    @dataclass(frozen=True)
    class Nested:
        x: Settings | None = None

    @dataclass(frozen=True)
    class Unresolved:
        x: Absent = 1  # noqa: F821

    @dataclass(frozen=True)
    class Odd:
        x: Registry = 1

    class Registry:
        pass

    globals()["Registry"] = Registry
    cases = {Thawed: "not a frozen dataclass", Nested: "flat", Unresolved: "TYPE_CHECKING"}
    for cls, says in (cases | {Odd: "cannot be a setting", int: "not a frozen dataclass"}).items():
        with pytest.raises(ConfigError, match=says):
            load(cls=cls)
    del globals()["Registry"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("-1.5e+3", -1500.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("010", 10),
        ("-7", -7),
        ("0o17", 15),
        ("0xfF", 255),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nULL", "nULL"),
        ("2001-12-14", "2001-12-14"),
        ("=", "="),
        ("e5", "e5"),
        (".", "."),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("[1e3, no, {a: 0o7}]", [1000.0, "no", {"a": 7}]),
    ],
)
def test_scalars_are_those_of_yaml_12(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"key: {text}\n")
    made = load_mapping(path)["key"]
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize("text", ["!!int x", "!!bool yes", "!!float x", "!!set {a}", "!!binary aa"])
def test_tags_that_do_not_fit_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"\nkey: {text}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: line 2: "):
        load_mapping(path)


def test_files_that_hold_nothing_anchors_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "ü.yaml"
    for text in ("", "# only a comment\n", "---\n", "\ufeff"):
        path.write_text(text, "utf-8")
        assert load_mapping(path) == {}
    path.write_text("\ufeffa: &x [1, ü]\nb: *x\n", "utf-8")
    assert load_mapping(path) == {"a": [1, "ü"], "b": [1, "ü"]}
    path.write_text("a: &x [*x]\n", "utf-8")
    with pytest.raises(ConfigError, match="recursive"):
        load_mapping(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: ü".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml is not UTF-8 text"):
        load_mapping(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read: No such file"):
        load_mapping(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_mapping(tmp_path)


def test_settings_become_plain_and_come_back(files: Path) -> None:
    made = load("fps=30000/1001", "root=a b", "mode=exact", "sizes=[3]", "note=ü")
    plain = to_plain(made)
    assert plain["fps"] == "30000/1001"
    assert (plain["root"], plain["mode"], plain["sizes"]) == ("a b", "exact", [3])
    assert json.loads(json.dumps(plain)) == plain
    del plain["derived"]
    assert load_config(Settings, "methods", parse_name("still"), plain) == made


def test_canonical_json() -> None:
    value = {"b": (1, 2.0, 1e-7), "a": {"ü": None, "A": math.inf}, "c": [-math.inf, True, 0.1]}
    text = '{"a":{"A":"inf","ü":null},"b":[1,2.0,1e-07],"c":["-inf",true,0.1]}'
    assert canonical_json(value) == text
    assert canonical_json({"x": {3, 1, 2}, "m": Mode.FAST}) == '{"m":"fast","x":[1,2,3]}'
    assert canonical_json(Settings(sizes=())).startswith('{"derived":7,"flag":false,"fps":"25"')
    assert fingerprint(value) == hashlib.sha256(text.encode()).hexdigest()
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.0})


@pytest.mark.parametrize("number", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2.0**53])
def test_floats_round_trip(number: float) -> None:
    assert json.loads(canonical_json(number)).hex() == number.hex()


def test_names_of_files_that_are_not_utf8_can_be_written() -> None:
    text = canonical_json("caf\udce9")
    assert text.encode() == b'"caf\\udce9"'
    assert json.loads(text) == "caf\udce9"


@pytest.mark.parametrize("value", [math.nan, [{"a": math.nan}], object(), {1: 2}, b"x", Settings])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"NaN|cannot hold|not text"):
        canonical_json(value)


def test_a_distribution_may_bring_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = '"""P."""\n__all__ = ["Plugin"]\nclass Plugin: ...\n'
    brought = {
        "brings_configs/__init__.py": "",
        "brings_configs/deep/__init__.py": "",
        "brings_configs/deep/plugin.py": plugin,
        "brings_configs/configs/methods/brought.tiny.yaml": "steps: 5\n",
        "brings_configs/deep/configs/methods/brought+more.yaml": "rate: 5\n",
    }
    points = {"methods": {"brought": "brings_configs.deep.plugin:Plugin"}}
    make_distribution(tmp_path, "brings-configs", brought, points)
    monkeypatch.syspath_prepend(str(tmp_path))
    clear_cache()
    try:
        made = load(name="Brought.tiny+more")
    finally:
        clear_cache()
    assert (made.steps, made.rate) == (5, 5.0)


def test_further_roots(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "still.mine.yaml").write_text("steps: 6\n")
    name = parse_name("still.mine")
    assert load_config(Settings, "methods", name, roots=[tmp_path]).steps == 6


@pytest.mark.parametrize("kind", ["methods", "datasets", "protocols"])
def test_every_shipped_config_can_be_loaded(kind: str) -> None:
    for path in sorted((configs_dir() / kind).glob("*.yaml")):
        name = parse_name(path.stem)
        assert name.variant or name.overlays, f"nothing reads {path}: no variant and no overlay"
        assert registry(kind).find(name.stem).name == name.stem
        settings = registry(kind).load(name.stem).Config
        config_module._checked(config_module._fields(settings), load_mapping(path), str(path))
        if not any(map(config_module._required, dataclasses.fields(settings))):
            load_config(settings, kind, name)


@pytest.mark.parametrize("kind", ["methods", "datasets", "protocols"])
def test_every_plugin_has_settings_that_can_be_checked(kind: str) -> None:
    own = [entry for entry in registry(kind).entries() if entry.source == "tfbench"]
    for entry in own:
        config_module._fields(registry(kind).load(entry.name).Config)
