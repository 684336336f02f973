"""Which package may import which, and what is imported nowhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("models", "streams", "tools")
#: Above this many modules a folder is no longer taken in at a glance: it holds two rooms.
MAX_MODULES = 20


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


def module_name(path: Path) -> str:
    """Return a module's dotted name; a package has that of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Return which modules each module imports, anywhere in it: in functions and for types, too."""
    paths = {module_name(path): path for package in PACKAGES for path in files(package)}
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module and not node.level, f"{path}, line {node.lineno}: write the module's whole name"
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    wanted.add(full if full in paths else node.module)
        graph[name] = wanted & paths.keys()
    return graph


def test_no_circle_of_imports() -> None:
    """Of two modules one is below the other, so that each can be read, and tested, after what it stands on."""
    try:
        TopologicalSorter(import_graph()).prepare()
    except CycleError as exc:
        pytest.fail("a circle: " + ", imported by ".join(exc.args[1]))


@pytest.mark.parametrize("package", ["tools"])
def test_no_circle_of_rooms(package: str) -> None:
    """What holds for modules holds for the folders of a package: one of two is below the other."""
    rooms: dict[str, set[str]] = {}
    for name, imports in import_graph().items():
        if name.startswith(f"{package}."):
            room = name.rpartition(".")[0]
            rooms.setdefault(room, set()).update({each.rpartition(".")[0] for each in imports} - {room})
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as exc:
        pytest.fail("a circle: " + ", imported by ".join(exc.args[1]))


def test_no_module_imports_a_command() -> None:
    """A command parses and prints. Only tools.main loads one, by its name; what two share belongs in a room below them."""
    importing = {
        name: found
        for name, imports in import_graph().items()
        if name != "tools.main" and (found := {each for each in imports if f"{each}.".startswith("tools.commands.")})
    }
    assert importing == {}


def test_no_folder_is_a_heap() -> None:
    """A folder is a room of one subject."""
    paths = [path for package in PACKAGES for path in files(package) if path.name != "__init__.py"]
    sizes = Counter(path.parent.relative_to(ROOT).as_posix() for path in paths)
    assert {folder: n for folder, n in sizes.items() if n > MAX_MODULES} == {}


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
    found = {path.name for package in PACKAGES for path in files(package) if imported(path) & banned}
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
