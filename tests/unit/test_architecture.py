"""Which package may import which, which names stay private, and how large files and folders are."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("models", "streams", "tools")
#: With more names than this a reader cannot take a folder in at a glance: it holds two rooms.
MAX_NAMES = 17
#: What the interpreter and the tools write beside the project's own files.
NOT_OURS = {"__init__.py", "__pycache__"}
#: With more lines than this a module does two things.
MAX_LINES = 350
#: Only here is code that uses private names of Faust and aiokafka.
PRIVATE_ROOMS = {"streams.kafka", "streams.kafka.fetching", "streams.runtime", "streams.state"}
#: Names with an underscore that their documentation offers: ``os._exit``, and named tuples' method.
OFFERED = {"_exit", "_replace"}
#: The rooms of each package from the ground up.
FLOORS: dict[str, list[set[str]]] = {
    "models": [
        {"models.base"},
        {"models.files", "models.fusion", "models.rules"},
        {"models.interactions", "models.popularity", "models.metrics", "models.text"},
        {"models.features", "models.factors", "models.index"},
        {"models.sequence"},
        {"models.artifact"},
        {"models.ranking.catalogue"},
        {"models.ranking.newcomers"},
        {"models.ranking"},
        {"models.ranking.explaining"},
        {"models.training", "models.evaluation"},
    ],
    "streams": [
        {"streams.errors", "streams.printable"},
        {"streams.settings"},
        {"streams.contract"},
        {"streams.formats"},
        {"streams.kafka.fetching"},
        {"streams.kafka"},
        {"streams.state"},
        {"streams.health", "streams.announcements"},
        {"streams.forgetting"},
        {"streams.rejects"},
        {"streams.runtime"},
        {"streams.sequencer.compiled"},
        {
            "streams.sequencer",
            "streams.recommender.model",
            "streams.recommender.popularity",
            "streams.recommender.waiting",
        },
        {"streams.recommender.users", "streams.catalogue"},
        {"streams.announcements.sending", "streams.recommender"},
        {"streams.server.gate"},
        {"streams.server.lists"},
        {"streams.server.writing"},
        {"streams.server.parts"},
        {"streams.server.routes", "streams.server.page.frame", "streams.server.page.topics", "streams.server.ranking"},
        {"streams.server.page"},
        {"streams.server.gorse"},
        {"streams.server"},
    ],
    "tools": [
        {"tools.reports", "tools.oracle", "tools.bench.made"},
        {"tools.cli"},
        {"tools.files.cells", "tools.files.formats"},
        {"tools.files"},
        {"tools.files.logs", "tools.files.entries"},
        {"tools.main", "tools.catalogue", "tools.workers"},
        {"tools.broker", "tools.init", "tools.replay", "tools.announcing", "tools.oracle.why"},
        {"tools.announcing.forgetting"},
        {
            "tools.replay.rebuild",
            "tools.training",
            "tools.demo",
            "tools.project",
            "tools.project.image",
            "tools.project.watching",
        },
        {"tools.drills.judging"},
        {"tools.drills"},
        {"tools.drills.acts", "tools.bench.live", "tools.bench.live.peers"},
        {"tools.drills.kinds"},
        {"tools.bench"},
        {
            "tools.commands",
            "tools.commands.data",
            "tools.commands.learning",
            "tools.commands.living",
            "tools.commands.running",
            "tools.commands.trials",
        },
    ],
}
#: Imports upwards that are allowed: code that asks the settings for a client's arguments opens a
#: client, and the client's connections must be bounded.
UPWARDS = {("streams.settings.kafka", "streams.kafka.bounded_connections")}


def imported(path: Path) -> set[str]:
    """Return the first names of all modules that a file imports, anywhere in it."""
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
    """Return a module's dotted name; for ``__init__`` the name of its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Return which modules each module imports, in functions and for types too."""
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
    """A reader, or a test, can take each module after the modules that it needs."""
    try:
        TopologicalSorter(import_graph()).prepare()
    except CycleError as exc:
        pytest.fail("a circle: " + ", imported by ".join(exc.args[1]))


