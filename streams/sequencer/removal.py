"""Removes windows: of users without events, and of those who are to be forgotten.

A tombstone keeps its order with the windows of the batches in flight, in the topic and in the
store. The partition's fenced writer writes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from faust.types import TP

from streams.contract.kafka_records import OutRecord
from streams.contract.marks import is_former, later_part
from streams.contract.records import encode
from streams.contract.windows import decode_window
from streams.errors import RecordError
from streams.forgetting.requests import Request
from streams.kafka.batch_writer import delivered
from streams.runtime.app import StreamApp
from streams.state.table import BatchTable


class Removal:
    """Writes tombstones, and windows after them. For one event loop.

    Parameters
    ----------
    finishing : the last batch or removal of each partition of ``events``
    """

    def __init__(self, app: StreamApp, windows: BatchTable, finishing: dict[TP, asyncio.Task[Any]]) -> None:
        self._app = app
        self._windows = windows
        self._finishing = finishing
        self._n_revocations = 0

    def note_revocation(self) -> None:
        """Note that partitions were taken away: the rest is the work of their next owners."""
        self._n_revocations += 1

    async def begin(self, partition: int, values: Mapping[bytes, bytes | None]) -> asyncio.Task[bool] | None:
        """Stage values and hand them to the writer, each after a tombstone.

        Nothing may be awaited between the reading of the windows and this call, unless the caller
        keeps batches out. The next batches then see the values.

        Returns
        -------
        a task that ends when the broker and the store have them, with whether they do; None where
        they could not be written
        """
        app, n_revocations = self._app, self._n_revocations
        self._windows.stage(partition, values)
        records = [OutRecord(key, None) for key in values]
        records += [OutRecord(key, value) for key, value in values.items() if value is not None]
        try:
            futures = await app.writer.send(self._windows.changelog_topic.get_topic_name(), partition, records)
        except Exception as exc:
            await self._fail(exc, n_revocations)
            return None
        tp = TP(app.settings.kafka.topic("events"), partition)
        job = asyncio.ensure_future(self._finish(partition, values, futures, self._finishing.get(tp), n_revocations))
        self._finishing[tp] = job
        return job

    async def _finish(
        self,
        partition: int,
        values: Mapping[bytes, bytes | None],
        futures: list[asyncio.Future[Any]],
        previous: asyncio.Task[Any] | None,
        n_revocations: int,
    ) -> bool:
        try:
            if previous is not None:
                await previous
            await delivered(futures)
        except Exception as exc:
            await self._fail(exc, n_revocations)
            return False
        if n_revocations != self._n_revocations:
            return False
        # Without an offset: an earlier batch may still await its delivery.
        self._windows.store(partition, values, None)
        return True

    async def _fail(self, exc: Exception, n_revocations: int) -> None:
        """Stop the worker, unless the partition was taken away: its next owner sees to it then."""
        if n_revocations == self._n_revocations:
            await self._app.crash(exc)


class WindowEraser:
    """Erases the windows of former lives.

    Parameters
    ----------
    turn : whoever holds it reads windows and hands what follows to the writer
    """

    def __init__(self, app: StreamApp, windows: BatchTable, removal: Removal, turn: asyncio.Lock) -> None:
        self._app = app
        self._windows = windows
        self._removal = removal
        self._turn = turn

    def can_erase(self, partition: int) -> bool:
        """Return whether the state of a partition is recovered, and this worker owns it."""
        return self._app.has_state(partition)

    async def erase(self, partition: int, requests: Sequence[Request]) -> dict[bytes, str]:
        """Write tombstones, and then the windows of events after the requests; scrub the store."""
        async with self._turn:
            found: dict[bytes, bytes] = {}
            values: dict[bytes, bytes | None] = {}
            for request in requests:
                value = self._windows.read(partition, request.key)
                if value is not None and is_former(value, request.mark):
                    found[request.key] = value
                    later = later_part(value, request.mark)
                    values[request.key] = None if later is None else encode(later)
            job = await self._removal.begin(partition, values) if values else None
        if values and (job is None or not await asyncio.shield(job)):
            return {}  # the partition was taken away, or the worker stops
        # The process that removed the window of a young request may have died before it scrubbed.
        now_ms = int(time.time() * 1000)
        unsure = [request.key for request in requests if request.key in found or request.is_young(now_ms)]
        await asyncio.to_thread(self._windows.scrub, partition, unsure)
        topic = self._windows.changelog_topic.get_topic_name()
        return {key: _told(value, values[key], f"{topic}-{partition}") for key, value in found.items()}


def _told(before: bytes, after: bytes | None, place: str) -> str:
    """Return what was erased, in words."""
    kept = 0 if after is None else len(decode_window(after).items)
    try:
        n_gone = len(decode_window(before).items) - kept
    except RecordError:
        return f"a damaged window erased from {place}"
    later = f"; {kept} later events stay" if kept else ""
    return f"a window of {n_gone} events erased from {place} and the store{later}"
