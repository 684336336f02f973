"""Historical logs: every format, every kind of bad input, and a sort that needs little memory."""

from __future__ import annotations

import gzip
import json
import random
import re
import time
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from streams.errors import InputError
from streams.settings.record_limits import MAX_ID_LENGTH
from tests.support.files import read_items
from tools.files.file_options import FileOptions, parse_columns
from tools.files.log_source import LogSource
from tools.files.logs import log_sort
from tools.files.logs.log_reader import LogReader, sorted_rows
from tools.files.logs.log_rows import LogRow
from tools.files.refused_rows import RefusedRows
from tools.replay.identity import event_id

T = 1_600_000_000
HEADER = "user_id,item_id,ts\n"
#: Numbers that do not compress, so that half of a compressed file is half of its rows.
GOOD = "".join(f"u{random.Random(i).random()},i{i},{T + i}\n" for i in range(3_000))


class RecordingRows(RefusedRows):
    """Remembers what was refused."""

    def __init__(self) -> None:
        super().__init__(shown=0)
        self.bad: list[tuple[int, str]] = []

    def refuse(self, place: str, reason: object) -> None:
        self.bad.append((int(place.removeprefix("line ")), str(reason)))
        super().refuse(place, reason)

    def refuse_type(self, place: str, kind: str, known: Collection[str]) -> None:
        self.bad.append((int(place.removeprefix("line ")), kind))
        super().refuse_type(place, kind, known)


def read(
    path: Path, content: str | bytes, columns: str = "", **options: Any
) -> tuple[list[LogRow], list[tuple[int, str]]]:
    """Write a log and read it; return its rows and what was refused."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused = RecordingRows()
    return list(LogReader(LogSource((path,), FileOptions(columns), **options), refused)), refused.bad


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    """One log in CSV, TSV, JSON lines, Parquet, RecBole and compressed is one log."""
    records = [{"user_id": f"u{i}", "item_id": f"i{i}", "ts": T + i} for i in range(5)]
    text = HEADER + "".join(f"{r['user_id']},{r['item_id']},{r['ts']}\n" for r in records)
    atomic = text.replace(",", "\t").replace("user_id\titem_id\tts", "user_id:token\titem_id:token\tts:float")
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "made.parquet")
    contents: dict[str, str | bytes] = {
        "a.csv": text,
        "a.tsv": text.replace(",", "\t"),
        "a.inter": atomic,
        "a.csv.gz": gzip.compress(text.encode()),
        "a.csv.zst": zstandard.compress(text[:30].encode()) + zstandard.compress(text[30:].encode()),
        "a.jsonl": "".join(json.dumps(r) + "\n" for r in records),
        "a.parquet": (tmp_path / "made.parquet").read_bytes(),
    }
    expected = [(f"u{i}", f"i{i}", "view", (T + i) * 1000) for i in range(5)]
    for name, content in contents.items():
        rows, bad = read(tmp_path / name, content)
        assert [(r.user_id, r.item_id, r.type, r.ts_ms) for r in rows] == expected, name
        assert bad == [], name


def test_columns_by_name_and_by_position(tmp_path: Path) -> None:
    """Columns are mapped by name, or by position where there is no header."""
    by_name = read(tmp_path / "a.csv", f"u,m,t\n1,2,{T}\n", "user_id=u,item_id=m,ts=t")[0]
    by_place = read(tmp_path / "b.csv", f"{T},1,2\n", "user_id=1,item_id=2,ts=0")[0]
    assert [(r.user_id, r.item_id, r.ts_ms) for r in by_name + by_place] == [("1", "2", T * 1000)] * 2


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b,a=c", "a=b,,"])
def test_a_malformed_mapping_is_bad_input(text: str) -> None:
    """A mapping is NAME=VALUE pairs, each name once; empty text is no mapping."""
    assert parse_columns("") == {}
    with pytest.raises(InputError, match="NAME=VALUE"):
        parse_columns(text)


@pytest.mark.parametrize(
    ("stamp", "unit"),
    [(str(T), "s"), (f"{T}000", "ms"), ("2020-09-13T12:26:40", "iso"), ("2020-09-13 12:26:40Z", "iso")],
)
def test_the_unit_of_time_is_detected_and_said(tmp_path: Path, stamp: str, unit: str) -> None:
    """Seconds, milliseconds and ISO 8601 (UTC without a zone) are told apart."""
    path = tmp_path / "a.csv"
    path.write_text(HEADER + f"u,i,{stamp}\n")
    reader = LogReader(LogSource((path,)), RefusedRows(shown=0))
    assert [row.ts_ms for row in reader] == [T * 1000]
    assert reader.time_unit == unit


@pytest.mark.parametrize(
    ("stamp", "asked", "fits"), [(f"{T}000", "s", "ms"), (str(T), "ms", "s"), ("2020-09-13", "s", "iso")]
)
def test_a_wrong_unit_of_time_names_the_one_that_fits(tmp_path: Path, stamp: str, asked: str, fits: str) -> None:
    """A unit that gives times before 1990 or beyond 2100 is refused with the remedy."""
    with pytest.raises(InputError, match=f"read as {asked} .*use --time-unit {fits}"):
        read(tmp_path / "a.csv", HEADER + f"u,i,{stamp}\n", time_unit=asked)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", f"user_id,movie,ts\nu,i,{T}\n"), ("a.jsonl", f'{{"user_id":"u","movie":"i","ts":{T}}}\n')],
)
def test_a_missing_column_is_named_with_those_that_exist(tmp_path: Path, name: str, content: str) -> None:
    """A log without a required column ends in one line that lists its columns."""
    with pytest.raises(InputError, match="no column 'item_id'; there are user_id, movie, ts; map one"):
        read(tmp_path / name, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is bad input."""
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        list(LogReader(LogSource((tmp_path / "none.csv",)), RefusedRows(shown=0)))


