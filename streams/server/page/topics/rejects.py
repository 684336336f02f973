"""Rejected events on the page: counted by reason, the newest with their bytes, and sent again."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Protocol

from streams.contract.marks import Marks
from streams.contract.records import REASONS
from streams.forgetting.read_marks import read_marks as forgotten_users
from streams.formats.decoders import open_event_decoder
from streams.kafka.publisher import Publisher
from streams.kafka.topic_reader import read_records
from streams.printable import printable
from streams.rejects.redrive import Redriver, Tally
from streams.rejects.reject_reader import RejectedEvent, Wanted, as_reject, marked, read_marks, read_rejects
from streams.settings.load import Settings

#: Newest rejects that are shown, and bytes of each.
SHOWN: Final = 20
SHOWN_BYTES: Final = 512
#: A look ends at this many records or seconds, and says so.
MAX_RECORDS: Final = 200_000
MAX_S: Final = 10.0
#: For how long a look serves further visitors.
FRESH_S: Final = 2.0
ROW: Final = 16


@dataclass
class RejectsLook:
    """What is on ``events.rejected``.

    Parameters
    ----------
    counts, redriven : by reason and field
    newest : the newest first
    is_whole : whether all of the topic was read
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    redriven: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest: list[RejectedEvent] = field(default_factory=list)
    is_whole: bool = True

    @property
    def rows(self) -> list[tuple[str, str, int, int]]:
        """Reason, field, rejects, and how many of them were redriven; the most first."""
        return [(reason, name, n, self.redriven[reason, name]) for (reason, name), n in self.counts.most_common()]


class Rejects(Protocol):
    """Looks at rejects, and sends them again."""

    async def look(self, reason: str | None) -> RejectsLook:
        """Return what is on the topic; the newest are those of a reason."""
        ...

    async def redrive(self, reason: str | None, *, is_sent: bool) -> Tally:
        """Send the rejects of a reason again, or only count what would be sent."""
        ...


class TopicRejects:
    """Reads and redrives on the broker, one thing at a time. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one = asyncio.Lock()
        self._looks: dict[str | None, tuple[float, RejectsLook]] = {}

    async def look(self, reason: str | None) -> RejectsLook:
        """Return what is on the topic now, or was a moment ago."""
        async with self._one:
            until_s, found = self._looks.get(reason, (0.0, None))
            if found is None or time.monotonic() > until_s:
                found = await self._looked(reason)
                self._looks = {reason: (time.monotonic() + FRESH_S, found)}
            return found

    async def _looked(self, reason: str | None) -> RejectsLook:
        kafka, look = self._settings.kafka, RejectsLook()
        why: dict[str, tuple[str, str]] = {}
        done: set[str] = set()
        newest: list[tuple[int, int, RejectedEvent]] = []
        n, deadline = 0, time.monotonic() + MAX_S
        async for record in read_records(kafka, kafka.topic("events.rejected"), deadline=deadline):
            n += 1
            if n > MAX_RECORDS:
                break
            done.update(marked(record))
            reject = as_reject(record)
            if reject is None or reject.id in why:
                continue
            why[reject.id] = reject.reason, reject.field
            if reason in (None, reject.reason):
                ts = int(reject.ts) if reject.ts.isdecimal() else 0
                (heapq.heappush if len(newest) < SHOWN else heapq.heappushpop)(newest, (ts, n, reject))
        look.is_whole = n <= MAX_RECORDS and time.monotonic() < deadline
        look.counts.update(why.values())
        look.redriven.update(found for reject_id, found in why.items() if reject_id in done)
        look.newest = [reject for _ts, _n, reject in sorted(newest, key=lambda one: one[:2], reverse=True)]
        return look

    async def redrive(self, reason: str | None, *, is_sent: bool) -> Tally:
        """Send the rejects of a reason again, each once, or only count what would be sent."""
        kafka, sequencer = self._settings.kafka, self._settings.sequencer
        decoder = open_event_decoder(kafka, sequencer.max_future_skew_ms, sequencer.types())
        async with self._one:
            self._looks.clear()
            marks: Marks = await forgotten_users(kafka)
            done = await read_marks(kafka)
            if not is_sent:
                return await _redriven(Redriver(kafka, decoder, None, None, marks), self._settings, reason, done)
            async with Publisher(kafka) as publisher:
                return await _redriven(Redriver(kafka, decoder, None, publisher, marks), self._settings, reason, done)


async def _redriven(redriver: Redriver, settings: Settings, reason: str | None, done: set[str]) -> Tally:
    await redriver.redrive(read_rejects(settings.kafka, Wanted(reason)), done)
    return redriver.tally


def known_reason(text: str) -> str | None:
    """Return a reason of the contract; None for all, and for what is none."""
    return text if text in REASONS else None


def as_bytes(data: bytes | None) -> list[tuple[str, str, str]]:
    """Return the first bytes of a value as rows: offset, hexadecimal, and printable text."""
    shown = (data or b"")[:SHOWN_BYTES]
    return [
        (f"{start:04x}", shown[start : start + ROW].hex(" "), _text(shown[start : start + ROW]))
        for start in range(0, len(shown), ROW)
    ]


def _text(data: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def as_line(data: bytes | str | None) -> str:
    """Return bytes as one printable line."""
    if data is None:
        return ""
    return printable(data if isinstance(data, str) else data.decode("utf-8", "backslashreplace"))
