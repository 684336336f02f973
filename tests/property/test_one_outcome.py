"""One table has one outcome.

Every format and every entrance gives the same events and the same refusals.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.records import EventDecoder
from streams.settings.load import Settings
from tools.commands.data.produce import EventMaker, file_events, line_events
from tools.commands.learning.oracle import log_records
from tools.files.cells.times import TimeRange
from tools.files.file_options import FileOptions
from tools.files.json_lines import LineSplitter
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader, sorted_rows
from tools.files.logs.log_rows import USUAL_RULES
from tools.files.refused_rows import RefusedRows
from tools.replay.publish_log import Pace, Replay
from tools.training.inputs import TrainingSources

FIELDS: Final = ("user_id", "item_id", "type", "ts", "value", "session_id")
T: Final = 1_700_000_000_123
NOW: Final = int(time.time() * 1000)
Row = tuple[Any, ...]
#: Accepted events, and the number of refused rows by field and reason.
Outcome = tuple[list[tuple[str, str, str, int]], dict[tuple[str, str], int]]

TABLE: Final[list[Row]] = [
    *[(f"u{n % 5}", f"i{n % 7}", ("view", "click", "purchase")[n % 3], T + n, n / 2, f"s{n % 2}") for n in range(12)],
    (" u1 ", "29.0", "view", T, None, None),
    ("u2", 29, "view", float(T), 1, ""),
    ("u2", "007", "view", str(T), "2.5", " "),
    (29.0, "1.5", "view", f"{T}.9", " 3 ", "s"),
    ("张三", "手机壳", "view", T, None, None),
    ("u,3", 'a "b" c', "click", T, None, "x;y"),
    ("u\t4", "a;b|c", "click", T, None, None),
    ("x" * 128, "é" * 128, "view", T, 1e12, None),
    ("x" * 129, "i", "view", T, None, None),
    ("u", "手" * 129, "view", T, None, None),
    ("u", "https://shop.example/" + "a" * 160, "view", T, None, None),
    ("", "i", "view", T, None, None),
    (None, "i", "view", T, None, None),
    ("u", "   ", "view", T, None, None),
    ("NULL", "i", "view", T, None, None),
    ("u", r"\N", "view", T, None, None),
    ("u", "i", None, T, None, None),
    ("u", "i", "购买", T, None, None),
    ("u", "i", "buy", T, None, None),
    ("u", "i", "view", None, None, None),
    ("u", "i", "view", T // 1000, None, None),
    ("u", "i", "view", -5, None, None),
    ("u", "i", "view", "soon", None, None),
    ("u", "i", "view", "2023-11-14T22:13:20Z", None, None),
    ("u", "i", "view", NOW + 86_400_000, None, None),
    ("u", "i", "view", T, "much", None),
    ("u", "i", "view", T, "1e13", "s"),
    ("u", "i", "view", T, None, "s" * 129),
]


def text_of(value: Any) -> str:
    """Return a cell as text, as programs write it."""
    return "" if value is None else str(value)


def delimited(rows: Sequence[Row], delimiter: str) -> bytes:
    """Return rows as text with a header, quoted where it is needed."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows([[text_of(value) for value in row] for row in rows])
    return out.getvalue().encode()


def objects(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as objects."""
    return [dict(zip(FIELDS, row, strict=True)) for row in rows]


def parquet(rows: Sequence[Row]) -> bytes:
    """Return rows as Parquet, with columns of text."""
    columns = zip(*rows, strict=True)
    table = {
        name: pa.array([None if v is None else str(v) for v in column], pa.string())
        for name, column in zip(FIELDS, columns, strict=True)
    }
    out = io.BytesIO()
    pq.write_table(pa.table(table), out)
    return out.getvalue()


def json_lines(rows: Sequence[Row]) -> bytes:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in objects(rows)).encode()


FORMATS: Final[dict[str, tuple[Callable[[Sequence[Row]], bytes], FileOptions]]] = {
    "a.csv": (lambda rows: delimited(rows, ","), FileOptions()),
    "a.tsv": (lambda rows: delimited(rows, "\t"), FileOptions()),
    "semicolon.csv": (lambda rows: delimited(rows, ";"), FileOptions(delimiter=";")),
    "a.jsonl": (json_lines, FileOptions()),
    "a.json": (lambda rows: json.dumps(objects(rows), ensure_ascii=False, indent=1).encode(), FileOptions()),
    "a.parquet": (parquet, FileOptions()),
    "a.csv.gz": (lambda rows: gzip.compress(delimited(rows, ",")), FileOptions()),
    "a.jsonl.gz": (lambda rows: gzip.compress(json_lines(rows)), FileOptions()),
    "gb.csv": (lambda rows: delimited(rows, ",").decode().encode("gb18030"), FileOptions(encoding="gb18030")),
}


class Taken:
    """Keeps the records that are published."""

    def __init__(self) -> None:
        self.values: list[tuple[bytes, bytes]] = []

    async def publish(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Take a record of an event."""
        assert value is not None
        self.values.append((key, value))

    async def flush(self) -> None:
        """Nothing waits."""


def groups(refused: RefusedRows) -> dict[tuple[str, str], int]:
    """Return the number of refused rows by field and reason."""
    return {(group.field, group.reason): group.n for group in refused.groups()}


def decoded(records: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str, str, int]]:
    """Return published events in one order."""
    events = [EventDecoder(300_000).decode_event(key, value, NOW) for key, value in records]
    return sorted((event.user_id, event.item_id, event.type, event.ts) for event in events)


