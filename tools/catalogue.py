"""Reads a catalogue from the topic ``items`` or from a file, as items of the contract."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import msgspec

from streams.contract.records import VERSION, Item, RecordDecoder
from streams.errors import RecordError, TopicError
from streams.formats.decoders import open_item_decoder
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings
from tools.cli import say
from tools.files.file_options import shown_paths
from tools.files.json_lines import numbered_lines
from tools.files.log_source import CatalogueSource
from tools.files.refused_rows import RefusedRows

SHOWN_LEFT_OUT: Final = 100
JSON_LINES: Final = (".jsonl", ".ndjson", ".json")


async def item_changes(settings: KafkaSettings) -> AsyncIterator[tuple[str, Item | None]]:
    """Yield each change of ``items``: an id, and the item or None where it is removed.

    A record that is not a valid entry is left out and shown. Without the topic there are no
    changes.
    """
    decoder, refused = open_item_decoder(settings), RefusedRows("records left out", SHOWN_LEFT_OUT)
    with contextlib.suppress(TopicError):
        async for record in read_records(settings, settings.topic("items")):
            try:
                change = decoder.decode(record)
            except RecordError as exc:
                refused.refuse(f"items: offset {record.offset} of partition {record.partition} left out", exc)
                continue
            yield change
    if refused.n > SHOWN_LEFT_OUT:
        say(f"items: {refused.n} records left out in all", style="yellow")


async def read_catalogue(settings: KafkaSettings) -> list[Item]:
    """Return the catalogue on ``items``, in the order of first appearance."""
    items: dict[str, Item] = {}
    async for item_id, item in item_changes(settings):
        if item is None:
            items.pop(item_id, None)
        else:
            items[item_id] = item
    return list(items.values())


async def read_titles(settings: KafkaSettings) -> dict[str, str]:
    """Return the titles of the catalogue on ``items`` by id; empty without a catalogue."""
    titles: dict[str, str] = {}
    async for item_id, item in item_changes(settings):
        if item is None:
            titles.pop(item_id, None)
        else:
            titles[item_id] = item.title
    return titles


def items_of_file(source: CatalogueSource, refused: RefusedRows | None = None) -> Iterator[Item]:
    """Yield the items of a file that keep the contract, in the file's order; an id may come twice.

    JSON lines without columns are read as they are; every other file as
    :func:`~tools.files.item_reader.read_items` reads it.
    """
    refused = refused or RefusedRows("refused items")
    decoder = RecordDecoder(Item)
    for place, entry in _entries(source):
        try:
            fields = entry if isinstance(entry, dict) else msgspec.json.decode(entry, type=dict[str, Any])
            yield decoder.decode(msgspec.json.encode({"v": VERSION, **fields}))
        except (RecordError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            refused.refuse(place, exc)


def _entries(source: CatalogueSource) -> Iterator[tuple[str, Any]]:
    """Yield where each entry stands, and its fields or its line; nothing is checked."""
    if not source.files.columns and all(path.suffix in JSON_LINES for path in source.paths):
        for path in source.paths:
            with path.open("rb") as file:
                for number, line in numbered_lines(file):
                    yield f"{path.name} line {number}", line
        return
    for item_id, fields in source.read().items():
        yield f"{shown_paths(source.paths)} item {item_id}", {"item_id": item_id, **fields}
