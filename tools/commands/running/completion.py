"""``headrace completion SHELL`` prints a script for the shell.

With it the shell completes commands, options, files and folders.
"""

from __future__ import annotations

import argparse

import shtab

from tools.cli import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell that reads the script")


def run(args: argparse.Namespace) -> int:
    """Print the script for ``args.completed``; return 0.

    ``args.completed`` is the parser with the arguments of all commands.
    """
    script = shtab.complete(args.completed, args.shell)
    emit(args, {"script": script}, script.splitlines())
    return 0
