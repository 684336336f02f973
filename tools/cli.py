"""What every command shares: its parser, its progress, its question, and the only way to a screen.

Ids, titles and messages come from strangers. So a command writes through :func:`emit`,
:func:`write_line`, :func:`write_row`, :func:`write_json`, :func:`say` and :func:`say_table`, which
make text printable. A command never writes to ``sys.stdout``, ``sys.stderr`` or a console of its
own.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich_argparse import RichHelpFormatter

from streams.errors import InputError
from streams.printable import printable, printable_json, table_cell
from tools.reports.plain import as_plain
from tools.reports.progress_lines import CountColumn, NoteColumn, ProgressLines

#: A shell completes an argument of this metavar to files or folders; shtab gives these names. It
#: completes other arguments to their choices.
COMPLETED_TO: Final = {"DIR": "directory", "FILE": "file", "LOG": "file", "FILE|-": "file"}

#: Columns of a table that goes to a file or to another program.
PRINTED_WIDTH: Final = 160


class HelpFormatter(RichHelpFormatter):
    """Colours help on a terminal. Text is shown as it is written: square brackets are no markup."""

    group_name_formatter = str
    help_markup = False
    text_markup = False


class Parser(argparse.ArgumentParser):
    """A parser with coloured help.

    Its errors quote the user's input, so they are plain and printable.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter} | arguments)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Add an argument, and note for the completion what a shell completes it to."""
        action = super().add_argument(*names, **options)
        if options.get("metavar") in COMPLETED_TO:
            action.complete = COMPLETED_TO[options["metavar"]]  # type: ignore[attr-defined]  # shtab's name
        return action

    def error(self, message: str) -> NoReturn:
        """Say what was wrong with the arguments, and end with exit code 2."""
        self.formatter_class = argparse.HelpFormatter  # standard error may be a file: no colours
        super().error(printable(message))


class ShowVersion(argparse.Action):
    """Prints the version of the installed package, which is looked up only then, and exits."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(nargs=0, **arguments)

    def __call__(self, *_: Any) -> NoReturn:
        """Print the version and end with exit code 0."""
        write_line(f"headrace {importlib.metadata.version('headrace')}")
        raise SystemExit(0)


def console() -> Console:
    """Return a console on standard error, for this module and progress bars."""
    return Console(stderr=True, soft_wrap=True)


def progress() -> Progress:
    """Return a progress on standard error: bars on a terminal, a line every 10 s elsewhere.

    A task may have the fields of :class:`~tools.reports.progress_lines.ProgressLines`: the unit of
    its count, and a note such as a metric.
    """
    err = console()
    if not err.is_terminal:
        return ProgressLines(write=say, console=err)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        CountColumn(),
        NoteColumn(),
        TimeRemainingColumn(),
        console=err,
    )


def check_consent(is_given: bool, what: str) -> None:
    """Go on only where the user agreed, by ``--yes`` or by an answer on a terminal.

    Parameters
    ----------
    what : what would happen, as a clause that "go on?" or "add --yes" can follow

    Raises
    ------
    InputError
        When the user did not agree, or nobody is there to be asked.
    """
    if is_given:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f"{what}; add --yes")
    say(f"{what}; go on? [y/N]", style="yellow")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError(f"{what}; the answer was not y, so nothing was done")


def add_common_arguments(parser: argparse.ArgumentParser, *, is_action: bool = False) -> None:
    """Add the options that every command takes.

    Parameters
    ----------
    is_action : whether the parser is that of a command's action: an option that is not given there
        does not hide one that was given before it
    """
    default: dict[str, Any] = {"default": argparse.SUPPRESS} if is_action else {}
    parser.add_argument("--broker", metavar="HOST:PORT", help="Kafka bootstrap servers (or HEADRACE_BROKER)", **default)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object as the last line of standard output", **default
    )


@dataclass(frozen=True)
class ResultTable:
    """A table of a command's result; ``marked`` is the first cell of a row that stands out."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: str = ""


def emit(
    args: argparse.Namespace, result: dict[str, Any], text: str | Iterable[str | ResultTable] | None = None
) -> None:
    """Print a command's result on standard output: one JSON line with ``--json``, else ``text``.

    ``text`` is one line, or several lines and tables.
    """
    if args.json:
        write_json(json.dumps(as_plain(result), ensure_ascii=False))
    elif text is not None:
        for part in [text] if isinstance(text, str) else text:
            if isinstance(part, ResultTable):
                _write_table(part)
            else:
                write_line(part)
    sys.stdout.flush()


def _write_table(given: ResultTable) -> None:
    """Write a table to standard output; without a header its first column names the values."""
    table = Table(
        title=Text(printable(given.title)), title_justify="left", box=box.SIMPLE_HEAD, show_header=bool(given.header)
    )
    for i in range(max(map(len, [given.header, *given.rows]))):
        head = given.header[i] if i < len(given.header) else ""
        is_number = bool(given.header) and i > 0
        table.add_column(Text(printable(head)), justify="right" if is_number else "left", overflow="fold")
    for row in given.rows:
        style = "bold green" if given.marked and row[0] == given.marked else ""
        table.add_row(*(Text(printable(cell)) for cell in row), style=style)
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = PRINTED_WIDTH
    out.print(table)


def write_line(line: str) -> None:
    """Write one line to standard output.

    Text of strangers in it can neither break the line nor steer the terminal.
    """
    sys.stdout.write(printable(line) + "\n")


def write_row(cells: Iterable[str]) -> None:
    """Write one tab-separated line to standard output; a spreadsheet finds no formula in it."""
    sys.stdout.write("\t".join(map(table_cell, cells)) + "\n")


def write_json(text: str) -> None:
    """Write one JSON value to standard output as one line.

    Decoded it has the same values; no character in it steers a terminal.
    """
    sys.stdout.write(printable_json(text) + "\n")


def say(line: str, style: str = "") -> None:
    """Write one line for people to standard error, printable as those of :func:`write_line`."""
    console().print(Text(printable(line), style=style))


def say_table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Write named figures for people to standard error."""
    table = Table(title=Text(printable(title)), show_header=False)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console().print(table)
