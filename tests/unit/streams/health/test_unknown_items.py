"""Events of items that the catalogue lacks.

They are counted and named, and half of all events raises an alarm.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.health.counters import Metrics
from streams.health.unknown_items import MAX_IDS, STALE_S, UNHEALTHY_S, Tally, UnknownItems, describe_generation
from streams.recommender.delivery import Window
from streams.recommender.live_counts import LiveCounts
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.waiting.pending import PendingBatch, PendingWindow
from streams.state.table import BatchTable
from tests.support import tiny_models
from tests.support.builders import idle_health


@pytest.mark.parametrize(
    ("n_known", "n_unknown", "level"),
    [(0, 20, "WARNING"), (20, 20, "WARNING"), (21, 20, "INFO"), (99, 1, "INFO"), (50, 0, ""), (5, 14, ""), (0, 4, "")],
)
def test_half_of_a_minutes_events_is_a_warning(
    n_known: int, n_unknown: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Less than half is INFO, none is silence, and few events are not judged yet.

    Good events end the alarm in five minutes.
    """
    now = [0.0]
    watch = UnknownItems(lambda: now[0])
    caplog.set_level(logging.INFO)
    assert watch.count([*["i1"] * n_known, *["7.0"] * n_unknown], {"i1"}) == n_unknown
    assert bool(watch.alarm()) is (level == "WARNING")
    watch.end_period()
    watch.end_period()
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    if level:
        assert f"{n_unknown} of the last {n_known + n_unknown} events" in caplog.text
        assert f"'7.0' ({n_unknown})" in caplog.text
    watch.count([*["i1"] * 30], {"i1"})
    assert bool(watch.alarm()) is (level == "WARNING")
    now[0] = UNHEALTHY_S
    assert not watch.alarm()


def test_a_shop_with_few_events_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    """With one event an hour, one warning comes after five unknown events.

    It stays while four of five, or half of twenty, are unknown.
    """
    now = [0.0]
    watch = UnknownItems(lambda: now[0])

    def hour(item_id: str) -> bool:
        watch.count([item_id], {"i1"})
        for _ in range(60):
            now[0] += 60.0
            watch.end_period()
        return bool(watch.alarm())

    assert [hour("100.0") for _ in range(8)] == [False] * 4 + [True] * 4
    assert len(caplog.records) == 1 and "5 of the last 5 events" in caplog.text
    assert [hour("i1") for _ in range(3)] == [True, True, False], "eight of eleven is not enough to tell"
    assert [hour("100.0") for _ in range(9)] == [False] * 3 + [True] * 6, "12 of 15 is four of five"
    assert "17 of the last 20 events" in caplog.text and len(caplog.records) == 2
    now[0] += 60.0 + STALE_S
    assert not watch.alarm(), "nothing tells of now"


def test_a_catalogue_that_has_the_items_after_all_ends_the_alarm() -> None:
    """Nobody has to wait for other events; what is still unknown counts on."""
    watch = UnknownItems()
    watch.count([*["100"] * 20, *["200"] * 5], set())
    watch.end_period()
    watch.count(["100"], set())
    assert watch.share() == (25, 25, "200")
    assert not watch.learn({"300"}) and watch.alarm()
    assert watch.learn({"200"}) and "20 of the last 25" in watch.alarm() and watch.share() == (25, 20, "100")
    assert watch.learn({"100", "200"}) and watch.share() == (25, 0, "")
    assert not watch.alarm()


def test_the_ids_are_bounded_and_the_most_frequent_named(caplog: pytest.LogCaptureFixture) -> None:
    watch = UnknownItems()
    watch.count(["often", "often", "x" * 10_000, *(f"n{i}" for i in range(5 * MAX_IDS))], set())
    watch.end_period()
    assert "'often' (2)" in caplog.text and len(caplog.text) < 600
    assert f"{5 * MAX_IDS + 3} of the last" in caplog.text


def test_a_tally_remembers_a_bounded_number_of_ids() -> None:
    tally = Tally()
    for number in range(5 * MAX_IDS):
        tally.add(f"n{number}")
    assert (len(tally.ids), tally.n_unknown) == (MAX_IDS, 5 * MAX_IDS)


@pytest.mark.parametrize(
    ("generation", "n_items", "n_known", "n_trained", "level"),
    [
        (1, 9, 0, 10, "WARNING"),
        (1, 9, 4, 10, "WARNING"),
        (1, 9, 5, 10, "INFO"),
        (2, 9, 4, 10, "INFO"),
        (2, 9, 0, 10, "WARNING"),
        (1, 0, 0, 10, "INFO"),
        (1, 9, 0, 0, "INFO"),
    ],
)
def test_a_generation_says_how_much_it_has_of_what_the_model_knows(
    generation: int, n_items: int, n_known: int, n_trained: int, level: str
) -> None:
    """None of the model's items is a warning, and so is less than half of them at the start.

    An empty catalogue is no warning: the shop may fill it any moment.
    """
    made: Any = SimpleNamespace(generation=generation, item_ids=["i"] * n_items, is_new=np.arange(n_items) >= n_known)
    found, line = describe_generation(made, n_trained, (0, 0, ""))
    assert logging.getLevelName(found) == level
    assert f"generation {generation}: {n_items} items; it has {n_known} of the {n_trained} items" in line
    assert ("headrace items list" in line) is (level == "WARNING") and "last" not in line
    _, line = describe_generation(made, n_trained, (8, 2, "7.0"))
    assert "and the items of 6 of the last 8 events" in line


def test_the_workers_page_has_the_alarm() -> None:
    """``status --workers`` takes alarms from there."""
    health = idle_health()
    health.unknown = UnknownItems()
    assert health.alarms() == []
    health.unknown.count([*["x"] * 20], set())
    assert "20 of the last 20 events" in health.alarms()[0]


def test_a_window_counts_only_its_news() -> None:
    """A window repeats the user's old behaviours.

    Those up to the last list's revision were counted with that list.
    """

    def n_counted(revision: int, last: int) -> int:
        items = [WindowItem(tiny_models.T0 + i, f"e{i}", f"unknown-{i}", "view") for i in range(revision)]
        state = ListWindow(1, revision, tiny_models.T0, items, Trigger("e", tiny_models.T0, 1))
        window: Window = PendingWindow(0, b"u", state, 0, PendingBatch(cast(Any, None)))
        vectors, metrics = cast(BatchTable, SimpleNamespace(read=lambda *_: _vector(last))), Metrics()
        popularity = LivePopularity(tiny_models.artifact(), is_on=False)
        LiveCounts(popularity, UnknownItems(), vectors, metrics).count([window], tiny_models.catalogue())
        return metrics.values["events_unknown_item"]

    assert (n_counted(5, 0), n_counted(6, 5)) == (5, 1)


def _vector(revision: int) -> bytes | None:
    from streams.contract.records import UserVector, encode

    return encode(UserVector(1, "u", revision, "v", b"", b"")) if revision else None
