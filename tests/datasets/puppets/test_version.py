"""The version of the data set stands for the generator: who changes the one, changes the other."""

import ast
import hashlib
import io
import tokenize
from pathlib import Path

from tfbench.datasets import puppets
from tfbench.datasets.puppets import Puppets
from tfbench.faces import render
from tfbench.media.grammar import GRAMMAR

RECORDED = {1: "a44332fe7346650a2c161fcc42328b7655ffed553921a5f9272a10430a3cd36f"}
"""Version -> sha256 of what decides a clip."""

AROUND = {"__init__", "_warm", "dataset", "make", "pool", "model"}
"""Files that make, keep or describe clips and do not decide what is in them."""


def _code(source: str) -> str:
    """Python source without comments, docstrings and empty lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for row in range(node.lineno - 1, node.end_lineno):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _generator() -> dict[str, bytes]:
    folder = Path(puppets.__file__).parent
    sources = [
        *(p for p in folder.glob("*.py") if p.stem not in AROUND and "_build_" not in p.stem),
        Path(render.__file__),
    ]
    found = {path.name: _code(path.read_text()).encode() for path in sources}
    found |= {name: (folder / name).read_bytes() for name in ("head.npz", "sentences.txt")}
    return found | {"grammar": repr(GRAMMAR).encode()}


def test_a_change_of_the_generator_is_a_new_version():
    digest = hashlib.sha256()
    for name, content in sorted(_generator().items()):
        digest.update(name.encode() + hashlib.sha256(content).digest())
    assert digest.hexdigest() == RECORDED.get(Puppets.version), (
        "what decides the puppets' clips has changed: raise Puppets.version if clips can look or "
        f"sound different now, and record here {digest.hexdigest()}"
    )


def test_comments_are_no_change():
    one = 'x = 1  # a comment\ndef f():\n    """Says."""\n    return "# not one"\n'
    other = 'x = 1\n\n\ndef f():\n    """Says more.\n\n    Much more."""\n    return "# not one"\n'
    assert _code(one) == _code(other)
    assert _code(one) != _code(one.replace("1", "2"))
