"""Turns one raw row of a log into an event's fields, by the contract's rules, or refuses it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from models.base.event_types import DEFAULT_TYPES
from streams.errors import InputError, RecordError
from streams.formats.mapping_file import Mapping
from streams.formats.values import id_text, number, optional_id, shown, type_text
from streams.settings.apps import SequencerSettings
from streams.settings.load import Settings
from tools.files.cells.missing import MissingWords
from tools.files.cells.times import TIME_UNITS, TimeReader
from tools.files.file_options import parse_columns
from tools.files.log_source import LogSource
from tools.files.presets import find_preset

FIELDS: Final = ("event_id", "user_id", "item_id", "type", "ts", "session_id", "value")
TS: Final = FIELDS.index("ts")
#: How many cleaned ids are remembered, so that an id of many rows is checked and stored once.
MAX_REMEMBERED: Final = 500_000


# made four times as fast as a dataclass
class LogRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One event of a log.

    Parameters
    ----------
    line : counts from 1, with the header, and on from one file to the next; in Parquet it counts
        rows
    part : counts from 0 the rows that one line, or one record, gives
    """

    line: int
    event_id: str | None
    user_id: str
    item_id: str
    type: str
    ts_ms: int
    session_id: str | None
    value: float | None
    part: int = 0


class UnknownTypeError(RecordError):
    """A row's type is none of the contract's.

    ``kind`` is the type as the log writes it, ``known`` are the contract's types.
    """

    def __init__(self, kind: str, known: Sequence[str]) -> None:
        super().__init__("value", "type", f"{shown(kind)} is none of {', '.join(known)}; map it with --types")
        self.kind = kind
        self.known = known


@dataclass(frozen=True)
class EventRules:
    """What a deployment's settings say about events; commands that read a log hold it to them.

    Parameters
    ----------
    max_future_skew_ms : how far an event's time may lie ahead
    types : names of the event types
    default_type : the type of an event whose row names none
    """

    max_future_skew_ms: int = SequencerSettings().max_future_skew_ms
    types: tuple[str, ...] = DEFAULT_TYPES.names
    default_type: str = DEFAULT_TYPES.default_name

    @classmethod
    def of(cls, settings: Settings) -> EventRules:
        """Return the rules of a deployment."""
        types = settings.sequencer.types()
        return cls(settings.sequencer.max_future_skew_ms, types.names, types.default_name)


_NO_PRESET: Final = Mapping()
#: The rules of a deployment whose settings are as usual.
USUAL_RULES: Final = EventRules()


class RowReader:
    """Reads raw rows of one log; see :mod:`streams.formats.values` for what a value may be.

    Parameters
    ----------
    units : the units of time that ``auto`` may find

    Attributes
    ----------
    times : reads the times, once it has seen the first of them
    fills_times : whether a row without a time gets the time of day
    ahead_ms : how far the newest time lies ahead of now; 0 for none
    now_ms, skew_ms : the time of day, and how far a time may lie ahead of it
    nothing : words that stand for no value
    missing : counts the ids that were such a word
    known, default_type : names of the event types, and the one of a row that names none
    is_timed : whether the log has times

    Raises
    ------
    InputError
        When ``--types`` maps to a type that does not exist, or an option of the times is unknown.
    """

    def __init__(self, source: LogSource, rules: EventRules, units: Sequence[str] = TIME_UNITS[1:]) -> None:
        preset = find_preset(source.files.format, "events") or _NO_PRESET
        mapped = parse_columns(source.types)
        for name, kind in mapped.items():
            if kind not in rules.types:
                raise InputError(f"--types {name}={kind}: {kind!r} is none of {', '.join(rules.types)}")
        mapped = {name: kind for name, kind in preset.types.items() if kind in rules.types} | mapped
        pattern = source.time_format or (preset.time_format if source.time_unit == "auto" else "")
        unit = source.time_unit if source.time_unit != "auto" or pattern else preset.time_unit or "auto"
        self.times = TimeReader(unit, pattern, source.time_zone or preset.time_zone, units=units)
        self.fills_times = False
        self.known = rules.types
        self.ahead_ms = 0
        self.is_timed = not source.no_times
        self.skew_ms = rules.max_future_skew_ms
        self.now_ms = int(time.time() * 1000)
        self.nothing = source.files.missing_words()
        self.missing = MissingWords(self.nothing)
        self._types: dict[Any, str] = {name: name for name in rules.types} | mapped
        self.default_type = rules.default_type
        self._ids: dict[str, str] = {}

    def read(self, line: int, values: Sequence[Any], part: int = 0) -> LogRow:
        """Return the event of a row.

        Parameters
        ----------
        values : in the order of :data:`FIELDS`
        part : as in :class:`LogRow`

        Raises
        ------
        RecordError
            When a value breaks the contract; the first such field counts.
        """
        event_id, user_id, item_id, kind, ts, session_id, value = values
        return LogRow(
            line,
            None if event_id is None else optional_id("event_id", self.or_none(event_id)),
            self._id("user_id", user_id),
            self._id("item_id", item_id),
            self.default_type if kind is None else self.type_of(kind),
            self._time(ts) if self.is_timed else 0,
            None if session_id is None else optional_id("session_id", self.or_none(session_id)),
            None if value is None else number("value", self.or_none(value)),
            part,
        )

    def or_none(self, raw: Any) -> Any:
        """Return None for a word that stands for no value."""
        return None if isinstance(raw, str) and raw.strip() in self.nothing else raw

    def _id(self, field: str, raw: Any) -> str:
        if type(raw) is not str:
            return id_text(field, raw)
        found = self._ids.get(raw)
        if found is None:
            if self.missing.count_id(field, raw):
                raise RecordError(
                    "missing", field, f"{shown(raw)} stands for no value; if it is an id, leave it out of --missing"
                )
            found = id_text(field, raw)
            if len(self._ids) >= MAX_REMEMBERED:
                self._ids.clear()
            self._ids[raw] = found
        return found

    def type_of(self, raw: Any) -> str:
        """Return the type that a value names.

        Raise :class:`UnknownTypeError` for an unknown value.
        """
        found = self._types.get(raw) if type(raw) is str else None
        if found is not None:
            return found
        kind = type_text(self.or_none(raw))
        if not kind:
            return self.default_type
        found = self._types.get(kind)
        if found is None:
            raise UnknownTypeError(kind, self.known)
        return found

    def _time(self, raw: Any) -> int:
        raw = self.or_none(raw)
        if raw is None and self.fills_times:
            return self.now_ms
        ts_ms = self.times.ms(raw)
        ahead_ms = ts_ms - self.now_ms
        if ahead_ms > self.ahead_ms:
            self.ahead_ms = ahead_ms
        if ahead_ms > self.skew_ms:
            raise RecordError(
                "future",
                "ts",
                f"{shown(raw)} is {ahead_ms // 1000:,} s ahead, limit {self.skew_ms // 1000:,} s; a time zone? see "
                "--time-zone, or check the clock that wrote it",
            )
        return ts_ms
