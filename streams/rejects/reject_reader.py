"""Reads ``events.rejected``: each reject once, and which of them were redriven.

A redrive marks the rejects that it has sent with a record on the same topic: the header
``redriven``, and as value a JSON list of ids. So the mark is as durable as the reject, and outlives
it.
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

#: The key of a mark, and its header.
MARK_KEY: Final = b"headrace-redrive"
MARK: Final = "redriven"


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """A rejected record of ``events``: why it was rejected, where it was read, and its content.

    Parameters
    ----------
    reason, field, detail : why it was rejected
    topic, partition, offset, ts : place and time of the original record
    key, value, headers : those of the original record
    size : bytes of the original value if only its beginning was kept, else ""
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
        """Return the id of the original record; a repeated reject has the same id."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.ts}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rejects the user wants; None for any."""

    reason: str | None = None
    field: str | None = None

    def __contains__(self, reject: RejectedEvent) -> bool:
        return self.reason in (None, reject.reason) and self.field in (None, reject.field)


def as_reject(record: ConsumedRecord) -> RejectedEvent | None:
    """Return the reject in a record of ``events.rejected``; None for another record, such as a
    mark.
    """
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
    """Return the ids that a record marks; none if it is not a mark."""
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
    """Yield the wanted rejects, oldest first in each partition, each original record once."""
    seen: set[str] = set()
    async for record in read_records(kafka, kafka.topic("events.rejected")):
        reject = as_reject(record)
        if reject is not None and reject in wanted and reject.id not in seen:
            seen.add(reject.id)
            yield reject
