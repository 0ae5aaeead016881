"""Where things are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["assets_dir", "cache_dir", "configs_dir", "home", "published_dir"]


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
    return _shipped("_configs", "configs")


def published_dir() -> Path:
    """Return the folder of the shipped tables out of papers."""
    return _shipped("_published", "leaderboards/published")


def _shipped(installed: str, in_checkout: str) -> Path:
    """Return where the build has put a folder, or where a checkout holds it."""
    package = Path(__file__).resolve().parent.parent
    folder = package / installed
    return folder if folder.is_dir() else package.parent / in_checkout
