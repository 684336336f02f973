"""``headrace produce``: publishes the events of files or of a pipe, each as soon as it is read.

Files may have every format and mapping that ``headrace replay`` reads. A pipe of JSON lines is
live: each line is published when it comes. Other formats of a pipe are read to the end first.

A log without times gets the time of day. A missing ``event_id`` is derived from the event's
content, so that a file can be published twice without harm. Where times were filled in, two lines
of equal content are two events.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.progress import Progress, TaskID

from models.base.event_types import DEFAULT_TYPES, EventTypes
from streams.contract.pseudonyms import Pseudonyms, open_pseudonyms
from streams.contract.records import MAX_RECORD_BYTES, VERSION, Event, EventDecoder, derive_event_id, encode
from streams.errors import InputError, RecordError
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.permissions import prepare
from streams.kafka.publisher import Publisher
from streams.printable import counted
from streams.settings.load import Settings, load_settings
from tools.cli import emit, progress
from tools.files.cells.times import TIME_UNITS
from tools.files.file_options import parse_columns
from tools.files.formats.named_files import STDIN, take_for_stdin
from tools.files.json_lines import CUT_BYTES, read_chunks, split_lines
from tools.files.log_source import LogSource
from tools.files.logs.log_preview import LogPreview, add_dry_run, emit_preview
from tools.files.logs.log_reader import CONTRACT_UNITS, LogReader, is_unmapped
from tools.files.logs.log_rows import FIELDS, TS, EventRules, LogRow, RowReader, UnknownTypeError
from tools.files.mapping import LeftOut, RecordMapper
from tools.files.presets import find_preset
from tools.files.reading import told_reading
from tools.files.refused_rows import RefusedRows
from tools.replay.identity import with_pseudonym

#: Fields of the contract that a JSON line may have beside those of a log.
EXTRA_FIELDS: Final = ("v", "run", "seq")
#: Formats that a live pipe may have; every other one is read to its end first.
LIVE_FORMATS: Final = ("auto", "json")


class EventMaker:
    """Turns the rows of a log, or lines of JSON, into checked events.

    With ``pseudonyms``, no field of an event holds the raw user id or is derived from it.

    Parameters
    ----------
    source : how the fields of a line become those of an event
    """

    def __init__(
        self,
        max_future_skew_ms: int,
        pseudonyms: Pseudonyms | None = None,
        types: EventTypes = DEFAULT_TYPES,
        source: LogSource = LogSource((Path(STDIN),)),  # noqa: B008 (frozen)
    ) -> None:
        self._pseudonyms = pseudonyms
        self._decoder = EventDecoder(max_future_skew_ms, types)
        self._lines = msgspec.json.Decoder(dict[str, Any])
        units = CONTRACT_UNITS if is_unmapped(source) else TIME_UNITS[1:]
        self._rows = RowReader(source, EventRules(max_future_skew_ms, types.names, types.default_name), units)
        rules = find_preset(source.files.format, "events")
        columns, mapped = source.files.columns_map(), parse_columns(source.types)
        self._mapper = RecordMapper(FIELDS, columns, rules=rules, types=mapped)
        self._is_first = True

    def make(self, number: int, line: bytes, now_ms: int) -> tuple[bytes, Event]:
        """Return the record key and the event of a line that holds one.

        Raises
        ------
        RecordError
            When the line is not a JSON object or breaks the contract; has reason and field.
        """
        fields = self._fields(line)
        (values,) = self._values(fields)
        return self.event_of_values(number, values, fields, now_ms)

    def rows(self, line: bytes) -> tuple[dict[str, Any], list[Any]]:
        """Return the object of a line, and the raw values of each event in it."""
        fields = self._fields(line)
        return fields, self._values(fields)

    def event_of_values(self, number: int, values: Any, fields: dict[str, Any], now_ms: int) -> tuple[bytes, Event]:
        """Return the record key and the event of raw values; see :meth:`make`.

        Parameters
        ----------
        fields : the object that the values come from
        """
        if self._is_first:  # as the first line does, a stream has times or has none
            self._rows.fills_times = values[TS] is None and "ts" not in fields
            self._is_first = False
        self._rows.now_ms = now_ms
        self._rows.times.settle([values[TS]])
        row = self._rows.read(number, values)
        extra: dict[str, Any] = {name: fields[name] for name in EXTRA_FIELDS if name in fields}
        return self.event(row, now_ms, extra, is_filled=self._rows.fills_times)

    def event(
        self, row: LogRow, now_ms: int, extra: dict[str, Any] | None = None, *, is_filled: bool
    ) -> tuple[bytes, Event]:
        """Return the record key and the event of a row.

        Parameters
        ----------
        is_filled : whether the row's time is the time of day

        Raises
        ------
        RecordError
            When the event breaks the contract.
        """
        # first, because the event id is derived from it
        row = with_pseudonym(row, self._pseudonyms)
        value = int(row.value) if row.value is not None and row.value.is_integer() else row.value
        fields: dict[str, Any] = {
            "v": VERSION,
            "user_id": row.user_id,
            "item_id": row.item_id,
            "type": row.type,
            "ts": row.ts_ms,
            "session_id": row.session_id,
            "value": value,
        }
        fields |= extra or {}
        salt = (str(row.line) if is_filled else "") + (f"#{row.part}" if row.part else "")
        fields["event_id"] = row.event_id or derive_event_id(fields, salt)
        key = row.user_id.encode()
        return key, self._decoder.decode_event(key, msgspec.json.encode(fields), now_ms)

    def _fields(self, line: bytes) -> dict[str, Any]:
        try:
            fields = self._lines.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            if len(line) != CUT_BYTES:
                raise RecordError("malformed", "", f"not a JSON object: {exc}") from exc
            fields = None
        if fields is None or len(line) > MAX_RECORD_BYTES:
            raise RecordError("too-large", "", f"more than {MAX_RECORD_BYTES} bytes; publish smaller records")
        return fields

    def _values(self, fields: dict[str, Any]) -> list[Any]:
        try:
            return list(self._mapper.rows(fields))
        except ValueError as exc:
            raise RecordError("malformed", "", str(exc)) from exc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    LogSource.add_options(parser, is_history=False)
    add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where a row was refused."""
    settings, source = load_settings(broker=args.broker), LogSource.of(args)
    source.check_timed()
    tally = Tally()
    if args.dry_run:
        preview = LogPreview(LogReader(source, tally.refused, EventRules.of(settings), is_direct=True))
        _check_rows(source, preview.n_events + tally.refused.n)
        return emit_preview(args, preview, tally.refused, f"would be sent to {settings.kafka.topic('events')}")
    try:
        asyncio.run(_produce(settings, source, tally))
    except KeyboardInterrupt:
        emit(args, tally.result())
        raise
    _check_rows(source, tally.sent + tally.refused.n)
    tally.refused.say_summary()
    told = f"{counted(tally.sent, 'event')} sent, {counted(tally.refused.n, 'line')} refused"
    emit(args, tally.result(), told)
    return tally.refused.exit_code


