"""``headrace demo``: the main job from nothing to lists, on a local broker, with a real log.

A person could give every step as a command. :mod:`tools.demo.steps` runs the steps in order and
reads what the apps publish.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from streams.errors import InputError, RunError
from tools.broker.local_broker import ENGINES
from tools.cli import emit, say, say_table
from tools.demo.movielens import DemoLog
from tools.demo.report import as_rows, explanations, find_problem, user_lines
from tools.demo.run import Options, run_demo
from tools.files.entries.sources import CatalogueSource
from tools.files.file_options import FileOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--log", type=Path, metavar="FILE", help="your own events (default: MovieLens-100K)")
    parser.add_argument("--items", type=Path, metavar="FILE", help="the catalogue of --log")
    parser.add_argument("--columns", default="", metavar="MAP", help="columns of --log, as for replay")
    parser.add_argument("--item-columns", default="", metavar="MAP", help="columns of --items, as for items put")
    parser.add_argument(
        "--engine", default="auto", choices=("auto", *ENGINES), help="engine of the local broker (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the training (default: %(default)s)")
    parser.add_argument("--encoder", metavar="NAME", help="text encoder, as for train (default: train's)")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    demo = run_demo(options_of(args))
    items = CatalogueSource((demo.log.items,), FileOptions(demo.log.item_columns)).read()
    titles = {item_id: item["title"] for item_id, item in items.items()}
    for line in user_lines(demo.split.replayed, demo.outcome.lists, titles):
        say(line)
    say_table("headrace demo", as_rows(demo.report))
    for line in explanations(demo.report):
        say(line)
    emit(args, demo.report)
    problem = find_problem(demo.report)
    if problem:
        raise RunError(problem)
    return 0


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options.

    Raises
    ------
    InputError
        For a log without its catalogue, or a catalogue without its log.
    """
    if (args.log is None) != (args.items is None):
        raise InputError("--log and --items go together: name both or neither")
    log = None if args.log is None else DemoLog(args.log, args.items, args.columns, args.item_columns)
    return Options(log, args.broker, args.engine, args.seed, args.encoder)
