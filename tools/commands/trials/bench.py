"""``headrace bench``: ratios against peers, measured side by side in one run."""

from __future__ import annotations

import argparse

from tools.bench.subject import SUBJECTS, load_subject
from tools.cli import add_common_arguments, emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each subject."""
    subjects = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, summary in SUBJECTS.items():
        child = subjects.add_parser(name, help=summary, description=summary)
        add_common_arguments(child)
        load_subject(name).add_arguments(child)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that ``args.what`` names."""
    subject = load_subject(args.what)
    result = subject.run(subject.options_of(args))
    emit(args, result, subject.as_table(result))
    return 0
