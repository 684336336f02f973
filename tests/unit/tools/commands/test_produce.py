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
from tests.builders import T0
from tools.commands.produce import EventMaker
from tools.files.json_lines import CHUNK_BYTES, LineSplitter, read_json_lines

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
        (json.dumps(GOOD | {"user_id": 7}).encode(), "type", "user_id"),
        (json.dumps(GOOD | {"user_id": ""}).encode(), "length", "user_id"),
        (json.dumps(GOOD | {"type": "buy"}).encode(), "value", "type"),
        (json.dumps(GOOD | {"ts": "now"}).encode(), "type", "ts"),
        (json.dumps(GOOD | {"ts": 1.5}).encode(), "type", "ts"),
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


class TestLines:
    @staticmethod
    def read(path: Path) -> list[tuple[int, bytes]]:
        async def run() -> list[tuple[int, bytes]]:
            return [line async for line in read_json_lines(path)]

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
