"""Imports go down the layers, never up and never in a circle; listing and help stay light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.core.plugins import run_python

REPOSITORY = Path(__file__).resolve().parents[2]

LAYERS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("media",),
    ("faces",),
    ("nets",),
    ("datasets",),
    ("metrics",),
    ("evaluators",),
    ("methods",),
    ("preparation",),
    ("training",),
    ("evaluation",),
    ("validation", "report", "study"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

STRANGERS = {("methods", "metrics")}
"""Pairs of layers of which the upper one does not import the lower one either."""

HEAVY = {
    *("torch", "torchvision", "torchaudio", "torchmetrics", "lightning", "pytorch_lightning"),
    *("lightning_fabric", "diffusers", "transformers", "facenet_pytorch"),
}
LIGHT = ("core/types.py", "core/registry.py", "core/config.py", "__init__.py", "cli/*.py")


@dataclass(frozen=True)
class Import:
    """One import statement's target; `eager` if it runs when its file is imported."""

    file: str
    line: int
    module: str
    eager: bool


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of everything below the folder `root/tfbench`."""
    found = {}
    for path in sorted((root / "tfbench").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """Every import of a module, `from package import module` resolved to the module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text("utf-8"))
    for node, eager in _statements(tree, eager=True):
        for target in _targets(node, package, known):
            yield Import(name, node.lineno, target, eager)


def _statements(node: ast.AST, *, eager: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy |= isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield child, eager
        yield from _statements(child, eager=eager and not lazy)


def _targets(node: ast.AST, package: str, known: dict[str, Path]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
        members = [f"{base}.{alias.name}" for alias in node.names]
        return [member if member in known else base for member in members]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            return [first.value]
    return []


def layer(module: str) -> str | None:
    """The layer of a module of tfbench; None for the root, whose names anybody may use."""
    parts = module.split(".")
    return parts[1] if parts[0] == "tfbench" and len(parts) > 1 else None


def violations(root: Path) -> list[str]:
    """Every import that does not go down, in words."""
    known = modules(root)
    wrong = [f"{name}: '{layer(name)}' is no layer" for name in known if _homeless(name)]
    for name, path in known.items():
        for one in imports(name, path, known):
            here, there = layer(name), layer(one.module)
            if here is None or there is None or here == there:
                continue
            up = RANK.get(there, len(LAYERS)) >= RANK.get(here, -1)
            if up or (here, there) in STRANGERS:
                wrong.append(f"{name}, line {one.line} imports {one.module}")
    return wrong


def _homeless(name: str) -> bool:
    return layer(name) is not None and layer(name) not in RANK


def circle(root: Path) -> list[str]:
    """The modules of one circle of imports; empty where there is none."""
    known = modules(root)
    graph = {
        name: {one.module for one in imports(name, path, known) if one.module in known} - {name}
        for name, path in known.items()
        if name != "tfbench"
    }
    try:
        TopologicalSorter({n: targets - {"tfbench"} for n, targets in graph.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def eager_closure(start: str, known: dict[str, Path]) -> dict[str, list[str]]:
    """Everything that importing a module imports, each with the way to it."""
    ways = {start: [start]}
    todo = [start]
    while todo:
        name = todo.pop()
        parents = [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]
        found = [one.module for one in imports(name, known[name], known) if one.eager]
        for target in (*parents, *found):
            if target not in ways:
                ways[target] = [*ways[name], target]
                todo += [target] if target in known else []
    return ways


def heavy(root: Path, pattern: str) -> list[str]:
    """Ways from a file that must be light to an import that is not."""
    known = modules(root)
    files = set((root / "tfbench").glob(pattern))
    ways = [
        way
        for name, path in known.items()
        if path in files
        for target, way in eager_closure(name, known).items()
        if target.split(".")[0] in HEAVY
    ]
    return [" -> ".join(way) for way in ways]


def test_imports_go_down() -> None:
    assert violations(REPOSITORY) == []


def test_no_imports_in_a_circle() -> None:
    assert circle(REPOSITORY) == []


@pytest.mark.parametrize("pattern", LIGHT)
def test_light_files_import_nothing_heavy(pattern: str) -> None:
    assert heavy(REPOSITORY, pattern) == []


def test_the_command_line_and_the_registry_really_load_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import importlib, pkgutil
import tfbench.cli, tfbench.core.config, tfbench.core.types, tfbench.datasets, tfbench.methods
import tfbench.metrics
from tfbench.core.registry import KINDS, registry
for kind in KINDS:
    registry(kind).entries()
for module in pkgutil.iter_modules(tfbench.cli.__path__):
    importlib.import_module(f"tfbench.cli.{{module.name}}")
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    assert run_python(code, REPOSITORY, tmp_path).strip() == "[]"


def test_only_known_layers_and_no_drawer() -> None:
    assert not [path for path in (REPOSITORY / "tfbench").rglob("*.py") if path.stem == "utils"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("", "core", "nets", "metrics", "methods", "evaluation", "report", "study"):
        folder = tmp_path / "tfbench" / name
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("core/a.py", "import tfbench.nets", True),
        ("core/a.py", "from tfbench import nets", True),
        ("core/a.py", "from tfbench.metrics import PSNR", True),
        ("core/a.py", "def f():\n    from tfbench.methods import base", True),
        ("core/a.py", "if TYPE_CHECKING:\n    from tfbench.nets import x", True),
        ("core/a.py", "from importlib import import_module\nimport_module('tfbench.nets.x')", True),
        ("core/a.py", "from ..nets import x", True),
        ("core/a.py", "from .. import nets", True),
        ("methods/a.py", "import tfbench.metrics.psnr", True),
        ("metrics/a.py", "import tfbench.methods.still", True),
        ("report/a.py", "import tfbench.study", True),
        ("helpers/a.py", "", True),
        ("core/a.py", "from tfbench import __version__\nimport torch\nfrom . import b", False),
        ("metrics/a.py", "from tfbench.nets import x\nfrom tfbench.metrics import base", False),
        ("methods/a.py", "from tfbench.methods.wav2lip import Wav2Lip\nimport tfbench.nets", False),
        ("evaluation/a.py", "import tfbench.methods, tfbench.metrics", False),
        ("__init__.py", "def __getattr__(name):\n    import tfbench.evaluation", False),
    ],
)
def test_the_order_is_held(tree: Path, file: str, text: str, found: bool) -> None:
    path = tree / "tfbench" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert bool(violations(tree)) is found


def test_a_circle_is_found(tree: Path) -> None:
    (tree / "tfbench" / "nets" / "a.py").write_text("from tfbench.nets import b")
    (tree / "tfbench" / "nets" / "b.py").write_text("import tfbench.nets.c")
    assert circle(tree) == []
    (tree / "tfbench" / "nets" / "c.py").write_text("def f():\n    from .a import x")
    assert set(circle(tree)) == {"tfbench.nets.a", "tfbench.nets.b", "tfbench.nets.c"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import torch.nn", True),
        ("try:\n    from torch import Tensor\nexcept ImportError:\n    pass", True),
        ("from tfbench.nets import deep", True),
        ("def f():\n    import torch", False),
        ("if TYPE_CHECKING:\n    import torch", False),
        ("import json", False),
    ],
)
def test_heavy_imports_are_found(tree: Path, text: str, found: bool) -> None:
    (tree / "tfbench" / "nets" / "deep.py").write_text("class A:\n    import torchmetrics")
    (tree / "tfbench" / "core" / "types.py").write_text(text)
    assert bool(heavy(tree, "core/types.py")) is found
