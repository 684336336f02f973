"""Baselines by hand on four items, and each against the function it uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.base.types import Float32, Int64
from models.evaluation.baselines import (
    BASELINES,
    EASE,
    IALS,
    Baseline,
    ItemKNN,
    LastAgain,
    LearntEvents,
    Markov1,
    MostAgain,
    Popularity,
    RecentPopularity,
    padded,
)
from models.factors.als import AlsConfig, fit_als
from models.factors.item_neighbours import ease_weights
from models.popularity import HALF_LIFE_MS, DecayedCounts

T0 = 1_700_000_000_000
N_USERS, N_ITEMS = 3, 4
# Users have 0, 1, 2; 0, 1, 0; and 0, 2. Nobody has 3. One event a half-life, the last at T0.
USERS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
ITEMS = np.array([0, 0, 0, 1, 1, 2, 2, 0])
TS_MS = T0 + HALF_LIFE_MS * np.arange(-7, 1)
EVENTS = LearntEvents(USERS, ITEMS, TS_MS, N_USERS, N_ITEMS)
COUNTS = [4.0, 2.0, 2.0, 0.0]


def rows(*items: int) -> Int64:
    return np.array(items, dtype=np.int64)


def fitted(name: str) -> Baseline:
    return BASELINES[name](EVENTS)


@pytest.mark.parametrize("name", list(BASELINES))
def test_the_protocol(name: str) -> None:
    """Each baseline gives finite float32 scores for any history, alone as in a batch."""
    baseline = fitted(name)
    assert baseline.name == name
    histories = [rows(0, 1, 0), rows(), rows(3), rows(2)]
    now_ms = [T0, T0, T0 + 1, T0]
    together = baseline.scores(histories, now_ms)
    assert together.shape == (4, N_ITEMS)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    assert together.flags.writeable
    for row, history, now in zip(together, histories, now_ms, strict=True):
        np.testing.assert_allclose(baseline.scores([history], [now])[0], row, atol=1e-5)
    assert baseline.scores([], []).shape == (0, N_ITEMS)


@pytest.mark.parametrize("name", ["markov1", "item_knn", "ease", "ials"])
def test_a_row_outside_the_catalogue_is_an_error(name: str) -> None:
    """NumPy would count a negative row from the end."""
    for wrong in (-1, N_ITEMS):
        with pytest.raises(ValueError, match=r"histories: item rows .* must be from 0 to 3"):
            fitted(name).scores([rows(wrong)], [T0])


def test_names_are_those_that_reports_use() -> None:
    """Reports show the baselines in this order."""
    assert list(BASELINES) == ["popularity", "recent_popularity", "markov1", "item_knn", "ease", "ials"] + [
        "last_again", "most_again"
    ]  # fmt: skip


def test_popularity_counts_events() -> None:
    """Everyone gets the same counts; seen items are not masked."""
    scores = Popularity(EVENTS).scores([rows(0), rows()], [T0, T0])
    assert scores.tolist() == [COUNTS, COUNTS]


def test_recent_popularity_is_asked_at_each_questions_time() -> None:
    """Ages of 0 to 7 half-lives by hand; equal to DecayedCounts at any time."""
    baseline = RecentPopularity(EVENTS)
    scores = baseline.scores([rows()] * 2, [T0, T0 + HALF_LIFE_MS])
    expected = np.array([1 + 2**-5 + 2**-6 + 2**-7, 2**-3 + 2**-4, 2**-1 + 2**-2, 0.0])
    np.testing.assert_allclose(scores, [expected, expected / 2], rtol=1e-6)
    counts = DecayedCounts()
    for item, ts in zip(ITEMS, TS_MS, strict=True):
        counts.add(f"i{item}", int(ts))
    for now in (T0 - 400 * HALF_LIFE_MS, T0 - 5, T0 + 12_345_678, T0 + 500 * HALF_LIFE_MS):
        wanted = counts.scores([f"i{row}" for row in range(N_ITEMS)], now)
        np.testing.assert_allclose(baseline.scores([rows()], [now])[0], wanted, rtol=1e-5)


def test_markov1_counts_what_follows_the_last_item() -> None:
    """After 0 came 1, 1, 2; after 1 came 2, 0; a thousandth of popularity orders the rest."""
    baseline = Markov1(EVENTS)
    scores = baseline.scores([rows(2, 0), rows(0, 1), rows(0, 2), rows()], [T0] * 4)
    chain = np.array([[0, 2 / 3, 1 / 3, 0], [1 / 2, 0, 1 / 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(scores, chain + 1e-3 * np.array(COUNTS) / 8, rtol=1e-6)


def test_item_knn_sums_over_the_neighbours_of_the_items_had() -> None:
    """Cosines by hand from shared users, each times shared / (shared + 10)."""
    scores = ItemKNN(EVENTS).scores([rows(0, 1, 0), rows(3)], [T0, T0])
    near, far = 2 / 6**0.5 * 2 / 12, 1 / 2 * 1 / 11
    np.testing.assert_allclose(scores, [[near, near, near + far, 0.0], [0.0] * 4], rtol=1e-5)
    one = ItemKNN(EVENTS, n_neighbours=1).scores([rows(0)], [T0])
    np.testing.assert_allclose(one, [[0.0, near, 0.0, 0.0]], rtol=1e-5)


def test_ease_sums_the_rows_of_the_items_had() -> None:
    """With X'X + I = [[4, 2], [2, 3]] the weights are 2 / 4 and 2 / 3."""
    users, items = rows(0, 0, 1, 1, 2), rows(0, 1, 0, 1, 0)
    scores = EASE(LearntEvents(users, items, np.arange(5), 3, 2), regularisation=1.0).scores(
        [rows(0), rows(1, 1), rows()], [0] * 3
    )
    np.testing.assert_allclose(scores, [[0.0, 2 / 4], [2 / 3, 0.0], [0.0, 0.0]], rtol=1e-5)
    weights = ease_weights(USERS, ITEMS, N_USERS, N_ITEMS, 300.0)
    np.testing.assert_allclose(fitted("ease").scores([rows(2, 0)], [T0])[0], weights[0] + weights[2], rtol=1e-5)


