"""The step at which an item fell out on its way into a list, the first that is true of it.

::

    the catalogue of then ─► the window ─► rules ─► candidates ─► fusion ─► the list
    unknown, not-yet,        had,          rule     no-candidate  outranked listed
    removed, withdrawn,      refused
    unpublished, expired,
    left-out
"""

from __future__ import annotations

from models.ranking.explaining.answer import Fallen, Needed
from models.ranking.explaining.steps import by_pipeline, by_record, by_rules, by_showing, by_window, shown_time
from streams.contract.windows import is_marked
from tools.oracle.why.case import Case


def fallen(case: Case, item_id: str) -> Fallen:
    """Return where an item that is not in a list fell out."""
    return (
        _not_in_catalogue(case, item_id)
        or _hidden(case, item_id)
        or _of_window(case, item_id)
        or _of_rules(case, item_id)
        or _of_making(case, item_id)
    )


def _not_in_catalogue(case: Case, item_id: str) -> Fallen | None:
    shop, made = case.shop, shown_time(case.record.produced_ts)
    if item_id in case.left_out:
        why = case.left_out[item_id]
        return Fallen("left-out", f"no vector of its record: {why}", [Needed("a record that can be embedded")])
    if item_id in case.catalogue.row_of:
        return None
    if item_id in shop.removed:
        when = shown_time(shop.removed[item_id])
        return Fallen("removed", f"removed from items at {when}", [Needed("a record on items before the list")])
    if item_id in shop.later:
        when = shown_time(shop.later[item_id])
        return Fallen(
            "not-yet",
            f"its first record on items is of {when}, the list of {made}; an earlier record that compaction has removed "
            "cannot be ruled out",
            [Needed("a record on items before the list")],
        )
    return Fallen(
        "unknown", "items holds no record of it; check the id: headrace items list", [Needed("a record on items")]
    )


def _hidden(case: Case, item_id: str) -> Fallen | None:
    item = case.shop.items.get(item_id)
    if item is None:
        return None
    return by_record(
        available=item.available,
        published_ms=item.published_ts,
        expires_ms=item.expires_ts,
        at_ms=case.record.produced_ts,
    )


def _of_window(case: Case, item_id: str) -> Fallen | None:
    state = case.window.state
    if state is None:
        return Fallen("no-window", "sequences and events hold no window of the user any more")
    if case.trace is not None and not case.trace.is_hidden(case.catalogue.row_of[item_id]):
        return None  # it may come back
    is_refused, was_had = is_marked(state.hidden, item_id), is_marked(state.seen, item_id)
    found = by_window(item_id, case.behaviours(), is_refused=is_refused, was_had=was_had)
    return by_showing() if found is None and case.trace is not None else found


def _of_rules(case: Case, item_id: str) -> Fallen | None:
    row, at_ms = case.catalogue.row_of[item_id], case.record.produced_ts
    return by_rules(case.whole, case.catalogue, row, at_ms)


def _of_making(case: Case, item_id: str) -> Fallen:
    if case.trace is None:
        return _by_fallback(case, item_id)
    made = {item.item_id for item in case.trace.ranked.items}
    return by_pipeline(case.trace, item_id, [item.score for item in case.record.items], made)


def _by_fallback(case: Case, item_id: str) -> Fallen:
    """Return the place in a list that was made without fusion."""
    record = case.record
    if case.fallback is None:
        return Fallen(
            "outranked",
            f"the list is {record.degraded}: made from the user's vector of then, which user-vectors does not hold any "
            "more; so the item's place cannot be told",
        )
    whole, _ = case.fallback
    last = record.items[-1].score if record.items else 0.0
    for rank, item in enumerate(whole.items, 1):
        if item.item_id == item_id:
            if rank <= len(record.items):
                return Fallen("recomputed-only", f"made again, the list has it at {rank}; the published one has not")
            source = next(iter(item.sources), record.degraded)
            needed = Needed("a greater score than the last listed item", item.score, last, rank, source)
            return Fallen("outranked", f"number {rank} in a list without fusion ({record.degraded})", [needed])
    return Fallen("no-candidate", f"the source of a {record.degraded} list does not have it")
