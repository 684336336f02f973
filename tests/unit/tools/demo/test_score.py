"""What a list of the demo scores."""

from __future__ import annotations

import pytest

from streams.contract.records import Recommendation, RecommendedItem
from tools.demo.score import score
from tools.files.logs.log_rows import LogRow

T0 = 1_600_000_000_000


def row(position: int, user: str, item: str) -> LogRow:
    """Return the log's row at a position; time grows with it."""
    return LogRow(position + 2, None, user, item, "view", T0 + 1_000 * position, None, None)


def rows(*pairs: str) -> list[LogRow]:
    """Return rows of ``user:item`` pairs in order."""
    return [row(i, *pair.split(":")) for i, pair in enumerate(pairs)]


def published(event: str, *items: str) -> Recommendation:
    """Return a list of these items that the event ``event`` caused."""
    listed = [RecommendedItem(item, 0.5, {}, None) for item in items]
    return Recommendation(1, event, "u", 1, event, 0, T0, T0, "a", 1, "none", listed)


def test_a_list_is_scored_against_its_users_next_event() -> None:
    """Test-then-learn: the event of another user in between is not the target."""
    replayed = rows("u:a", "v:x", "u:b")
    scores = score([], replayed, ["e0", "e1", "e2"], [published("e0", "q", "b"), published("e1", "x", "b")])
    assert scores.lists.n == 1, "v has no next event"
    assert scores.lists.as_dict()["hr@10"] == 1.0
    # 1 / log2(3): second place
    assert scores.lists.as_dict()["ndcg@10"] == pytest.approx(0.6309, abs=1e-4)


def test_a_list_without_the_next_item_is_a_miss() -> None:
    """An item that the user had before, or has after the next event, is no hit."""
    scores = score([], rows("u:a", "u:b", "u:c"), ["e0", "e1", "e2"], [published("e0", "a", "c")])
    assert (scores.lists.n, scores.lists.hits, scores.lists.ndcg) == (1, 0.0, 0.0)


def test_an_eleventh_item_is_no_hit() -> None:
    """Only the first 10 items of a list count."""
    long = published("e0", *[f"q{i}" for i in range(10)], "b")
    assert score([], rows("u:a", "u:b"), ["e0", "e1"], [long]).lists.hits == 0


def test_recent_popularity_is_scored_at_the_same_moments_without_what_the_user_had() -> None:
    """The comparison is fair only if both know the same and leave out the same."""
    history = rows("w:b", "w:b", "w:a")
    replayed = [row(i + 3, *pair.split(":")) for i, pair in enumerate(["u:a", "u:b", "u:c"])]
    scores = score(history, replayed, ["e0", "e1", "e2"], [published("e0", "z")])
    assert scores.recent_popularity.n == scores.lists.n == 1
    assert scores.recent_popularity.as_dict() == {"hr@10": 1.0, "ndcg@10": 1.0}, "a is left out, so b comes first"


def test_a_list_of_an_unknown_event_and_a_repeat_count_nothing() -> None:
    """Lists of other events do not count, and a repeated list counts once."""
    lists = [published("e0", "b"), published("e0", "z"), published("other", "b")]
    assert (result := score([], rows("u:a", "u:b"), ["e0", "e1"], lists)).lists.n == 1
    assert result.lists.hits == 1


def test_nothing_scored_is_zero_not_an_error() -> None:
    """A log of one event per user has no next events."""
    assert score([], rows("u:a"), ["e0"], [published("e0", "b")]).lists.as_dict() == {"hr@10": 0.0, "ndcg@10": 0.0}
