"""Turns a proposal into the sections of ``headrace.toml``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tools.files.cells.missing import MISSING
from tools.files.presets import find_preset
from tools.init.log_details import LogDetails, shown_time
from tools.init.profile import as_text
from tools.init.propose import Part
from tools.init.settings_file import Entry, NewSection

#: What the settings file calls delimiters that do not show.
_NAMES: Final = {"\t": "tab", " ": "space"}
#: A name of a column with one of these cannot stand in ``columns``.
_NO_NAME: Final = re.compile(r"[,=]")
#: Texts that say that there is nothing, and the least share of a column that must be one of them.
_NOTHING: Final = frozenset(
    ("unknown", "undefined", "none", "null", "nil", "empty", "未知", "无", "暂无", "空", "其他未知")
)
NOTHING_SHARE: Final = 0.05
N_EXAMPLES: Final = 3
EXAMPLE_CHARS: Final = 24


@dataclass(frozen=True)
class Written:
    """The sections, and what the user should check."""

    sections: list[NewSection] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)


def new_sections(parts: Sequence[Part], details: LogDetails | None) -> Written:
    """Return the sections for the parts of a proposal; ``details`` are those of its log."""
    written = Written()
    for part in parts:
        written.sections.append(_section(part, details if part.kind == "log" else None, written.checks))
    if details is not None and details.table:
        written.sections.append(_event_types(details))
    return written


def _event_types(details: LogDetails) -> NewSection:
    """Return the table of event types that the log needs."""
    counts = {name: sum(one.count for one in details.types if one.type == name) for name in details.table}
    comments = ["What users do; docs/data/event-types.md says what else a type can mean, as { weight = 3 }."]
    entries = [Entry(name, meaning, f"{counts[name]:,} rows of the log") for name, meaning in details.table.items()]
    return NewSection("event_types", comments, entries)


def _section(part: Part, details: LogDetails | None, checks: list[str]) -> NewSection:
    table = part.table
    seen = "all" if table.is_whole else "the first"
    comments = [f"Written by headrace init, which looked at {seen} {table.n_rows:,} rows. Change what is wrong."]
    entries = [Entry("paths", [str(path) for path in table.paths]), *_form(part)]
    tables: dict[str, Sequence[Entry]] = {"columns": _columns(part, checks)}
    if details is not None:
        entries += _times(part, details)
        rules = find_preset(part.preset, "events") if part.preset else None
        by_preset = {} if rules is None else rules.types
        tables["types"] = [
            Entry(one.word, one.type, f"{one.count:,} rows")
            for one in details.types
            if one.type and one.type != by_preset.get(one.word, one.word)
        ]
        comments += [
            f"type {one.word!r} of {one.count:,} rows is not mapped: add it below [log.types]"
            for one in details.types
            if one.type is None
        ]
    words = _more_missing(part)
    if words:
        entries.append(Entry("missing", [*MISSING.split(","), *words], f"words for nothing, and {', '.join(words)}"))
    separator = _separator(part)
    if separator:
        entries.append(Entry("tag_separator", separator, "between tags, and between categories"))
    return NewSection(part.kind, comments, entries, tables)


def _form(part: Part) -> list[Entry]:
    """Return how the file is written, as far as an option says it."""
    form = part.table.form
    entries = [Entry("format", part.preset or part.table.envelope or form.format)]
    if form.encoding and form.format in ("csv", "json"):
        comment = "a guess: look at the letters that are not ASCII" if form.is_encoding_guessed else ""
        entries.append(Entry("encoding", form.encoding, comment))
    if form.delimiter:
        entries.append(Entry("delimiter", _NAMES.get(form.delimiter, form.delimiter)))
    return entries


def _columns(part: Part, checks: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    if part.preset:
        return entries
    for choice in part.chosen.in_order():
        if _NO_NAME.search(choice.column):
            checks.append(f"{choice.field}: the column {choice.column!r} has a comma or an = in its name; rename it")
            continue
        values = list(dict.fromkeys(as_text(value) for value in part.table.column(choice.column).present[:50]))
        examples = ", ".join(value[:EXAMPLE_CHARS] for value in values[:N_EXAMPLES])
        entries.append(Entry(choice.field, choice.column, f"{choice.sure}: {choice.why}; {examples}"))
    return entries


def _times(part: Part, details: LogDetails) -> list[Entry]:
    form = details.form
    if form is None:
        return [Entry("no_times", value=True)]
    column = part.column_of("ts")
    first = f"{as_text(column.present[0])} is {shown_time(form.first_ms)}" if column and not details.time_zone else ""
    entries = [Entry("time_format", form.pattern, first) if form.pattern else Entry("time_unit", form.unit, first)]
    if details.time_zone:
        entries.append(Entry("time_zone", details.time_zone, "a guess; remove the line for UTC"))
    return entries


def _more_missing(part: Part) -> list[str]:
    """Return words for nothing that the usual list lacks and that many texts of a catalogue are."""
    if part.kind != "items":
        return []
    columns = [part.column_of(name) for name in ("title", "text", "category", "categories", "tags")]
    words = [
        word
        for column in columns
        if column is not None
        for word, n in column.counts.most_common(3)
        if word.casefold() in _NOTHING and n >= NOTHING_SHARE * len(column.values)
    ]
    return list(dict.fromkeys(word for word in words if word not in MISSING.split(",")))


def _separator(part: Part) -> str | None:
    """Return what parts the tags or categories of a catalogue, where it is not the usual one."""
    if part.kind != "items":
        return None
    columns = [part.column_of(name) for name in ("tags", "categories")]
    found = [column.separator for column in columns if column is not None and column.separator not in (None, "|")]
    is_list = any(column is not None and column.share(lambda text: text.startswith("[")) > 0.5 for column in columns)
    return found[0] if found and not is_list else None
