"""The events of ``headrace bench sequencer``: in time order, with the faults that every stream has.

Of a hundred events two are repeats of an earlier one, one comes up to a minute late, one comes two
days late, beyond the allowed lateness, and one of two hundred breaks the contract. So each program
has to recognise repeats, to insert, to refuse and to count.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from models.base.vocabulary import EVENT_TYPES
from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, Event, encode
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.publisher import KeyHomes
from streams.kafka.topics import create_topics
from streams.settings.load import Settings

FILL_CHUNK: Final = 20_000
START_MS: Final = 1_700_000_000_000
STEP_MS: Final = 10
REPEAT_SHARE: Final = 0.02
OLDER_SHARE: Final = 0.01
LATE_SHARE: Final = 0.01
BAD_SHARE: Final = 0.005
#: A repeat is one of so many events before it.
REPEAT_REACH: Final = 2_000
OLDER_MS: Final = 60_000
LATE_MS: Final = 2 * 86_400_000


def records(n_events: int, n_users: int, seed: int) -> Iterator[OutRecord]:
    """Yield seeded events; a few users and items have most of them, as in a shop."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
    last: deque[OutRecord] = deque(maxlen=REPEAT_REACH)
    for i in range(n_events):
        fault = rng.random()
        if fault < REPEAT_SHARE and last:
            yield last[rng.randrange(len(last))]
            continue
        fault -= REPEAT_SHARE
        event = _event(i, n_users, rng)
        if 0 <= fault < OLDER_SHARE:
            event.ts -= rng.randrange(1, OLDER_MS)
        elif OLDER_SHARE <= fault < OLDER_SHARE + LATE_SHARE:
            event.ts -= LATE_MS
        value = encode(event)
        if 0 <= fault - OLDER_SHARE - LATE_SHARE < BAD_SHARE:
            value = value[:-4]
        last.append(OutRecord(event.user_id.encode(), value))
        yield last[-1]


def plain_records(n_events: int, n_users: int, seed: int) -> Iterator[OutRecord]:
    """Yield the same events as JSON, without faults: the obvious agent knows none."""
    rng = random.Random(seed)  # noqa: S311 - as above
    for i in range(n_events):
        event = _event(i, n_users, rng)
        yield OutRecord(event.user_id.encode(), encode(event, as_json=True))


def _event(i: int, n_users: int, rng: random.Random) -> Event:
    user = int(n_users * rng.random() ** 2)
    item = int(10_000 * rng.random() ** 2)
    return Event(VERSION, f"e{i:09d}", f"u{user}", f"i{item}", EVENT_TYPES[i % 3], START_MS + STEP_MS * i)


async def fill(settings: Settings, events: Iterator[OutRecord]) -> None:
    """Create the topics under the settings' prefix and publish to ``events``."""
    await create_topics(settings.kafka)
    writer = BatchWriter(settings.kafka)
    await writer.start()
    home = KeyHomes(settings.kafka.partitions, settings.kafka.partitioner)
    waiting: dict[int, list[OutRecord]] = {p: [] for p in range(settings.kafka.partitions)}
    futures: list[asyncio.Future[Any]] = []

    async def send() -> None:
        nonlocal futures
        for partition, held in waiting.items():
            futures += await writer.send(settings.kafka.topic("events"), partition, held)
            waiting[partition] = []

    try:
        for i, record in enumerate(events, 1):
            assert record.key is not None
            waiting[home[record.key]].append(record)
            if i % FILL_CHUNK == 0:
                await send()
        await send()
        await delivered(futures)
    finally:
        await writer.stop()
