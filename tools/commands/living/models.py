"""``headrace models list`` shows which artifacts are announced to the running recommenders."""

from __future__ import annotations

import argparse
import asyncio

import msgspec

from streams.contract.announcements import ModelAnnouncement
from streams.settings.load import load_settings
from tools.announcing.announce import announced
from tools.cli import add_common_arguments, emit, write_row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the announced artifacts")
    add_common_arguments(listing, is_action=True)


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    found = asyncio.run(announced(load_settings(broker=args.broker).kafka, "models", ModelAnnouncement))
    rows = {name: each.record for name, each in sorted(found.items()) if each.record is not None}
    if not args.json:
        for name, record in rows.items():
            write_row([name, record.artifact, record.uri])
    emit(args, {"models": {name: msgspec.to_builtins(record) for name, record in rows.items()}})
    return 0
