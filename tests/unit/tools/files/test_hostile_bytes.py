"""Bytes made to cost time or memory: each decoder refuses them at once."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.contract.announcements import ModelAnnouncement, PrivacyRequest, Receipt, RulesRecord
from streams.contract.records import Event, Item, RecordDecoder, decode_any
from streams.contract.windows import decode_window
from streams.errors import RecordError
from tools.files.formats.text import MAX_LINE_BYTES
from tools.files.json_lines import CUT_BYTES, LineSplitter
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader, sorted_rows
from tools.files.refused_rows import RefusedRows

DEPTH = 100_000
PROMPT_S = 1.0
PEAK_BYTES = 4 << 20
DECODERS: dict[str, Callable[[bytes], object]] = {
    "event": RecordDecoder(Event).decode,
    "item": RecordDecoder(Item).decode,
    "model": RecordDecoder(ModelAnnouncement).decode,
    "privacy": RecordDecoder(PrivacyRequest).decode,
    "rules": RecordDecoder(RulesRecord).decode,
    "receipt": RecordDecoder(Receipt).decode,
    "window": decode_window,
    "any": decode_any,
}
BOMBS: dict[str, bytes] = {
    "array of four thousand million": b"\xdd\xff\xff\xff\xff",
    "map of four thousand million": b"\xdf\xff\xff\xff\xff",
    "string of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "extension of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "arrays of 65535 in each other": b"\xdc\xff\xff" * 20_000,
    "nested arrays": b"\x91" * DEPTH,
    "nested maps": b"\x81\xa1x" * DEPTH,
    "nested JSON objects": b'{"x":' * DEPTH,
    "nested JSON arrays": b'{"x":' + b"[" * DEPTH,
    "a number of 60000 digits": b'{"v":' + b"9" * 60_000 + b"}",
}


@pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("prefix", [b"", b"\x81\xa1x"], ids=["alone", "in a field"])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_once(decode: Callable[[bytes], object], prefix: bytes, bomb: bytes) -> None:
    """What a length claims is not allocated; what is nested does not end the process."""
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(RecordError) as caught:
            decode(prefix + bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < PROMPT_S
    assert peak < PEAK_BYTES
    assert len(str(caught.value)) < 500, "the bomb is not quoted"


def test_a_line_without_end_keeps_memory_bounded() -> None:
    """A producer of one endless line must not fill the memory of the command that reads it."""
    splitter, chunk = LineSplitter(), b"x" * (1 << 18)
    tracemalloc.start()
    try:
        for _ in range(200):
            assert list(splitter.split(chunk)) == []
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()
    ((number, line),) = splitter.split(b"\n")
    assert (number, len(line)) == (1, CUT_BYTES)


def test_a_compressed_bomb_is_one_bad_line(tmp_path: Path) -> None:
    """64 MiB of one letter in 64 KiB: unpacked a line's limit at a time, refused as a line."""
    path = tmp_path / "log.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"user_id,item_id,ts\n")
        for _ in range(64):
            file.write(b"x" * (1 << 20))
        file.write(b"\nu1,i1,1600000000000\n" * 3)
    assert path.stat().st_size < 128 << 10
    refused = RefusedRows(shown=0)
    tracemalloc.start()
    try:
        rows = list(sorted_rows(LogReader(LogSource((path,)), refused)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(rows), refused.n) == (3, 1) and refused.last.endswith(f"longer than {MAX_LINE_BYTES} bytes")
    assert peak < 12 * MAX_LINE_BYTES
