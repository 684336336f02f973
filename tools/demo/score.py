"""Scores published lists against each user's next event, beside recent popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.metrics.ranking import hit_at_k, ndcg_at_k
from models.popularity import DecayedCounts
from streams.contract.records import Recommendation
from tools.files.logs.log_rows import LogRow

K = 10


@dataclass
class Score:
    """Hit rate and NDCG at 10 over ``n`` scored lists."""

    n: int = 0
    hits: float = 0.0
    ndcg: float = 0.0

    def add(self, ranked: Sequence[str], target: str) -> None:
        """Score one list against the item that came next."""
        self.n += 1
        self.hits += hit_at_k(ranked, target, K)
        self.ndcg += ndcg_at_k(ranked, target, K)

    def as_dict(self) -> dict[str, float]:
        """Return the means; 0 where no list was scored."""
        n = max(self.n, 1)
        return {"hr@10": self.hits / n, "ndcg@10": self.ndcg / n}


@dataclass
class Scores:
    """The scores of headrace's lists and of recent popularity, at the same moments."""

    lists: Score = field(default_factory=Score)
    recent_popularity: Score = field(default_factory=Score)


def score(
    history: Sequence[LogRow], replayed: Sequence[LogRow], event_ids: Sequence[str], lists: Sequence[Recommendation]
) -> Scores:
    """Score lists in the order of their triggering events.

    A list counts when its user has a next event. Recent popularity is the time-decayed count of all
    events up to the triggering event. It is scored at the same moments. As the lists do, it leaves
    out the items that the user had in the replayed part.

    Parameters
    ----------
    history : events on which the artifact was trained, in time order
    replayed : events that were replayed, in time order
    event_ids : the event id of each replayed row
    """
    position_of = {event_id: i for i, event_id in enumerate(event_ids)}
    next_of = _next_rows(replayed)
    by_trigger: dict[int, Recommendation] = {}
    for published in lists:
        if published.event_id in position_of:
            by_trigger.setdefault(position_of[published.event_id], published)
    counts = DecayedCounts()
    for row in history:
        counts.add(row.item_id, row.ts_ms)
    item_ids = sorted({row.item_id for row in [*history, *replayed]})
    seen: dict[str, set[str]] = {}
    scores = Scores()
    for i, row in enumerate(replayed):
        counts.add(row.item_id, row.ts_ms)
        had = seen.setdefault(row.user_id, set())
        had.add(row.item_id)
        found, following = by_trigger.get(i), next_of[i]
        if found is None or following is None:
            continue
        target = replayed[following].item_id
        scores.lists.add([item.item_id for item in found.items], target)
        values = counts.scores(item_ids, row.ts_ms)
        order = (-values).argsort(kind="stable")[: K + len(had)]
        popular = [item_ids[j] for j in order if item_ids[j] not in had]
        scores.recent_popularity.add(popular[:K], target)
    return scores


def _next_rows(rows: Sequence[LogRow]) -> list[int | None]:
    """Return, for each row, the index of the same user's next row."""
    following: list[int | None] = [None] * len(rows)
    last_of: dict[str, int] = {}
    for i, row in enumerate(rows):
        if row.user_id in last_of:
            following[last_of[row.user_id]] = i
        last_of[row.user_id] = i
    return following
