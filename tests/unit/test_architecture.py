"""Which package may import which, and what is imported nowhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def imported(path: Path) -> set[str]:
    """Return the first names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def files(package: str) -> list[Path]:
    """Return a package's modules."""
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("models", {"streams", "tools", "faust", "aiokafka", "mode"}), ("streams", {"tools"})],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    """Tools may import streams and models, streams may import models, models neither, and never Faust."""
    assert {path.name: imported(path) & forbidden for path in files(package) if imported(path) & forbidden} == {}


def test_nothing_unpickles() -> None:
    """A model file or a record must never be able to run code."""
    banned = {"pickle", "dill", "joblib", "marshal", "shelve"}
    found = {
        path.name for package in ("models", "streams", "tools") for path in files(package) if imported(path) & banned
    }
    assert found == set()


@pytest.mark.parametrize(
    "module", ["streams.sequencer", "streams.recommender", "tools.main", "tools.commands.demo", "tools.commands.train"]
)
def test_importing_does_nothing(module: str) -> None:
    """Imports print nothing, open nothing and build no app: a broken setting must not break an import."""
    code = f"import {module}, threading; assert threading.active_count() == 1"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HEADRACE_PARTITIONS": "not a number", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