def room_of(module: str) -> str:
    """Return a module's room: its folder, or the module itself in the package's top folder."""
    return module if module.count(".") == 1 else module.rpartition(".")[0]


def test_rooms_import_downwards() -> None:
    """A module imports from its own room and from lower floors, not from a room beside its own."""
    floor_of = {room: n for floors in FLOORS.values() for n, floor in enumerate(floors) for room in floor}
    graph = import_graph()
    rooms = {room_of(name) for name in graph if "." in name}
    assert rooms - floor_of.keys() == set(), "a room without a floor"
    assert floor_of.keys() - rooms == set(), "a floor of a room that is gone"
    upwards = {
        (name, each)
        for name, imports in graph.items()
        for each in imports
        if "." in name and "." in each and name.split(".")[0] == each.split(".")[0]
        if room_of(name) != room_of(each) and floor_of[room_of(each)] >= floor_of[room_of(name)]
    }
    assert upwards == UPWARDS


def test_no_module_imports_a_command() -> None:
    """A command parses and prints; code that two commands share belongs in a room below them."""
    importing = {
        name: found
        for name, imports in import_graph().items()
        if name != "tools.main" and (found := {each for each in imports if f"{each}.".startswith("tools.commands.")})
    }
    assert importing == {}


def test_no_folder_is_a_heap() -> None:
    """A folder is a room of one subject."""
    tops = [ROOT / name for name in (*PACKAGES, "tests", "docs", ".ci")]
    folders = [
        folder
        for top in tops
        for folder in (top, *filter(Path.is_dir, top.rglob("*")))
        if "__pycache__" not in folder.parts
    ]
    sizes = {
        folder.relative_to(ROOT).as_posix(): len({p.name for p in folder.iterdir()} - NOT_OURS) for folder in folders
    }
    assert {folder: n for folder, n in sizes.items() if n > MAX_NAMES} == {}


def private_names(path: Path) -> set[str]:
    """Return the private names of other objects and modules that a module uses."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names if is_private(alias.name)}
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node.value):
            found.add(node.attr)
    return found


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore and no library's documentation offers it."""
    return name.startswith("_") and not name.startswith("__") and name not in OFFERED


def is_own(value: ast.expr) -> bool:
    """Whether an expression is the object or the class at hand."""
    if isinstance(value, ast.Call):  # super()
        value = value.func
    return isinstance(value, ast.Name) and value.id in {"self", "cls", "super"}


def test_private_names_of_others_stay_in_their_rooms() -> None:
    """A release of Faust or aiokafka may change them; pyproject.toml lists each with its test."""
    found = {module_name(path): private_names(path) for package in PACKAGES for path in files(package)}
    assert {name: names for name, names in found.items() if names and room_of(name) not in PRIVATE_ROOMS} == {}


def test_no_module_is_too_long_to_read_in_one_sitting() -> None:
    paths = [path for package in PACKAGES for path in files(package)]
    lengths = {module_name(path): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("models", {"streams", "tools", "faust", "aiokafka", "mode"}), ("streams", {"tools"})],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    """Tools may import streams and models; streams may import models; models import neither."""
    assert {path.name: imported(path) & forbidden for path in files(package) if imported(path) & forbidden} == {}


def test_nothing_unpickles() -> None:
    """A model file or a record must never be able to run code."""
    banned = {"pickle", "dill", "joblib", "marshal", "shelve"}
    found = {path.name for package in PACKAGES for path in files(package) if imported(path) & banned}
    assert found == set()


@pytest.mark.model
@pytest.mark.parametrize(
    "module",
    [
        "streams.sequencer.agent",
        "streams.recommender.agent",
        "tools.main",
        "tools.commands.trials.demo",
        "tools.commands.learning.train",
    ],
)
def test_importing_does_nothing(module: str) -> None:
    """An import prints, opens and builds nothing: a broken setting must not break an import."""
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
