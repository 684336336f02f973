"""Recognises the exports of well-known systems, which a preset reads as a whole.

A preset is proposed where it is certain: by the records themselves, by a header that only this
export has, by values that only it has, or for files without a header by their well-known names.
"""

from __future__ import annotations

import re
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
#: Presets by columns that together only one export has.
BY_COLUMNS: Final[Sequence[tuple[frozenset[str], str, Kind]]] = (
    (frozenset({"timestamp", "visitorid", "event", "itemid", "transactionid"}), "retailrocket", "log"),
    (frozenset({"userId", "movieId", "rating", "timestamp"}), "movielens", "log"),
    (frozenset({"movieId", "title", "genres"}), "movielens", "items"),
    (frozenset({"reviewerID", "asin", "overall", "unixReviewTime"}), "amazon", "log"),
    (frozenset({"user_id", "parent_asin", "rating", "timestamp"}), "amazon", "log"),
    (frozenset({"parent_asin", "title", "main_category"}), "amazon", "items"),
    (frozenset({"FeedbackType", "UserId", "ItemId", "Timestamp"}), "gorse", "log"),
    (frozenset({"ItemId", "IsHidden", "Categories", "Timestamp"}), "gorse", "items"),
    (frozenset({"UserId", "Labels", "Comment"}), "gorse", "users"),
)
#: Presets for logs without a header, by a pattern for each column that only one export has.
BY_VALUES: Final[Sequence[tuple[tuple[str, ...], str]]] = (
    (("[0-9]+", "[0-9]+", "[0-9]+", "pv|cart|fav|buy", "1[0-9]{9}"), "taobao"),
    (("A[0-9A-Z]{9,20}", "B[0-9A-Z]{9}|[0-9]{9}[0-9X]", "[1-5](?:\\.0)?", "[0-9]{9,10}"), "amazon"),
)
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
        nested = (part for name in NESTED if (part := _read(table, name, "log", table.records)) is not None)
        return next(nested, None) or _by_columns(table, table.records)
    if table.has_header:
        names = [column.name for column in table.columns]
        records = [dict(zip(names, row, strict=True)) for row in table.rows(table.n_rows)]
        return _by_columns(table, records)
    for patterns, preset in BY_VALUES:
        if _has_values(table, patterns):
            return _by_position(table, preset, "log")
    name = table.paths[0].name.lower().removesuffix(".gz")
    return _by_position(table, *BY_NAME[name]) if name in BY_NAME else None


def _by_columns(table: Table, records: Sequence[Mapping[str, Any]]) -> Part | None:
    names = {column.name for column in table.columns} | {name for record in records[:1] for name in record}
    found = next(((preset, kind) for columns, preset, kind in BY_COLUMNS if columns <= names), None)
    return None if found is None else _read(table, *found, records)


def _has_values(table: Table, patterns: Sequence[str]) -> bool:
    """Return whether nearly all values of each column match its pattern."""
    if len(table.columns) != len(patterns):
        return False
    return all(
        column.present and column.share(re.compile(pattern).fullmatch) >= MIN_SHARE
        for column, pattern in zip(table.columns, patterns, strict=True)
    )


def _by_position(table: Table, preset: str, kind: Kind) -> Part | None:
    """Return the part that a preset makes of a table without a header.

    The columns are those of the preset's own layout.
    """
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
