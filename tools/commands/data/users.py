"""``headrace users put|delete|list``: changes and lists what is known of users, on the topic ``users``.

With the setting ``user_id_key_file`` the topic holds pseudonyms; the ids in files and on the
command line are the shop's own.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from streams.contract.pseudonyms import Pseudonyms, open_pseudonyms
from streams.contract.records import User
from streams.printable import counted
from streams.settings.load import Settings, load_settings
from tools.catalogue import entries
from tools.catalogue.items_topic import USERS
from tools.files.entries.sources import UserSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    entries.add_arguments(parser, UserSource, "user", "features and follows of users")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where a row was refused or a listed user is not there."""
    settings = load_settings(broker=args.broker)
    pseudonyms = open_pseudonyms(settings.kafka)
    command = entries.EntryCommand("user", USERS, UserSource, _publish, _row)
    if pseudonyms is not None:
        command = replace(command, id_on_wire=pseudonyms.of, on_wire=lambda user: with_pseudonyms(user, pseudonyms))
    return entries.run(args, settings, command)


def _row(user: User) -> list[str]:
    """Return the cells of a user in a list: the features, and how many users they follow."""
    found = (user.features or {}).items()
    features = (f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in found)
    return [", ".join(features), counted(len(user.follows or []), "follow")]


def with_pseudonyms(user: User, pseudonyms: Pseudonyms) -> User:
    """Return a user without raw user ids: neither their own nor those whom they follow."""
    follows = None if user.follows is None else [pseudonyms.of(other) for other in user.follows]
    return User(user.v, pseudonyms.of(user.user_id), user.features, follows)


async def _publish(settings: Settings, records: entries.Records) -> int:
    """Publish records by user id; return how many were delivered."""
    return await entries.publish(settings, "users", records)
