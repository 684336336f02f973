"""Parquet files: the reader gives what pyarrow gives, in memory that the file's size bounds."""

from __future__ import annotations

import io
import struct
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.errors import InputError
from tests.support.files import read_items
from tools.files.file_options import FileOptions
from tools.files.formats import parquet_rows
from tools.files.formats.parquet_pages import DamagedPageError, read_pages
from tools.files.formats.parquet_rows import ParquetRows
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader
from tools.files.refused_rows import RefusedRows

T = 1_600_000_000
PEAK_BYTES = 64 << 20

TABLE = pa.table(
    {
        "text": ["a", None, "", "标题", "a"] * 40,
        "number": [1, None, 3, 4, 5] * 40,
        "list": pa.array([["a", "b"], None, [], ["a", None], ["c"]] * 40, pa.list_(pa.string())),
        "map": pa.array([[("k", "v")], None, [], [("k", None)], [("l", "w"), ("k", "v")]] * 40, pa.map_(pa.string(), pa.string())),
        "struct": pa.array(
            [{"a": "x", "b": 1.5}, None, {"a": None, "b": 2.0}, {"a": "y", "b": None}, {"a": "x", "b": 0.0}] * 40,
            pa.struct([("a", pa.string()), ("b", pa.float64())]),
        ),
        "time": pa.array([T * 1_000] * 200, pa.timestamp("ms")),
        "decimal": pa.array([Decimal("1.50")] * 200, pa.decimal128(5, 2)),
        "with.dot": ["p"] * 200,
    }
)  # fmt: skip


def read(path: Path, *names: str) -> list[tuple[Any, ...]]:
    """Return the rows of some columns."""
    with path.open("rb") as file:
        return [tuple(row) for row in ParquetRows(str(path), file).rows(names)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY", "with.dot": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"data_page_version": "2.0", "compression": "zstd", "row_group_size": 7},
        {"compression": "none", "data_page_size": 64, "write_statistics": False, "row_group_size": 61},
        {"store_schema": False, "write_page_index": True},
    ],
)  # fmt: skip
def test_values_are_those_that_pyarrow_gives(tmp_path: Path, options: dict[str, Any]) -> None:
    """Texts, lists, maps, structs, times and decimals, in every encoding, also missing values."""
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, **options)
    expected = list(zip(*pq.read_table(path).to_pydict().values(), strict=True))
    assert read(path, *TABLE.column_names) == expected


