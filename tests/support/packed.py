"""Record batches as brokers store them, in each codec and format."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from tests.support.builders import T0

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = {"gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
BASE = 1_000
ROOM = 1 << 30


class Packed(NamedTuple):
    """One record of a batch."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def batch(codec: int, records: Sequence[Packed], base: int = BASE, producer: int = -1) -> bytes:
    """Return a batch of format 2 whose first record is at offset ``base``.

    The batch is of a transaction where ``producer`` is an id.
    """
    builder: Any = DefaultRecordBatchBuilder(2, codec, int(producer >= 0), producer, 0, 0, ROOM)
    for i, record in enumerate(records):
        assert builder.append(i, T0 + i, record.key, record.value, list(record.headers))
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, base)
    return bytes(built)


def message_set(magic: int, codec: int, records: Sequence[Packed], base: int = BASE) -> bytes:
    """Return a compressed message set of format 0 or 1.

    Neither format has headers; format 0 has no times, and its offsets begin at 0.
    """
    builder: Any = LegacyRecordBatchBuilder(magic, codec, ROOM)  # type: ignore[arg-type,unused-ignore]
    for i, record in enumerate(records):
        builder.append(i, T0 + i, record.key, record.value)
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, base + len(records) - 1)
    return bytes(built)


def some_records(n: int, largest: int, seed: int = 1) -> list[Packed]:
    """Return seeded records with values of up to ``largest`` bytes.

    Some have no key, some an empty one, some no headers.
    """
    rng = random.Random(seed)
    return [
        Packed(
            rng.choice([None, b"", rng.randbytes(4)]),
            rng.choice([None, b"", rng.randbytes(rng.randrange(1 + largest // 8)), bytes(rng.randrange(1 + largest))]),
            [(f"h{i}", rng.choice([None, b"", b"x"])) for i in range(rng.randrange(3))],
        )
        for _ in range(n)
    ]
