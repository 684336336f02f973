"""Chooses which column holds which field of an event, an item or a user."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from tools.files.cells.type_words import guess_type
from tools.init.names import ITEM_NAMES, LOG_NAMES, PART_RANK, USER_NAMES, plain_name, rank
from tools.init.profile import Column, depends
from tools.init.tables import Chosen, Sure, Table
from tools.init.time_form import find_time_form

#: What a shop's word for an event may mean.
EVENTS: Final = (
    "click", "view", "purchase", "cart", "favorite", "like", "dislike", "skip", "impression", "play", "rating",
)  # fmt: skip
#: A text column with at most this many values can be a feature.
MAX_FEATURE_VALUES: Final = 200
#: A column with at most this many values can hold event types.
MAX_TYPES: Final = 100
#: Something that a person takes for a date, in whatever order.
_DATE: Final = re.compile(r"\d{1,4}[-/.年]\d{1,2}[-/.月]\d{1,4}|\d{1,2}[ /-]?[A-Za-z]{3}|[A-Za-z]{3} \d{1,2}")
#: Where another column shares so many more ids with the other file, its name does not count.
MUCH_MORE: Final = 4.0


def is_time(column: Column) -> bool:
    """Return whether nearly all values are times from 1990 to 2099."""
    return column.time_form is not None


def event_share(column: Column) -> float:
    """Return the share of values that are a word for what a user does."""
    n_known = sum(n for word, n in column.counts.items() if guess_type(word, EVENTS))
    return n_known / len(column.present) if column.present else 0.0


def choose_log(table: Table, item_ids: frozenset[str] = frozenset(), user_ids: frozenset[str] = frozenset()) -> Chosen:
    """Return the columns of a log.

    Parameters
    ----------
    item_ids, user_ids : the ids in the catalogue and in the users' file; empty where there is none
    """
    chosen = Chosen()
    _by_name(table, chosen, LOG_NAMES, _LOG_CHECKS)
    _by_overlap(table, chosen, "item_id", item_ids, "the catalogue")
    if not chosen.has("ts"):
        _first(chosen, table, "ts", is_time, "its values are times", "likely")
    if not chosen.has("type"):
        _first(chosen, table, "type", lambda c: event_share(c) >= 0.5, "its values are names of events", "likely")
    _ids_by_content(table, chosen, item_ids, user_ids)
    if not chosen.has("value") and not table.has_header:
        item = chosen.of("item_id")
        _first(
            chosen,
            table,
            "value",
            lambda c: _is_amount(c) and not (item and depends(table.column(item.column), c)),
            "numbers that are neither ids nor times",
            "guess",
        )
    return chosen


def choose_items(table: Table, log_ids: frozenset[str] = frozenset()) -> Chosen:
    """Return the columns of a catalogue; ``log_ids`` are the log's item ids."""
    chosen = Chosen()
    _by_name(table, chosen, ITEM_NAMES, _ITEM_CHECKS)
    _by_overlap(table, chosen, "item_id", log_ids, "the log")
    if not chosen.has("item_id"):
        _first(chosen, table, "item_id", _is_key, "each row has another value", "likely")
    if not chosen.has("title"):
        _title_by_content(table, chosen)
    if not table.has_header:
        _first(chosen, table, "price", lambda c: c.price > 0.8, "amounts with a currency", "likely")
        for name in ("category", "tags"):
            _first(chosen, table, name, _is_word_list, "several words in each cell", "guess")
    _features(table, chosen)
    _name_list(table, chosen)
    return chosen


def _name_list(table: Table, chosen: Chosen) -> None:
    """Call the column of the category ``categories`` where its cells hold several."""
    category = chosen.of("category")
    if category is None or chosen.has("categories"):
        return
    column = table.column(category.column)
    if column.separator == "|" or column.share(lambda text: text.startswith("[")) > 0.5:
        chosen.remove("category")
        chosen.add("categories", column, category.why, category.sure)