def test_pages_are_counted(tmp_path: Path) -> None:
    """Plain values unpack to about as many bytes as were written, whatever the compression."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": list(range(100_000))}), path, use_dictionary=False, compression="zstd")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    with path.open("rb") as file:
        pages = read_pages(file, chunk.data_page_offset, chunk.total_compressed_size)
    assert 800_000 <= pages.unpacked_bytes < 810_000
    assert pages.delta_bytes == 0


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff" * 100, b"\x15" + b"\x80" * 20, b"\x1c" * 100, b"\x15\x00\x15\x02\x15\x00\x00"]
)
def test_bytes_that_are_no_page_are_refused(data: bytes) -> None:
    """Cut off, of another kind, without end, or nested."""
    with pytest.raises(DamagedPageError):
        read_pages(io.BytesIO(data), 0, 50)


def test_an_encoding_that_is_no_number_is_none_of_those_known() -> None:
    """A structure in its place: pyarrow decides what it makes of it, without a dictionary."""
    header = b"\x15\x00\x15\x02\x15\x00\x2c\x15\x02\x1c\x00\x00\x00"
    assert read_pages(io.BytesIO(header), 0, len(header)).encodings == {-1}


def test_a_text_that_all_rows_have_is_there_once(tmp_path: Path) -> None:
    """A few kilobytes give 65,536 rows the same text: 195 MB a batch, if each had its own."""
    path = tmp_path / "items.parquet"
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 65_536, pa.int32()), ["x" * 3_000])
    pq.write_table(
        pa.table({"item_id": [1] * 65_536, "title": words}),
        path,
        compression="zstd",
        write_statistics=False,
        store_schema=False,
    )
    assert path.stat().st_size < 5_000
    tracemalloc.start()
    before = pa.default_memory_pool().max_memory()
    try:
        assert sum(1 for _ in read(path, "item_id", "title")) == 65_536
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()
    assert pa.default_memory_pool().max_memory() - before < PEAK_BYTES


def _long_tags(path: Path) -> None:
    tags = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000_000, pa.int32()), ["t" * 3_000])
    lists = pa.ListArray.from_arrays(pa.array(range(0, 2_000_001, 1_000), pa.int32()), tags)
    pq.write_table(
        pa.table({"item_id": [f"i{i}" for i in range(2_000)], "title": ["x"] * 2_000, "tags": lists}),
        path,
        store_schema=False,
    )


def test_a_text_in_lists_is_there_once(tmp_path: Path) -> None:
    """Likewise inside of lists: 6 GB if each element had its own."""
    path = tmp_path / "items.parquet"
    _long_tags(path)
    tracemalloc.start()
    try:
        rows = read(path, "tags")
        assert len(rows) == 2_000 and len(rows[7][0]) == 1_000
        assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES
    finally:
        tracemalloc.stop()


def test_pages_that_unpack_to_far_more_are_refused_unread(tmp_path: Path) -> None:
    """Plain pages of one letter: 400 MB out of some kilobytes, and no page is unpacked."""
    path = tmp_path / "items.parquet"
    schema = pa.schema({"item_id": pa.string(), "title": pa.string()})
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="zstd", write_statistics=False) as writer:
        for i in range(25):
            writer.write_table(pa.table({"item_id": [f"i{i}"], "title": ["x" * (16 << 20)]}, schema))
    assert path.stat().st_size < 1 << 20
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match="unpacks to more than 128 MiB and 200 times"):
        read_items([path], FileOptions())
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_what_a_footer_says_of_sizes_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers of the pages count: a file whose footer lies is refused, too."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["x" * 1_000_000]})
    pq.write_table(table, path, use_dictionary=False, compression="zstd", write_statistics=False, store_schema=False)
    footer = pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size
    data = path.read_bytes()
    true, lie = _varint(footer), _varint(1 << 19)
    assert len(true) == len(lie) and true in data
    path.write_bytes(data.replace(true, lie))
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == 1 << 19
    monkeypatch.setattr("tools.files.formats.packed_files.FREE_BYTES", 700_000)
    with pytest.raises(InputError, match="unpacks to more than"):
        read(path, "text")


def _varint(value: int) -> bytes:
    """Return a number of the compact protocol."""
    value, out = 2 * value, b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def test_delta_coded_texts_are_read_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There each value may begin with the value before: few bytes become many."""
    path = tmp_path / "a.parquet"
    texts = ["x" * 100_000 + str(i) for i in range(300)]
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})
    monkeypatch.setattr(parquet_rows, "BATCH_BYTES", 1 << 20)
    sizes = []
    open_ = ParquetRows.open

    def recording(self: ParquetRows, **options: Any) -> Any:
        parquet = open_(self, **options)
        read_batches = parquet.iter_batches

        def iter_batches(batch_size: int, **how: Any) -> Any:
            sizes.append(batch_size)
            return read_batches(batch_size, **how)

        parquet.iter_batches = iter_batches
        return parquet

    monkeypatch.setattr(ParquetRows, "open", recording)
    assert read(path, "text") == [(text,) for text in texts]
    assert 0 < max(sizes) < 20


def test_wide_values_and_endless_lists_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A width stands in the schema, a run of a million elements in a few bytes."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"wide": pa.array([b"x" * 1_000] * 5, pa.binary(1_000))}), path)
    with pytest.raises(InputError, match="values of 1000 bytes, limit 64"):
        read(path, "wide")
    monkeypatch.setattr(parquet_rows, "MAX_ELEMENTS", 100)
    pq.write_table(pa.table({"list": [[1] * 101]}), path)
    with pytest.raises(InputError, match="has 101 elements in a row group, limit 100"):
        read(path, "list")


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    """A byte changed anywhere is refused or harmless, never another error."""
    good = tmp_path / "good.parquet"
    rows = {"user_id": ["u", "v"], "item_id": ["i", "j"], "ts": [T, T + 1]}
    pq.write_table(pa.table(rows), good, store_schema=False)
    data = good.read_bytes()
    path = tmp_path / "a.parquet"
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            list(LogReader(LogSource((path,)), RefusedRows(shown=0)))
        except InputError as exc:
            assert "\n" not in str(exc)
    for end in range(0, len(data), 17):
        path.write_bytes(data[:end])
        with pytest.raises(InputError):
            list(LogReader(LogSource((path,)), RefusedRows(shown=0)))
    path.write_bytes(data[:-8] + struct.pack("<I", 1 << 31) + b"PAR1")
    with pytest.raises(InputError):
        list(LogReader(LogSource((path,)), RefusedRows(shown=0)))
