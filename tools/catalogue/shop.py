"""The commands over the topics ``items`` and ``users``, and both of them for all that a shop has.

With the setting ``user_id_key_file`` the topic ``users`` holds pseudonyms; the ids in files and on
the command line are the shop's own.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from streams.contract.item_records import is_shown
from streams.contract.pseudonyms import Pseudonyms, open_pseudonyms
from streams.contract.records import Item, User
from streams.errors import InputError
from streams.formats.decoders import refuse_foreign
from streams.printable import counted
from streams.settings.load import FILE, Settings
from tools.catalogue import entries
from tools.catalogue.items_topic import ITEMS, USERS
from tools.cli import say
from tools.files.entries.sources import CatalogueSource, EntryT, UserSource


def items_command() -> entries.EntryCommand[Item]:
    """Return the command over the catalogue."""
    return entries.EntryCommand("item", ITEMS, CatalogueSource, _publish_items, item_row)


def item_row(item: Item) -> list[str]:
    """Return the cells of an item in a list: its title, and why lists do not show it now."""
    now_ms = int(time.time() * 1_000)
    if is_shown(item, now_ms):
        return [item.title]
    if item.available is False:
        return [item.title, "hidden: not available"]
    if item.expires_ts is not None and item.expires_ts <= now_ms:
        return [item.title, f"hidden: expired {_utc(item.expires_ts)}"]
    return [item.title, f"hidden: published {_utc(item.published_ts or 0)}"]


def _utc(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def users_command(settings: Settings) -> entries.EntryCommand[User]:
    """Return the command over what is known of users."""
    pseudonyms = open_pseudonyms(settings.kafka)
    if pseudonyms is None:
        return entries.EntryCommand("user", USERS, UserSource, _publish_users, _row)
    return entries.EntryCommand(
        "user", USERS, UserSource, _publish_users, _row, pseudonyms.of, lambda user: with_pseudonyms(user, pseudonyms)
    )


def put_sections(settings: Settings) -> int:
    """Publish the catalogue of ``[items]`` and the users of ``[users]``.

    Return how many rows were refused.

    Raises
    ------
    InputError
        When ``headrace.toml`` names neither.
    """
    refused = [_put_section(settings, items_command()), _put_section(settings, users_command(settings))]
    if refused == [None, None]:
        raise InputError(f"--with-catalogue: {FILE} has no paths in [items] or [users]; headrace init writes them")
    return sum(n or 0 for n in refused)


def _put_section(settings: Settings, command: entries.EntryCommand[EntryT]) -> int | None:
    """Publish what a section names; return how many rows were refused.

    None says that the section names nothing.
    """
    source = command.source.of_section()
    if source is None:
        return None
    found = entries.read_files(command, source)
    sent = asyncio.run(entries.count(command.publish(settings, found.records()))) - len(found.removed)
    say(f"{counted(sent, command.what)} sent, {found.refused.n} refused")
    return found.refused.n


def with_pseudonyms(user: User, pseudonyms: Pseudonyms) -> User:
    """Return a user without raw user ids: neither their own nor those whom they follow."""
    follows = None if user.follows is None else [pseudonyms.of(other) for other in user.follows]
    return User(user.v, pseudonyms.of(user.user_id), user.features, follows)


def _row(user: User) -> list[str]:
    """Return the cells of a user in a list: the features, and how many users they follow."""
    found = (user.features or {}).items()
    features = (f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in found)
    return [", ".join(features), counted(len(user.follows or []), "follow")]


async def _publish_items(settings: Settings, records: entries.Records) -> int:
    """Publish records by item id; return how many were delivered."""
    refuse_foreign(settings.kafka, "items")
    return await entries.publish(settings, "items", records)


async def _publish_users(settings: Settings, records: entries.Records) -> int:
    """Publish records by user id; return how many were delivered."""
    return await entries.publish(settings, "users", records)
