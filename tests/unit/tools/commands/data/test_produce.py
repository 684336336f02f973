"""JSON lines become checked events; bad lines are refused with number and reason."""

from __future__ import annotations

import asyncio
import json
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import pytest

from streams.contract.records import MAX_RECORD_BYTES
from streams.errors import InputError, RecordError
from tests.support.builders import T0
from tools.commands.data.produce import EventMaker, holds_json_lines
from tools.files.file_options import FileOptions
from tools.files.json_lines import CHUNK_BYTES, LineSplitter, read_chunks, split_lines
from tools.files.log_source import LogSource
from tools.main import main

NOW = T0 + 1_000
GOOD: dict[str, Any] = {"user_id": "u1", "item_id": "i1", "type": "view"}


def make(number: int = 1, **fields: Any) -> Any:
    """Make an event of the good fields with some changed."""
    return EventMaker(60_000).make(number, json.dumps(GOOD | fields).encode(), NOW)


def test_defaults_are_filled_in() -> None:
    """A person may publish three fields."""
    key, event = make()
    assert key == b"u1"
    assert (event.v, event.ts, event.type) == (1, NOW, "view")
    assert event.event_id.startswith(f"{NOW:013d}-")


def test_given_fields_are_kept() -> None:
    """Nothing that the shop says is overwritten."""
    _, event = make(v=1, event_id="mine", ts=T0, session_id="s", value=2)
    assert (event.event_id, event.ts, event.session_id, event.value) == ("mine", T0, "s", 2.0)


def test_same_content_has_the_same_id() -> None:
    """A file with times published twice changes nothing, wherever the line stands."""
    assert make(1, ts=T0)[1].event_id == make(99, ts=T0)[1].event_id
    assert make(1, ts=T0)[1].event_id != make(1, ts=T0, item_id="i2")[1].event_id


