"""Events as a shop publishes them, one by one.

With them a demo measures how fresh live lists are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from streams.contract.pseudonyms import open_pseudonyms
from streams.contract.records import encode
from streams.kafka.publisher import Publisher
from streams.settings.load import KafkaSettings
from tools.cli import progress
from tools.files.logs.log_rows import LogRow
from tools.replay.identity import to_event, with_pseudonym

#: The name of these events' run on the wire.
LIVE_RUN: Final = "demo-live"
#: Events that a demo keeps back from the backlog, and the seconds between two of them.
LIVE_EVENTS: Final = 40
LIVE_GAP_S: Final = 0.25
#: Of a short log, at most this share of the replayed events is kept back.
LIVE_SHARE: Final = 0.25


def n_backlog(times: Sequence[int]) -> int:
    """Return how many of the replayed events come as a backlog; the others come live after it.

    The cut lies between two times, because a replay ends at a time. Where all events have one
    time, all are backlog.

    Parameters
    ----------
    times : of the replayed events, rising
    """
    n_live = min(LIVE_EVENTS, int(LIVE_SHARE * len(times)))
    at = len(times) - n_live
    cuts = [i for i in range(1, len(times)) if times[i] != times[i - 1]]
    return next((i for i in cuts if i >= at), cuts[-1] if cuts else len(times))


async def publish_live(settings: KafkaSettings, rows: Sequence[LogRow], gap_s: float = LIVE_GAP_S) -> None:
    """Publish rows of a log one by one, each with its own time, and wait a little after each."""
    topic, pseudonyms = settings.topic("events"), open_pseudonyms(settings)
    with progress() as bar:
        task = bar.add_task("live events", total=len(rows), unit="events")
        async with Publisher(settings) as publisher:
            for seq, found in enumerate(rows):
                row = with_pseudonym(found, pseudonyms)
                await publisher.publish(topic, row.user_id.encode(), encode(to_event(row, LIVE_RUN, seq)))
                await publisher.flush()
                bar.update(task, completed=seq + 1)
                await asyncio.sleep(gap_s)
