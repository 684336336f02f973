"""Decayed popularity: half-lives by hand, any order, any reference, any scale, finite at any time."""

from __future__ import annotations

import numpy as np
import pytest

from models.cold_start import HALF_LIFE_MS, MAX_EXPONENT, DecayedCounts, log_share
from tests.tiny_models import T0

DAY = 86_400_000


def test_a_count_halves_every_half_life() -> None:
    """Ages of 0, 1 and 2 half-lives weigh 1, 1/2 and 1/4; an item never counted has 0."""
    counts = DecayedCounts(at_ms=T0)
    counts.add_all([("a", T0), ("a", T0 - HALF_LIFE_MS), ("b", T0 - 2 * HALF_LIFE_MS)])
    assert counts.scores(["a", "b", "c"], T0).tolist() == [1.5, 0.25, 0.0]
    assert counts.scores(["b", "a"], T0 + HALF_LIFE_MS).tolist() == [0.125, 0.75]
    assert HALF_LIFE_MS == 7 * DAY


def test_given_counts_are_as_of_the_given_time() -> None:
    """Counts from an artifact go on decaying from the end of its training."""
    counts = DecayedCounts({"a": 8.0}, T0, half_life_ms=10)
    counts.add("a", T0 + 10)
    assert counts.scores(["a"], T0 + 10).tolist() == [5.0]


def test_given_counts_are_copied() -> None:
    """Adding does not change the mapping that was given."""
    given = {"a": 1.0}
    DecayedCounts(given, T0).add("a", T0)
    assert given == {"a": 1.0}


def test_order_does_not_matter() -> None:
    """Late events count as if they had come in time, also across moves of the reference."""
    rng = np.random.default_rng(4)
    events = [(f"i{rng.integers(5)}", T0 + int(rng.integers(-400, 400)) * HALF_LIFE_MS // 10) for _ in range(200)]
    events += [("i0", T0 + 300 * HALF_LIFE_MS), ("i1", T0 + 299 * HALF_LIFE_MS)]
    ids = [f"i{i}" for i in range(5)]
    found = []
    for order in (events, events[::-1], sorted(events, key=lambda event: event[1])):
        counts = DecayedCounts()
        counts.add_all(order)
        found.append(counts.scores(ids, T0 + 300 * HALF_LIFE_MS))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_moving_the_reference_keeps_ratios() -> None:
    """Events far beyond the reference change neither ratios nor the value of older counts."""
    later = T0 + int(MAX_EXPONENT + 1) * HALF_LIFE_MS
    plain, moved = (DecayedCounts({"a": 3.0, "b": 1.0}, T0) for _ in range(2))
    moved.add("c", later)
    ids, now = ["a", "b"], later - int(MAX_EXPONENT - 9) * HALF_LIFE_MS  # 10 half-lives after T0
    found = moved.scores(ids, now)
    np.testing.assert_allclose(found, plain.scores(ids, now), rtol=1e-5)
    assert found[0] / found[1] == pytest.approx(3.0)
    assert moved.scores(["c"], later).tolist() == [1.0]


@pytest.mark.parametrize("weeks", [-3_000, -200, 200, 3_000])
def test_scores_are_finite_and_keep_ratios_at_any_time(weeks: int) -> None:
    """Decades before and after the counts, as when an old log is replayed, popularity still says which item leads."""
    counts = DecayedCounts({"a": 4.0, "b": 1.0}, T0)
    found = counts.scores(["a", "b", "c"], T0 + weeks * HALF_LIFE_MS)
    assert np.isfinite(found).all()
    assert found[0] / found[1] == pytest.approx(4.0)
    assert found[2] == 0.0
    assert np.isfinite(log_share(found)).all()


def test_log_share_does_not_depend_on_the_scale() -> None:
    """A tenth of the traffic gives the same feature; more popular is higher; never counted is the lowest, and finite."""
    scores = np.array([8.0, 2.0, 0.0, 1.0], dtype=np.float32)
    found = log_share(scores)
    np.testing.assert_allclose(log_share(scores * 0.1), found, rtol=1e-5)
    assert found.dtype == np.float32
    assert np.argsort(-found).tolist() == [0, 1, 3, 2]
    assert found[2] == pytest.approx(np.log(0.05))
    assert log_share(np.array([3.0, 3.0], dtype=np.float32)) == pytest.approx(np.log(1.05))


@pytest.mark.parametrize("n", [0, 3])
def test_log_share_of_nothing_is_zero(n: int) -> None:
    """No items and no counts are no error, and say nothing."""
    assert log_share(np.zeros(n, dtype=np.float32)).tolist() == [0.0] * n
