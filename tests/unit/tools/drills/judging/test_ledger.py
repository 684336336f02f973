"""What a drill's observer keeps: new, repeated and doubled lists, and the pauses of partitions."""

from __future__ import annotations

from unittest.mock import patch

from models.base.vocabulary import Degraded
from streams.contract.newest_lists import LatestLists
from streams.contract.records import Recommendation, encode
from tools.drills.judging.ledger import Gaps, ListLedger


def encoded(
    revision: int,
    degraded: Degraded = "none",
    *,
    user: str = "u1",
    list_id: str = "",
    offset: int = -1,
    provisional: bool | None = None,
) -> bytes:
    """Return an encoded list.

    Unless given, the offset of its event rises with the revision, and it is provisional when
    degraded.
    """
    name = list_id or f"{user}-{revision}-{degraded}"
    is_provisional = degraded != "none" if provisional is None else provisional
    at = 10 * revision if offset < 0 else offset
    return encode(Recommendation(1, name, user, revision, "e", at, 0, 0, "a", 1, degraded, [], is_provisional))


def test_news_repeats_and_degraded_lists_are_told_apart() -> None:
    """A full list after a degraded one of its window is news; an older list is a repeat."""
    ledger = ListLedger()
    for value in (encoded(1), encoded(1), encoded(3, "popular"), encoded(3), encoded(2), encoded(3, "popular")):
        ledger.add(value)
    ledger.add(encoded(1, "popular", user="u2"))
    assert (ledger.n_lists, ledger.n_repeated, ledger.n_duplicate, ledger.n_degraded) == (7, 3, 0, 2)
    assert {key: made.revision for key, made in ledger.newest().items()} == {b"u1": 3, b"u2": 1}
    assert ledger.degraded_users() == ["u2"]


def test_a_degraded_list_that_is_final_counts_as_degraded() -> None:
    """A window on which the model gives NaN keeps its fallback list until the next event."""
    ledger = ListLedger()
    ledger.add(encoded(1, "popular", provisional=False))
    ledger.add(encoded(1, user="u2"))
    assert ledger.degraded_users() == ["u1"]
    ledger.add(encoded(2))
    assert ledger.degraded_users() == []


def test_a_higher_revision_for_no_later_event_is_a_double() -> None:
    """An event that counted twice raises the revision, so that its list looks new."""
    ledger = ListLedger()
    for value in (encoded(1, offset=7), encoded(2, offset=7), encoded(3, offset=6), encoded(4, offset=9)):
        ledger.add(value)
    assert (ledger.n_repeated, ledger.n_duplicate) == (0, 2)


def test_a_recipe_that_lets_repeats_through_is_found_out() -> None:
    """The ledger judges the recipe and does not trust it."""
    ledger = ListLedger()
    with patch.object(LatestLists, "accept", return_value=True):
        for value in (
            encoded(1),
            encoded(1),
            encoded(2),
            encoded(1),
            encoded(5, list_id="same"),
            encoded(6, list_id="same"),
        ):
            ledger.add(value)
        ledger.add(encoded(6, list_id="another of that revision"))
    assert ledger.n_duplicate == 4


def test_what_is_no_list_is_counted() -> None:
    """The ledger counts such records."""
    ledger = ListLedger()
    assert ledger.add(b"\xc1") is None and ledger.add(None) is None
    assert ledger.n_malformed == 2


def test_a_pause_counts_from_the_mark_and_while_it_lasts() -> None:
    """The longest pause of any lane since the mark counts, also an unfinished one."""
    gaps = Gaps([("a", 0), ("a", 1)], now=0.0)
    gaps.arrive(("a", 0), 50.0)
    gaps.mark(100.0)
    gaps.arrive(("a", 0), 101.0)
    gaps.arrive(("a", 0), 108.0)
    assert gaps.longest_s(108.0) == 8.0, "lane 1 is silent since the mark"
    assert not gaps.all_flow()
    gaps.arrive(("a", 1), 109.0)
    assert gaps.all_flow() and gaps.longest_s(109.5) == 9.0
    gaps.restart_arrivals()
    assert not gaps.all_flow() and gaps.longest_s(109.5) == 9.0
