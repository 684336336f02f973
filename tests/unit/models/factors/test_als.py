"""iALS: sweeps lower the objective, fold-in is the dense solution, seeds fix the factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.base.types import Bool, Int64
from models.factors.als import AlsConfig, AlsFactors, fit_als, fold_in_als

N_USERS, N_ITEMS = 40, 25
CONFIG = AlsConfig(dim=6, n_sweeps=4, unobserved_weight=0.2, regularisation=0.02)


def log(seed: int = 3) -> tuple[Int64, Int64, Bool]:
    """Return a random log with repeats, an empty user and item, and the user-item matrix."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(1, N_USERS, 300), (rng.random(300) ** 2 * (N_ITEMS - 1)).astype(np.int64)
    had = np.zeros((N_USERS, N_ITEMS), dtype=np.bool_)
    had[users, items] = True
    return users, items, had


def objective(factors: AlsFactors, had: Bool, config: AlsConfig) -> float:
    """Return the paper's objective, term by term."""
    x, y = factors.users.astype(np.float64), factors.items.astype(np.float64)
    scores = x @ y.T
    by_user = (had.sum(1) + config.unobserved_weight * y.shape[0]) ** config.frequency_exponent
    by_item = (had.sum(0) + config.unobserved_weight * x.shape[0]) ** config.frequency_exponent
    penalty = (by_user * (x**2).sum(1)).sum() + (by_item * (y**2).sum(1)).sum()
    fit = ((1.0 - scores[had]) ** 2).sum() + config.unobserved_weight * (scores**2).sum()
    return float(fit + config.regularisation * penalty)


def padded(had: Bool) -> tuple[Int64, Bool]:
    """Return each user's items padded with a row that is an item too."""
    mask = np.arange(N_ITEMS) < had.sum(1)[:, None]
    return np.where(mask, np.argsort(~had, axis=1, kind="stable"), 1), mask


def test_the_objective_falls_with_each_sweep() -> None:
    """Both half-sweeps are exact, so no sweep raises the objective."""
    users, items, had = log()
    values = []
    for n_sweeps in range(1, 7):
        config = replace(CONFIG, n_sweeps=n_sweeps)
        values.append(objective(fit_als(users, items, N_USERS, N_ITEMS, config, seed=1), had, config))
    assert np.all(np.diff(values) < 0.0)


@pytest.mark.parametrize("dim", [6, 40], ids=["longer histories than factors", "shorter"])
@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.0])
def test_users_and_items_are_the_dense_solution(dim: int, exponent: float) -> None:
    """Each user solves the objective's normal equations, built here item by item."""
    users, items, had = log()
    config = replace(CONFIG, dim=dim, frequency_exponent=exponent)
    fitted = fit_als(users, items, N_USERS, N_ITEMS, config, seed=1)
    y = fitted.items.astype(np.float64)
    for user, seen in zip(fitted.users, had, strict=True):
        weights = config.unobserved_weight + seen.astype(np.float64)
        frequency = (seen.sum() + config.unobserved_weight * N_ITEMS) ** exponent
        left = y.T @ np.diag(weights) @ y + config.regularisation * frequency * np.eye(dim)
        np.testing.assert_allclose(user, np.linalg.solve(left, y.T @ seen), atol=1e-4)
    assert not fitted.users[0].any()
    assert not fitted.items[-1].any()


@pytest.mark.parametrize("dim", [6, 40])
def test_fold_in_gives_the_users_of_the_fit(dim: int) -> None:
    """Training ends with the users; a user who is folded in gets the same factors."""
    users, items, had = log()
    config = replace(CONFIG, dim=dim)
    fitted = fit_als(users, items, N_USERS, N_ITEMS, config, seed=1)
    rows, mask = padded(had)
    gram = fitted.items.T @ fitted.items
    found = fold_in_als(fitted.items, gram, rows, mask, n_items=N_ITEMS, config=config)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, fitted.users, atol=1e-4)


