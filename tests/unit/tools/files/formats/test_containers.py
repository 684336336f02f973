"""Containers and formats are known by their first bytes.

Another file gives one line with a remedy.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
import zstandard

from streams.errors import InputError
from tools.files.file_options import FileOptions
from tools.files.formats.avro_rows import HEADER
from tools.files.formats.packed_files import FREE_BYTES, XZ_MEMORY_BYTES
from tools.files.raw_rows import raw_rows

CSV = b"user_id,item_id\n" + b"".join(b"u%d,i%d\n" % (i, i) for i in range(100))
ROWS = [(f"u{i}", f"i{i}") for i in range(100)]


def zipped(*names: str, data: bytes = CSV, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive with these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name in names:
            archive.writestr(name, data)
    return out.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: zipped("log.csv", data=data),
}


def read(path: Path, data: bytes, fields: tuple[str, ...] = ("user_id", "item_id")) -> list[tuple[Any, ...]]:
    """Return the rows of a file of these bytes."""
    path.write_bytes(data)
    return [tuple(row.values) for row in raw_rows([path], FileOptions(), fields, fields[:1])]


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_container_is_known_by_its_content(tmp_path: Path, suffix: str) -> None:
    """Under its own name, under none, and inside of another container."""
    packed = PACKERS[suffix](CSV)
    for name in (f"log.csv.{suffix}", "log"):
        assert read(tmp_path / name, packed) == ROWS
    assert read(tmp_path / "log.gz", gzip.compress(packed)) == ROWS
    with pytest.raises(InputError, match="its content is not; rename it"):
        read(tmp_path / f"other.{suffix}", CSV)
    with pytest.raises(InputError, match="is packed more than 3 times"):
        read(tmp_path / "deep.gz", gzip.compress(gzip.compress(gzip.compress(packed))))


@pytest.mark.parametrize("suffix", PACKERS)
def test_damage_is_never_the_end_of_a_file(tmp_path: Path, suffix: str) -> None:
    """Cut off, changed, or with something else behind it."""
    packed = PACKERS[suffix](CSV)
    # no checksum
    changed = [] if suffix == "zst" else [packed[:40] + bytes([packed[40] ^ 255]) + packed[41:]]
    for data in (packed[: len(packed) // 2], packed[:-1], *changed):
        with pytest.raises(InputError, match="damaged|zip archive of no file|cannot be read"):
            read(tmp_path / f"log.csv.{suffix}", data)
    if suffix != "zip":
        with pytest.raises(InputError, match="damaged"):
            read(tmp_path / f"log.csv.{suffix}", packed + b"more")


@pytest.mark.parametrize("suffix", [s for s in PACKERS if s not in ("gz", "zst")])
def test_a_container_that_unpacks_to_far_more_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for gzip and zstd."""
    monkeypatch.setattr("tools.files.formats.packed_files.FREE_BYTES", 1 << 20)
    with pytest.raises(InputError, match="unpacks to more than 1 MiB and 200 times"):
        read(tmp_path / f"log.csv.{suffix}", PACKERS[suffix](b"user_id,item_id\n" + b"u,i\n" * 2_000_000))
    assert FREE_BYTES > 1 << 20


def test_streams_after_one_another_and_padding(tmp_path: Path) -> None:
    """As pbzip2 and xz write them."""
    for pack in (bz2.compress, lzma.compress):
        assert read(tmp_path / "log", pack(CSV[:700]) + pack(CSV[700:])) == ROWS
    assert read(tmp_path / "log", lzma.compress(CSV) + bytes(8)) == ROWS


