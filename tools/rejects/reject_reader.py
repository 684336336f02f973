"""Reads ``events.rejected``: the rejects, each once, and which of them were redriven.

A redrive marks what it has sent by a record on the same topic (header ``redriven``, value a JSON list of ids), so the mark is as durable
as the reject and outlives it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import msgspec

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.kept_headers import original_headers
from streams.contract.reject_size import SIZE, TRUNCATED
from streams.kafka.topic_reader import read_records
from streams.settings.load import KafkaSettings

#: The key of a mark and the header that makes it one.
MARK_KEY: Final = b"headrace-redrive"
MARK: Final = "redriven"


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """A record of ``events`` that was rejected: why, where it was read, and what it was.

    ``topic``, ``partition``, ``offset`` and ``ts`` are those of the original record; ``headers`` its own. ``size`` is
    that of the value as it was read where only its beginning was kept, else "".
    """

    reason: str
    field: str
    detail: str
    topic: str
    partition: str
    offset: str
    ts: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    size: str = ""

    @property
    def id(self) -> str:
        """Return what names the original record; a repeat of its reject has the same."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.ts}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rejects are asked for; None for any."""

    reason: str | None = None
    field: str | None = None

    def __contains__(self, reject: RejectedEvent) -> bool:
        return self.reason in (None, reject.reason) and self.field in (None, reject.field)


def as_reject(record: ConsumedRecord) -> RejectedEvent | None:
    """Return the reject in a record of ``events.rejected``; None where it is none, as a mark."""
    ours: dict[str, str] = {}
    for name, value in record.headers:
        ours.setdefault(name, (value or b"").decode("utf-8", "replace"))
    if "reason" not in ours:
        return None
    why = (ours["reason"], ours.get("field", ""), ours.get("detail", ""))
    where = (ours.get("topic", ""), ours.get("partition", ""), ours.get("offset", ""), ours.get("ts", ""))
    size = ours.get(SIZE, "") if "value" in ours.get(TRUNCATED, "") else ""
    return RejectedEvent(*why, *where, record.key, record.value, tuple(original_headers(record.headers)), size)


def mark(ids: list[str]) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Return key, value and headers of the record that marks rejects as redriven."""
    return MARK_KEY, msgspec.json.encode(ids), [(MARK, str(len(ids)).encode())]


def marked(record: ConsumedRecord) -> list[str]:
    """Return the ids that a record marks; none where it is no mark."""
    if record.key != MARK_KEY or MARK not in dict(record.headers) or as_reject(record) is not None:
        return []
    try:
        return msgspec.json.decode(record.value or b"", type=list[str])
    except msgspec.DecodeError:
        return []


async def read_marks(kafka: KafkaSettings) -> set[str]:
    """Return the ids of all rejects that were redriven."""
    found: set[str] = set()
    async for record in read_records(kafka, kafka.topic("events.rejected")):
        found.update(marked(record))
    return found


async def read_rejects(kafka: KafkaSettings, wanted: Wanted) -> AsyncIterator[RejectedEvent]:
    """Yield the rejects that are asked for, oldest first in each partition, each original record once."""
    seen: set[str] = set()
    async for record in read_records(kafka, kafka.topic("events.rejected")):
        reject = as_reject(record)
        if reject is not None and reject in wanted and reject.id not in seen:
            seen.add(reject.id)
            yield reject
