"""Proposes what a log needs beside its columns: its event types, and how its times are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from tools.files.cells.type_words import guess_type
from tools.files.presets import find_preset
from tools.init.propose import Part
from tools.init.tables import Sure
from tools.init.time_form import TimeForm, find_time_form

#: The zone that is proposed where a file is Chinese and its times name none.
CHINA: Final = "Asia/Shanghai"
#: Times that lie further ahead were written in a zone east of UTC.
AHEAD_MS: Final = 60_000
MAX_TYPES: Final = 50
#: Types beyond the usual ones that a log may need, and what each means in the table of event types.
MORE_TYPES: Final[Mapping[str, Mapping[str, bool]]] = {
    "cart": {},
    "favorite": {},
    "like": {},
    "play": {},
    "rating": {},
    "skip": {"positive": False},
    "dislike": {"hides": True},
    "impression": {"window": False},
}


@dataclass(frozen=True)
class ProposedType:
    """A word of the log for an event: how often it came, and headrace's type.

    The type is None where it is unknown.
    """

    word: str
    count: int
    type: str | None


@dataclass(frozen=True)
class LogDetails:
    """What a log needs beside its columns.

    Parameters
    ----------
    types : the words of the log by frequency; empty without a column of types
    table : the table of event types that the log needs; empty where the deployment's has all of
        them
    form : how the times are written; None for a log without times
    time_zone : of times that name none; empty for UTC
    zone_sure : how sure the zone is
    checks : what the user should look at, in words
    """

    types: list[ProposedType] = field(default_factory=list)
    table: dict[str, Mapping[str, bool]] = field(default_factory=dict)
    form: TimeForm | None = None
    time_zone: str = ""
    zone_sure: Sure = "sure"
    checks: list[str] = field(default_factory=list)


def log_details(part: Part, known_types: Collection[str], now_ms: int, *, may_add: bool = False) -> LogDetails:
    """Return what a log needs beside its columns.

    Parameters
    ----------
    known_types : the event types of the deployment
    now_ms : the present time; no event can be later
    may_add : whether types may be added to those of the deployment
    """
    checks: list[str] = []
    column = part.column_of("type")
    words = [] if column is None else list(column.counts)
    more = (
        {kind for word in words if (kind := guess_type(word, [*known_types, *MORE_TYPES])) in MORE_TYPES}
        if may_add
        else set()
    )
    table = {name: MORE_TYPES.get(name, {}) for name in (*known_types, *MORE_TYPES) if name in (*known_types, *more)}
    types = _types(part, table, checks)
    form = None
    column = part.column_of("ts")
    if column is None:
        checks.append("the log has no times: models of order, and replay, cannot use it")
    else:
        form = find_time_form(column.present, may_be_serial=True)
    zone, sure = _zone(part, form, now_ms, checks)
    if form is not None and form.is_ambiguous:
        checks.append(f"times: month and day could be the other way round; {form.pattern} is a guess")
    if column is not None and form is None:
        part.chosen.remove("ts")
        checks.append(f"the values of {column.name} look like dates, but are not read as times; name --time-format")
    return LogDetails(types, table if more else {}, form, zone, sure, checks)


def _types(part: Part, known: Collection[str], checks: list[str]) -> list[ProposedType]:
    column = part.column_of("type")
    if column is None:
        return []
    words = column.counts.most_common(MAX_TYPES)
    rules = find_preset(part.preset, "events") if part.preset else None
    by_preset = {} if rules is None else rules.types
    types = [ProposedType(word, count, guess_type(word, known) or by_preset.get(word)) for word, count in words]
    unknown = [one for one in types if one.type is None]
    if unknown:
        named = ", ".join(f"{one.word} ({one.count:,})" for one in unknown[:5])
        checks.append(f"types without a meaning that is known: {named}; map them, or their rows are refused")
    if len(column.present) < len(column.values):
        checks.append("rows without a type are views")
    return types


def _zone(part: Part, form: TimeForm | None, now_ms: int, checks: list[str]) -> tuple[str, Sure]:
    """Return the zone of times that name none, and how sure it is."""
    if form is None or form.names_zone:
        return "", "sure"
    is_chinese = any(column.is_named and _has_han(column.name) for column in part.table.columns) or any(
        column.han > 0.3 for column in part.table.columns
    )
    ahead_ms = form.newest_ms - now_ms
    if is_chinese:
        checks.append(f"times name no zone; {CHINA} is a guess, because the log is in Chinese")
        return CHINA, "guess"
    if ahead_ms > AHEAD_MS:
        hours = -(-ahead_ms // 3_600_000)
        if hours <= 14:
            checks.append(
                f"times name no zone, and the newest is {hours} h ahead in UTC; +{hours:02d}:00 is the least zone"
            )
            return f"+{hours:02d}:00", "guess"
    checks.append("times name no zone and are read as UTC; set time_zone if they were written elsewhere")
    return "", "guess"


def shown_time(ts_ms: int) -> str:
    """Return a time in UTC for people."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _has_han(text: str) -> bool:
    return any("\u4e00" <= char <= "\u9fff" for char in text)