def test_fold_in_counts_a_repeated_item_once_in_any_order() -> None:
    """A window may repeat an item; the objective counts it once."""
    users, items, _ = log()
    fitted = fit_als(users, items, N_USERS, N_ITEMS, CONFIG, seed=1)
    gram = fitted.items.T @ fitted.items
    rows = np.array([[2, 5, 2, 2], [5, 2, 9, 9]])
    mask = np.array([[True, True, True, True], [True, True, False, False]])
    one, other = fold_in_als(fitted.items, gram, rows, mask, n_items=N_ITEMS, config=CONFIG)
    np.testing.assert_allclose(one, other, atol=1e-6)
    nobody = fold_in_als(fitted.items, gram, rows[:, :0], mask[:, :0], n_items=N_ITEMS, config=CONFIG)
    assert nobody.shape == (2, 6)
    assert not nobody.any()


def test_the_size_of_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a chunk bounds memory and changes no result."""
    users, items, had = log()
    whole = fit_als(users, items, N_USERS, N_ITEMS, CONFIG, seed=1)
    rows, mask = padded(had)
    gram = whole.items.T @ whole.items
    folded = fold_in_als(whole.items, gram, rows, mask, n_items=N_ITEMS, config=CONFIG)
    monkeypatch.setattr("models.factors.als.CHUNK_CELLS", 100)
    parts = fit_als(users, items, N_USERS, N_ITEMS, CONFIG, seed=1)
    np.testing.assert_allclose(parts.items, whole.items, atol=1e-4)
    again = fold_in_als(whole.items, gram, rows, mask, n_items=N_ITEMS, config=CONFIG)
    np.testing.assert_allclose(again, folded, atol=1e-5)


def test_blocks_are_recovered() -> None:
    """On a checkerboard with gaps, a user's gaps in the own colour score above the other colour."""
    users, items = np.meshgrid(np.arange(24), np.arange(16), indexing="ij")
    own = users % 2 == items % 2
    taken = own & (np.random.default_rng(2).random(own.shape) < 0.75)
    config = AlsConfig(dim=2, n_sweeps=8)
    fitted = fit_als(users[taken], items[taken], 24, 16, config, seed=1)
    scores = fitted.users @ fitted.items.T
    for row, mine in zip(scores, own, strict=True):
        assert row[mine].min() > row[~mine].max() + 0.2


def test_equal_seeds_give_equal_factors_and_order_and_repeats_do_not_matter() -> None:
    """Factors depend on the pairs and the seed only; each sweep is reported once."""
    users, items, _ = log()
    told: list[int] = []
    one = fit_als(users, items, N_USERS, N_ITEMS, CONFIG, 1, told.append)
    same = fit_als(np.tile(users[::-1], 2), np.tile(items[::-1], 2), N_USERS, N_ITEMS, CONFIG, seed=1)
    other = fit_als(users, items, N_USERS, N_ITEMS, CONFIG, seed=2)
    assert told == [0, 1, 2, 3]
    assert np.array_equal(one.users, same.users)
    assert np.array_equal(one.items, same.items)
    assert not np.array_equal(one.items, other.items)
    assert one.users.dtype == one.items.dtype == np.float32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", 0),
        ("n_sweeps", 0),
        ("unobserved_weight", 0.0),
        ("regularisation", float("nan")),
        ("frequency_exponent", 1.5),
    ],
)
def test_bad_settings_are_named(field: str, value: float) -> None:
    """A value out of range is an error that names the field and the value."""
    with pytest.raises(ValueError, match=f"{field}={value}: must be"):
        replace(CONFIG, **{field: value})  # type: ignore[arg-type]


def test_rows_out_of_range_are_an_error() -> None:
    """A row beyond the given number of items is not silently dropped or wrapped."""
    with pytest.raises(ValueError, match=r"items: rows 0 to 3 must be from 0 to 2"):
        fit_als(np.array([0, 1]), np.array([0, 3]), 2, 3, CONFIG, seed=1)
    with pytest.raises(ValueError, match=r"users: rows -1 to 0"):
        fit_als(np.array([0, -1]), np.array([0, 1]), 2, 3, CONFIG, seed=1)