def by_replay(source: LogSource, folder: Path) -> Outcome:
    """Publish a log as ``headrace replay`` does."""
    replay, taken = Replay(Settings(), "r@1", folder / "run.json", TimeRange(), None), Taken()
    replay.tally.refused = RefusedRows(shown=0)
    rows = sorted_rows(LogReader(source, replay.tally.refused, USUAL_RULES))
    asyncio.run(replay.publish(rows, taken, Pace(None)))
    return decoded(taken.values), groups(replay.tally.refused)


def by_produce(source: LogSource, _folder: Path) -> Outcome:
    """Make the events that ``headrace produce`` publishes from a file."""
    refused = RefusedRows(shown=0)
    maker = EventMaker(USUAL_RULES.max_future_skew_ms, source=source)
    events = [event for _, event in file_events(source, maker, USUAL_RULES, refused)]
    return sorted((event.user_id, event.item_id, event.type, event.ts) for event in events), groups(refused)


def by_train(source: LogSource, _folder: Path) -> Outcome:
    """Read the events that ``headrace train`` learns from."""
    refused = RefusedRows(shown=0)
    log = TrainingSources(source, None, None, refused).read_log()
    events = [
        (log.user_ids[log.users[i]], (found := log.behaviour(i)).item_id, found.type, found.ts_ms)
        for i in range(len(log))
    ]
    return sorted(events), groups(refused)


def by_oracle(source: LogSource, _folder: Path) -> Outcome:
    """Make the records from which ``headrace oracle`` works out windows."""
    refused = RefusedRows(shown=0)
    records = log_records(sorted_rows(LogReader(source, refused, USUAL_RULES)), "r@1", Settings())
    return decoded([(record.key, record.value) for record in records]), groups(refused)


ENTRANCES: Final = {"replay": by_replay, "produce": by_produce, "train": by_train, "oracle": by_oracle}


def outcome(rows: Sequence[Row], name: str, entrance: str, folder: Path) -> Outcome:
    """Write rows in a format, and return what an entrance makes of them."""
    write, files = FORMATS[name]
    path = folder / name
    path.write_bytes(write(rows))
    return ENTRANCES[entrance](LogSource((path,), files), folder)


def by_pipe(rows: Sequence[Row]) -> Outcome:
    """Make the events that ``headrace produce -`` publishes from a pipe of JSON lines."""
    refused, events = RefusedRows(shown=0), []
    maker, splitter = EventMaker(USUAL_RULES.max_future_skew_ms), LineSplitter()
    for piece in (json_lines(rows), b""):
        for number, line in splitter.split(piece):
            events += [event for _, event in line_events(maker, number, line, refused)]
    return sorted((event.user_id, event.item_id, event.type, event.ts) for event in events), groups(refused)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return what a replay of the table in CSV makes of it."""
    return outcome(TABLE, "a.csv", "replay", tmp_path_factory.mktemp("expected"))


def test_the_table_has_the_outcome_that_the_contract_gives_it(expected: Outcome) -> None:
    """40 rows: 21 good ones, and 19 that are refused for twelve reasons."""
    events, refused = expected
    assert len(TABLE) == 40
    assert len(events) == 21 and ("u1", "29", "view", T) in events and ("29", "1.5", "view", T) in events
    assert ("u", "i", "view", T) in events, "a row without a type is a view"
    assert refused == {
        ("user_id", "length"): 1,
        ("item_id", "length"): 2,
        ("user_id", "missing"): 3,
        ("item_id", "missing"): 2,
        ("type", "value"): 2,
        ("ts", "missing"): 1,
        ("ts", "range"): 2,
        ("ts", "type"): 2,
        ("ts", "future"): 1,
        ("value", "type"): 1,
        ("value", "range"): 1,
        ("session_id", "length"): 1,
    }


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("name", FORMATS)
def test_the_table_has_one_outcome(name: str, entrance: str, expected: Outcome, tmp_path: Path) -> None:
    """Every format at every entrance: the same events and the same refusals."""
    assert outcome(TABLE, name, entrance, tmp_path) == expected


def test_a_pipe_has_the_same_outcome(expected: Outcome) -> None:
    """Its lines are published as they come, by the same rules."""
    assert by_pipe(TABLE) == expected


TEXT: Final = st.text(
    st.characters(codec="gb18030", exclude_categories=("C", "Zl", "Zp")), min_size=0, max_size=20
).filter(lambda text: not text.startswith("\ufeff"))
IDS: Final = st.one_of(
    st.none(),
    st.integers(0, 10**6),
    st.integers(0, 99).map(float),
    st.sampled_from(["NA", "-", " ", "x" * 129, "a,b", '"', "1.0"]),
    TEXT,
)
TIMES: Final = st.one_of(
    st.integers(T - 10**9, T),
    st.integers(T - 10**9, T).map(str),
    st.sampled_from([None, 0, 5.5, "x", T // 1000, NOW + 10**8, float(T)]),
)
VALUES: Final = st.one_of(
    st.none(), st.integers(-5, 5), st.floats(-1e13, 1e13), st.sampled_from(["", "4,5", "x", "nan", "1e3", "NULL"])
)
ROWS: Final = st.tuples(
    IDS, IDS, st.sampled_from([None, "view", "purchase", "odd", "浏览", " click "]), TIMES, VALUES, IDS
)
#: The times of the first rows are milliseconds, so that the unit of the log is certain.
LOGS: Final = st.lists(ROWS, max_size=12).map(lambda rows: [("u", "i", "view", T, None, None)] * (len(rows) + 1) + rows)


@settings(max_examples=25, deadline=None)
@given(LOGS, st.sampled_from(sorted(FORMATS)))
def test_any_table_has_one_outcome(rows: list[Row], name: str) -> None:
    """Whatever the cells hold, formats and entrances agree."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        expected = outcome(rows, "a.jsonl", "replay", folder)
        for entrance in ENTRANCES:
            assert outcome(rows, name, entrance, folder) == expected, (name, entrance)
        assert by_pipe(rows) == expected
