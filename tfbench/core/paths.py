"""Where things are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["assets_dir", "cache_dir", "configs_dir", "home"]


def home() -> Path:
    """Return the folder for assets and caches: `$TFBENCH_HOME`, else `~/.cache/tfbench`."""
    given = os.environ.get("TFBENCH_HOME")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "tfbench"


def assets_dir() -> Path:
    """Return the folder where fetched networks lie."""
    return home() / "assets"


def cache_dir() -> Path:
    """Return the folder for what can be computed again."""
    return home() / "cache"


def configs_dir() -> Path:
    """Return the folder of the shipped configs, in an installed wheel or in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_configs"
    return installed if installed.is_dir() else package.parent / "configs"
