"""Rejects of any size fit on their topic: what does not is cut, and says how large it was."""

from __future__ import annotations

import pytest

from streams.contract.kafka_records import record_bytes
from streams.contract.kept_headers import MAX_KEPT_BYTES
from streams.contract.reject_size import CUT_BYTES, MAX_WHOLE_BYTES, REJECTED_MAX_BYTES, kept
from streams.contract.rejects import Reject
from streams.errors import RecordError
from tests.support.builders import FakeRecord

BROKER_LIMIT_BYTES = 1_048_588
LARGE = 9 << 20


def test_what_the_broker_takes_uncompressed_is_kept_whole() -> None:
    key, value = b"k" * 1_000, b"v" * BROKER_LIMIT_BYTES
    assert kept(key, value) == (key, value, [])
    assert kept(None, None) == (None, None, [])
    assert kept(b"", bytes(MAX_WHOLE_BYTES)).headers == []


@pytest.mark.parametrize(
    ("key", "value", "truncated"),
    [
        (b"u1", b"v" * (MAX_WHOLE_BYTES - 1), "value"),
        (b"u1", b"v" * LARGE, "value"),
        (None, b"v" * LARGE, "value"),
        (b"k" * LARGE, None, "key"),
        (b"k" * LARGE, b"", "key"),
        (b"k" * LARGE, b"v" * LARGE, "key,value"),
        (b"k" * CUT_BYTES, b"v" * MAX_WHOLE_BYTES, "value"),
    ],
)
def test_what_does_not_fit_is_cut_and_says_so(key: bytes | None, value: bytes | None, truncated: str) -> None:
    """Also where producer's text and headers are as long as they may be."""
    headers = [(f"h{i}", bytes(MAX_KEPT_BYTES // 8)) for i in range(20)]
    source = FakeRecord(key, value, 2**60, 9_999, "t" * 249, 2**60, headers)
    out = Reject(source, RecordError("too-large", "f" * 1_000, "\U0001f600" * 1_000)).as_record()
    assert record_bytes(out) < 200_000 < REJECTED_MAX_BYTES
    said = {name: content.decode() for name, content in out.headers if not name.startswith("original.")}
    assert said["truncated"] == truncated
    assert (said["size"], said["key-size"]) == (str(len(value or b"")), str(len(key or b"")))
    assert out.key == (None if key is None else key[:CUT_BYTES])
    assert out.value == (None if value is None else value[:CUT_BYTES])


def test_a_reject_just_whole_fits_with_its_headers() -> None:
    headers = [(f"h{i}", bytes(MAX_KEPT_BYTES // 8)) for i in range(20)]
    source = FakeRecord(b"u1", bytes(MAX_WHOLE_BYTES - 2), 2**60, 9_999, "t" * 249, 2**60, headers)
    out = Reject(source, RecordError("too-large", "f" * 1_000, "\U0001f600" * 1_000)).as_record()
    assert out.value == source.value
    assert record_bytes(out) <= REJECTED_MAX_BYTES - 1_024
