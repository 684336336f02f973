"""``headrace users put|delete|list`` changes and lists the records on the topic ``users``."""

from __future__ import annotations

import argparse

from streams.settings.load import load_settings
from tools.catalogue import entries
from tools.catalogue.shop import users_command
from tools.files.entries.sources import UserSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    entries.add_arguments(parser, UserSource, "user", "features and follows of users")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code.

    It is 1 where a row was refused or a listed user is not there.
    """
    settings = load_settings(broker=args.broker)
    return entries.run(args, settings, users_command(settings))
