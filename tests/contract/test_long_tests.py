"""The page on testing names every test that is long by nature, and says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ENTRY = re.compile(r"^- `(tests/\S+)`:\s+\S", re.MULTILINE)


def marked(path: Path) -> Iterator[str]:
    """Yield what of a test file is marked ``long``: the file itself, or its functions."""
    name = str(path.relative_to(ROOT))
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and is_long(node.value):
            yield name
        elif isinstance(node, ast.FunctionDef) and any(map(is_long, node.decorator_list)):
            yield f"{name}::{node.name}"


def is_long(mark: ast.expr) -> bool:
    """Return whether an expression holds the mark."""
    return any(ast.unparse(node) == "pytest.mark.long" for node in ast.walk(mark))


def test_the_list_is_that_of_the_marks() -> None:
    """A test leaves the form that everybody runs only with a reason that everybody can read."""
    listed = _ENTRY.findall((ROOT / "docs" / "testing.md").read_text("utf-8"))
    assert listed == sorted(name for path in (ROOT / "tests").rglob("test_*.py") for name in marked(path))
