"""Makes packages with plugins, as another distribution would bring them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def make_distribution(
    root: Path, name: str, files: dict[str, str], points: dict[str, dict[str, str]]
) -> Path:
    """Write files and a dist-info with entry points below root; root goes on sys.path.

    `points` maps a kind, such as "metrics", to {plugin name: "module:Class"}.
    """
    for relative, text in files.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    info = root / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for kind, targets in points.items():
        lines += [f"[tfbench.{kind}]", *(f"{key} = {value}" for key, value in targets.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return root


def copy_tree(root: Path) -> Path:
    """Copy the package and its configs; returns the folder that goes on sys.path."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "tfbench", root / "tfbench", ignore=ignore)
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    return root


def run_python(code: str, path: Path, cwd: Path) -> str:
    """Run code in a fresh interpreter with a folder first on sys.path; returns its output."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
