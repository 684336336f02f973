"""The step at which an item fell out on its way into a list, the first that is true of it.

::

    the record of the item ─► the window ─► rules ─► candidates ─► fusion ─► the list
    withdrawn, unpublished,   had,          rule     no-candidate  outranked listed
    expired                   refused
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from models.base.types import Behaviour
from models.ranking.catalogue import Catalogue
from models.ranking.explaining.answer import Fallen, Needed
from models.ranking.explaining.tracing import Trace
from models.rules import trace as rules_trace

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


def shown_time(ts_ms: int) -> str:
    """Return a time for people, in UTC."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def by_record(*, available: bool | None, published_ms: int | None, expires_ms: int | None, at_ms: int) -> Fallen | None:
    """Return how an item's record hides it at a time; None where lists may show it.

    Parameters
    ----------
    available, published_ms, expires_ms : of the record, None where it says nothing
    """
    if available is False:
        return Fallen("withdrawn", "available is false in its record", [Needed("available true")])
    if published_ms is not None and published_ms > at_ms:
        when = shown_time(published_ms)
        return Fallen("unpublished", f"published_ts is {when}", [Needed("published_ts before the list")])
    if expires_ms is not None and expires_ms <= at_ms:
        return Fallen("expired", f"expires_ts was {shown_time(expires_ms)}", [Needed("expires_ts after the list")])
    return None


def by_window(item_id: str, window: Sequence[Behaviour], *, is_refused: bool, was_had: bool) -> Fallen | None:
    """Return how a user's window keeps an item out; None where it does not.

    Parameters
    ----------
    is_refused : whether the user asked not to see it
    was_had : whether the user had it before the window
    """
    if is_refused:
        return Fallen("refused", "the user asked not to see it", [Needed("no such wish of the user")])
    needed = [Needed("not to be among what the user has had")]
    behaviours = [one for one in window if one.item_id == item_id]
    if behaviours:
        last = behaviours[-1]
        times = "once" if len(behaviours) == 1 else f"{len(behaviours)} times"
        return Fallen("had", f"{times} in the window, last as {last.type} at {shown_time(last.ts_ms)}", needed)
    if was_had:
        oldest = f" before {shown_time(window[0].ts_ms)}" if window else ""
        return Fallen("had", f"it left the window, so its time is not kept: the user had it{oldest}", needed)
    return None


def by_showing() -> Fallen:
    """Return what keeps an item out that the window hides without the user having had it."""
    why = "it was shown to the user lately, and the business rules keep it back for a while"
    return Fallen("rule", why, [Needed("more time since it was shown")])


def by_rules(whole: Catalogue, ruled: Catalogue, row: int, now_ms: int) -> Fallen | None:
    """Return which parts of the rules keep a row out of every list; None for none.

    Parameters
    ----------
    whole, ruled : the catalogue without the rules, and under them
    now_ms : the time from which ages count, since 1970
    """
    rules = ruled.rules
    if rules is None or not whole.is_shown[row] or rules.allowed[row]:
        return None
    why = ", ".join(rules_trace.denied_by(rules, row, whole.item_ids[row], now_ms))
    return Fallen("rule", f"the business rules deny it: {why}", [Needed("other rules")])


def by_pipeline(trace: Trace, item_id: str, scores: Sequence[float], made: Collection[str]) -> Fallen:
    """Return where the pipeline left an item that is not in the list.

    Parameters
    ----------
    item_id : of the catalogue
    scores : of the list's items, in its order
    made : the items of the list that the trace makes
    """
    row = trace.catalogue.row_of[item_id]
    column = trace.column(row)
    if column is None:
        return Fallen("no-candidate", "no source brought it to fusion", list(_of_sources(trace, row)))
    rank, own = trace.fused_rank(column), float(trace.probabilities[column])
    n_candidates, last = len(trace.rows), scores[-1] if scores else 0.0
    if trace.catalogue.rules is not None and item_id not in made:
        if own >= last:
            why = "its place by score would do, but caps, pins, weights, diversity or chance gave it to others"
            return Fallen("rule", f"candidate {rank} of {n_candidates} by fusion; {why}", [Needed("other rules")])
    elif rank <= len(scores):
        return Fallen(
            "recomputed-only",
            f"made again, the list has it at {rank} with {own:.6g}; the published one has not: see what differs",
        )
    needed = Needed("a greater probability than the last listed item", own, last, rank)
    return Fallen("outranked", f"candidate {rank} of {n_candidates} by fusion", [needed])


def _of_sources(trace: Trace, row: int) -> Iterator[Needed]:
    """Yield what the item would have needed in each source that may bring something."""
    for one in trace.places(row):
        if one.score is None:
            yield Needed(_WITHOUT_SCORE[one.source], source=one.source)
        elif one.needed is not None and one.place is not None:
            yield Needed(f"place {one.n_brought}", one.score, one.needed, one.place, one.source)
