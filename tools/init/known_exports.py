"""Recognises the exports of well-known systems, which a preset reads as a whole.

A flat table needs no preset: its columns have names, or values that say what they are. A preset is
proposed for records that become several rows, for the envelopes of Kafka, and for files without a
header that are known by their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from streams.errors import InputError
from streams.formats.mapping_file import Mapping as Rules
from tools.files.entries.items import ITEM_FIELDS
from tools.files.entries.users import USER_FIELDS
from tools.files.logs.log_rows import FIELDS
from tools.files.mapping import LeftOut, RecordMapper
from tools.files.presets import column_names, find_preset
from tools.init.profile import Column, as_text
from tools.init.propose import Part
from tools.init.tables import Chosen, Kind, Table

#: Presets for nested records of events.
NESTED: Final = ("ga4", "segment", "otto")
#: Presets for files without a header, by the names of the files and what each holds.
BY_NAME: Final[Mapping[str, tuple[str, Kind]]] = {
    "ratings.dat": ("movielens", "log"),
    "movies.dat": ("movielens", "items"),
    "users.dat": ("movielens", "users"),
    "u.data": ("movielens", "log"),
    "u.item": ("movielens", "items"),
    "u.user": ("movielens", "users"),
    "behaviors.tsv": ("mind", "log"),
    "news.tsv": ("mind", "items"),
}
_NAMES: Final[Mapping[Kind, tuple[str, Sequence[str], Sequence[str]]]] = {
    "log": ("events", FIELDS, ("user_id", "item_id", "ts")),
    "items": ("items", ITEM_FIELDS, ("item_id", "title")),
    "users": ("users", USER_FIELDS, ("user_id",)),
}
#: The least share of the records that the preset must read.
MIN_SHARE: Final = 0.9


def known_export(table: Table) -> Part | None:
    """Return the part that a preset makes of a table; None where no preset is known for it."""
    if table.form.format == "json":
        return next((part for name in NESTED if (part := _read(table, name, "log", table.records)) is not None), None)
    name = table.paths[0].name.lower().removesuffix(".gz")
    if table.has_header or name not in BY_NAME:
        return None
    preset, kind = BY_NAME[name]
    rules = find_preset(preset, _NAMES[kind][0])
    first = [as_text(column.values[0]) for column in table.columns] if table.n_rows else []
    names = column_names(rules, first, table.form.delimiter) if rules is not None else None
    if names is None or len(names) != len(first):
        return None
    records = [dict(zip(names, row, strict=True)) for row in table.rows(table.n_rows)]
    return _read(table, preset, kind, records)


def _read(table: Table, preset: str, kind: Kind, records: Sequence[Mapping[str, Any]]) -> Part | None:
    """Return the part that a preset makes of records.

    None says that the preset cannot read nearly all of them.
    """
    of_kind, fields, required = _NAMES[kind]
    rules = find_preset(preset, of_kind)
    if rules is None or not records:
        return None
    names = [*fields, *(name for name in rules.columns if name not in fields)]
    rows, n_wrong = _rows(records, names, rules, of_kind)
    place = [names.index(name) for name in required]
    good = [row for row in rows if all(row[i] not in (None, "") for i in place)]
    if not good or len(good) < MIN_SHARE * (len(rows) + n_wrong):
        return None
    columns = [Column(name, [row[i] for row in good]) for i, name in enumerate(names)]
    filled = tuple(column for column in columns if column.present)
    chosen = Chosen()
    for column in filled:
        chosen.add(column.name, column, f"the preset {preset} reads it", "sure")
    return Part(kind, replace(table, columns=filled, has_header=True), chosen, preset)


def _rows(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], rules: Rules, kind: str
) -> tuple[list[Sequence[Any]], int]:
    """Return the rows of records, and how many records have another shape."""
    rows: list[Sequence[Any]] = []
    n_wrong = 0
    try:
        mapper = RecordMapper(names, {}, rules=rules, kind=kind)
    except InputError:
        return [], 0
    for record in records:
        try:
            rows += [row for row in mapper.rows(record) if not isinstance(row, LeftOut)]
        except ValueError:
            n_wrong += 1
    return rows, n_wrong
