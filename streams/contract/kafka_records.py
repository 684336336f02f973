"""Records of Kafka as headrace reads and writes them, whatever they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes]]

#: More than a batch of one record adds to the bytes that :func:`record_bytes` counts.
BATCH_OVERHEAD_BYTES: Final = 1_024


class OutRecord(NamedTuple):
    """One record to write: key, value (None for a tombstone) and headers."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def record_bytes(record: OutRecord) -> int:
    """Return the bytes of key, value and headers."""
    size = len(record.key or b"") + len(record.value or b"")
    return size + sum(len(name.encode()) + len(value) for name, value in record.headers) if record.headers else size


class ConsumedRecord(Protocol):
    """What this package reads of a record as aiokafka delivers it."""

    @property
    def topic(self) -> str: ...  # noqa: D102 - as in Kafka

    @property
    def partition(self) -> int: ...  # noqa: D102 - as in Kafka

    @property
    def offset(self) -> int: ...  # noqa: D102 - as in Kafka

    @property
    def timestamp(self) -> int: ...  # noqa: D102 - as in Kafka

    @property
    def key(self) -> bytes | None: ...  # noqa: D102 - as in Kafka

    @property
    def value(self) -> bytes | None: ...  # noqa: D102 - as in Kafka

    @property
    def headers(self) -> Headers: ...  # noqa: D102 - as in Kafka