def test_an_xz_file_that_needs_much_memory_is_refused(tmp_path: Path) -> None:
    """A file names the size of its dictionary."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2 * XZ_MEMORY_BYTES}]
    with pytest.raises(InputError, match="damaged bzip2 or xz .*Memory usage limit"):
        read(tmp_path / "log.xz", lzma.compress(CSV, filters=filters))


def test_an_archive_of_several_files_names_them(tmp_path: Path) -> None:
    """What archivers add does not count."""
    assert read(tmp_path / "a.zip", zipped("log.csv", "__MACOSX/._log.csv", ".DS_Store")) == ROWS
    with pytest.raises(
        InputError, match=r"zip archive of 7 files: 0\.csv, 1\.csv, 2\.csv, 3\.csv, 4\.csv and 2 more; unpack it"
    ):
        read(tmp_path / "a.zip", zipped(*(f"{i}.csv" for i in range(7))))
    with pytest.raises(InputError, match="zip archive of no file"):
        read(tmp_path / "a.zip", zipped())
    with pytest.raises(InputError, match="packed in an unusual way"):
        read(tmp_path / "a.zip", zipped("a.csv", how=zipfile.ZIP_LZMA))
    secret = bytearray(zipped("a.csv", how=zipfile.ZIP_STORED))
    secret[6] |= 1
    secret[secret.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InputError, match="with a password"):
        read(tmp_path / "a.zip", bytes(secret))


def tar() -> bytes:
    """Return an archive of the other kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = len(CSV)
        archive.addfile(info, io.BytesIO(CSV))
    return out.getvalue()


def sqlite(path: Path) -> bytes:
    """Return a database."""
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a)")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped("xl/workbook.xml", "[Content_Types].xml"), "an Excel workbook.*save the sheet as CSV"),
        (zipped("mimetype", "content.xml"), "an OpenDocument file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel workbook"),
        (b"%PDF-1.7\n", "a PDF document; export its table"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive; unpack it"),
        (b"Rar!\x1a\x07\x01\x00", "a rar archive; unpack it"),
        (tar(), "a tar archive; unpack it"),
        (gzip.compress(tar()), "a tar archive; unpack it"),
        (b"ARROW1\0\0", "an Arrow or Feather file; write it as Parquet"),
        (pickle.dumps({"a": list(range(9))}), "a Python pickle; write the table as Parquet"),
        (b"<?xml version='1.0'?>\n<items/>", "is XML; convert it"),
        (b"<catalog>\n <item id='1'>", "is XML; convert it"),
        (b"<!DOCTYPE html>\n<html>", "is HTML, perhaps the page of a login"),
        (b"\n<html><body>", "is HTML"),
        (b"-- MySQL dump 10.13\n--\n", "is a dump in SQL; load it"),
        (b"/*!40101 SET x=1 */;\nINSERT INTO `t` VALUES (1,'a');", "is a dump in SQL; load it"),
        (b"CREATE TABLE t (a int);\n", "is a dump in SQL; load it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
    ids=range(18),
)
def test_other_formats_say_what_they_are_and_what_to_do(tmp_path: Path, data: bytes, message: str) -> None:
    """Whatever the name, in one line."""
    for name in ("log.csv", "log.jsonl", "log"):
        with pytest.raises(InputError, match=message) as caught:
            read(tmp_path / name, data)
        assert "\n" not in str(caught.value) and name in str(caught.value)
    with pytest.raises(InputError, match="an SQLite database"):
        read(tmp_path / "a.db", sqlite(tmp_path / "made.db"))


T = 1_700_000_000
MORE = pa.struct([("tags", pa.list_(pa.string())), ("at", pa.timestamp("ns"))])
TABLE = pa.table(
    {
        "user_id": ["u", "v", None],
        "ns": pa.array([T * 10**9 + 123_456_789, None, 0], pa.timestamp("ns")),
        "day": pa.array([1, 2, None], pa.date32()),
        "price": pa.array([Decimal("1.50"), None, Decimal("2.00")], pa.decimal128(9, 2)),
        "raw": pa.array([b"x", b"\xff", None], pa.binary()),
        "more": pa.array([{"tags": ["a", None], "at": T * 10**9 + 1}, None, {"tags": None, "at": None}], MORE),
    }
)


def test_times_finer_than_microseconds_are_cut(tmp_path: Path) -> None:
    """At the top and inside of objects, and in the old way of Parquet."""
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path)
    found = read(path, path.read_bytes(), ("user_id", "ns", "more", "price", "raw"))
    at = datetime.fromtimestamp(T, UTC).replace(tzinfo=None)
    assert found[0] == ("u", at.replace(microsecond=123_456), {"tags": ["a", None], "at": at}, Decimal("1.50"), b"x")
    assert found[1] == ("v", None, None, None, b"\xff")
    pq.write_table(TABLE.select(["user_id", "ns"]), path, use_deprecated_int96_timestamps=True)
    assert read(path, path.read_bytes(), ("user_id", "ns"))[0] == ("u", at.replace(microsecond=123_456))
    beyond = pa.table({"user_id": ["u"], "ns": pa.array([2**60], pa.timestamp("ms"))})
    pq.write_table(beyond, path)
    assert read(path, path.read_bytes(), ("user_id", "ns")) == [("u", str(2**60))], (
        "a time beyond all years is refused later"
    )


