"""What every command shares: its two kinds of failure, its last line of output and its progress bar."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class UsageError(Exception):
    """Bad usage or bad input: the command ends with exit code 2. The message is one line."""


class RunError(Exception):
    """A run that failed although its input was good: exit code 1. The message is one line."""


def console() -> Console:
    """Return a console on standard error, where logs, tables for people and progress go."""
    return Console(stderr=True, soft_wrap=True)


def progress() -> Progress:
    """Return a progress bar on standard error; it draws nothing where that is not a terminal."""
    err = console()
    return Progress(
        TextColumn("{task.description}"),
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


def emit(args: argparse.Namespace, result: dict[str, Any], text: str | None = None) -> None:
    """Print a command's result on standard output: one JSON line with ``--json``, else ``text``."""
    if args.json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False, default=str) + "\n")
    elif text is not None:
        sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()