def _check_rows(source: LogSource, n_rows: int) -> None:
    """Raise :class:`InputError` for files without rows. A pipe may have nothing to say."""
    if not n_rows and not _is_stream(source):
        raise InputError(f"{source.name}: no rows")


@dataclass
class Tally:
    """How many events were sent, and which lines were refused."""

    sent: int = 0
    refused: RefusedRows = field(default_factory=lambda: RefusedRows("refused lines"))

    def result(self) -> dict[str, Any]:
        """Return the counts for ``--json``."""
        return {"sent": self.sent, **self.refused.result()}


Made = tuple[bytes, Event]


async def _produce(settings: Settings, source: LogSource, tally: Tally) -> None:
    settings = await with_existing_partitions(settings)
    await prepare(settings.kafka, "producer")
    maker = EventMaker(
        settings.sequencer.max_future_skew_ms, open_pseudonyms(settings.kafka), settings.sequencer.types(), source
    )
    topic = settings.kafka.topic("events")
    with progress() as bar, _told(bar, source) as task:
        async with Publisher(settings.kafka) as publisher:
            try:
                async for key, event in _events(source, maker, EventRules.of(settings), tally.refused):
                    await publisher.publish(topic, key, encode(event))
                    tally.sent += 1
                    if tally.sent % 1_000 == 0:
                        bar.update(task, **_sent(source, tally.sent))
                        await asyncio.sleep(0)  # lets Ctrl-C act, also where a file is read
            finally:
                await publisher.flush()


