"""Reads the catalogue on the topic ``items`` as a recommender reads it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from streams.contract.item_records import ItemDecoder
from streams.contract.records import Item
from streams.errors import RecordError, TopicError
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings
from tools.cli import say

SHOWN_LEFT_OUT = 100


async def item_changes(settings: KafkaSettings) -> AsyncIterator[tuple[str, Item | None]]:
    """Yield each entry of ``items`` by its id, None where it is removed; none without the topic. What is no entry is said and left out."""
    decoder, n_left_out = ItemDecoder(), 0
    with contextlib.suppress(TopicError):
        async for record in read_records(settings, settings.topic("items")):
            try:
                change = decoder.decode(record)
            except RecordError as exc:
                n_left_out += 1
                if n_left_out <= SHOWN_LEFT_OUT:
                    _warn(f"items: offset {record.offset} of partition {record.partition} left out: {exc}")
                continue
            yield change
    if n_left_out > SHOWN_LEFT_OUT:
        _warn(f"items: {n_left_out} records left out in all")


def _warn(message: str) -> None:
    say(message, style="yellow")


async def read_titles(settings: KafkaSettings) -> dict[str, str]:
    """Return the titles of the catalogue on ``items``; empty where there is none, for then ids are shown."""
    titles: dict[str, str] = {}
    async for item_id, item in item_changes(settings):
        if item is None:
            titles.pop(item_id, None)
        else:
            titles[item_id] = item.title
    return titles
