"""Replays a log: orders its rows, publishes the checked events, and keeps a checkpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Protocol

from streams.contract.pseudonyms import open_pseudonyms
from streams.contract.records import EventDecoder, encode
from streams.errors import InputError, RecordError
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.permissions import prepare
from streams.kafka.publisher import Publisher
from streams.settings.load import Settings
from tools.cli import progress, say
from tools.files.cells.times import TimeRange
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader, sorted_rows
from tools.files.logs.log_rows import EventRules, LogRow
from tools.files.reading import told_reading
from tools.files.refused_rows import RefusedRows
from tools.replay.checkpoint import Checkpoint
from tools.replay.identity import to_event, with_pseudonym

CHECKPOINT_ROWS: Final = 20_000
CHECKPOINT_S: Final = 2.0


class Sink(Protocol):
    """Where events go: a :class:`~streams.kafka.publisher.Publisher`, or a list in tests."""

    async def publish(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take a record."""

    async def flush(self) -> None:
        """Wait for the delivery of all records taken."""


@dataclass
class Tally:
    """What a replay did with the rows of a log: each row is sent, skipped or refused."""

    sent: int = 0
    skipped: int = 0
    first_ts: int | None = None
    last_ts: int | None = None
    refused: RefusedRows = field(default_factory=RefusedRows)

    @property
    def read(self) -> int:
        """Return the number of rows read."""
        return self.sent + self.skipped + self.refused.n


class Pace:
    """Paces events ``speed`` times as fast as they happened; None means as fast as possible."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._start: tuple[int, float] | None = None

    def delay_s(self, ts_ms: int) -> float:
        """Return how long to wait before the event of this time, in seconds."""
        if self._speed is None:
            return 0.0
        if self._start is None:
            self._start = (ts_ms, time.monotonic())
        first_ts, began = self._start
        return max(0.0, began + (ts_ms - first_ts) / 1000 / self._speed - time.monotonic())


class Replay:
    """Publishes ordered rows and keeps the checkpoint.

    Parameters
    ----------
    run : the name of the replay on the wire
    checkpoint : the file
    times : which rows are published
    done : where an earlier replay of this run ended; its rows are skipped
    """

    def __init__(
        self, settings: Settings, run: str, checkpoint: Path, times: TimeRange, done: Checkpoint | None
    ) -> None:
        self.tally = Tally()
        self._topic = settings.kafka.topic("events")
        self._partitioner = settings.kafka.partitioner
        self._pseudonyms = open_pseudonyms(settings.kafka)
        self._decoder = EventDecoder(settings.sequencer.max_future_skew_ms, settings.sequencer.types())
        self._run = run
        self._path = checkpoint
        self._times = times
        self._done = done.seq if done else -1
        self._sent_before = done.sent if done else 0
        self._taken = self._done
        self._saved_at = time.monotonic()
        self._unsaved = 0

    async def publish(self, rows: Iterable[LogRow], sink: Sink, pace: Pace, on_row: Any = None) -> None:
        """Publish all rows. However it ends, published rows are delivered and in the checkpoint."""
        try:
            await self._publish(rows, sink, pace, on_row or (lambda n: None))
        finally:
            await self._save(sink)

    async def _publish(self, rows: Iterable[LogRow], sink: Sink, pace: Pace, on_row: Any) -> None:
        seq = -1
        for n, row in enumerate(rows):
            if n % 1_000 == 0:
                on_row(n)
                await asyncio.sleep(0)  # lets Ctrl-C act, also where all rows are skipped
            if row.ts_ms not in self._times:
                self.tally.skipped += 1
                continue
            seq += 1
            if seq <= self._done:
                self.tally.skipped += 1
                continue
            delay_s = pace.delay_s(row.ts_ms)
            if self._unsaved >= CHECKPOINT_ROWS or delay_s + time.monotonic() - self._saved_at > CHECKPOINT_S:
                await self._save(sink)
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            await self._publish_row(row, seq, sink)

    async def _publish_row(self, row: LogRow, seq: int, sink: Sink) -> None:
        # first, because the event id is derived from it
        row = with_pseudonym(row, self._pseudonyms)
        value = encode(to_event(row, self._run, seq))
        key = row.user_id.encode()
        try:
            self._decoder.decode_event(key, value, int(time.time() * 1000))
        except RecordError as exc:
            self.tally.refused.refuse(f"line {row.line}", exc)
            self.tally.refused.check(self.tally.sent + self.tally.refused.n, f"run {self._run}")
        else:
            await sink.publish(self._topic, key, value)
            self.tally.sent += 1
            self.tally.first_ts = row.ts_ms if self.tally.first_ts is None else self.tally.first_ts
            self.tally.last_ts = row.ts_ms
        self._taken = seq
        self._unsaved += 1

    async def _save(self, sink: Sink) -> None:
        await sink.flush()
        Checkpoint(self._run, self._taken, self._sent_before + self.tally.sent, self._partitioner).save(self._path)
        self._saved_at = time.monotonic()
        self._unsaved = 0


def drive(
    source: LogSource,
    settings: Settings,
    replay: Replay,
    pace: Pace,
    ready: Callable[[], None] = lambda: None,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Read and order the log, then publish it.

    The log is read outside the event loop, so that Ctrl-C acts at once.

    Parameters
    ----------
    ready : called once the first good row is read, before the rest of a log that may be long
    before : called once the log has been read, before the first event is published

    Raises
    ------
    InputError
        When the log cannot be read, or no row keeps the contract.
    """
    reader = LogReader(source, replay.tally.refused, EventRules.of(settings))
    with progress() as bar:
        rows = sorted_rows(_after_first(reader, ready))
        with told_reading(bar, "reading and ordering", source.paths):
            first = next(rows, None)
        if first is None:
            raise InputError(f"{source.name}: no rows that can be read")
        before()
        task = bar.add_task("replaying", total=reader.n_good, unit="events")
        everything: Iterator[LogRow] = chain([first], rows)
        asyncio.run(_publish_rows(settings, replay, everything, pace, lambda n: bar.update(task, completed=n)))
        bar.update(task, completed=reader.n_good)
    if replay.tally.sent == 0 and replay.tally.skipped == 0:
        raise InputError(
            f"{source.name}: none of its rows ({replay.tally.read}) keeps the contract; check --columns, --types and --time-unit"
        )


def _after_first(rows: Iterable[LogRow], ready: Callable[[], None]) -> Iterator[LogRow]:
    """Yield the rows; call ``ready`` once there is one."""
    found = iter(rows)
    for first in islice(found, 1):
        ready()
        yield first
    yield from found


async def _publish_rows(settings: Settings, replay: Replay, rows: Iterator[LogRow], pace: Pace, on_row: Any) -> None:
    settings = await with_existing_partitions(settings)
    created = await prepare(settings.kafka, "producer")
    if created:
        say(f"created topics: {', '.join(created)}", style="dim")
    async with Publisher(settings.kafka) as publisher:
        await replay.publish(rows, publisher, pace, on_row)
