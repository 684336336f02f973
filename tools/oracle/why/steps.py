"""The step at which an item fell out on its way into a list, the first that is true of it.

::

    the catalogue of then ─► the window ─► candidates ─► fusion ─► rules ─► the list
    unknown, not-yet,        had,          no-candidate  outranked  rule     listed
    removed, withdrawn,      refused
    unpublished, expired,
    left-out
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.contract.item_records import is_shown
from streams.contract.windows import seen_hash
from streams.settings.record_limits import SEEN_BYTES
from tools.oracle.why.answer import Needed, Step
from tools.oracle.why.case import Case
from tools.oracle.why.published import shown_time
from tools.oracle.why.rules import denied_by


class Fallen(NamedTuple):
    """A step, what is known of it in an engineer's words, and what would have been needed."""

    step: Step
    detail: str
    needed: list[Needed] = []


def fallen(case: Case, item_id: str) -> Fallen:
    """Return where an item that is not in a list fell out."""
    return (
        _not_in_catalogue(case, item_id)
        or _hidden(case, item_id)
        or _of_window(case, item_id)
        or _of_rules(case, item_id)
        or (_by_fallback(case, item_id) if case.trace is None else _by_pipeline(case, item_id))
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
    item, at_ms = case.shop.items.get(item_id), case.record.produced_ts
    if item is None or is_shown(item, at_ms):
        return None
    if item.available is False:
        return Fallen("withdrawn", "available is false in its record", [Needed("available true")])
    if item.published_ts is not None and item.published_ts > at_ms:
        when = shown_time(item.published_ts)
        return Fallen("unpublished", f"published_ts is {when}", [Needed("published_ts before the list")])
    when = shown_time(item.expires_ts or 0)
    return Fallen("expired", f"expires_ts was {when}", [Needed("expires_ts after the list")])


def _of_rules(case: Case, item_id: str) -> Fallen | None:
    why = denied_by(case.whole, case.catalogue, case.catalogue.row_of[item_id], case.record.produced_ts)
    return None if why is None else Fallen("rule", f"the business rules deny it: {why}", [Needed("other rules")])


def _of_window(case: Case, item_id: str) -> Fallen | None:
    state = case.window.state
    if state is None:
        return Fallen("no-window", "sequences and events hold no window of the user any more")
    if case.trace is not None and not case.trace.is_hidden(case.catalogue.row_of[item_id]):
        return None  # it may come back
    behaviours = [item for item in state.items if item.item_id == item_id]
    needed = [Needed("not to be among what the user has had")]
    if _is_marked(state.hidden, item_id):
        return Fallen("refused", "the user asked not to see it", [Needed("no such wish of the user")])
    if behaviours:
        last = behaviours[-1]
        times = "once" if len(behaviours) == 1 else f"{len(behaviours)} times"
        return Fallen("had", f"{times} in the window, last as {last.type} at {shown_time(last.ts)}", needed)
    if _is_marked(state.seen, item_id):
        oldest = f" before {shown_time(state.items[0].ts)}" if state.items else ""
        return Fallen("had", f"it left the window, so its time is not kept: the user had it{oldest}", needed)
    if case.trace is not None:
        why = "it was shown to the user lately, and the business rules keep it back for a while"
        return Fallen("rule", why, [Needed("more time since it was shown")])
    return None


def _is_marked(marks: bytes, item_id: str) -> bool:
    mark = seen_hash(item_id)
    return any(marks[at : at + SEEN_BYTES] == mark for at in range(0, len(marks), SEEN_BYTES))


def _by_pipeline(case: Case, item_id: str) -> Fallen:
    trace, record = case.trace, case.record
    if trace is None:
        return Fallen("no-window", "the list cannot be made again")
    row = case.catalogue.row_of[item_id]
    column = trace.column(row)
    if column is None:
        return Fallen("no-candidate", "no source brought it to fusion", list(_of_sources(case, row)))
    rank, own = trace.fused_rank(column), float(trace.probabilities[column])
    n_candidates, last = len(trace.rows), record.items[-1].score if record.items else 0.0
    if case.catalogue.rules is not None and item_id not in (item.item_id for item in trace.ranked.items):
        if own >= last:
            why = "its place by score would do, but caps, pins, weights, diversity or chance gave it to others"
            return Fallen("rule", f"candidate {rank} of {n_candidates} by fusion; {why}", [Needed("other rules")])
    elif rank <= len(record.items):
        return Fallen(
            "recomputed-only",
            f"made again, the list has it at {rank} with {own:.6g}; the published one has not: see what differs",
        )
    needed = Needed("a greater probability than the last listed item", own, last, rank)
    return Fallen("outranked", f"candidate {rank} of {n_candidates} by fusion", [needed])


#: Why a source has no score of an item at all.
_WITHOUT_SCORE: Final = {
    "retrieval": "a vector: nothing is known of the item",
    "content": "a text: nothing is known of the item",
    "mf": "events in training: matrix factorisation has no factors of it",
    "next": "to be among the frequent followers of the user's newest items",
    "neighbours": "to be among what users of the window's items often have",
    "social": "events in training: the item has no factors to compare with those of followed users",
    "features": "events in training: the item has no factors to compare with what features let expect",
    "popular": "to be shown",
}


def _of_sources(case: Case, row: int) -> Iterator[Needed]:
    """Yield what the item would have needed in each source that may bring something."""
    trace = case.trace
    for one in trace.places(row) if trace is not None else ():
        if one.score is None:
            yield Needed(_WITHOUT_SCORE[one.source], source=one.source)
        elif one.needed is not None and one.place is not None:
            yield Needed(f"place {one.n_brought}", one.score, one.needed, one.place, one.source)


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
