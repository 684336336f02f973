"""``headrace completion SHELL``: a script after which the shell completes commands, options, files and folders."""

from __future__ import annotations

import argparse

import shtab

from tools.cli import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell that reads the script")


def run(args: argparse.Namespace) -> int:
    """Print the script for ``args.completed``, the parser with the arguments of all commands; return 0."""
    script = shtab.complete(args.completed, args.shell)
    emit(args, {"script": script}, script.splitlines())
    return 0
