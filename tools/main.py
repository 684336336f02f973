"""The ``headrace`` command: finds the module of the named command and runs it.

A command is a module in a room of ``tools.commands`` with ``add_arguments(parser)`` and ``run(args)
-> int``. Only the named command's module is imported, so that ``headrace --help`` answers quickly.
``headrace completion`` imports all of them.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from typing import Final

from models.base.processor import set_up_algebra
from streams.errors import HeadraceError
from streams.printable import PrintableFormatter, show_all_uncaught
from streams.settings.file_trust import create_private
from tools.cli import Parser, ShowVersion, add_common_arguments, say

#: The rooms of ``tools.commands``, each with its commands and what they do.
ROOMS: Final[dict[str, dict[str, str]]] = {
    "data": {
        "init": "look at a shop's files, and write headrace.toml with how to read them",
        "produce": "publish events of a file or a pipe",
        "replay": "publish a historical log, or rebuild state beside the live deployment",
        "subscribe": "print recommendations as they arrive",
        "items": "put, delete and list catalogue items",
        "users": "put, delete and list features and follows of users",
        "rejected": "list, show and redrive rejected events",
    },
    "learning": {
        "train": "train an artifact from a log",
        "evaluate": "compare an artifact with baselines",
        "oracle": "print the window and the list that each user's events must lead to",
    },
    "running": {
        "broker": "start, inspect and stop a local broker",
        "topics": "create and check the topics",
        "acls": "print the rights that each part needs on the broker",
        "up": "run the sequencer and the recommender until Ctrl-C",
        "serve": "answer over HTTP until Ctrl-C, and keep the API keys for it",
        "status": "print lag, members and health of the workers",
        "doctor": "check the installation, the broker, the topics, the artifact and the device",
        "completion": "print a script that completes headrace's commands in a shell",
    },
    # while the stream runs
    "living": {
        "forget": "erase users, with receipts, and prove that nothing is left of them",
        "models": "announce an artifact to the running recommenders, or take it back",
        "rules": "check business rules of lists, put them into force, or take them back",
        "why": "say why an item is in a list of a user, or is not",
    },
    "trials": {
        "demo": "train, replay and make lists on MovieLens-100K, from nothing",
        "drill": "break things on purpose, and count what was lost",
        "bench": "measure headrace beside other programs",
    },
}
COMMANDS: Final = {name: f"tools.commands.{room}.{name}" for room, commands in ROOMS.items() for name in commands}
COMPLETION = "completion"
INTERRUPTED = 130  # 128 + SIGINT, as shells count it


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser with the arguments of one command.

    For ``completion`` it has those of all commands.
    """
    parser = Parser(prog="headrace", description="A Kafka stream of shop events in, fresh recommendations out.")
    parser.add_argument("--version", action=ShowVersion, help="print the version and exit")
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in [each for commands in ROOMS.values() for each in commands.items()]:
        child = sub.add_parser(name, help=summary, description=summary)
        if command in (name, COMPLETION):
            module = importlib.import_module(COMMANDS[name])
            add_common_arguments(child)
            module.add_arguments(child)
        if name == COMPLETION:
            child.set_defaults(completed=parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    That is 0 on success, 2 for bad usage or input, 1 for a failed run, 130 for Ctrl-C. Only this
    user can read the files that the command and its child processes create.
    """
    create_private()
    arguments = list(sys.argv[1:] if argv is None else argv)
    # that bench is a recommender: a reader of items and a model in one process
    set_up_algebra(is_beside_events=arguments[:2] == ["bench", "catalogue"])
    command = next((a for a in arguments if a in COMMANDS), None)
    show_all_uncaught()
    if logging.lastResort is not None:  # it writes records without a handler to standard error
        logging.lastResort.setFormatter(PrintableFormatter())
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # our one line of error says it
    name = f"headrace {command}" if command else "headrace"
    try:
        args = build_parser(command).parse_args(arguments)
        return int(importlib.import_module(COMMANDS[args.command]).run(args))
    except HeadraceError as exc:
        _say(f"{name}: {exc}")
        return exc.exit_code
    except KeyboardInterrupt:
        _say(f"{name}: interrupted")
        return INTERRUPTED


def _say(message: str) -> None:
    """Write an error as one line, however many it was written in."""
    say(" ".join(message.split("\n")))


if __name__ == "__main__":
    sys.exit(main())
