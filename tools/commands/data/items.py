"""``headrace items put|delete|list``: changes and lists the catalogue on the topic ``items``."""

from __future__ import annotations

import argparse

from streams.settings.load import load_settings
from tools.catalogue import entries
from tools.catalogue.shop import items_command
from tools.files.entries.sources import CatalogueSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    entries.add_arguments(parser, CatalogueSource, "item", "the catalogue")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code.

    It is 1 where a row was refused or a listed item is not there.
    """
    return entries.run(args, load_settings(broker=args.broker), items_command())