def test_two_lines_without_time_are_two_events() -> None:
    """Two equal clicks without time are two clicks."""
    assert make(1)[1].event_id != make(2)[1].event_id


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        (b"not json", "malformed", ""),
        (b"[1]", "malformed", ""),
        (b'"text"', "malformed", ""),
        (b"[" * 100_000, "malformed", ""),
        (b'{"user_id": "\xff"}', "malformed", ""),
        (b"{}", "missing", "user_id"),
        (json.dumps(GOOD | {"user_id": 7.5}).encode(), "type", "user_id"),
        (json.dumps(GOOD | {"user_id": ""}).encode(), "missing", "user_id"),
        (json.dumps(GOOD | {"item_id": "x" * 129}).encode(), "length", "item_id"),
        (json.dumps(GOOD | {"type": "buy"}).encode(), "value", "type"),
        (json.dumps(GOOD | {"ts": "now"}).encode(), "type", "ts"),
        (json.dumps(GOOD | {"ts": 1.5}).encode(), "range", "ts"),
        (json.dumps(GOOD | {"ts": None}).encode(), "missing", "ts"),
        (json.dumps(GOOD | {"ts": T0 // 1000}).encode(), "range", "ts"),
        (json.dumps(GOOD | {"ts": -5}).encode(), "range", "ts"),
        (json.dumps(GOOD | {"ts": 10**40}).encode(), "range", "ts"),
        (json.dumps(GOOD | {"ts": True}).encode(), "type", "ts"),
        (json.dumps(GOOD | {"ts": NOW + 60_001}).encode(), "future", "ts"),
        (json.dumps(GOOD | {"v": 2}).encode(), "range", "v"),
        (json.dumps(GOOD | {"user_id": "\ud800"}).encode(), "malformed", ""),
        (json.dumps(GOOD | {"note": "x" * MAX_RECORD_BYTES}).encode(), "too-large", ""),
    ],
)
def test_bad_line_is_refused_with_reason_and_field(line: bytes, reason: str, field: str) -> None:
    """The same limits as the sequencer's, told before anything is published."""
    with pytest.raises(RecordError) as caught:
        EventMaker(60_000).make(1, line, NOW)
    assert (caught.value.reason, caught.value.field) == (reason, field), str(caught.value)


def test_seconds_are_told_the_option_that_reads_them() -> None:
    """Numbers in the contract's own records are milliseconds, the commonest slip is seconds."""
    with pytest.raises(RecordError, match="is before 1990: seconds.*publish milliseconds, or add --time-unit s"):
        make(ts=T0 // 1000)
    maker = EventMaker(60_000, source=LogSource((Path("-"),), time_unit="s"))
    assert maker.make(1, json.dumps(GOOD | {"ts": T0 // 1000}).encode(), NOW)[1].ts == T0 // 1000 * 1000


def test_ids_are_those_of_a_replay() -> None:
    """Whole numbers are ids; white space around an id is not part of it.

    Words for a missing value are no ids.
    """
    _, event = make(user_id=" 29.0 ", item_id=7)
    assert (event.user_id, event.item_id) == ("29", "7")
    with pytest.raises(RecordError, match="missing: user_id"):
        make(user_id="NULL")


def test_a_stream_has_times_or_has_none() -> None:
    """As its first line does: a later line without a time, among others with one, is refused."""
    maker = EventMaker(60_000)
    maker.make(1, json.dumps(GOOD | {"ts": T0}).encode(), NOW)
    with pytest.raises(RecordError, match="missing: ts"):
        maker.make(2, json.dumps(GOOD).encode(), NOW)


def test_a_line_may_hold_several_events() -> None:
    """A basket with two products is two events, by the paths of ``--columns``."""
    columns = "item_id=products[].id,user_id=who.id"
    maker = EventMaker(60_000, source=LogSource((Path("-"),), FileOptions(columns)))
    line = {"who": {"id": 5}, "products": [{"id": "a"}, {"id": "b"}], "ts": T0, "type": "purchase"}
    fields, rows = maker.rows(json.dumps(line).encode())
    events = [maker.event_of_values(1, values, fields, NOW)[1] for values in rows]
    assert [(event.user_id, event.item_id) for event in events] == [("5", "a"), ("5", "b")]


@pytest.mark.parametrize(
    ("first", "options", "is_live"),
    [
        (b'{"user_id": "u"}\n', FileOptions(), True),
        (BOM_UTF8 + b'\n {"user_id": "u"', FileOptions(), True),
        (b"", FileOptions(), True),
        (b'{"a": [1]}', FileOptions(format="json", columns="item_id=a[]"), True),
        (b'{\n  "user_id": "u"\n}', FileOptions(), False),
        (b'[{"user_id": "u"}]', FileOptions(), False),
        (b"user_id,item_id,ts\n", FileOptions(), False),
        (b"PK\x03\x04", FileOptions(), False),
        (b'{"user_id"', FileOptions(format="csv"), False),
        (b'{"user_id"', FileOptions(encoding="gb18030"), False),
    ],
)
def test_a_pipe_of_json_lines_is_live(first: bytes, options: FileOptions, is_live: bool) -> None:  # noqa: FBT001 - a case
    """Any other format is read to its end before it is published."""
    assert holds_json_lines(LogSource((Path("-"),), options), first) == is_live


class TestLines:
    @staticmethod
    def read(path: Path) -> list[tuple[int, bytes]]:
        async def run() -> list[tuple[int, bytes]]:
            return [line async for line in split_lines(read_chunks(path))]

        return asyncio.run(run())

    def test_lines_are_numbered_and_blank_ones_passed_over(self, tmp_path: Path) -> None:
        """The number is that of the file, so that an editor finds it."""
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"a\n\n  \r\nb\r\nc")
        assert self.read(path) == [(1, b"a"), (4, b"b\r"), (5, b"c")]

    def test_lines_cross_chunks(self, tmp_path: Path) -> None:
        """Where a chunk ends must not show."""
        path = tmp_path / "events.jsonl"
        lines = [b"%d" % i * (i % 50 + 1) for i in range(1, 30_000)]
        path.write_bytes(b"\n".join(lines))
        assert path.stat().st_size > 2 * CHUNK_BYTES
        assert [line for _, line in self.read(path)] == lines

    def test_endless_line_is_cut_to_bounded_memory(self) -> None:
        """A file without line ends must not fill the memory; the line is refused as too large."""
        splitter = LineSplitter()
        for _ in range(100):
            assert list(splitter.split(b"x" * CHUNK_BYTES)) == []
        lines = list(splitter.split(b"\nnext\n"))
        assert [(number, len(line)) for number, line in lines] == [(1, MAX_RECORD_BYTES + 1), (2, 4)]

    def test_a_byte_order_mark_is_no_part_of_the_first_line(self, tmp_path: Path) -> None:
        """Windows tools write one; anywhere else it is data."""
        path = tmp_path / "events.jsonl"
        path.write_bytes(BOM_UTF8 + b"{}\n" + BOM_UTF8 + b"{}\n")
        assert self.read(path) == [(1, b"{}"), (2, BOM_UTF8 + b"{}")]
        path.write_bytes(BOM_UTF8 + b"\n{}\n")
        assert self.read(path) == [(2, b"{}")]

    def test_empty_file_has_no_lines(self, tmp_path: Path) -> None:
        """And ends."""
        path = tmp_path / "empty"
        path.write_bytes(b"")
        assert self.read(path) == []

    @pytest.mark.parametrize("name", ["none.jsonl", ""])
    def test_unreadable_file_is_bad_input(self, tmp_path: Path, name: str) -> None:
        """A missing file, or a directory, is one line."""
        with pytest.raises(InputError, match="JSON lines"):
            self.read(tmp_path / name)


@pytest.mark.parametrize("content", ["", "user_id,item_id,ts\n"])
def test_a_file_without_rows_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    """As for every command that reads a log; a pipe may have nothing to say."""
    (tmp_path / "log.csv").write_text(content)
    assert main(["produce", str(tmp_path / "log.csv"), "--dry-run"]) == 2
    assert "log.csv: no rows" in capsys.readouterr().err
