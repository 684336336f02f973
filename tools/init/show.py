"""Shows a proposal.

People get tables with the first rows as understood, programs an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from streams.errors import RecordError
from tools.cli import ResultTable
from tools.files.cells.times import TimeReader
from tools.init.log_details import LogDetails, shown_time
from tools.init.profile import as_text
from tools.init.propose import Part, Proposal
from tools.init.returns import Returns

N_ROWS: Final = 2
CELL_CHARS: Final = 28
#: More features than this are one line.
SHOWN_FEATURES: Final = 6
_KINDS: Final = {"log": "a log of events", "items": "a catalogue", "users": "users"}


def as_object(
    proposal: Proposal, details: LogDetails | None, returns: Returns | None, checks: Sequence[str], text: str
) -> dict[str, Any]:
    """Return the proposal for ``--json``; ``text`` is that of the settings file."""
    found: dict[str, Any] = {part.kind: _part_object(part) for part in proposal.parts()}
    if details is not None:
        found["log"] |= {
            "types": [{"word": one.word, "count": one.count, "type": one.type} for one in details.types],
            "event_types": details.table,
            "time_unit": details.form.unit if details.form else None,
            "time_format": details.form.pattern if details.form else None,
            "time_zone": details.time_zone,
            "no_times": details.form is None,
        }
    if returns is not None:
        found["log"]["repeats"] = returns.as_object()
    unused = [{"file": name, "why": why} for name, why in proposal.unused]
    return {**found, "unused": unused, "checks": list(checks), "settings": text}


def as_tables(proposal: Proposal, details: LogDetails | None, checks: Sequence[str]) -> list[str | ResultTable]:
    """Return the proposal for people."""
    shown: list[str | ResultTable] = []
    for part in proposal.parts():
        shown.append(_part_table(part, details))
        if part.kind == "log" and details is not None and details.types:
            rows = [[one.word, f"{one.count:,}", one.type or "not mapped"] for one in details.types]
            shown.append(ResultTable("types of events in the log", ["in the log", "rows", "headrace's type"], rows))
    shown += [f"not used: {name}: {why}" for name, why in proposal.unused]
    shown += [f"check: {line}" for line in checks]
    return shown


def next_commands(proposal: Proposal, returns: Returns | None = None) -> list[str]:
    """Return what to type next: at most three commands."""
    commands = []
    if proposal.log is not None:
        repeats = f"--repeats {returns.policy} " if returns is not None and returns.policy else ""
        commands.append(f"headrace train {repeats}--out .headrace/artifact --minutes 3")
    commands.append("headrace up")
    others = [f"headrace {part.kind} put" for part in proposal.parts() if part.kind != "log"]
    if proposal.log is not None and proposal.log.chosen.has("ts"):
        return [*commands, f"headrace replay{' --with-catalogue' if others else ''}"]
    return [*commands, *others]


def _part_object(part: Part) -> dict[str, Any]:
    form = part.table.form
    return {
        "paths": [str(path) for path in part.table.paths],
        "format": part.preset or part.table.envelope or form.format,
        "encoding": form.encoding,
        "delimiter": form.delimiter,
        "has_header": part.table.has_header,
        "rows": part.table.n_rows,
        "is_whole": part.table.is_whole,
        "columns": {one.field: {"column": one.column, "sure": one.sure, "why": one.why} for one in part.chosen.choices},
    }


def _part_table(part: Part, details: LogDetails | None) -> ResultTable:
    form, table_envelope = part.table.form, part.table.envelope
    written = (
        f"{form.format} in the form of {part.preset or table_envelope}"
        if part.preset or table_envelope
        else form.format
    )
    how = [written, form.encoding, f"{form.delimiter!r} between columns" if form.delimiter else ""]
    header = "" if part.preset or form.format != "csv" else "a header" if part.table.has_header else "no header"
    size = f"{part.table.n_rows:,} rows" if part.table.is_whole else f"the first {part.table.n_rows:,} rows seen"
    title = f"{part.table.name}: {_KINDS[part.kind]}; {', '.join(filter(None, [*how, header, size]))}"
    rows = []
    features = [choice for choice in part.chosen.in_order() if choice.field.startswith("features.")]
    for choice in part.chosen.in_order():
        if choice in features[SHOWN_FEATURES:]:
            continue
        values = [
            _understood(choice.field, value, details) for value in part.table.column(choice.column).values[:N_ROWS]
        ]
        values += [""] * (N_ROWS - len(values))
        rows.append([choice.field, choice.column, *values, f"{choice.sure}: {choice.why}"])
    if len(features) > SHOWN_FEATURES:
        rows.append([f"{len(features) - SHOWN_FEATURES} more features", "", *[""] * N_ROWS, "see headrace.toml"])
    return ResultTable(title, ["field", "column", *(f"row {i + 1}" for i in range(N_ROWS)), "how sure"], rows)


def _understood(field: str, value: Any, details: LogDetails | None) -> str:
    """Return a value as headrace will understand it."""
    text = as_text(value) if value is not None else ""
    if details is None:
        return _short(text)
    if field == "type":
        found = next((one.type for one in details.types if one.word == text), None)
        return _short(f"{found} ({text})" if found and found != text else text)
    if field == "ts" and details.form is not None:
        reader = TimeReader(details.form.unit or "auto", details.form.pattern, details.time_zone)
        try:
            return shown_time(reader.ms(value))
        except RecordError:
            return _short(text)
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"
