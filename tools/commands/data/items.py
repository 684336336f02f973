"""``headrace items put|delete|list``: changes and lists the catalogue on the topic ``items``."""

from __future__ import annotations

import argparse

from streams.formats.decoders import refuse_foreign
from streams.settings.load import Settings, load_settings
from tools.catalogue import entries
from tools.catalogue.items_topic import ITEMS
from tools.files.entries.sources import CatalogueSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    entries.add_arguments(parser, CatalogueSource, "item", "the catalogue")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where a row was refused or a listed item is not there."""
    command = entries.EntryCommand("item", ITEMS, CatalogueSource, _publish, lambda item: [item.title])
    return entries.run(args, load_settings(broker=args.broker), command)


async def _publish(settings: Settings, records: entries.Records) -> int:
    """Publish records by item id; return how many were delivered."""
    refuse_foreign(settings.kafka, "items")
    return await entries.publish(settings, "items", records)
