"""Tells logs, catalogues and files of users apart by their columns, values and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tools.init.choose import is_time
from tools.init.names import ITEM_NAMES, LOG_NAMES, PART_RANK, USER_NAMES, rank
from tools.init.profile import Column
from tools.init.tables import Kind, Table

#: A file with a lower score is of no kind.
MIN_SCORE: Final = 2.0


def kind_scores(table: Table) -> dict[Kind, float]:
    """Return how much speaks for each kind; 2 is a little, 5 is a lot."""
    if not table.columns or not table.n_rows:
        return {"log": 0.0, "items": 0.0, "users": 0.0}
    return {"log": _log_score(table), "items": _items_score(table), "users": _users_score(table)}


def kind_of(table: Table) -> Kind:
    """Return the kind for which most speaks, ``unknown`` where little does."""
    scores = kind_scores(table)
    best = max(scores, key=lambda kind: scores[kind])
    return best if scores[best] >= MIN_SCORE else "unknown"


def _log_score(table: Table) -> float:
    user, item = _named(table, "user_id", LOG_NAMES), _named(table, "item_id", LOG_NAMES)
    has_time = any(is_time(column) for column in table.columns)
    score = 4.0 if user and item else 0.0
    score += 2.0 if has_time else 0.0
    score += 1.0 if _named(table, "type", LOG_NAMES) or _named(table, "value", LOG_NAMES) else 0.0
    if not table.has_header:
        score += 2.0 if len(_repeating(table)) >= 2 else 0.0
        score -= 3.0 if _keys(table) and not has_time else 0.0
    elif not (user and item):
        score -= 3.0
    return score + (1.0 if table.hinted("log") else 0.0)


def _items_score(table: Table) -> float:
    title = _named(table, "title", ITEM_NAMES)
    has_text = any(column.words >= 0.5 and column.address < 0.5 and column.uniqueness > 0.3 for column in table.columns)
    score = 2.0 if _keys(table) or _named(table, "item_id", ITEM_NAMES) else 0.0
    score += 3.0 if title else 2.0 if has_text else 0.0
    score -= 3.0 if _named(table, "user_id", LOG_NAMES) else 0.0
    return score + (1.0 if table.hinted("items") else 0.0)


def _users_score(table: Table) -> float:
    user, item = _named(table, "user_id", LOG_NAMES), _named(table, "item_id", LOG_NAMES)
    score = 2.0 if user and not item else 0.0
    score += 3.0 if user and _named(table, "follows", USER_NAMES) else 0.0
    score -= 2.0 if item else 0.0
    has_text = any(column.words >= 0.5 and column.uniqueness > 0.5 for column in table.columns)
    score += 1.0 if _keys(table) and not has_text else 0.0
    if table.hinted("users") and not (table.hinted("log") or has_text):
        score += 4.0 if not table.has_header and len(_repeating(table)) >= 2 else 2.0
    return score


def _named(table: Table, field: str, names: Mapping[str, tuple[str, ...]]) -> bool:
    ranks = [rank(column.name, field, names) for column in table.columns if column.is_named]
    return any(how is not None and how <= PART_RANK for how in ranks)


def _keys(table: Table) -> list[Column]:
    """Return the columns whose values are ids that do not repeat."""
    return [c for c in table.columns if c.is_id and c.uniqueness >= 0.98 and not is_time(c)]


def _repeating(table: Table) -> list[Column]:
    """Return the columns whose values are ids that repeat."""
    return [c for c in table.columns if c.is_id and c.n_distinct > 1 and c.uniqueness < 0.98 and not is_time(c)]
