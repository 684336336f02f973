"""One way leads to a screen.

No module writes past it, and every command prints the text of strangers in printable form.
"""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import tools.commands.data.subscribe
from streams.contract.records import Item, Recommendation, RecommendedItem, SourceRank, encode
from streams.settings.load import KafkaSettings
from tests.support.builders import T0, FakeRecord
from tests.support.hostile_text import FORMULA, HOSTILE, READABLE, forged, unfit
from tests.unit.test_architecture import ROOT, files
from tools.catalogue import items_topic as catalogue
from tools.catalogue import shop
from tools.cli import emit, progress, say, say_table, write_json, write_line, write_row
from tools.commands.trials.drill import as_lines as drill_lines
from tools.demo.report import user_lines
from tools.files.logs.log_rows import LogRow
from tools.main import COMMANDS, main
from tools.workers.process import Worker

#: The sink itself, and who cannot use it: standard error of a process that ends at once, the pipe
#: to the parent of a benchmark.
SINKS = {"tools/cli.py", "streams/printable.py"}
EXCEPTIONS = {
    ("tools/bench/live/load.py", "sys.stdout"),
    ("tools/bench/made/clicks.py", "sys.stdout"),
    ("tools/bench/made/lists_program.py", "print"),
    ("streams/health/process_guard.py", "os.write"),
    ("streams/health/process_guard.py", "sys.__stderr__"),
    ("tools/bench/live/peers/programs.py", "os.write"),
}
#: Files and sockets have descriptors, too.
FILES = {("tools/replay/rebuild/manifest.py", "os.write")}
NAMES = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__", "os.write", "print", "Console", "pprint"}


def ways_out(source: str) -> set[str]:
    """Return the names in a module that lead to a screen without ``tools.cli``.

    Flushing shows nothing new, so it does not count.
    """
    found: set[str] = set()
    tree = ast.parse(source)
    flushed = {
        node.func.value for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("flush", "isatty", "fileno")
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and node not in flushed:
            found |= {ast.unparse(node)} & NAMES
        elif isinstance(node, ast.ImportFrom):
            found |= {
                alias.name for alias in node.names if alias.name in ("Console", "stdout", "stderr", "print", "pprint")
            }
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("SystemExit", "sys.exit", "exit"):
            texts = [each for each in node.args if isinstance(each, ast.JoinedStr | ast.BinOp) or is_text(each)]
            found |= {f"{ast.unparse(node.func)} of a text" for _ in texts}
    return found


def is_text(node: ast.expr) -> bool:
    """Whether an expression is a text that the interpreter writes to standard error unchanged."""
    return (isinstance(node, ast.Constant) and isinstance(node.value, str)) or (
        isinstance(node, ast.Call) and ast.unparse(node.func) == "str"
    )


def test_no_module_writes_to_a_screen_past_the_sink() -> None:
    found = {
        (name, way)
        for package in ("models", "streams", "tools")
        for path in files(package)
        if (name := path.relative_to(ROOT).as_posix()) not in SINKS
        for way in ways_out(path.read_text("utf-8"))
    }
    assert found - FILES == EXCEPTIONS


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.stdout.write(x)",
        "import sys; out = sys.stderr",
        "from sys import stdout",
        "print(x)",
        "from rich import print",
        "from rich.console import Console",
        "import rich.console as r; r.Console().print(x) or Console()",
        "raise SystemExit(f'{x}')",
        "import sys; sys.exit(str(exc))",
        "import os; os.write(1, x)",
    ],
)
def test_each_way_past_the_sink_is_found(source: str) -> None:
    assert ways_out(source) != set()


def clean(captured: Any) -> str:
    """Return all that a command wrote, after checking that a screen may have it."""
    text: str = captured.out + captured.err
    assert unfit(text) == set() and forged(text) == []
    return text


