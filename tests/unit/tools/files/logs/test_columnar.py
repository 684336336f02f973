"""Blocks of columns give the rows and the refusals that reading row by row gives."""

from __future__ import annotations

import gzip
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.errors import InputError
from tests.unit.tools.files.logs.test_log_reader import RecordingRows
from tools.files.file_options import FileOptions
from tools.files.formats import text as text_module
from tools.files.log_source import LogSource
from tools.files.logs import columnar, log_reader
from tools.files.logs.columnar import ColumnBlock, raw_blocks
from tools.files.logs.log_reader import LogReader
from tools.files.logs.log_rows import FIELDS
from tools.files.raw_rows import RawRow, raw_rows
from tools.files.refused_rows import RefusedRows

T = 1_600_000_000
NAMES = ("user_id", "item_id", "type", "ts", "session_id", "value")
IDS = [
    "u1",
    "u2",
    "x" * 128,
    "7",
    " u3",
    "29.0",
    "2.50",
    "a b",
    "",
    "NA",
    "-",
    "用户",
    "x" * 129,
    "a\tb",
    'q"q',
    ".0",
    "N.A0",
    "\x7f",
]
TIMES = [
    str(T),
    str(T + 1),
    f"{T}.5",
    str(T * 1000),
    "",
    "soon",
    "-5",
    "9" * 15,
    "9" * 30,
    f" {T}",
    "2020-09-13T12:26:40",
    "NULL",
    "0",
]
TYPES = ["view", "click", "purchase", "", "buy", "odd", " view", "NA"]
VALUES = ["", "1", "2.5", "-", "nan", "1e13", "five", " 3 "]


def as_rows(
    paths: Sequence[Path],
    options: FileOptions,
    fields: Sequence[str],
    required: Sequence[str],
    types: Collection[str] = (),
) -> Iterator[list[RawRow]]:
    """Read row by row, in the shape of blocks."""
    rows = raw_rows(paths, options, fields, required, types)
    while some := list(islice(rows, 50)):
        yield some


def outcome(path: Path, monkeypatch: pytest.MonkeyPatch, *, by_rows: bool, **how: Any) -> Any:
    """Return what a reader makes of a log: rows, refusals, counts, or the error."""
    with monkeypatch.context() as patch:
        patch.setattr(log_reader, "raw_blocks", as_rows if by_rows else raw_blocks)
        refused = RecordingRows()
        reader = LogReader(LogSource((path,), types="buy=purchase", **how), refused)
        try:
            rows = list(reader)
        except InputError as exc:
            return str(exc), refused.bad
        return rows, refused.bad, reader.n_read, reader.n_good, refused.as_json()


def same(path: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> Any:
    """Return the outcome of a log, which must be one and the same."""
    fast, exact = (outcome(path, monkeypatch, by_rows=by_rows, **how) for by_rows in (False, True))
    assert fast == exact
    return fast


row = st.tuples(*map(st.sampled_from, (IDS, IDS, TYPES, TIMES, IDS, VALUES)))
usual = st.tuples(*map(st.sampled_from, (IDS[:4], IDS[:4], TYPES[:4], TIMES[:2], ["", "s1"], VALUES[:3])))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(usual | usual | row, min_size=1, max_size=30),
    delimiter=st.sampled_from(",;\t"),
    is_quoted=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_delimited_text_has_one_outcome(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], delimiter: str, is_quoted: bool, end: str
) -> None:
    """Usual rows and odd ones, in blocks of a few lines."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    lines = [delimiter.join(NAMES), *(delimiter.join(values) for values in rows)]
    if is_quoted:
        lines = [delimiter.join(f'"{value}"' for value in line.split(delimiter)) for line in lines]
    path.write_bytes((end.join(lines) + end).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "BLOCK_BYTES", 64)
        same(path, patch)


numbers = st.sampled_from([T, T + 1, 0, -1, T * 1_000, 2**62, None])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(IDS), st.sampled_from([1, 20, -3, None]), st.sampled_from([*TYPES, None]), numbers),
        min_size=1,
        max_size=20,
    ),
    kind=st.sampled_from([pa.int64(), pa.float64(), pa.timestamp("ms"), pa.timestamp("ns", "UTC")]),
    is_coded=st.booleans(),
)
def test_parquet_has_one_outcome(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], kind: pa.DataType, is_coded: bool
) -> None:
    """Texts, whole numbers, floats and times, coded as a dictionary or plain, with gaps."""
    users, items, types, times = (list(column) for column in zip(*rows, strict=True))
    if pa.types.is_timestamp(kind):
        times = [None if t is None else datetime.fromtimestamp(min(t, 4 * T) if t < 2**40 else T, UTC) for t in times]
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    table = pa.table(
        {
            "user_id": users,
            "item_id": pa.array(items, pa.int64()),
            "type": types,
            "ts": pa.array(times).cast(kind, safe=False),
        }
    )
    pq.write_table(table, path, use_dictionary=is_coded, row_group_size=7)
    with pytest.MonkeyPatch.context() as patch:
        same(path, patch)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7.0, None, 2.5] * 5),
        pa.array([Decimal("7.00")] * 15),
        pa.array([b"7", b"\xff", None] * 5),
        pa.array([True, False, None] * 5),
        pa.array(["x" * 2_000] * 15).dictionary_encode(),
        pa.array(["a", "b", None] * 5, pa.large_string()),
        pa.array([2**63] * 15, pa.uint64()),
    ],
    ids=range(7),
)
def test_other_types_of_parquet_are_read_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: pa.Array
) -> None:
    """Floats, decimals, bytes, flags and long words of a dictionary."""
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": ids, "item_id": ["i"] * 15, "ts": [T] * 15}), path)
    same(path, monkeypatch)


ODD_LINES = [
    b'"u1","i,1","view",1600000000,"",""', b'"u1",i"1,view,1600000000,,', b'"u""1",i1,view,1600000000,,', b'"u1" ,i1,view,1600000000,,',
    b'"u1,i1",view,1600000000,,', b'"""",i1,view,1600000000,"",""', b'u"1",i1,view,1600000000,,"', b'"u1",i1,"view"",1600000000,,',
    b'"u1","i\n1",view,1600000000,,', b'"u1,i1,view,1600000000,,', b"u1,i1,view", b"u1,i1,view,1600000000,,,x", b"", b"   ",
    b"\xff,i1,view,1600000000,,", b"u\0,i1,view,1600000000,,", b"u1,i1,view,1600000000,,\r\r", b"x" * (1 << 20) + b",i1,view,1600000000,,",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_LINES, ids=range(len(ODD_LINES)))