def choose_users(table: Table, log_ids: frozenset[str] = frozenset()) -> Chosen:
    """Return the columns of a users' file; ``log_ids`` are the log's user ids."""
    chosen = Chosen()
    _by_name(table, chosen, USER_NAMES, {"user_id": _can_be_id, "follows": _can_be_list})
    if any(_is_key(column) for column in table.columns):  # of pairs, both columns are ids of users
        _by_overlap(table, chosen, "user_id", log_ids, "the log")
    if not chosen.has("user_id"):
        _first(chosen, table, "user_id", _is_key, "each row has another value", "likely")
    if not chosen.has("user_id"):
        _first(chosen, table, "user_id", lambda c: c.is_id, "the first column of ids", "guess")
    user = chosen.of("user_id")
    if user and not chosen.has("follows") and not _is_key(table.column(user.column)):
        _first(chosen, table, "follows", lambda c: c.is_id and c.n_distinct > 1, "ids beside the user's id", "guess")
    if not chosen.has("follows") or table.has_header:
        _features(table, chosen)
    return chosen


def _by_name(
    table: Table,
    chosen: Chosen,
    names: Mapping[str, tuple[str, ...]],
    checks: Mapping[str, Callable[[Column], bool]],
) -> None:
    """Give each field the column whose name suits it best.

    The column's values must not speak against the field.
    """
    found = []
    for at, field in enumerate(names):
        for place, column in enumerate(table.columns):
            how = rank(column.name, field, names) if column.is_named else None
            if how is not None and checks.get(field, _has_values)(column):
                found.append((how, at, place, field, column))
    for how, _at, _place, field, column in sorted(found, key=lambda each: each[:3]):
        if not chosen.has(field) and column in chosen.free(table):
            chosen.add(field, column, "by its name", "sure" if how < PART_RANK else "likely")


def _by_overlap(table: Table, chosen: Chosen, field: str, ids: frozenset[str], other: str) -> None:
    """Give a field of ids the column that shares the most ids with the other file.

    A column that was chosen by its name stays unless this one shares far more ids.
    """
    named = chosen.of(field)
    taken = {choice.column for choice in chosen.choices if choice.field in ("user_id", "item_id") and choice != named}
    shares = {c.name: c.overlap(ids) for c in table.columns if c.is_id and c.name not in taken}
    if not ids or not shares:
        return
    best = max(shares, key=lambda name: shares[name])
    has = shares.get(named.column, 0.0) if named else 0.0
    if shares[best] <= MUCH_MORE * has or shares[best] < 0.01:
        return
    for choice in [one for one in chosen.choices if one.field == field or one.column == best]:
        chosen.remove(choice.field)
    chosen.add(field, table.column(best), f"its values are ids of {other}", "sure" if shares[best] > 0.5 else "likely")


def _ids_by_content(table: Table, chosen: Chosen, item_ids: frozenset[str], user_ids: frozenset[str]) -> None:
    """Find the columns of the user and of the item among those that are left.

    An attribute of another column of ids, such as the category of an item, is neither.
    """
    free = [column for column in chosen.free(table) if column.is_id and column.n_distinct > 1]
    keys = [one for one in free if not any(depends(other, one) for other in free if other is not one)]
    for name, ids, other in (("item_id", item_ids, "the catalogue"), ("user_id", user_ids, "the users")):
        if not chosen.has(name) and ids and keys:
            best = max(keys, key=lambda column, ids=ids: column.overlap(ids))  # type: ignore[misc]
            if best.overlap(ids) >= 0.01:
                chosen.add(name, best, f"its values are ids of {other}", "likely")
                keys.remove(best)
    for name in ("user_id", "item_id"):
        if not chosen.has(name) and keys:
            why = "the first column of ids" if name == "user_id" else "the next column of ids"
            chosen.add(name, keys.pop(0), why, "guess")


