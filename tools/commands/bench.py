"""``headrace bench``: ratios against peers, measured side by side in one run."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from tools.cli import add_common_arguments

SUMMARY = "measure against peers, side by side"
#: What can be measured; each has a module ``tools.bench_NAME`` with ``add_arguments`` and ``run``.
SUBJECTS = {
    "sequencer": "events a second, beside bare clients and the obvious agent",
    "encoder": "texts a second, beside a plain loop over batches of 32",
    "factors": "matrix factorisation, beside the implicit package",
    "imputation": "lists with features missing, by what fills them",
    "cold-start": "users and items without events, beside popularity",
    "compression": "bytes and time of windows and lists in each codec of Kafka",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each subject."""
    subjects = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, summary in SUBJECTS.items():
        child = subjects.add_parser(name, help=summary, description=summary)
        add_common_arguments(child)
        _module(name).add_arguments(child)


def run(args: argparse.Namespace) -> int:
    """Run the benchmark named by ``args.what``."""
    code: int = _module(args.what).run(args)
    return code


def _module(subject: str) -> Any:
    return importlib.import_module(f"tools.bench.{subject.replace('-', '_')}")
