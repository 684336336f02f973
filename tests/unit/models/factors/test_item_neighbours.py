"""Neighbours by hand, and EASE against its definition solved column by column."""

from __future__ import annotations

import numpy as np
import pytest

from models.base.types import Int64
from models.factors.item_neighbours import ease_weights, interaction_matrix, item_neighbours

# Items of users: 0 has a, b; 1 has a, b (a twice); 2 has a, c; 3 has d.
USERS = np.array([0, 0, 1, 1, 1, 2, 2, 3])
ITEMS = np.array([0, 1, 0, 1, 0, 2, 0, 3])


def random_log(n_users: int = 60, n_items: int = 20) -> tuple[Int64, Int64]:
    rng = np.random.default_rng(7)
    return rng.integers(n_users, size=400), (rng.random(400) ** 2 * n_items).astype(np.int64)


def test_cosine_by_hand() -> None:
    """Items a (3 users) and b (2) share 2: 2 / sqrt(6); a, c share 1: 1 / sqrt(3); d is alone."""
    rows, weights = item_neighbours(USERS, ITEMS, 4, 2, shrinkage=0.0)
    assert rows.tolist() == [[1, 2], [0, -1], [0, -1], [-1, -1]]
    expected = [[2 / 6**0.5, 1 / 3**0.5], [2 / 6**0.5, 0.0], [1 / 3**0.5, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert rows.dtype == np.int64
    assert weights.dtype == np.float32


def test_shrinkage_discounts_pairs_with_little_support() -> None:
    """With 2 users in common and shrinkage 2 a half of the cosine is left, with 1 a third."""
    _, weights = item_neighbours(USERS, ITEMS, 4, 2, shrinkage=2.0)
    np.testing.assert_allclose(weights[0], [2 / 6**0.5 / 2, 1 / 3**0.5 / 3], rtol=1e-6)


def test_few_neighbours_are_the_best_of_all_and_ties_go_to_the_lower_row() -> None:
    """A shorter list is the head of the whole list."""
    users, items = random_log()
    rows, weights = item_neighbours(users, items, 20, 20)
    few_rows, few_weights = item_neighbours(users, items, 20, 3)
    assert np.array_equal(few_rows, rows[:, :3])
    assert np.array_equal(few_weights, weights[:, :3])
    tied, _ = item_neighbours(np.zeros(5, dtype=np.int64), np.array([4, 2, 0, 3, 1]), 5, 2)
    assert tied.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes of blocks and tiles bound memory and change no result."""
    users, items = random_log()
    table, weights = item_neighbours(users, items, 20, 4), ease_weights(users, items, 60, 20, 3.0)
    monkeypatch.setattr("models.factors.item_neighbours.BLOCK_CELLS", 60)
    monkeypatch.setattr("models.factors.item_neighbours.TILE", 7)
    assert np.array_equal(item_neighbours(users, items, 20, 4)[0], table[0])
    assert np.array_equal(item_neighbours(users, items, 20, 4)[1], table[1])
    np.testing.assert_allclose(ease_weights(users, items, 60, 20, 3.0), weights, atol=1e-6)


def test_ease_is_a_ridge_regression_of_each_item_on_the_others() -> None:
    """By definition each column is a least squares problem without the item itself."""
    users, items = random_log()
    weights = ease_weights(users, items, 60, 20, regularisation=3.0)
    x = interaction_matrix(users, items, 60, 20).toarray().astype(np.float64)
    assert x.max() == 1.0
    for item in range(20):
        others = np.delete(np.arange(20), item)
        left = x[:, others].T @ x[:, others] + 3.0 * np.eye(19)
        np.testing.assert_allclose(weights[others, item], np.linalg.solve(left, x[:, others].T @ x[:, item]), atol=1e-4)
    assert not np.diag(weights).any()
    assert weights.dtype == np.float32
    assert weights.flags.c_contiguous


def test_empty_logs_have_no_neighbours() -> None:
    """Without events no item has a neighbour."""
    none = np.zeros(0, dtype=np.int64)
    rows, weights = item_neighbours(none, none, 3, 2)
    assert rows.tolist() == [[-1, -1]] * 3
    assert not weights.any()
    assert not ease_weights(none, none, 0, 3, 1.0).any()


def test_bad_arguments_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the field, the value, the limit and the remedy."""
    with pytest.raises(ValueError, match="n_neighbours=0: must be at least 1"):
        item_neighbours(USERS, ITEMS, 4, 0)
    with pytest.raises(ValueError, match=r"shrinkage=-1\.0: must be at least 0"):
        item_neighbours(USERS, ITEMS, 4, 2, shrinkage=-1.0)
    with pytest.raises(ValueError, match=r"items: rows 0 to 3 must be from 0 to 2"):
        item_neighbours(USERS, ITEMS, 3, 2)
    with pytest.raises(ValueError, match=r"both must be \(n,\)"):
        interaction_matrix(USERS, ITEMS[:-1], 4, 4)
    with pytest.raises(ValueError, match=r"regularisation=0\.0: must be above 0"):
        ease_weights(USERS, ITEMS, 4, 4, 0.0)
    monkeypatch.setattr("models.factors.item_neighbours.MAX_EASE_ITEMS", 3)
    with pytest.raises(ValueError, match=r"n_items=4: EASE takes at most 3; .*use item_neighbours"):
        ease_weights(USERS, ITEMS, 4, 4, 1.0)
