"""The consumer's rule takes each new list once, whatever the order and the repeats."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.newest_lists import LatestLists
from streams.contract.records import Recommendation, encode
from streams.recommender.list_encoding import list_id

CONSUMING = Path(__file__).parents[4] / "docs" / "contract" / "consuming.md"


def make_list(
    revision: int, *, provisional: bool = False, user_id: str = "u", artifact: str = "a", known: int = -1
) -> Recommendation:
    """Return an empty list."""
    made_id = list_id(user_id, revision, "e", artifact)
    offset = msgspec.UNSET if known < 0 else known
    return Recommendation(
        1, made_id, user_id, revision, "e", revision, 0, 0, artifact, 1, "none", [], provisional, offset
    )


def accepted(*lists: Recommendation) -> list[bool]:
    """Return what a new consumer says to each."""
    latest = LatestLists()
    return [latest.accept(made) for made in lists]


def test_a_list_is_news_once() -> None:
    """The same list, read again after a failover, is dropped, and so is an older one."""
    assert accepted(make_list(1), make_list(1), make_list(2), make_list(1), make_list(2)) == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_a_full_list_follows_a_provisional_one_of_the_same_window() -> None:
    """A provisional list after its full list is no news: a user's list must not change back."""
    provisional, full = make_list(3, provisional=True), make_list(3)
    assert accepted(provisional, provisional, full, provisional, full) == [True, False, True, False, False]
    assert accepted(full, make_list(4, provisional=True), full, make_list(4)) == [True, True, False, True]


def test_users_do_not_mix() -> None:
    """A revision counts the events of one user."""
    assert accepted(make_list(5), make_list(1, user_id="v"), make_list(1, user_id="v")) == [True, True, False]


def test_a_changed_record_is_news_within_a_revision() -> None:
    """A newcomer's next list replaces the first, and the first event's list replaces both."""
    first, changed, own = make_list(0, known=4), make_list(0, known=9), make_list(1, known=9)
    assert accepted(first, changed, first, changed, own, changed) == [True, True, False, False, True, False]
    assert accepted(make_list(1), make_list(0, known=99)) == [True, False]


RANKS = st.tuples(st.integers(0, 5), st.integers(-1, 3), st.booleans())


@given(st.lists(RANKS, min_size=1, max_size=20))
def test_what_is_accepted_only_rises_and_ends_with_the_best(ranks: list[tuple[int, int, bool]]) -> None:
    """In any order, with any repeats, the last accepted list is the newest.

    It is full if a full list came.
    """
    latest = LatestLists()
    taken = [
        (revision, known, full)
        for revision, known, full in ranks
        if latest.accept(make_list(revision, provisional=not full, known=known))
    ]
    assert taken == sorted(set(taken))
    assert taken[-1] == max(ranks)


def documented_consumer() -> Callable[[bytes, bytes | None], dict[str, Any] | None]:
    """Return the function that ``docs/contract/consuming.md`` gives to consumers in Python."""
    (recipe,) = re.findall(r"```python\n(import msgpack\n.*?)```", CONSUMING.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(recipe, names)  # our own document
    news: Callable[[bytes, bytes | None], dict[str, Any] | None] = names["news"]
    return news


@given(st.lists(st.tuples(RANKS | st.none(), st.sampled_from("uv")), max_size=20))
def test_the_documented_consumer_takes_the_same_lists(arrivals: list[tuple[tuple[int, int, bool] | None, str]]) -> None:
    """It has msgpack alone; the lists are what headrace writes, None removes the user."""
    latest, news = LatestLists(), documented_consumer()
    for rank, user_id in arrivals:
        if rank is None:
            latest.forget(user_id)
            assert news(user_id.encode(), None) is None
            continue
        revision, known, full = rank
        made = make_list(revision, provisional=not full, user_id=user_id, known=known)
        assert news(user_id.encode(), encode(made)) == (msgspec.to_builtins(made) if latest.accept(made) else None)