def test_every_function_of_the_sink_makes_text_printable(capsys: pytest.CaptureFixture[str]) -> None:
    write_line(HOSTILE)
    write_row([HOSTILE, HOSTILE][:1])
    say(f"{HOSTILE} [red]markup[/red] :bomb:", style="yellow")
    say_table(HOSTILE, [(HOSTILE, HOSTILE)])
    write_json(msgspec.json.encode({HOSTILE: HOSTILE}).decode())
    for is_json in (True, False):
        emit(SimpleNamespace(json=is_json), {HOSTILE: HOSTILE}, [HOSTILE, HOSTILE])  # type: ignore[arg-type]
        emit(SimpleNamespace(json=is_json), {HOSTILE: [HOSTILE, 1.5, math.nan]}, HOSTILE)  # type: ignore[arg-type]
    captured = capsys.readouterr()
    text = clean(captured)
    assert "[red]markup[/red] :bomb:" in text, "what a stranger wrote is no markup"
    lines = captured.out.splitlines()
    assert len(lines) == 8 and all(any(word in line for word in READABLE) for line in lines)
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert found == [{HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, {HOSTILE: [HOSTILE, 1.5, None]}]


def test_a_bar_shows_a_description_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Colours are the only escape sequences that a terminal gets."""
    with progress() as bar:
        bar.add_task("[red]x[/red]", total=1)
    assert "\x1b" not in capsys.readouterr().err, "no terminal, no bar"


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("argument", [HOSTILE, f"--{HOSTILE}", f"--broker={HOSTILE}"])
def test_no_command_repeats_an_argument_raw(
    command: str, argument: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A script may pass on what a stranger named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["headrace"])
    try:
        code = main([command, argument, "--no-such-option"])
    except SystemExit as exc:
        code = exc.code  # type: ignore[assignment]  # argparse ends with a number
    assert code == 2
    clean(capsys.readouterr())


def a_list() -> Recommendation:
    """Return a list of which every text is hostile."""
    listed = [
        RecommendedItem(HOSTILE, 0.5, {HOSTILE: SourceRank(1, 0.5)}, HOSTILE),
        RecommendedItem("i2", 0.1, {}, None),
    ]
    return Recommendation(1, HOSTILE, HOSTILE, 1, HOSTILE, 0, T0, T0, HOSTILE, 1, "none", listed)


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put hostile records on ``items`` and ``recommendations``, good ones and refused ones."""
    key = HOSTILE.encode()
    records = {
        "items": [
            FakeRecord(key, encode(Item(1, HOSTILE, HOSTILE))),
            FakeRecord(b"i2", encode(Item(1, "i2", FORMULA))),
            FakeRecord(key, encode(Item(1, "other", "x"))),
            FakeRecord(key, b"{" + HOSTILE.encode()),
        ],
        "recommendations": [
            FakeRecord(key, encode(a_list())),
            FakeRecord(key, msgspec.json.encode({"v": HOSTILE})),
        ],
    }

    async def read(_settings: KafkaSettings, topic: str, **_more: Any) -> Any:
        for record in records[topic]:
            yield record

    monkeypatch.setattr(catalogue, "read_records", read)
    monkeypatch.setattr(tools.commands.data.subscribe, "read_records", read)


@pytest.mark.usefixtures("topics")
def test_subscribe_shows_each_item_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["subscribe"]) == 0
    captured = capsys.readouterr()
    clean(captured)
    lines = captured.out.splitlines()
    assert (
        len(lines) == 3 and lines[1].startswith("    1. 0.500  茶") and lines[2].startswith(f"    2. 0.100  {FORMULA}")
    )


@pytest.mark.usefixtures("topics")
def test_json_lists_decode_to_what_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["subscribe", "--format", "json", "--json"]) == 0
    captured = capsys.readouterr()
    clean(captured)
    first, last = captured.out.splitlines()
    assert msgspec.convert(json.loads(first), Recommendation) == a_list()
    assert json.loads(last) == {"lists": 1, "users": 1, "malformed": 1}
    assert all(word in first for word in READABLE)


@pytest.mark.usefixtures("topics")
def test_the_catalogue_is_a_table_that_no_spreadsheet_computes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["items", "list"]) == 0
    captured = capsys.readouterr()
    rows = [line.split("\t") for line in captured.out.split("\n")[:-1]]
    assert unfit("".join(cell for row in rows for cell in row) + captured.err) == set()
    assert [len(row) for row in rows] == [2, 2] and rows[1] == ["i2", f"'{FORMULA}"]


def test_the_demo_shows_titles_on_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [LogRow(i, None, HOSTILE, HOSTILE, "view", T0 + i, None, None) for i in range(5)]
    for line in user_lines(rows, [a_list()], {HOSTILE: HOSTILE}):
        say(line)
    captured = capsys.readouterr()
    clean(captured)
    lines = captured.err.splitlines()
    assert len(lines) == 4 and lines[1].startswith("user 茶") and lines[2].startswith("  1. 茶")


def test_what_a_drill_and_a_worker_say_of_records_is_one_line_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A drill quotes records as examples, ``up`` the end of a worker's log."""
    report = {"kind": HOSTILE, "ended_by_themselves": [HOSTILE], "examples": [HOSTILE], "problems": [HOSTILE, HOSTILE]}
    emit(SimpleNamespace(json=False), report, drill_lines(report))  # type: ignore[arg-type]
    worker = Worker("sequencer", {}, 1, tmp_path / f"log{HOSTILE[1:5]}")
    worker.log_path.write_text(f"[1] [1] [ERROR] {HOSTILE}\n", "utf-8")
    say(worker.log_tail())
    captured = capsys.readouterr()
    clean(captured)
    assert len(captured.out.splitlines()) == 4 and len(captured.err.splitlines()) == 1


def test_refused_items_and_what_is_left_out_are_one_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def publish(_settings: KafkaSettings, records: Any) -> int:
        return len(list(records))

    monkeypatch.setattr(shop, "_publish_items", publish)
    path = tmp_path / "items.csv"
    quoted = HOSTILE.replace("\x00", "").replace("\r", "")
    path.write_text(f'item_id,title\n"{quoted * 5}","{quoted}"\ni2,fine\n', "utf-8", newline="")
    assert main(["items", "put", str(path)]) == 1
    captured = capsys.readouterr()
    clean(captured)
    assert captured.out == "1 item sent, 1 refused\n" and len(captured.err.splitlines()) == 1
    lines = [{"item_id": HOSTILE, "title": 7}, {"item_id": "i1", "title": "t", "features": {HOSTILE: []}}, {HOSTILE: 1}]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), "utf-8")
    assert main(["items", "put", str(path)]) == 1
    captured = capsys.readouterr()
    clean(captured)
    assert captured.out == "2 items sent, 1 refused\n" and len(captured.err.splitlines()) == 2
