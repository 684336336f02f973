"""Decayed popularity: counts by hand at any scale and time, and live counts with a prior."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from models.popularity import DEFENDED_EVENTS, HALF_LIFE_MS, MAX_EXPONENT, CountsWithPrior, DecayedCounts, log_share
from tests.support.tiny_models import T0

DAY = 86_400_000


def add_all(counts: DecayedCounts, events: Iterable[tuple[str, int]]) -> None:
    """Count events, each an item id and a time."""
    for item_id, ts_ms in events:
        counts.add(item_id, ts_ms)


def test_a_count_halves_every_half_life() -> None:
    """Ages of 0, 1 and 2 half-lives weigh 1, 1/2 and 1/4; an item never counted has 0."""
    counts = DecayedCounts(at_ms=T0)
    add_all(counts, [("a", T0), ("a", T0 - HALF_LIFE_MS), ("b", T0 - 2 * HALF_LIFE_MS)])
    assert counts.scores(["a", "b", "c"], T0).tolist() == [1.5, 0.25, 0.0]
    assert counts.scores(["b", "a"], T0 + HALF_LIFE_MS).tolist() == [0.125, 0.75]
    assert HALF_LIFE_MS == 7 * DAY


def test_given_counts_are_as_of_the_given_time() -> None:
    """Counts from an artifact decay from the end of its training."""
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
        add_all(counts, order)
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


@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_taken_back_was_never_there(at_once: bool) -> None:
    """Removed singly or at once, also across a move of the reference, nothing is left."""
    rng = np.random.default_rng(6)
    ids = [f"i{i}" for i in range(5)]
    stay, go = (
        [(int(rng.integers(5)), T0 + int(rng.integers(-400, 400)) * HALF_LIFE_MS // 10) for _ in range(100)]
        for _ in range(2)
    )
    late = T0 + int(MAX_EXPONENT + 1) * HALF_LIFE_MS
    plain, found = DecayedCounts(at_ms=T0), DecayedCounts(at_ms=T0)
    add_all(plain, ((ids[row], ts) for row, ts in stay))
    add_all(found, ((ids[row], ts) for row, ts in stay + go))
    all_gone = [T0 + 7_919_000 * n for n in range(50)]
    add_all(found, (("gone", ts) for ts in all_gone))
    for counts in (plain, found):
        counts.add("late", late)
    if at_once:
        rows, times = np.array(go, dtype=np.int64).T
        found.remove_all([*ids, "gone"], np.append(rows, [5] * 50), np.append(times, all_gone))
    else:
        for row, ts in go:
            found.remove(ids[row], ts)
        for ts in all_gone:
            found.remove("gone", ts)
    now = late - int(MAX_EXPONENT - 9) * HALF_LIFE_MS
    np.testing.assert_allclose(found.scores(ids, now), plain.scores(ids, now), rtol=1e-5)
    assert found.scores(["gone"], now).tolist() == [0.0]


@pytest.mark.parametrize("weeks", [-3_000, -200, 200, 3_000])
def test_scores_are_finite_and_keep_ratios_at_any_time(weeks: int) -> None:
    """Decades before or after the counts, scores are finite and keep their order."""
    counts = DecayedCounts({"a": 4.0, "b": 1.0}, T0)
    found = counts.scores(["a", "b", "c"], T0 + weeks * HALF_LIFE_MS)
    assert np.isfinite(found).all()
    assert found[0] / found[1] == pytest.approx(4.0)
    assert found[2] == 0.0
    assert np.isfinite(log_share(found)).all()


def test_log_share_does_not_depend_on_the_scale() -> None:
    """A tenth of the traffic gives the same feature; uncounted items are lowest and finite."""
    scores = np.array([8.0, 2.0, 0.0, 1.0], dtype=np.float32)
    found = log_share(scores)
    np.testing.assert_allclose(log_share(scores * 0.1), found, rtol=1e-5)
    assert found.dtype == np.float32
    assert np.argsort(-found).tolist() == [0, 1, 3, 2]
    assert found[2] == pytest.approx(np.log(0.05))
    assert log_share(np.array([3.0, 3.0], dtype=np.float32)) == pytest.approx(np.log(1.05))


@pytest.mark.parametrize("n", [0, 3])
def test_log_share_of_nothing_is_zero(n: int) -> None:
    """Without items or counts the feature is 0."""
    assert log_share(np.zeros(n, dtype=np.float32)).tolist() == [0.0] * n


HISTORY = {f"i{place:03}": 5_000.0 / place for place in range(1, 501)}  # Zipf's law; 34,000 events


def top_ten(counts: CountsWithPrior, now_ms: int) -> list[str]:
    """Return the ten most popular items, best first."""
    ids = [*HISTORY, "new"]
    return [ids[row] for row in np.argsort(-counts.scores(ids, now_ms), kind="stable")[:10]]


@pytest.mark.parametrize("weeks", [0, 1, 9, 60, 1_500])
@pytest.mark.parametrize("scale", [1e-6, 0.01, 1.0, 100.0])
def test_four_fresh_events_do_not_replace_an_old_history(weeks: int, scale: float) -> None:
    """Four events of other items leave the first places alone and bring in no unknown item."""
    now = T0 + weeks * HALF_LIFE_MS
    history = {item_id: count * scale for item_id, count in HISTORY.items()}
    others = [*list(HISTORY)[10:], "new"]
    chances = [[item_id] * 4 for item_id in others] + [others[i : i + 4] for i in range(0, len(others), 4)]
    for fresh in chances:
        counts = CountsWithPrior(history, T0)
        for item_id in fresh:
            counts.add(item_id, now)
        top = top_ten(counts, now)
        assert top[:5] == list(HISTORY)[:5], fresh
        assert "new" not in top
        assert len(set(top) - set(list(HISTORY)[:10])) <= 2, "only what stood next to the list gets in, at its end"


@pytest.mark.parametrize("weeks", [9, 60, 1_500])
def test_thousands_of_fresh_events_lead(weeks: int) -> None:
    """Items with thousands of fresh events come first; history orders the others."""
    now = T0 + weeks * HALF_LIFE_MS
    counts = CountsWithPrior(HISTORY, T0)
    for item_id, n in (("i400", 3_000), ("new", 2_500), ("i300", 2_000)):
        for _ in range(n):
            counts.add(item_id, now)
    assert top_ten(counts, now) == ["i400", "new", "i300", *list(HISTORY)[:7]]
    assert top_ten(counts, now + 10 * HALF_LIFE_MS) == list(HISTORY)[:10], "live events fade; history stays"


def test_a_fresh_history_weighs_as_many_events_as_it_has() -> None:
    """History halves like live events, down to the least prior."""
    counts, n_events = CountsWithPrior(HISTORY, T0), sum(HISTORY.values())
    weights = [counts.prior_events(T0 + weeks * HALF_LIFE_MS) for weeks in (-3, 0, 1, 60, 10**6)]
    least = DEFENDED_EVENTS * n_events / HISTORY["i010"]
    assert weights == pytest.approx([n_events, n_events, n_events / 2, least, least])
    tenth = counts.scores(["i010"], T0 + 60 * HALF_LIFE_MS)
    assert tenth.tolist() == pytest.approx([DEFENDED_EVENTS])


@pytest.mark.parametrize(
    ("history", "least"),
    [
        ({}, 50.0),
        ({"a": 0.0}, 50.0),
        ({"a": 1.0}, 50.0),
        ({f"i{n}": 2.0 ** (-20 * n) for n in range(40)}, 200.0),
    ],
)
def test_histories_without_a_tenth_item_bound_the_prior(history: dict[str, float], least: float) -> None:
    """With no history, one item, or a tiny tenth item, live events still count."""
    counts = CountsWithPrior(history, T0)
    assert counts.prior_events(T0 + 500 * HALF_LIFE_MS) == pytest.approx(least)
    for _ in range(5_000):
        counts.add("b", T0 + 500 * HALF_LIFE_MS)
    assert counts.scores(["a", "b"], T0 + 500 * HALF_LIFE_MS).argmax() == 1