@pytest.mark.parametrize("compression", ["uncompressed", "zlib", "snappy", "zstd"])
def test_orc_is_read(tmp_path: Path, compression: str) -> None:
    """By name or not; damage is one line."""
    path = tmp_path / "a.orc"
    table = TABLE.drop_columns(["day"])
    pa.orc.write_table(table, path, compression=compression)
    data = path.read_bytes()
    for name in ("b.orc", "b", "b.gz"):
        found = read(tmp_path / name, gzip.compress(data) if name == "b.gz" else data, ("user_id", "price", "ns"))
        assert [row[:2] for row in found] == [("u", Decimal("1.50")), ("v", None), (None, Decimal("2.00"))]
        assert found[0][2] == datetime.fromtimestamp(T, UTC).replace(tzinfo=None, microsecond=123_456)
    for bad in (data[: len(data) // 2], b"ORC" + bytes(50), b"no"):
        with pytest.raises(InputError, match="not an ORC file, or a damaged one"):
            read(tmp_path / "c.orc", bad)


SCHEMA = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "user_id", "type": ["null", "string"]},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy"])
def test_avro_is_read(tmp_path: Path, codec: str) -> None:
    """In every codec; damage anywhere is one line."""
    at = datetime.fromtimestamp(T, UTC)
    records = [
        {"user_id": f"u{i}" if i else None, "ts": at, "tags": ["a"] * (i % 3), "price": Decimal("1.50")}
        for i in range(200)
    ]
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, records, codec=codec, sync_interval=500)
    data = out.getvalue()
    for name in ("a.avro", "a"):
        assert read(tmp_path / name, data, ("user_id", "ts", "tags", "price")) == [
            tuple(record.values()) for record in records
        ]
    for at_byte in range(0, len(data), 41):
        bad = data[:at_byte] + bytes([data[at_byte] ^ 0x55]) + data[at_byte + 1 :]
        try:
            read(tmp_path / "b.avro", bad)
        except InputError as exc:
            assert "\n" not in str(exc)
    with pytest.raises(InputError, match="a damaged one"):
        read(tmp_path / "b.avro", data[:-20])


def test_avro_in_zstandard_is_read(tmp_path: Path) -> None:
    """Java writes it; the writer of this test does not."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "user_id", "type": "string"}]}
    out, rows, sync = io.BytesIO(), io.BytesIO(), b"s" * 16
    fastavro.schemaless_writer(rows, schema, {"user_id": "u"})
    block = zstandard.compress(rows.getvalue() * 3)
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": b"zstandard"}
    fastavro.schemaless_writer(out, HEADER, {"magic": b"Obj\x01", "meta": meta, "sync": sync})
    data = out.getvalue() + bytes([6, 2 * len(block)]) + block + sync
    assert read(tmp_path / "a.avro", data, ("user_id",)) == [("u",)] * 3


def test_avro_blocks_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither packed ones nor lists of nothing."""
    out = io.BytesIO()
    schema = {"type": "record", "name": "R", "fields": [{"name": "user_id", "type": "string"}]}
    fastavro.writer(out, schema, [{"user_id": "x" * (4 << 20)}], codec="deflate")
    monkeypatch.setattr("tools.files.formats.packed_files.FREE_BYTES", 1 << 10)
    monkeypatch.setattr("tools.files.formats.avro_rows.FREE_BYTES", 1 << 10)
    with pytest.raises(InputError, match="unpacks to more than"):
        read(tmp_path / "a.avro", out.getvalue(), ("user_id",))
    out = io.BytesIO()
    empty = {"type": "record", "name": "R", "fields": [{"name": "user_id", "type": {"type": "array", "items": "null"}}]}
    fastavro.writer(out, empty, [{"user_id": [None] * 3}])
    with pytest.raises(InputError, match="a list of values that take no bytes"):
        read(tmp_path / "a.avro", out.getvalue(), ("user_id",))