def _told(bar: Progress, source: LogSource) -> contextlib.AbstractContextManager[TaskID]:
    """Return a task that shows the bytes read of files, or the events sent of a stream."""
    if _is_stream(source):
        return contextlib.nullcontext(bar.add_task("publishing", total=None, unit="events"))
    return told_reading(bar, "reading and publishing", source.paths)


def _sent(source: LogSource, n: int) -> dict[str, Any]:
    return {"completed": n} if _is_stream(source) else {"note": f"{n:,} events sent"}


def _is_stream(source: LogSource) -> bool:
    path = source.paths[0]
    return len(source.paths) == 1 and (str(path) == STDIN or path.is_fifo() or path.is_char_device())


async def _events(source: LogSource, maker: EventMaker, rules: EventRules, refused: RefusedRows) -> AsyncIterator[Made]:
    """Yield the events of files, or those of a pipe as they come."""
    path = source.paths[0]
    if not _is_stream(source):
        for made in file_events(source, maker, rules, refused):
            yield made
        return
    chunks = read_chunks(None if str(path) == STDIN else path)
    first = await anext(chunks, b"")
    if holds_json_lines(source, first):
        async for number, line in split_lines(_joined(first, chunks)):
            for made in line_events(maker, number, line, refused):
                yield made
        return
    with tempfile.NamedTemporaryFile(prefix="headrace-stdin-") as copy:
        async for chunk in _joined(first, chunks):
            copy.write(chunk)
        copy.flush()
        take_for_stdin(Path(copy.name))
        for made in file_events(_of_stdin(source), maker, rules, refused):
            yield made


def holds_json_lines(source: LogSource, first: bytes) -> bool:
    """Return whether a pipe that begins so holds JSON lines, which need not be read to the end."""
    if source.files.encoding.lower().replace("_", "-") not in ("auto", "utf-8", "utf8", "utf-8-sig"):
        return False
    if source.files.format not in LIVE_FORMATS and is_unmapped(source):
        return False  # csv, parquet and their like
    head = first.removeprefix(BOM_UTF8).lstrip()
    if not head:
        return True  # nothing, or blank lines
    return head.startswith(b"{") and head.split(b"\n", 1)[0].strip() != b"{"


def _of_stdin(source: LogSource) -> LogSource:
    return LogSource((Path(STDIN),), **{name: value for name, value in vars(source).items() if name != "paths"})


async def _joined(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


def line_events(maker: EventMaker, number: int, line: bytes, refused: RefusedRows) -> Iterator[Made]:
    """Yield the events of a line of JSON; count what is refused."""
    place = f"line {number}"
    now_ms = int(time.time() * 1000)
    try:
        fields, rows = maker.rows(line)
    except RecordError as exc:
        refused.refuse(place, exc)
        return
    for values in rows:
        if isinstance(values, LeftOut):
            refused.leave_out(values)
            continue
        try:
            yield maker.event_of_values(number, values, fields, now_ms)
        except UnknownTypeError as exc:
            refused.refuse_type(place, exc.kind, exc.known)
        except RecordError as exc:
            refused.refuse(place, exc)


def file_events(source: LogSource, maker: EventMaker, rules: EventRules, refused: RefusedRows) -> Iterator[Made]:
    """Yield the events of files in their order, read as ``headrace replay`` reads them."""
    reader = LogReader(source, refused, rules, is_direct=True)
    for row in reader:
        try:
            yield maker.event(row, int(time.time() * 1000), is_filled=reader.fills_times)
        except RecordError as exc:
            refused.refuse(f"line {row.line}", exc)
