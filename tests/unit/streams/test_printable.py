"""Text of strangers becomes printable.

It becomes one line, JSON with the same values, or a cell that is no formula.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.printable import is_shown, printable, printable_json, table_cell
from tests.support.hostile_text import FORMULA, HOSTILE, READABLE, forged, unfit

ANY_TEXT = st.text(st.characters())  # lone surrogates too: a file name that is not UTF-8 has them


@given(ANY_TEXT)
def test_any_text_becomes_one_line_that_a_terminal_shows_as_it_is(text: str) -> None:
    assert unfit(printable(text)) == set() and len(printable(text).splitlines()) <= 1


@pytest.mark.parametrize(
    "text", ["", "绿茶　500克 — 包邮", "Crème brûlée", "ชาเขียว", "چای سبز", "🍵 50 %", "a\u00a0b", "\\x1b", "¡no!"]
)
def test_ordinary_text_of_any_script_stays(text: str) -> None:
    assert printable(text) == text and printable_json(text) == text


def test_what_is_not_shown_is_spelled_as_in_source() -> None:
    assert printable("茶\x1b[2J\n\x9b\u202e\udcff\U000e0041") == "茶\\x1b[2J\\n\\x9b\\u202e\\udcff\\U000e0041"


@given(
    st.recursive(
        ANY_TEXT | st.integers() | st.booleans() | st.none(), lambda v: st.lists(v) | st.dictionaries(ANY_TEXT, v)
    )
)
def test_json_holds_the_same_values_and_only_what_a_terminal_shows(value: Any) -> None:
    for indent in (None, 1):
        text = printable_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == value
        assert unfit(text) == set()
        text.encode()  # a lone surrogate could not be written


def test_json_of_ordinary_text_stays_readable() -> None:
    assert printable_json('{"t": "绿茶　茶\u202e\U000e0041"}') == '{"t": "绿茶　茶\\u202e\\udb40\\udc41"}'


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", FORMULA, "＝1+1", "＋1", "－1", "＠A", '"=1+1"', "-", "+", "-2e", "--1"],
)
def test_a_formula_is_a_cell_of_text(text: str) -> None:
    assert table_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+1.5", "-2e-7", "12", "a=b", "", "茶", "'=1"])
def test_numbers_and_other_text_stay(text: str) -> None:
    assert table_cell(text) == text


@pytest.mark.parametrize("start", ["\t=1", "\r=1", "\n=1"])
def test_a_cell_holds_no_tab_and_no_line_end(start: str) -> None:
    """What follows them is where a spreadsheet would begin another cell."""
    assert table_cell(start) == repr(start)[1:-1]


@given(ANY_TEXT)
def test_no_cell_begins_as_a_formula(text: str) -> None:
    cell = table_cell(text)
    assert unfit(cell) == set() and "\n" not in cell
    assert cell[:1] not in set('=+-@＝＋－＠"') or float(cell) is not None


WORKER = f"""
import logging, mode
from streams.sequencer.agent import build_sequencer
from streams.settings.load import load_settings
import faust
text = {HOSTILE!r}
worker = faust.Worker(build_sequencer(load_settings({{}})), loglevel="INFO", logfile=LOGFILE)
worker._setup_logging()
def fail():
    raise ValueError(text)
for name in ("streams.sequencer", "faust.app", "aiokafka.conn", "root"):
    logging.getLogger(name).warning("item %s left out", text)
    logging.getLogger(name).info(text)
    try:
        fail()
    except ValueError:
        logging.getLogger(name).exception("failed on %r and %s", text, text, stack_info=True)
print(text)
logging.shutdown()
"""


@pytest.mark.model
@pytest.mark.parametrize("logfile", ["None", "'log'"])
def test_a_worker_logs_one_printable_line_for_each_record(logfile: str, tmp_path: Any) -> None:
    """A worker logs as Faust sets it up, to standard output and to a file.

    A library's further lines, and those of a traceback, stand indented behind the first one.
    """
    done = subprocess.run(
        [sys.executable, "-c", WORKER.replace("LOGFILE", logfile)],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    file = tmp_path / "log"
    text = (done.stdout + done.stderr).decode() + (file.read_text("utf-8") if file.exists() else "")
    assert unfit(text) == set() and forged(text) == []
    assert all(word in text for word in READABLE)
    lines = text.split("\n")
    assert len([line for line in lines if line.startswith("[20") and "item 茶" in line and "left out" in line]) == 2
    assert all(line.startswith(("[20", "  ")) or not line for line in lines), [
        line for line in lines if line[:1] not in "[ "
    ]


@pytest.mark.parametrize("where", ["fail()", "threading.Thread(target=fail).start()"])
def test_an_error_that_nobody_caught_is_shown_printable(where: str) -> None:
    code = (
        "import threading; from streams.printable import show_all_uncaught; show_all_uncaught()\n"
        f"def fail(): raise ValueError({HOSTILE!r})\n{where}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    text = done.stderr.decode()
    assert "ValueError: 茶" in text and done.returncode == (where == "fail()")
    assert unfit(text) == set() and forged(text) == []


def test_a_formatter_leaves_the_record_to_other_handlers() -> None:
    """Only the line is changed: the message's parts stay as they were logged."""
    from streams.printable import PrintableFormatter

    record = logging.LogRecord("a", logging.INFO, "", 0, "x %s", ("\x1b",), None)
    assert PrintableFormatter().format(record) == "x \\x1b"
    assert (record.msg, record.args) == ("x %s", ("\x1b",))


def test_a_space_of_another_script_is_shown() -> None:
    assert is_shown("\u3000") and is_shown("\u00a0") and not is_shown("\u2028") and not is_shown("\u200b")