def _title_by_content(table: Table, chosen: Chosen) -> None:
    texts = [c for c in chosen.free(table) if c.words >= 0.5 and c.address < 0.5 and c.filled >= 0.5]
    best = next((c for c in texts if c.uniqueness >= 0.5), texts[0] if texts else None)
    if best is None:
        best = next((c for c in chosen.free(table) if c.number < 0.5 and c.address < 0.5 and c.uniqueness > 0.8), None)
    if best is not None:
        chosen.add("title", best, "texts that differ from row to row", "likely")


def _first(chosen: Chosen, table: Table, field: str, test: Callable[[Column], bool], why: str, sure: Sure) -> None:
    """Give a field the first free column for which a test holds."""
    for column in chosen.free(table):
        if not chosen.has(field) and column.present and test(column):
            chosen.add(field, column, why, sure)


def _features(table: Table, chosen: Chosen) -> None:
    """Make features of the columns that are left and whose values can say something."""
    for column in chosen.free(table):
        if not _can_be_feature(column):
            continue
        name = plain_feature(column.name) if column.is_named else f"column_{column.name}"
        if name and not chosen.has(f"features.{name}"):
            chosen.add(f"features.{name}", column, "a number" if column.number > 0.9 else "few values", "guess")


def plain_feature(name: str) -> str:
    """Return a column's name as the name of a feature, which has no comma, ``=`` or dot."""
    return "".join(char if char.isalnum() or char in "_-" else "_" for char in name.strip()).strip("_")


def _can_be_feature(column: Column) -> bool:
    if column.filled < 0.2 or column.n_distinct < 2 or column.address > 0.1 or column.separator:
        return False
    if column.number > 0.95:
        looks_like_id = plain_name(column.name).endswith(("id", "编号"))
        return not looks_like_id and not (column.whole == 1.0 and column.uniqueness > 0.95 and column.n_distinct > 20)
    return column.n_distinct <= min(MAX_FEATURE_VALUES, max(2, len(column.present) // 2)) and column.mean_length <= 40


def _has_values(column: Column) -> bool:
    return bool(column.present)


def _can_be_id(column: Column) -> bool:
    return bool(column.present) and column.filled >= 0.5 and column.whole_or_code


def _can_be_list(column: Column) -> bool:
    return bool(column.present)


def _is_key(column: Column) -> bool:
    return column.is_id and column.uniqueness >= 0.98


def _is_unique(column: Column) -> bool:
    return column.filled > 0.99 and column.uniqueness == 1.0 and not is_time(column)


def _is_type(column: Column) -> bool:
    return 1 <= column.n_distinct <= MAX_TYPES and (column.number < 0.5 or column.n_distinct <= 12)


def _is_number(column: Column) -> bool:
    return column.number >= 0.5


def _is_amount(column: Column) -> bool:
    return column.number >= 0.95 and not is_time(column)


def _is_word_list(column: Column) -> bool:
    return (
        column.separator is not None
        and column.number < 0.2
        and column.address < 0.1
        and column.share(_has_letter) > 0.5
    )


def _has_letter(text: str) -> bool:
    return any(char.isalpha() for char in text)


def _is_category(column: Column) -> bool:
    return bool(column.present) and (len(column.present) <= 20 or column.uniqueness < 0.95)


_LOG_CHECKS: Final[dict[str, Callable[[Column], bool]]] = {
    "user_id": _can_be_id,
    "item_id": _can_be_id,
    "ts": lambda column: (
        find_time_form(column.present, may_be_serial=True) is not None or column.share(_DATE.search) >= 0.5
    ),
    "type": _is_type,
    "value": _is_number,
    "event_id": _is_unique,
}
_ITEM_CHECKS: Final[dict[str, Callable[[Column], bool]]] = {
    "item_id": lambda column: _can_be_id(column) and column.uniqueness > 0.5,
    "title": lambda column: column.number < 0.9 and column.address < 0.5,
    "price": lambda column: column.number >= 0.3 or column.price >= 0.3,
    "category": _is_category,
}
