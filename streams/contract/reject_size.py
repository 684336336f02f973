"""What a reject keeps of a record that does not fit on ``events.rejected``.

A record of many megabytes passes the broker's limit on ``events`` when it compresses well, for Kafka's limits count compressed bytes.
Nobody must count on it to compress as well a second time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.contract.kafka_records import BATCH_OVERHEAD_BYTES
from streams.contract.record_size import true_size
from streams.contract.records import MAX_RECORD_BYTES

#: What the headers of a reject take at most, :data:`~streams.contract.kept_headers.MAX_KEPT_BYTES` of the record's own included.
HEADERS_BYTES: Final = 32_768
#: The largest record that ``events`` takes (Kafka's default limit is 1,048,588 bytes) must fit on ``events.rejected`` with the
#: reject headers around it; else one such record would stop the sequencer for good.
REJECTED_MAX_BYTES: Final = 2 << 20
#: Key and value of at most this many bytes are kept whole: more than Kafka's default limit lets in uncompressed.
MAX_WHOLE_BYTES: Final = REJECTED_MAX_BYTES - BATCH_OVERHEAD_BYTES - HEADERS_BYTES
#: What is left of a key or value that is cut: as much as a value that keeps the contract may have.
CUT_BYTES: Final = MAX_RECORD_BYTES

#: Header of a reject that is cut: which parts are, ``value``, ``key`` or ``key,value``; absent where the reject is whole.
TRUNCATED: Final = "truncated"
#: Headers of a reject that is cut: the bytes of its value and of its key as they were read, decimal.
SIZE: Final = "size"
KEY_SIZE: Final = "key-size"


class Kept(NamedTuple):
    """What is kept of a record: its key and value, cut or whole, and the headers that say so."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def kept(key: bytes | None, value: bytes | None) -> Kept:
    """Return what a reject keeps of a record: all of it where it fits, else the beginnings and the true sizes."""
    key_size, value_size = true_size(key), true_size(value)
    if key_size + value_size <= MAX_WHOLE_BYTES:
        return Kept(key, value, [])
    cut = [name for name, size in (("key", key_size), ("value", value_size)) if size > CUT_BYTES]
    headers = {TRUNCATED: ",".join(cut), SIZE: str(value_size), KEY_SIZE: str(key_size)}
    return Kept(
        None if key is None else key[:CUT_BYTES],
        None if value is None else value[:CUT_BYTES],
        [(name, text.encode()) for name, text in headers.items()],
    )
