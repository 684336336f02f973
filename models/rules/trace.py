"""Which rule moved what in one list, and which rule keeps an item out: for explanations.

Rules have the names that the document gives them: ``deny``, ``filters.price_max``, ``boosts[2]``,
``caps.Shoes``, ``pins[1]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.base.types import Float32, Int64
from models.rules.arrange import EXPLORED, FILLED, PINNED, RANKED, Arranged
from models.rules.document import EACH_CATEGORY, Selector
from models.rules.facts import CATEGORY
from models.rules.row_rules import RowRules, selected

#: How an item came to its place, in words.
HOW: Final = {RANKED: "score", PINNED: "pin", EXPLORED: "exploration", FILLED: "fill-up"}


@dataclass(frozen=True)
class Move:
    """What the rules did to one item of a list, or to one candidate that is not in it.

    Parameters
    ----------
    row : of the catalogue
    place : in the list, from 1; None where it is not there
    place_by_score : from 1, by probability alone among the candidates; None where it is none
    factor : the product of its boosts and buries
    how : ``score``, ``pin``, ``exploration`` or ``fill-up``; of an item that is not in the list
        what kept it out: ``caps.CATEGORY``, ``score``, or ``diversity`` where its score would do
    rules : names of the rules that moved it: boosts, buries, a pin, exploration
    """

    row: int
    place: int | None
    place_by_score: int | None
    factor: float
    how: str
    rules: tuple[str, ...]


def denied_by(rules: RowRules, row: int, item_id: str, now_ms: int) -> tuple[str, ...]:
    """Return the names of the rules that keep an item out of every list; empty where none does.

    Parameters
    ----------
    now_ms : the time from which ages count, since 1970
    """
    document, facts = rules.rules.document, rules.facts.at(row)
    found = ["deny"] if item_id in document.deny else []
    found += ["allow"] if document.allow and item_id not in document.allow else []
    for name in Selector.__struct_fields__:
        value = getattr(document.filters, name)
        if value not in ((), None) and not selected(Selector(**{name: value}), facts, now_ms)[0]:
            found.append(f"filters.{name}")
    return tuple(found)


def weighted_by(rules: RowRules, row: int, item_id: str, now_ms: int) -> tuple[tuple[str, float], ...]:
    """Return the boosts and buries of an item, each with its factor."""
    document, facts = rules.rules.document, rules.facts.at(row)
    return tuple(
        (f"{name}[{i}]", one.factor)
        for name, weights in (("boosts", document.boosts), ("buries", document.buries))
        for i, one in enumerate(weights, 1)
        if (not one.items or item_id in one.items) and selected(one, facts, now_ms)[0]
    )


def effects(rules: RowRules, row: int, item_id: str, now_ms: int) -> list[dict[str, Any]]:
    """Return the rules that are about an item and keep it among what lists may show, each by name.

    Parameters
    ----------
    now_ms : the time from which ages count, since 1970
    """
    document = rules.rules.document
    found: list[dict[str, Any]] = [
        {"rule": name, "factor": factor} for name, factor in weighted_by(rules, row, item_id, now_ms)
    ]
    found += [
        {"rule": f"pins[{i}]", "place": pin.place}
        for i, pin in enumerate(document.pins, 1)
        if rules.pins[pin.place - 1] == row
    ]
    found += [{"rule": name, "most": most} for name, most, _ in _caps_of(rules, row)]
    if document.diversity is not None:
        found.append({"rule": "diversity", "strength": document.diversity.strength})
    return found


def _caps_of(rules: RowRules, row: int) -> Iterator[tuple[str, int, str]]:
    """Yield name and number of each cap on an item, and the category that it counts."""
    caps = rules.rules.document.caps
    for name in rules.facts.names(row, CATEGORY) if caps else ():
        most = caps.get(name, caps.get(EACH_CATEGORY))
        if most is not None:
            yield f"caps.{name}" if name in caps else f'caps."{EACH_CATEGORY}" ({name})', most, name


def full_caps(rules: RowRules, listed: Int64, row: int) -> tuple[str, ...]:
    """Return the caps, by name, that a list reaches and that one more item would exceed.

    Parameters
    ----------
    listed : (k,) int64 rows of the list
    """
    return tuple(
        cap
        for cap, most, name in _caps_of(rules, row)
        if sum(name in rules.facts.names(int(other), CATEGORY) for other in listed) >= most
    )


def moves(
    rules: RowRules, made: Arranged, user: int, rows: Int64, probabilities: Float32, item_ids: list[str], now_ms: int
) -> list[Move]:
    """Return what the rules did to one list: its items by place, then the others by score.

    Parameters
    ----------
    made : what :func:`models.rules.arrange.arranged` made of the candidates
    user : which of its lists
    rows, probabilities : (c,) the candidates of that list
    item_ids : ids of the candidates
    """
    order = np.argsort(-probabilities, kind="stable")
    by_score = {int(rows[column]): place for place, column in enumerate(order.tolist(), 1)}
    ids = dict(zip(rows.tolist(), item_ids, strict=True))
    n = int(made.lengths[user])
    listed, pins = made.rows[user, :n], rules.rules.document.pins
    found = []
    for place, row in enumerate(listed.tolist(), 1):
        how = int(made.how[user, place - 1])
        names = [name for name, _ in weighted_by(rules, row, ids[row], now_ms)] if row in ids else []
        if how == PINNED:
            names.insert(0, next(f"pins[{i}]" for i, pin in enumerate(pins, 1) if rules.pins[pin.place - 1] == row))
        elif how == EXPLORED:
            names.insert(0, "exploration")
        found.append(Move(row, place, by_score.get(row), _factor(rules, row), HOW[how], tuple(names)))
    ranked = [
        int(row) for row, how in zip(listed, made.how[user, :n], strict=True) if how == RANKED and int(row) in by_score
    ]
    scores = {int(row): float(p) * _factor(rules, int(row)) for row, p in zip(rows, probabilities, strict=True)}
    least = min((scores[row] for row in ranked), default=np.inf)
    for column in order.tolist():
        row = int(rows[column])
        if row not in listed:
            names = [name for name, _ in weighted_by(rules, row, ids[row], now_ms)]
            caps = full_caps(rules, listed, row)
            how_out = caps[0] if caps else "diversity" if scores[row] > least else "score"
            found.append(Move(row, None, by_score[row], _factor(rules, row), how_out, tuple(names)))
    return found


def _factor(rules: RowRules, row: int) -> float:
    return float(rules.factors[row]) if len(rules.factors) else 1.0
