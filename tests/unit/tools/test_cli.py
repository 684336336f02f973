"""What commands share: consent, progress and tables."""

from __future__ import annotations

import argparse
import io
from typing import Any

import pytest

from streams.errors import InputError
from tools.cli import ResultTable, check_consent, emit, progress
from tools.reports.progress_lines import ProgressLines


class Terminal(io.StringIO):
    """A stream that a person sits at."""

    def isatty(self) -> bool:
        return True


def at_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> Terminal:
    """Let a person type an answer; return what the person sees."""
    screen = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", screen)
    return screen


def test_without_a_terminal_consent_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    check_consent(True, "out: would be replaced")
    with pytest.raises(InputError, match="^out: would be replaced; add --yes$"):
        check_consent(False, "out: would be replaced")


@pytest.mark.parametrize(
    ("typed", "agreed"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False), ("n\n", False)]
)
def test_a_person_is_asked(typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = at_terminal(monkeypatch, typed)
    if agreed:
        check_consent(False, "out: would be replaced")
    else:
        with pytest.raises(InputError, match="nothing was done"):
            check_consent(False, "out: would be replaced")
    assert "out: would be replaced; go on? [y/N]" in screen.getvalue()


def test_bars_are_for_terminals_and_lines_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(progress(), ProgressLines)
    at_terminal(monkeypatch, "")
    assert not isinstance(progress(), ProgressLines)


def printed(capsys: pytest.CaptureFixture[str], *parts: Any) -> list[str]:
    emit(argparse.Namespace(json=False), {}, parts)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_a_table_in_a_file_keeps_each_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Wide rows do not wrap where no terminal sets a width; text is no markup."""
    row = ["[red]long[/red] name " * 3, *(["0.1234"] * 7)]
    table = ResultTable("how good", ["model", *(f"metric {i}" for i in range(7))], [row])
    lines = printed(capsys, "first", table)
    assert lines[0] == "first" and lines[1].strip() == "how good"
    assert "[red]long[/red] name" in lines[-1] and lines[-1].count("0.1234") == 7


def test_a_table_of_facts_has_no_header(capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split() for line in printed(capsys, ResultTable("", (), [("events", "12"), ("users", "3")]))][-2:] == [
        ["events", "12"],
        ["users", "3"],
    ]
