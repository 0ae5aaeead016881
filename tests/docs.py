"""Code out of the documentation's pages."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
_BLOCK = re.compile(r"^```python(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return (file name or "", code) of each Python block of a page."""
    return [(m[1] or "", m[2]) for m in _BLOCK.finditer((DOCS / page).read_text("utf-8"))]
