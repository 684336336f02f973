"""Matrix factorisation: fold-in is the exact solution, training finds blocks."""

from __future__ import annotations

import numpy as np
import pytest

from models.base.types import Bool, Float32, Int64
from models.factors.matrix_factorisation import FactorsConfig, fit_factors, fold_in, gram

pytestmark = pytest.mark.model

N_ITEMS, DIM, ALPHA, REGULARISATION = 15, 4, 7.0, 0.5


def case(lengths: list[int]) -> tuple[Float32, list[Int64], Float32, Bool]:
    """Return item factors, users' items, and both as arrays with non-zero padding."""
    rng = np.random.default_rng(5)
    y = rng.normal(size=(N_ITEMS, DIM)).astype(np.float32)
    had = [rng.choice(N_ITEMS, n, replace=False) for n in lengths]
    rows = np.full((len(lengths), max(lengths)), 3)
    for i, items in enumerate(had):
        rows[i, : len(items)] = items
    return y, had, y[rows], np.arange(rows.shape[1]) < np.array(lengths)[:, None]


def fold(seen: Float32, mask: Bool, y: Float32) -> Float32:
    """Fold in with the weights of these tests."""
    return fold_in(seen, mask, gram(y), alpha=ALPHA, regularisation=REGULARISATION)


def test_fold_in_solves_the_normal_equations() -> None:
    """The result solves the full equation with one confidence per item, user by user."""
    y, had, seen, mask = case([1, 6, 3])
    found = fold(seen, mask, y)
    for factors, items in zip(found, had, strict=True):
        preference = np.isin(np.arange(N_ITEMS), items).astype(np.float64)
        confidence = np.diag(1.0 + ALPHA * preference)
        wide = y.astype(np.float64)
        left = wide.T @ confidence @ wide + REGULARISATION * np.eye(DIM)
        np.testing.assert_allclose(factors, np.linalg.solve(left, wide.T @ confidence @ preference), atol=1e-4)


def test_a_user_without_items_gets_zeros() -> None:
    """A user without items is no error, and padding is not an item."""
    y, _, seen, mask = case([0, 3])
    found = fold(seen, mask, y)
    assert not found[0].any()
    assert found[1].any()


def test_fold_in_of_a_batch_gives_what_single_users_give() -> None:
    """Other users and padding do not change a user's factors."""
    lengths = [2, 9, 1]
    y, _, seen, mask = case(lengths)
    together = fold(seen, mask, y)
    assert together.dtype == np.float32
    for i, n in enumerate(lengths):
        alone = fold(seen[i : i + 1, :n], mask[i : i + 1, :n], y)
        np.testing.assert_allclose(together[i], alone[0], atol=1e-5)


def checkerboard() -> tuple[Int64, Int64]:
    """Return three quarters of a checkerboard of users and items."""
    users, items = np.meshgrid(np.arange(24), np.arange(16), indexing="ij")
    is_taken = (users % 2 == items % 2) & (np.random.default_rng(2).random(users.shape) < 0.75)
    return users[is_taken].astype(np.int64), items[is_taken].astype(np.int64)


def test_training_ranks_a_users_own_block_first() -> None:
    """For folded-in users, items of the own colour score above all others."""
    users, items = checkerboard()
    config = FactorsConfig(dim=4, epochs=120, batch_size=64, learning_rate=2e-2)
    fitted = fit_factors(users, items, 24, 16, config, seed=1)
    even = np.array([[0, 2, 4]])
    for shift in (0, 1):
        y = fitted.factors
        user = fold_in(y[even + shift], np.ones((1, 3), dtype=np.bool_), gram(y), alpha=10.0, regularisation=1.0)
        scores = (y @ user[0]) + fitted.biases
        assert scores[shift::2].min() > scores[1 - shift :: 2].max()


def test_a_frequent_item_has_a_greater_bias() -> None:
    """The bias of an item grows with its popularity."""
    users = np.arange(40, dtype=np.int64)
    items = np.where(users % 8 == 0, users % 5, 5).astype(np.int64)
    fitted = fit_factors(users, items, 40, 6, FactorsConfig(dim=4, epochs=30, batch_size=16), seed=1)
    assert fitted.biases.argmax() == 5


def test_training_is_deterministic_by_seed_and_tells_its_progress() -> None:
    """The seed fixes the numbers; each epoch is reported once."""
    users, items = checkerboard()
    config = FactorsConfig(dim=4, epochs=3, batch_size=64)
    told: list[int] = []
    one, same, other = (fit_factors(users, items, 24, 16, config, seed, told.append) for seed in (1, 1, 2))
    assert np.array_equal(one.factors, same.factors)
    assert np.array_equal(one.biases, same.biases)
    assert not np.array_equal(one.factors, other.factors)
    assert told == [0, 1, 2] * 3
    assert one.factors.shape == (16, 4)
    assert one.biases.shape == (16,)
