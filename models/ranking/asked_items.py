"""What may be asked of a catalogue without a user: its popular items, and those near an item."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import numpy as np

from models.base.types import Bool
from models.ranking.catalogue.snapshot import Catalogue
from models.rules.document import Selector
from models.rules.row_rules import selected


def allowed_rows(
    catalogue: Catalogue,
    now_ms: int,
    *,
    category: str | None = None,
    exclude: Iterable[str] = (),
    only: Iterable[str] | None = None,
) -> Bool:
    """Return the rows that an answer may hold, (n,) bool.

    Parameters
    ----------
    now_ms : since 1970
    category : only items of this category
    exclude : ids of items that it must not hold
    only : ids of the items among which it chooses; None for all
    """
    n = len(catalogue.is_shown)
    found: Bool = np.ones(n, dtype=np.bool_)
    if only is not None:
        found[:] = False
        rows = catalogue.rows_of(list(only))
        found[rows[rows >= 0]] = True
    if category is not None:
        found &= selected(Selector(categories=(category,)), catalogue.facts, now_ms)
    rows = catalogue.rows_of(list(exclude))
    found[rows[rows >= 0]] = False
    return found


def similar_items(catalogue: Catalogue, item_id: str, k: int) -> list[tuple[str, float]] | None:
    """Return the shown items nearest to an item by cosine of the model's vectors, nearest first.

    None for an item that the catalogue does not have, or of which nothing is known. The item itself
    may be hidden.
    """
    row = int(catalogue.rows_of([item_id])[0])
    if row < 0 or catalogue.is_blank[row]:
        return None
    is_asked = catalogue.is_shown & ~catalogue.is_blank
    is_asked[row] = False
    rows = np.flatnonzero(is_asked)
    cosines = catalogue.unit[rows] @ catalogue.unit[row]
    k = min(k, len(rows))
    best = np.argpartition(-cosines, k - 1)[:k] if k else np.zeros(0, dtype=np.int64)
    best = best[np.lexsort((rows[best], -cosines[best]))]
    ids = catalogue.item_ids
    return [(ids[rows[place]], float(cosines[place])) for place in best.tolist()]


def popular_items(catalogue: Catalogue, k: int) -> list[tuple[str, float]]:
    """Return the most popular shown items, each with its share of recent popularity."""
    rows, shares, ids = catalogue.popular_rows[:k].tolist(), catalogue.popular_shares, catalogue.item_ids
    return [(ids[row], float(shares[row])) for row in rows]


def heaviest_items(catalogue: Catalogue, weights: Mapping[str, float], k: int) -> list[tuple[str, float]]:
    """Return the shown items with the greatest weights, each with its share of all weights.

    Equal weights stand in the order of the catalogue. An item without a weight is left out.

    Parameters
    ----------
    weights : item id to a weight above 0; items that the catalogue does not have count in the sum
    """
    total = sum(weights.values())
    rows = catalogue.rows_of(list(weights))
    known = [
        (-weight, row, item_id)
        for (item_id, weight), row in zip(weights.items(), rows.tolist(), strict=True)
        if row >= 0 and catalogue.is_shown[row]
    ]
    return [(item_id, -weight / total) for weight, _, item_id in heapq.nsmallest(k, known)]