def test_an_odd_line_between_plain_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: bytes) -> None:
    """Quotes, broken lines and lines of another width, wherever the cut between two blocks is."""
    plain = b"u1,i1,view,1600000000,,\n"
    path = tmp_path / "log.csv"
    for block_bytes in (48, 100, 1_000):
        monkeypatch.setattr(text_module, "BLOCK_BYTES", block_bytes)
        path.write_bytes(",".join(NAMES).encode() + b"\n" + plain * 9 + odd + b"\n" + plain * 9)
        rows, *_ = same(path, monkeypatch)
        assert len(rows) >= 18


def test_words_for_nothing_and_zones_hold_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a word is a number, and where times of Parquet name no zone."""
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,ts\n" + f"0,NIL,{T}\nu,i,{T}\nNILS,N,{T}\n" * 9)
    for words in ("NIL", "0,NIL", "", "用户"):
        same(path, monkeypatch, files=FileOptions(missing=words))
    pq.write_table(
        pa.table({"user_id": ["u"], "item_id": ["i"], "ts": pa.array([T], pa.timestamp("s"))}), tmp_path / "a.parquet"
    )
    found = [same(tmp_path / "a.parquet", monkeypatch, time_zone=zone)[0][0].ts_ms for zone in ("", "UTC", "+08:00")]
    assert found == [T * 1_000, T * 1_000, (T - 8 * 3_600) * 1_000]


def test_times_ahead_are_refused_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of next week is none of a plain block."""
    path = tmp_path / "log.csv"
    path.write_text(f"user_id,item_id,ts\nu,i,{T}\nu,i,{int(time.time()) + 700_000}\nu,i,{T}\n")
    rows, bad, *_ = same(path, monkeypatch)
    assert len(rows) == 2 and [line for line, _ in bad] == [3]


def test_plain_blocks_are_columns(tmp_path: Path) -> None:
    """The fast way reads CSV, packed files, other delimiters, Parquet, and columns of folders."""
    text = "user_id;item_id;ts\n" + f"u;i;{T}\n" * 99
    folder = tmp_path / "parts" / "type=click"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(text)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b.csv").write_text(text.replace("u;i;", '"u";"i";').replace("\n", "\r\n"), newline="")
    pq.write_table(pa.table({"user_id": ["u"] * 99, "item_id": ["i"] * 99, "ts": [T] * 99}), tmp_path / "a.parquet")
    for name in ("parts", "a.csv.gz", "b.csv", "a.parquet"):
        blocks = list(raw_blocks([tmp_path / name], FileOptions(), FIELDS, ("user_id",)))
        assert [type(block) for block in blocks] == [ColumnBlock], name
        (block,) = blocks
        assert isinstance(block, ColumnBlock) and block.n_rows == 99
        assert list(block.raw_rows([5]))[0].values[1:3] == ("u", "i")
    rows = list(LogReader(LogSource((tmp_path / "parts",)), RecordingRows()))
    assert {row.type for row in rows} == {"click"} and columnar.LIST_ROWS > 0


def test_lines_count_on_from_file_to_file(tmp_path: Path) -> None:
    """A later file's rows come after those of an earlier one; places are those of the file."""
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(f"user_id,item_id,ts\nu,i,{T}\n,i,{T}\n")
    for paths in ((tmp_path / "a.csv", tmp_path / "b.csv"), (tmp_path,)):
        refused = RefusedRows(shown=0)
        assert [row.line for row in LogReader(LogSource(paths), refused)] == [2, 5]
        assert refused.last.startswith(f"{tmp_path / 'b.csv'} line 3: ")
