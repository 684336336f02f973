"""Reads a catalogue, or users, from their topic or from files, as records of the contract."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from streams.contract.item_records import EntryDecoder, UserDecoder
from streams.contract.records import Item, User
from streams.errors import RecordError, TopicError
from streams.formats.decoders import open_item_decoder
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings
from tools.cli import say
from tools.files.entries.sources import CatalogueSource
from tools.files.refused_rows import RefusedRows

EntryT = TypeVar("EntryT", Item, User)
SHOWN_LEFT_OUT: Final = 100


@dataclass(frozen=True)
class EntryTopic(Generic[EntryT]):
    """A compacted topic whose records are entries under their id.

    Parameters
    ----------
    name : the topic in the contract
    open_decoder : gives what decides which of its records are entries
    """

    name: str
    open_decoder: Callable[[KafkaSettings], EntryDecoder[EntryT]]

    async def changes(self, settings: KafkaSettings) -> AsyncIterator[tuple[str, EntryT | None]]:
        """Yield each change: an id, and the entry or None where it is removed.

        A record that is not a valid entry is left out and shown. Without the topic there are no
        changes.
        """
        async for _, entry_id, entry in self.dated_changes(settings):
            yield entry_id, entry

    async def dated_changes(self, settings: KafkaSettings) -> AsyncIterator[tuple[int, str, EntryT | None]]:
        """Yield what :meth:`changes` yields, each with its record's timestamp, in ms since 1970."""
        decoder, refused = self.open_decoder(settings), RefusedRows("records left out", SHOWN_LEFT_OUT)
        with contextlib.suppress(TopicError):
            async for record in read_records(settings, settings.topic(self.name)):
                try:
                    entry_id, entry = decoder.decode(record)
                except RecordError as exc:
                    place = f"{self.name}: offset {record.offset} of partition {record.partition} left out"
                    refused.refuse(place, exc)
                    continue
                yield record.timestamp, entry_id, entry
        if refused.n > SHOWN_LEFT_OUT:
            say(f"{self.name}: {refused.n} records left out in all", style="yellow")

    async def read(self, settings: KafkaSettings) -> dict[str, EntryT]:
        """Return the entries by id, in the order of first appearance."""
        entries: dict[str, EntryT] = {}
        async for entry_id, entry in self.changes(settings):
            if entry is None:
                entries.pop(entry_id, None)
            else:
                entries[entry_id] = entry
        return entries


ITEMS: Final = EntryTopic("items", open_item_decoder)
USERS: Final = EntryTopic("users", lambda _settings: UserDecoder())


async def read_catalogue(settings: KafkaSettings) -> list[Item]:
    """Return the catalogue on ``items``, in the order of first appearance."""
    return list((await ITEMS.read(settings)).values())


async def read_titles(settings: KafkaSettings) -> dict[str, str]:
    """Return the titles of the catalogue on ``items`` by id; empty without a catalogue."""
    titles: dict[str, str] = {}
    async for item_id, item in ITEMS.changes(settings):
        if item is None:
            titles.pop(item_id, None)
        else:
            titles[item_id] = item.title
    return titles


def items_of_file(source: CatalogueSource, refused: RefusedRows | None = None) -> Iterator[Item]:
    """Yield the items of files that keep the contract, in the order of their first rows."""
    yield from source.reader(refused or RefusedRows("refused items")).read().values()
