"""Lists that the model makes when it is asked: sessions, neighbours, popular items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.contract.records import MAX_TS_MS
from streams.server.gate.problems import Problem, bad_value
from streams.server.gorse.bodies import Feedback, Score
from streams.server.gorse.feedback import event_of
from streams.server.gorse.feedback_types import FeedbackTypes
from streams.server.lists.answers import MAX_EXCLUDED, MAX_N, check_id
from streams.server.parts.ranking import MAX_EVENTS, Behaved, ScoredItems, SessionQuestion
from streams.server.parts.server import Server

#: Most feedback of a session.
MAX_FEEDBACK: Final = 10_000


async def of_session(
    server: Server,
    types: FeedbackTypes,
    feedback: Sequence[Feedback],
    *,
    categories: Sequence[str],
    n: int,
    offset: int,
) -> list[Score]:
    """Return a list for a visitor with this feedback; nothing of it is kept.

    As in Gorse, items of the session are not in its list. The newest :data:`MAX_EVENTS` count.
    """
    if len(feedback) > MAX_FEEDBACK:
        raise Problem(400, "bad-value", f"{len(feedback)} feedback, at most {MAX_FEEDBACK}", remedy="send the newest")
    events: list[Behaved] = []
    for place, one in enumerate(feedback):
        check_id("ItemId", one.item_id)
        event = event_of(types, place, one)
        if not 0 <= event["ts"] <= MAX_TS_MS:
            raise bad_value("Timestamp", f"feedback[{place}]: {one.timestamp!r} is before 1970", "send its own time")
        name = types.window_type(one.feedback_type, event.get("value"))
        if name is not None:
            events.append(Behaved(one.item_id, name, event["ts"]))
    events.sort(key=lambda event: event.ts or 0)
    seen = list(dict.fromkeys(one.item_id for one in feedback))[-MAX_EXCLUDED:]
    wanted = _wanted(categories, n, offset)
    question = SessionQuestion(events[-MAX_EVENTS:], wanted, _first(categories), seen)
    found = await server.ranker.session(question)
    return _cut(server, [Score(item.item_id, item.score) for item in found.items], categories, n, offset)


async def neighbours(server: Server, item_id: str, *, categories: Sequence[str], n: int, offset: int) -> list[Score]:
    """Return the items nearest to an item; none of an unknown item, as Gorse does."""
    check_id("item-id", item_id)
    try:
        found = await server.ranker.similar(item_id, _wanted(categories, n, offset), _first(categories))
    except Problem as problem:
        if problem.kind != "no-item":
            raise
        return []
    return _cut(server, _scores(found), categories, n, offset)


async def popular(server: Server, *, categories: Sequence[str], n: int, offset: int) -> list[Score]:
    """Return the most popular items."""
    found = await server.ranker.popular(_wanted(categories, n, offset), _first(categories))
    return _cut(server, _scores(found), categories, n, offset)


def _wanted(categories: Sequence[str], n: int, offset: int) -> int:
    """Return how many items to ask for; the model looks for one category alone."""
    return MAX_N if len(categories) > 1 else min(max(n + offset, 1), MAX_N)


def _first(categories: Sequence[str]) -> str | None:
    return categories[0] if categories else None


def _scores(found: ScoredItems) -> list[Score]:
    return [Score(item.item_id, item.score) for item in found.items]


def _cut(server: Server, scores: Sequence[Score], categories: Sequence[str], n: int, offset: int) -> list[Score]:
    kept = [one for one in scores if all(server.shown.is_in(one.id, category) for category in categories[1:])]
    return kept[offset : offset + n]
