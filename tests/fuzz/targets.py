"""What fuzzing requires of the decoders for any bytes.

A decoder raises only the errors that it promises, and a decoded value keeps its meaning. Input is
one byte that chooses the target, then the target's bytes. The seeded smoke test and the
coverage-guided run share these targets.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from models.artifact.manifest import read_manifest
from models.files.plain_files import FileError
from models.files.tensor_header import read_header
from streams.contract.announcements import ModelAnnouncement, PrivacyRequest, Receipt, RulesRecord
from streams.contract.records import (
    REASONS,
    Event,
    EventDecoder,
    Item,
    RecordDecoder,
    User,
    decode_any,
    encode,
)
from streams.contract.rejects import Reject
from streams.contract.windows import decode_window
from streams.errors import InputError, RecordError
from streams.sequencer.absorb_batch import absorb_batch
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, FakeRecord
from tests.support.files import read_items
from tools.files.file_options import FileOptions
from tools.files.formats.parquet_pages import MAGIC, DamagedPageError, read_footer, read_pages
from tools.files.json_lines import LineSplitter
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader
from tools.files.refused_rows import RefusedRows

KEY: Final = b"u1"
NOW_MS: Final = T0 + 1_000
#: Processor time for one input of up to 64 KiB; a decoder that is not linear goes far beyond.
MAX_SECONDS: Final = 1.0

_events = EventDecoder(60_000)
_decoders: dict[type[msgspec.Struct], RecordDecoder[Any]] = {
    struct: RecordDecoder(struct)
    for struct in (Event, Item, User, ModelAnnouncement, PrivacyRequest, RulesRecord, Receipt)
}


def record(struct: type[msgspec.Struct], data: bytes) -> None:
    """A decoder of records returns a record or raises a RecordError with a listed reason."""
    decoder = _decoders[struct]
    try:
        decoded = decoder.decode(data)
    except RecordError as error:
        _check_reject(error, data)
        return
    same(encode(decoded), lambda value: encode(decoder.decode(value)))


def event(data: bytes) -> None:
    """The sequencer counts an event once, makes a window that decodes, and sees repeats."""
    try:
        key = _events.decode_event(KEY, data, NOW_MS).user_id.encode()
    except RecordError as error:
        _check_reject(error, data)
        key = KEY
    batch = [FakeRecord(key, data)]
    first = absorb_batch(batch, lambda _key: None, _events, WindowBounds(), NOW_MS)
    counts = first.counts
    assert counts.read == 1 == counts.accepted + counts.duplicate + counts.late + counts.rejected, counts
    again = absorb_batch(batch, first.windows.get, _events, WindowBounds(), NOW_MS)
    assert not again.windows, "an event counted twice"
    for value in first.windows.values():
        window(value)


def window(data: bytes) -> None:
    """The decoder of windows returns a window or raises the promised error."""
    try:
        state = decode_window(data)
    except RecordError as error:
        assert error.reason in REASONS
        return
    same(encode(state), lambda value: encode(decode_window(value)))


def anything(data: bytes) -> None:
    """The decoder for display raises only the errors that its caller expects."""
    try:
        decode_any(data)
    except RecordError:
        pass


def lines(data: bytes) -> None:
    """The cut into chunks does not change the lines."""
    whole, parts = LineSplitter(), LineSplitter()
    expected = [*whole.split(data), *(whole.split(b"") if data else ())]
    cut = len(data) // 3 + 1
    found = [line for i in range(0, len(data), cut) for line in parts.split(data[i : i + cut])]
    found += parts.split(b"") if data else ()
    assert found == expected, "chunks change the lines"


def log(data: bytes, folder: Path, suffix: str) -> None:
    """The reader of logs yields or reports each row, or raises an InputError of one line."""
    path = folder / f"log{suffix}"
    path.write_bytes(data)
    refused = RefusedRows(shown=0)
    reader = LogReader(LogSource((path,)), refused)
    try:
        n_good = sum(1 for _ in reader)
    except InputError as error:
        assert "\n" not in str(error), f"an error of several lines: {error!s}"
        return
    assert n_good + refused.n == reader.n_read, "a row vanished"


def items(data: bytes, folder: Path, suffix: str) -> None:
    """The reader of catalogues yields texts that Kafka takes, or raises an InputError."""
    path = folder / f"items{suffix}"
    path.write_bytes(data)
    try:
        found = read_items([path], FileOptions())
    except InputError:
        return
    for item_id, fields in found.items():
        msgspec.msgpack.encode({"item_id": item_id, **fields})


def manifest(data: bytes) -> None:
    """The reader of manifests returns a manifest or raises a FileError."""
    try:
        read_manifest(data, 100)
    except FileError:
        pass


def tensor_header(data: bytes) -> None:
    """The reader of tensor headers returns the file's shapes or raises a FileError."""
    data = len(data).to_bytes(8, "little") + data if data[:1] == b"{" else data
    try:
        specs = read_header(io.BytesIO(data), len(data))
    except FileError:
        return
    assert sum(4 * spec.n_numbers for spec in specs.values()) <= len(data)


def footer(data: bytes) -> None:
    """The reader of Parquet pages stays inside the file or raises a DamagedPageError."""
    if not data.endswith(MAGIC):
        data = MAGIC + data + len(data).to_bytes(4, "little") + MAGIC
    file = io.BytesIO(data)
    try:
        _, groups = read_footer(file, len(data))
        for group in groups:
            for chunk in group:
                read_pages(file, chunk.start, chunk.n_bytes)
    except DamagedPageError:
        pass


def same(value: bytes, again: Callable[[bytes], bytes]) -> None:
    """Raise unless a value that is decoded and encoded again keeps its bytes."""
    assert again(value) == value, f"{value!r} changes when it is decoded and encoded again"


def _check_reject(error: RecordError, data: bytes) -> None:
    assert error.reason in REASONS, f"reason {error.reason!r} is not in the contract"
    out = Reject(FakeRecord(KEY, data), error).as_record()
    assert out.value == data and all(isinstance(value, bytes) for _, value in out.headers)


def targets(folder: Path) -> list[Callable[[bytes], None]]:
    """Return the targets in the order of the first byte; files are written to ``folder``."""

    def of(struct: type[msgspec.Struct]) -> Callable[[bytes], None]:
        return lambda data: record(struct, data)

    def file_of(check: Callable[[bytes, Path, str], None], suffix: str) -> Callable[[bytes], None]:
        return lambda data: check(data, folder, suffix)

    return [
        event,
        *(of(struct) for struct in _decoders),
        window,
        anything,
        lines,
        manifest,
        tensor_header,
        footer,
        *(file_of(log, suffix) for suffix in (".csv", ".tsv", ".jsonl")),
        *(file_of(items, suffix) for suffix in (".csv", ".tsv", ".jsonl")),
    ]


def run(data: bytes, checks: list[Callable[[bytes], None]]) -> None:
    """Run the target that the first byte chooses, in bounded time."""
    if not data:
        return
    started = time.process_time()
    checks[data[0] % len(checks)](data[1:])
    seconds = time.process_time() - started
    assert seconds < MAX_SECONDS, f"{len(data)} bytes took {seconds:.1f} s"
