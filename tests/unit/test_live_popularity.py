"""Popularity that follows the stream, and popularity that stays as the artifact has it."""

from __future__ import annotations

import numpy as np

from streams.live_popularity import REFRESH_S, LivePopularity
from tests import tiny_models
from tests.tiny_models import window


def test_what_many_users_do_becomes_popular() -> None:
    """Counted at once, seen at the next refresh; and at once in another catalogue."""
    now_s = [0.0]
    live = LivePopularity(tiny_models.artifact(), is_on=True, clock=lambda: now_s[0])
    catalogue = live.refreshed(tiny_models.catalogue())
    newest_ms = tiny_models.T0 + 60_000
    live.count([b for _ in range(500) for b in window("i07")], newest_ms)
    assert live.refreshed(catalogue) is catalogue
    now_s[0] += 2 * REFRESH_S
    assert catalogue.item_ids[live.refreshed(catalogue).popular_rows[0]] == "i07"
    live.invalidate()
    assert live.refreshed(catalogue) is not catalogue


def test_popularity_that_is_off_is_the_artifacts() -> None:
    """A list then depends on window, catalogue and artifact alone: nothing that was read before changes the catalogue."""
    live = LivePopularity(tiny_models.artifact(), is_on=False)
    catalogue = tiny_models.catalogue()
    live.count(window(*["i07"] * 500), tiny_models.T0 + 10**12)
    assert live.refreshed(catalogue) is catalogue
    assert np.array_equal(live.refreshed(catalogue).recent_popularity, catalogue.recent_popularity)
