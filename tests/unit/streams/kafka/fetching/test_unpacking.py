"""Each codec unpacks piece by piece to the bytes that aiokafka unpacks whole.

This holds for every form that a client may write.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

import cramjam
import pytest
import zstandard
from aiokafka import codec as aiokafka_codec
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.fetching import unpacking
from streams.kafka.fetching.unpacking import PIECE_BYTES, pieces
from tests.support.packed import GZIP, LZ4, SNAPPY, ZSTD

Pack = Callable[[bytes], bytes]


def lz4(**options: bool) -> Pack:
    """Return a packer of lz4 frames of a form that clients other than Kafka's may choose."""

    def pack(data: bytes) -> bytes:
        compressor = cramjam.lz4.Compressor(**options)
        compressor.compress(data)
        return bytes(compressor.finish())

    return pack


def zstd(level: int) -> Pack:
    return zstandard.ZstdCompressor(level=level).compress


def raw_snappy(data: bytes) -> bytes:
    return bytes(aiokafka_codec.snappy_encode(data, xerial_compatible=False))


PACKERS: dict[str, tuple[int, Pack]] = {
    "gzip": (GZIP, aiokafka_codec.gzip_encode),
    "gzip in members": (GZIP, lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]) + bytes(9)),
    "snappy": (SNAPPY, aiokafka_codec.snappy_encode),
    "snappy raw": (SNAPPY, raw_snappy),
    "lz4": (LZ4, aiokafka_codec.lz4_encode),
    "lz4 linked": (LZ4, lz4(block_linked=True)),
    "lz4 checksums": (LZ4, lz4(block_linked=True, content_checksum=True)),
    "lz4 frames": (LZ4, lambda data: aiokafka_codec.lz4_encode(data[:7]) + aiokafka_codec.lz4_encode(data[7:])),
    "zstd": (ZSTD, aiokafka_codec.zstd_encode),
    "zstd of level 22": (ZSTD, zstd(22)),
    "zstd frames": (ZSTD, lambda data: zstd(3)(data[:7]) + zstd(3)(data[7:])),
}


def unpacked(codec: int, packed: bytes) -> list[bytes]:
    return [bytes(piece) for piece in pieces(codec, memoryview(packed))]


@pytest.mark.parametrize("form", PACKERS)
def test_large_data_comes_in_pieces(form: str) -> None:
    """Half of it compresses well, half hardly; no piece is above the bound, and few are small."""
    codec, pack = PACKERS[form]
    noise = random.Random(1).randbytes(1_000_000)
    data = bytes(9_000_000) + noise + noise[::-1] + noise[:500_000] * 8
    found = unpacked(codec, pack(data))
    assert b"".join(found) == data
    assert max(map(len, found)) <= PIECE_BYTES
    assert len(found) < 10


@pytest.mark.parametrize("form", PACKERS)
@given(data=st.binary(max_size=500) | st.binary(max_size=40).map(lambda data: data * 5_000))
def test_what_is_small_comes_as_it_was(form: str, data: bytes) -> None:
    codec, pack = PACKERS[form]
    assert b"".join(unpacked(codec, pack(data))) == data


@pytest.mark.parametrize("form", PACKERS)
def test_small_pieces_are_the_same(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "PIECE_BYTES", 1_000)
    codec, pack = PACKERS[form]
    data = random.Random(2).randbytes(1_000) * 300
    found = unpacked(codec, pack(data))
    assert b"".join(found) == data
    assert len(found) >= len(data) // (1 << 16)


@pytest.mark.parametrize("form", PACKERS)
def test_damaged_data_is_corrupt_or_short_and_nothing_else(form: str) -> None:
    """A broker takes no such batch.

    Should one come, aiokafka's error says so, and no size that a batch claims is believed.
    """
    codec, pack = PACKERS[form]
    packed = pack(random.Random(3).randbytes(3_000) * 3)
    rng = random.Random(4)
    for _ in range(300):
        damaged = bytearray(packed[: rng.randrange(len(packed) + 1)] if rng.random() < 0.5 else packed)
        for _ in range(rng.randrange(4)):
            if damaged:
                damaged[rng.randrange(min(40, len(damaged)))] = rng.randrange(256)
        try:
            assert sum(map(len, unpacked(codec, bytes(damaged)))) < 1 << 20
        except CorruptRecordException:
            continue


def test_a_snappy_block_that_claims_gigabytes_is_not_believed() -> None:
    with pytest.raises(CorruptRecordException, match="declares 4294967295 unpacked"):
        unpacked(SNAPPY, b"\xff\xff\xff\xff\x0f" + bytes(100))


def test_a_codec_that_kafka_has_not_yet_is_named() -> None:
    with pytest.raises(UnsupportedCodecError, match="compression type 5"):
        unpacked(5, b"")
