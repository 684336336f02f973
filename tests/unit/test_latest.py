"""The consumer's recipe: each piece of news once, whatever the order and the repeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.latest import LatestLists
from streams.recommending import list_id
from streams.records import Degraded, Recommendation


def make_list(revision: int, degraded: Degraded = "none", user_id: str = "u", artifact: str = "a") -> Recommendation:
    """Return an empty list."""
    made_id = list_id(user_id, revision, artifact)
    return Recommendation(1, made_id, user_id, revision, f"e{revision}", revision, 0, 0, artifact, 1, degraded, [])


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


@pytest.mark.parametrize("degraded", ["stale-vector", "mf-only", "popular"])
def test_a_full_list_follows_a_degraded_one_of_the_same_window(degraded: Degraded) -> None:
    """Also when both have one id; the degraded one does not come back."""
    assert accepted(make_list(3, degraded), make_list(3), make_list(3, degraded)) == [True, True, False]
    assert accepted(make_list(3), make_list(4, degraded), make_list(3), make_list(4)) == [True, True, False, True]


def test_another_degraded_list_of_the_same_window_is_no_news() -> None:
    """Which of two stopgaps a user sees must not change to and fro."""
    assert accepted(make_list(3, "popular"), make_list(3, "mf-only")) == [True, False]


def test_users_do_not_mix() -> None:
    """A revision counts the events of one user."""
    assert accepted(make_list(5), make_list(1, user_id="v"), make_list(1, user_id="v")) == [True, True, False]


RANKS = st.tuples(st.integers(1, 6), st.sampled_from(["none", "popular"]))


@given(st.lists(RANKS, min_size=1, max_size=20))
def test_what_is_accepted_only_rises_and_ends_with_the_best(ranks: list[tuple[int, Degraded]]) -> None:
    """In any order with any repeats, the last accepted list is the newest, and full if a full one of it came."""
    latest = LatestLists()
    taken = [(revision, how == "none") for revision, how in ranks if latest.accept(make_list(revision, how))]
    assert taken == sorted(set(taken))
    assert taken[-1] == max((revision, how == "none") for revision, how in ranks)
