"""Keys and partitions: rules that producers in all languages must share.

Delivery is tested on a real broker.
"""

from __future__ import annotations

import pytest

from streams.kafka import publisher
from streams.kafka.publisher import KeyHomes, partition_of

#: Test vectors of murmur2 in Kafka's own Java client, as signed 32-bit integers.
KAFKA_VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("key", "murmur2"), KAFKA_VECTORS.items())
@pytest.mark.parametrize("n_partitions", [1, 4, 7, 10_000])
def test_partition_is_that_of_the_java_client(key: str, murmur2: int, n_partitions: int) -> None:
    """An event on another partition than its user's window is lost to that window."""
    assert partition_of(key.encode(), n_partitions) == (murmur2 & 0x7FFFFFFF) % n_partitions


def test_keys_spread_over_all_partitions() -> None:
    """No worker may idle."""
    found = [partition_of(f"u{i}".encode(), 4) for i in range(4_000)]
    assert all(800 < found.count(partition) < 1_200 for partition in range(4))


@pytest.mark.parametrize(
    ("key", "crc32"),
    [("123456789", 0xCBF43926), ("The quick brown fox jumps over the lazy dog", 0x414FA339), ("a", 0xE8B7BE43)],
)
@pytest.mark.parametrize("n_partitions", [1, 3, 4, 12])
def test_crc32_is_that_of_librdkafka(key: str, crc32: int, n_partitions: int) -> None:
    """The partition is the checksum, as an unsigned number, modulo the partition count.

    The check values are those of the algorithm's definition.
    """
    assert partition_of(key.encode(), n_partitions, "crc32") == crc32 % n_partitions


def test_remembered_partitions_are_bounded_and_those_of_the_partitioner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users without end must not fill the memory, and a full memory must not change an answer."""
    monkeypatch.setattr(publisher, "KEY_CACHE_SIZE", 10)
    for partitioner in ("murmur2", "crc32"):
        home = KeyHomes(4, partitioner)
        for number in [*range(50), *range(50)]:
            key = f"u{number}".encode()
            assert home[key] == partition_of(key, 4, partitioner)
            assert len(home) <= 10