@pytest.mark.parametrize("content", ["", HEADER])
def test_a_log_without_rows_is_bad_input(tmp_path: Path, content: str) -> None:
    """No rows, with a header or without, is an error and not an empty result."""
    with pytest.raises(InputError, match="no rows"):
        read(tmp_path / "a.csv", content)


@pytest.mark.parametrize(("suffix", "word"), [("gz", "gzip"), ("zst", "zstd")])
def test_a_truncated_compressed_log_is_refused(tmp_path: Path, suffix: str, word: str) -> None:
    """The rows before the cut never pass for the whole log."""
    text = (HEADER + GOOD).encode()
    data = gzip.compress(text) if suffix == "gz" else zstandard.compress(text)
    with pytest.raises(InputError, match=f"damaged {word}"):
        read(tmp_path / f"a.csv.{suffix}", data[: len(data) // 2])
    with pytest.raises(InputError, match="its content is not"):
        read(tmp_path / f"b.csv.{suffix}", text)


def test_types_are_mapped_and_unknown_ones_are_bad_rows(tmp_path: Path) -> None:
    """An unknown type costs its row; a log that has no other type is refused, with the remedy."""
    text = f"user_id,item_id,ts,type\nu,i,{T},buy\nu,i,{T},\nu,i,{T},odd\n"
    rows, bad = read(tmp_path / "a.csv", text, types="buy=purchase")
    assert [row.type for row in rows] == ["purchase", "view"]
    assert [line for line, _ in bad] == [4]
    with pytest.raises(InputError, match="none of 1 rows.*types in the file: odd 1; map them: --types odd=TYPE"):
        read(tmp_path / "b.csv", f"user_id,item_id,ts,type\nu,i,{T},odd\n")
    with pytest.raises(InputError, match="'odd' is none of click, view, purchase"):
        LogReader(LogSource((tmp_path / "a.csv",), types="buy=odd"), RefusedRows(shown=0))


BAD_ROWS = [
    "u,,1600000000", "u,i,", "u,i,soon", "u,i,1e308", "u,i," + "9" * 400, "u,i,nan", "u,i,-5", "u", '"' + "x" * 200_000 + '",i,1',
    "x" * (1 << 20) + ",i,1600000000",
]  # fmt: skip


@pytest.mark.parametrize("row", BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_a_bad_row_is_reported_by_line_and_stops_nothing(tmp_path: Path, row: str) -> None:
    """A row that does not parse is counted and named; those around it are read."""
    rows, bad = read(tmp_path / "a.csv", f"{HEADER}a,1,{T}\nb,2,{T}\n{row}\nc,3,{T}\n")
    assert [r.user_id for r in rows] == ["a", "b", "c"]
    assert [line for line, _ in bad] == [4]


def test_whole_numbers_and_bytes_are_ids_whatever_type_holds_them(tmp_path: Path) -> None:
    """A number column with a gap holds floats; its 7.0 is the id 7 of every other file."""
    columns = {
        "ints": pa.array([7, 8]),
        "floats": pa.array([7.0, 8.0]),
        "decimals": pa.array([Decimal("7.00"), Decimal("8.00")]),
        "bytes": pa.array([b"7", b"8"]),
    }
    for name, ids in columns.items():
        pq.write_table(pa.table({"user_id": ids, "item_id": ids, "ts": [T, T + 1]}), tmp_path / f"{name}.parquet")
        rows, bad = read(tmp_path / "log.parquet", (tmp_path / f"{name}.parquet").read_bytes())
        assert ([(r.user_id, r.item_id) for r in rows], bad) == ([("7", "7"), ("8", "8")], []), name
    rows, bad = read(tmp_path / "a.jsonl", f'{{"user_id":7.0,"item_id":"7.0","ts":{T}}}\n')
    assert ([(r.user_id, r.item_id) for r in rows], bad) == ([("7", "7")], []), "also as text"


@pytest.mark.parametrize("number", ["7.5", "1e300", "9007199254740993.0", "-1.5"])
def test_a_number_that_is_no_id_says_what_to_do(tmp_path: Path, number: str) -> None:
    """A fraction, or a number that a float has rounded."""
    good = f'{{"user_id":1,"item_id":1,"ts":{T}}}\n'
    rows, bad = read(tmp_path / "a.jsonl", good + good.replace('"user_id":1', f'"user_id":{number}'))
    assert len(rows) == 1
    assert [line for line, _ in bad] == [2]
    assert bad[0][1].startswith(f"type: user_id: {float(number)!r} ") and "text" in bad[0][1]


def test_ids_are_as_long_as_the_contract_allows(tmp_path: Path) -> None:
    """What cannot be published is not trained on either: the artifact could not be served."""
    text = HEADER + "".join(f"u,{'x' * n},{T}\n" for n in (MAX_ID_LENGTH, MAX_ID_LENGTH + 1))
    rows, bad = read(tmp_path / "a.csv", text + f"{'é' * 128},i,{T}\n{'é' * 129},i,{T}\n")
    assert [len(r.item_id) for r in rows] == [MAX_ID_LENGTH, 1]
    assert [(line, reason.split(": ")[:2], reason.split("... ")[1]) for line, reason in bad] == [
        (3, ["length", "item_id"], "has 129 characters, limit 128; use shorter ids"),
        (5, ["length", "user_id"], "has 129 characters, limit 128; use shorter ids"),
    ]


def test_bytes_that_are_not_utf8_and_broken_json_cost_their_row(tmp_path: Path) -> None:
    """Undecodable ids, arrays, cut objects and numbers without bound are bad rows."""
    rows, bad = read(tmp_path / "a.csv", HEADER.encode() + b"\xff\xfe,i,1600000000\n" + GOOD.encode())
    assert (len(rows), [line for line, _ in bad]) == (3_000, [2])
    good = f'{{"user_id":"u","item_id":"i","ts":{T}}}\n'
    huge = good.replace(str(T), "1" + "0" * 400)
    rows, bad = read(tmp_path / "a.jsonl", good + "[1]\n{\n" + huge + good)
    assert (len(rows), [line for line, _ in bad]) == (2, [2, 3, 4])


def test_the_ceiling_needs_both_many_bad_rows_and_more_than_half(tmp_path: Path) -> None:
    """More than 1,000 bad rows stop the reading where they are most of the log; fewer never do."""
    bad_rows = f"u,,{T}\n" * 1_200
    assert len(read(tmp_path / "a.csv", HEADER + GOOD + bad_rows)[1]) == 1_200
    with pytest.raises(InputError, match="1001 of .* rows are bad, more than 1000 and 50%"):
        read(tmp_path / "b.csv", HEADER + GOOD[: GOOD.index("\n") + 1] + bad_rows)


def test_the_external_sort_equals_the_one_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come by time and then in file order, whatever the memory, also after merges of runs.

    No file remains.
    """
    monkeypatch.setattr(log_sort, "MAX_RUNS", 4)
    chance = random.Random(1)
    text = HEADER + "".join(f"u{i},i,{T + chance.randrange(50)}\n" for i in range(2_000))
    in_file_order, _ = read(tmp_path / "a.csv", text)
    reader = LogReader(LogSource((tmp_path / "a.csv",)), RefusedRows(shown=0))
    runs = tmp_path / "runs"
    runs.mkdir()
    expected = sorted(in_file_order, key=lambda row: (row.ts_ms, row.line))
    assert list(sorted_rows(reader, max_rows_in_memory=100, tmp_dir=runs)) == expected
    assert list(sorted_rows(reader)) == expected
    assert list(runs.iterdir()) == []


def test_the_sort_holds_no_more_rows_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part that is sorted in memory is larger than the bound."""
    sizes: list[int] = []
    add = log_sort.SortedRuns.add

    def counted(self: log_sort.SortedRuns[LogRow], rows: list[LogRow]) -> None:
        sizes.append(len(rows))
        add(self, rows)

    monkeypatch.setattr(log_sort.SortedRuns, "add", counted)
    (tmp_path / "a.csv").write_text(HEADER + GOOD)
    reader = LogReader(LogSource((tmp_path / "a.csv",)), RefusedRows(shown=0))
    assert len(list(sorted_rows(reader, max_rows_in_memory=700, tmp_dir=tmp_path))) == 3_000
    assert sizes == [700] * 4


def test_items_keep_free_prices_and_leave_out_what_has_no_value(tmp_path: Path) -> None:
    """A price of 0 is a price; an empty title is the id; tags are cut at bars."""
    path = tmp_path / "items.csv"
    path.write_text('item_id,title,tags,price,text\n1,"a, b",x|y,0,\n2,,,-1,"two\nlines"\n')
    assert read_items([path], FileOptions()) == {
        "1": {"title": "a, b", "tags": ["x", "y"], "price": 0.0},
        "2": {"title": "2", "text": "two\nlines"},
    }


def test_an_id_that_is_a_word_for_nothing_in_many_rows_is_said_once(tmp_path: Path) -> None:
    """All who are unknown would be one giant user; another list of words reads it as an id."""
    path = tmp_path / "log.csv"
    path.write_text(HEADER + "".join(f"{'NULL' if i % 3 else f'u{i}'},i{i},{T + i}\n" for i in range(300)))
    refused = RecordingRows()
    assert len(list(LogReader(LogSource((path,)), refused))) == 100
    told = f"{path}: user_id is 'NULL' in 200 rows: left out as missing; --missing '' reads it as an id"
    assert [line for line in refused.summary() if "NULL" in line and "rows:" in line] == [told]
    assert len(list(LogReader(LogSource((path,), FileOptions(missing="")), RecordingRows()))) == 300


def told(path: Path, content: str, **options: Any) -> tuple[list[LogRow], list[str]]:
    """Write a log and read it; return its rows and what is said at the end."""
    path.write_text(content)
    refused = RefusedRows(shown=0)
    return list(LogReader(LogSource((path,), **options), refused)), refused.summary()


def test_a_zone_is_asked_for_once_and_taken_where_it_is_named(tmp_path: Path) -> None:
    """Times that name no zone are read as UTC, which is said."""
    text = HEADER + "u,i,2026/11/9 6:19\nu,i,2026/11/9 6:20\n"
    rows, said = told(tmp_path / "a.csv", text)
    assert [row.ts_ms for row in rows] == [1_794_205_140_000, 1_794_205_200_000]
    assert sum("name no zone" in line for line in said) == 1
    local, said = told(tmp_path / "a.csv", text, time_zone="Asia/Shanghai")
    assert [row.ts_ms - there.ts_ms for row, there in zip(rows, local, strict=True)] == [28_800_000] * 2
    assert said == []


def test_a_log_that_lies_ahead_is_told_by_how_much(tmp_path: Path) -> None:
    """Eight hours ahead are a zone, and the rows there are refused."""
    now = int(time.time())
    text = HEADER + f"u,i,{now - 50}\nu,i,{now + 28_800}\n"
    rows, said = told(tmp_path / "a.csv", text)
    assert len(rows) == 1
    ahead = next(line for line in said if "a time zone?" in line and "newest" in line)
    assert re.search(r"the newest time is 28,(799|800|79\d) s ahead", ahead)
    assert any(line.startswith("  ts, future: 1, ") for line in said)


def test_a_preset_gives_types_and_the_unit_of_time(tmp_path: Path) -> None:
    """And an option wins over it."""
    mapping = tmp_path / "mine.toml"
    mapping.write_text('[events]\ntime_unit = "us"\ntypes = { pv = "view", buy = "purchase" }\n')
    path, text = tmp_path / "a.csv", f"user_id,item_id,ts,type\nu,i,{T}000000,buy\nu,i,{T}000000,pv\n"
    rows, _ = told(path, text, files=FileOptions(format=str(mapping)))
    assert [(row.type, row.ts_ms) for row in rows] == [("purchase", T * 1000), ("view", T * 1000)]
    rows, _ = told(path, text, files=FileOptions(format=str(mapping)), types="pv=click")
    assert [row.type for row in rows] == ["purchase", "click"]


def test_the_lines_of_several_files_count_on(tmp_path: Path) -> None:
    """Equal lines of two files are two events, and a refusal names its file."""
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text(HEADER + f"u,i,{T}\n")
    other.write_text(HEADER + f"u,i,{T}\nu,,{T}\n")
    refused = RefusedRows(shown=0)
    rows = list(LogReader(LogSource((one, other)), refused))
    assert [row.line for row in rows] == [2, 4]
    assert event_id(rows[0]) != event_id(rows[1])
    assert refused.first.startswith(f"{other} line 3: missing: item_id")


def test_a_log_that_is_published_as_it_comes_may_lack_times(tmp_path: Path) -> None:
    """Rows then get the time of day; without a good row the log is no error."""
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id\nu,i\n,i\n")
    refused = RefusedRows(shown=0)
    reader = LogReader(LogSource((path,)), refused, is_direct=True)
    (row,) = reader
    assert reader.fills_times and abs(row.ts_ms - time.time() * 1000) < 60_000 and refused.n == 1
    path.write_text("user_id,item_id\n,i\n")
    assert list(LogReader(LogSource((path,)), refused, is_direct=True)) == []