def test_ials_folds_the_history_in() -> None:
    """A training user's history gives the products of the fit, by settings and seed."""
    config = AlsConfig(dim=3, n_sweeps=5, regularisation=0.02)
    fit = fit_als(USERS, ITEMS, N_USERS, N_ITEMS, config, seed=4)
    baseline = IALS(EVENTS, config=config, seed=4)
    scores = baseline.scores([rows(0, 1, 2), rows(0, 1, 0), rows(0, 2), rows()], [T0] * 4)
    expected: Float32 = fit.users @ fit.items.T
    np.testing.assert_allclose(scores[:3], expected, atol=1e-4)
    assert not scores[3].any()


def test_padding_keeps_order_and_marks_what_is_there() -> None:
    """Short histories are padded with row 0; the mask tells it from item 0."""
    table, mask = padded([rows(2, 0), rows(), rows(3)], 4)
    assert table.tolist() == [[2, 0], [0, 0], [3, 0]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]


@pytest.mark.parametrize("name", ["popularity", "recent_popularity", "markov1", "item_knn", "ease", "ials"])
def test_an_event_counts_by_its_weight(name: str) -> None:
    """An event of weight 0 counts as if it were not there, and one of 5 for more than one of 1."""
    # the last event is that of item 0
    weights = np.array([1, 1, 1, 1, 1, 1, 5, 0], dtype=np.float32)
    asked = [rows(0), rows(1)], [T0, T0]
    before = replace(EVENTS, users=USERS[:-1], items=ITEMS[:-1], ts_ms=TS_MS[:-1])
    found = BASELINES[name](replace(EVENTS, weights=weights)).scores(*asked)
    without = BASELINES[name](replace(before, weights=weights[:-1])).scores(*asked)
    np.testing.assert_allclose(found, without, atol=1e-5)
    if name != "ease":  # which knows yes and no alone
        plain = BASELINES[name](before).scores(*asked)
        assert found[1, 2] > plain[1, 2]


def test_popularity_is_the_sum_of_weights() -> None:
    """By hand: item 0 has three events of 1 and one of a half, item 2 one of 1 and one of 5."""
    weights = np.array([1, 1, 1, 1, 1, 1, 5, 0.5], dtype=np.float32)
    for kind in (Popularity, RecentPopularity):
        same_time = np.full_like(TS_MS, T0)
        scores = kind(replace(EVENTS, ts_ms=same_time, weights=weights)).scores([rows()], [T0])
        np.testing.assert_allclose(scores, [[3.5, 2.0, 6.0, 0.0]], rtol=1e-5)


def test_own_items_come_again_by_place_and_by_number() -> None:
    """The history 0, 2, 2, 1: item 1 was last, item 2 most often; of equals the newer one first."""
    last = LastAgain(EVENTS).scores([rows(0, 2, 2, 1), rows()], [T0, T0])
    assert last.tolist() == [[0.25, 1.0, 0.5, 0.0], [0.0] * 4]
    most = MostAgain(EVENTS).scores([rows(0, 2, 2, 1), rows()], [T0, T0])
    assert np.argsort(-most[0], kind="stable").tolist() == [2, 1, 0, 3]
    assert most[0, 3] == 0.0
    assert most[1].tolist() == [0.0] * 4
