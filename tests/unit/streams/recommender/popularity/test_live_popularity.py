"""Popularity that follows users' windows, each counted once, or that stays the artifact's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from models.base.types import Float32
from streams.contract.windows import ListWindow, Trigger, WindowItem
from streams.recommender.popularity.live_popularity import REFRESH_S, LivePopularity
from tests.support import tiny_models

pytestmark = pytest.mark.model
HOUR = 3_600_000


def window(*item_ids: str, since: int = 1, revision: int = 1) -> ListWindow:
    """Return a window with an event each hour, the first ``since`` hours after training."""
    trained_to_ms = tiny_models.artifact().manifest.trained_to_ms
    items = [WindowItem(trained_to_ms + (since + n) * HOUR, f"e{n}", i, "view") for n, i in enumerate(item_ids)]
    return ListWindow(1, revision, items[-1].ts, items, Trigger("e", items[-1].ts, revision))


def later(*item_ids: str, since: int = 1) -> Callable[[], ListWindow]:
    """Return what makes a window: an artifact is trained first, which an import must not do."""
    return partial(window, *item_ids, since=since)


def live() -> LivePopularity:
    """Return live popularity that every look refreshes."""
    now_s = iter(range(1_000_000))
    return LivePopularity(tiny_models.artifact(), is_on=True, clock=lambda: float(next(now_s)))


def popularity(found: LivePopularity) -> Float32:
    """Return what the catalogue shows."""
    return found.refreshed(tiny_models.catalogue()).recent_popularity


def test_what_many_users_do_becomes_popular() -> None:
    """Counted at once, seen at the next refresh; and at once in another catalogue."""
    now_s = [0.0]
    found = LivePopularity(tiny_models.artifact(), is_on=True, clock=lambda: now_s[0])
    catalogue = found.refreshed(tiny_models.catalogue())
    for user in range(500):
        found.put(0, b"%d" % user, window("i07"))
    assert found.refreshed(catalogue) is catalogue
    now_s[0] += 2 * REFRESH_S
    assert catalogue.item_ids[found.refreshed(catalogue).popular_rows[0]] == "i07"
    newer = replace(catalogue, generation=catalogue.generation + 1)
    assert found.refreshed(newer) is not newer, "a catalogue that was never refreshed"


def test_popularity_that_is_off_is_the_artifacts() -> None:
    """A list then depends on window, catalogue and artifact alone."""
    found = LivePopularity(tiny_models.artifact(), is_on=False)
    catalogue = tiny_models.catalogue()
    found.put(0, b"u", window(*["i07"] * 500))
    found.recount(0, {b"v": window(*["i07"] * 500)})
    assert found.refreshed(catalogue) is catalogue
    assert np.array_equal(found.refreshed(catalogue).recent_popularity, catalogue.recent_popularity)
    assert found.n_events == 0


@pytest.mark.parametrize(
    ("made", "n_events"),
    [
        ([later("i01"), later("i01", "i02"), later("i01", "i02", "i03")], 3),  # grows
        ([later("i01", "i02", "i03"), later("i02", "i03", "i04", since=2)], 3),  # slides
        ([later("i01", "i03"), later("i01", "i02", "i03")], 3),  # a late event is inserted
        ([later("i01", "i02"), later("i05", since=90)], 1),  # all of it has left
        ([later("i01", "i02"), later("i01", "i02")], 2),  # a repeat
        ([later("i01", "i02", "i03"), later("i01")], 1),  # an older one, read again
        ([later("i01", "i01"), later("i01", "i01", "i01")], 1),  # the same item again
    ],
)
def test_only_the_last_window_of_a_user_counts(made: Sequence[Callable[[], ListWindow]], n_events: int) -> None:
    """The counts are those of a worker that has read the last window alone."""
    windows = [make() for make in made]
    along, at_once = live(), live()
    for each in windows:
        along.put(0, b"u", each)
    at_once.put(0, b"u", windows[-1])
    # the same time has come
    at_once.put(0, b"another", max(windows, key=lambda each: each.newest_ts))
    at_once.remove(0, [b"another"])
    assert along.n_events == at_once.n_events == n_events
    np.testing.assert_allclose(popularity(along), popularity(at_once), rtol=1e-6)
    along.remove(0, [b"u"])
    assert along.n_events == 0


def test_events_that_training_has_seen_do_not_count_again() -> None:
    """The prior holds them: those up to the end of training, that moment included."""
    found = live()
    found.put(0, b"u", window("i01", "i02", "i03", since=-1))
    assert found.n_events == 1
    other = live()
    other.put(0, b"u", window("i03"))
    np.testing.assert_array_equal(popularity(found), popularity(other))


def test_partitions_that_left_no_longer_count() -> None:
    """Counts of a lost partition go whole, as if they had never been there."""
    found, alone = live(), live()
    rng = np.random.default_rng(5)
    for user in range(200):
        items = [f"i{i:02}" for i in rng.choice(24, size=5, replace=False)]
        found.put(user % 4, b"%d" % user, window(*items))
        if user % 4 == 2:
            alone.put(2, b"%d" % user, window(*items))
    found.keep({2, 7})
    assert found.n_events == alone.n_events == 250
    np.testing.assert_allclose(popularity(found), popularity(alone), rtol=1e-5)
    found.keep(())
    assert found.n_events == 0
    np.testing.assert_allclose(popularity(found), tiny_models.catalogue().recent_popularity, rtol=1e-5)


def test_a_recount_does_not_undo_what_came_meanwhile() -> None:
    """A late older window changes neither a user's newer window nor a removal."""
    found = live()
    found.put(0, b"newer", window("i01"))
    found.begin_recount([0])
    found.put(0, b"newer", window("i01", "i02"))
    found.remove(0, [b"removed"])
    old = window("i05", "i06", "i07")
    found.recount(0, {b"newer": old, b"removed": old, b"other": old})
    assert found.n_events == 2 + 3
    found.end_recount()
    found.recount(0, {b"other": None})
    assert found.n_events == 2
