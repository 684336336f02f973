"""A catalogue under rules: what they deny is hidden, so that no source brings it."""

from __future__ import annotations

from dataclasses import replace

from models.base.types import Bool
from models.ranking.catalogue.snapshot import Catalogue
from models.ranking.catalogue.tables import ItemTable, TrainedRows, WeightTable
from models.rules.row_rules import Rules


def ruled(whole: Catalogue, rules: Rules | None, now_ms: int, before: Catalogue | None = None) -> Catalogue:
    """Return a catalogue whose lists obey rules.

    Denied items stay signal in windows. Popularity counts them, so that what is left has the scores
    that it had.

    Parameters
    ----------
    whole : a catalogue without rules
    rules : None for none
    now_ms : the time from which ages count, since 1970
    before : what this function returned for an earlier snapshot: its rules are extended
    """
    if rules is None:
        return whole
    known = before.rules if before is not None and before.rows is whole.rows else None
    row_rules = rules.for_rows(whole.facts, whole.item_ids, whole.rows_of, now_ms, known)
    return replace(narrowed(whole, row_rules.allowed), rules=row_rules)


def narrowed(whole: Catalogue, allowed: Bool) -> Catalogue:
    """Return a catalogue that shows fewer rows; the others stay signal in windows.

    Parameters
    ----------
    allowed : (n,) bool, the rows that it shows, as far as ``whole`` shows them
    """
    is_shown = whole.is_shown & allowed
    n_items = int(is_shown.sum())
    if n_items == whole.n_items:
        return whole
    where = TrainedRows(whole.rows, len(is_shown), is_shown)
    return replace(
        whole,
        is_shown=is_shown,
        n_items=n_items,
        index=whole.index.narrowed(is_shown, int((is_shown & ~whole.is_blank).sum())),
        factor_index=whole.factor_index.narrowed(is_shown, int((is_shown & ~whole.is_new).sum())),
        next_rows=ItemTable(where, whole.next_rows.table),
        next_weights=WeightTable(where, whole.next_weights.weights),
        neighbour_rows=ItemTable(where, whole.neighbour_rows.table),
        neighbour_weights=WeightTable(where, whole.neighbour_weights.weights),
        counts=whole.counts.narrowed(is_shown),
    )


def with_popularity_of(whole: Catalogue, narrow: Catalogue) -> Catalogue:
    """Return a ruled catalogue with the popularity of the catalogue that it was made from.

    Parameters
    ----------
    narrow : what :func:`ruled` returned for the same generation of ``whole``
    """
    if narrow.rules is None:
        return whole
    return replace(narrow, counts=whole.counts.narrowed(narrow.is_shown))
