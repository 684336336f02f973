"""What a reject keeps of a record that does not fit on ``events.rejected``.

Kafka's limits count compressed bytes, so a record of many megabytes passes the limit of ``events``
when it compresses well. It need not compress as well a second time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.contract.kafka_records import BATCH_OVERHEAD_BYTES
from streams.contract.record_size import true_size
from streams.contract.records import MAX_RECORD_BYTES

#: Most bytes of a reject's headers, the record's own included
#: (:data:`~streams.contract.kept_headers.MAX_KEPT_BYTES`).
HEADERS_BYTES: Final = 32_768
#: The largest record of ``events`` (Kafka's default limit is 1,048,588 bytes) must fit on
#: ``events.rejected`` with its reject headers; else it would stop the sequencer for good.
REJECTED_MAX_BYTES: Final = 2 << 20
#: Most bytes of key and value that are kept whole: more than Kafka's default limit lets in
#: uncompressed.
MAX_WHOLE_BYTES: Final = REJECTED_MAX_BYTES - BATCH_OVERHEAD_BYTES - HEADERS_BYTES
#: Bytes that are kept of a key or value that is cut: the largest value of the contract.
CUT_BYTES: Final = MAX_RECORD_BYTES

#: Header of a cut reject, with the cut parts: ``value``, ``key`` or ``key,value``; absent when
#: the reject is whole.
TRUNCATED: Final = "truncated"
#: Headers of a cut reject: the bytes of the whole value and of the whole key, decimal.
SIZE: Final = "size"
KEY_SIZE: Final = "key-size"


class Kept(NamedTuple):
    """The kept part of a record: key and value, cut or whole, and the headers that say so."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


def kept(key: bytes | None, value: bytes | None) -> Kept:
    """Return what a reject keeps of a record: all that fits, else beginnings and true sizes."""
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
