"""What every command shares: its parser, its progress bar, and the only way to a screen.

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
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from rich_argparse import RichHelpFormatter

from streams.printable import printable, printable_json, table_cell
from tools.reports.plain import as_plain

#: A shell completes an argument of this metavar to files or folders; shtab gives these names. It
#: completes other arguments to their choices.
COMPLETED_TO: Final = {"DIR": "directory", "FILE": "file", "LOG": "file", "FILE|-": "file"}


class HelpFormatter(RichHelpFormatter):
    """Colours help on a terminal. Text is shown as it is written: square brackets are no markup."""

    group_name_formatter = str
    help_markup = False
    text_markup = False


class Parser(argparse.ArgumentParser):
    """A parser with coloured help. Its errors, which quote the user's input, are plain and printable."""

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
    """Return a progress bar on standard error; it draws only on a terminal."""
    err = console()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command takes."""
    parser.add_argument("--broker", metavar="HOST:PORT", help="Kafka bootstrap servers (or HEADRACE_BROKER)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line of standard output")


def emit(args: argparse.Namespace, result: dict[str, Any], text: str | Iterable[str] | None = None) -> None:
    """Print a command's result on standard output: one JSON line with ``--json``, else ``text``.

    ``text`` is one line, or several.
    """
    if args.json:
        write_json(json.dumps(as_plain(result), ensure_ascii=False))
    elif text is not None:
        for line in [text] if isinstance(text, str) else text:
            write_line(line)
    sys.stdout.flush()


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
