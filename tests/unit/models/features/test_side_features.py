"""Side features: fitted to training rows only, kept as plain data, refused if they do not fit."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from models.base.types import Float32, Int64
from models.features.columns import Row
from models.features.imputation import STRATEGIES
from models.features.side_features import SideFeatures, fit_side_features

ROWS: list[Row] = [{"price": float(i), "category": "ab"[i % 2]} if i % 4 else {"category": "a"} for i in range(12)]
TEXT: Float32 = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
TIMES: Int64 = 1_000 * np.arange(12, dtype=np.int64)


def fitted(strategy: str = "median") -> SideFeatures:
    """Return features fitted to the rows."""
    return fit_side_features(ROWS, TEXT, strategy, TIMES)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_missing_afterwards_and_what_is_known_stays(strategy: str) -> None:
    """Rows of training, a row without anything, and one with a category never seen."""
    side = fitted(strategy)
    assert side.width == 3
    found = side.encode([*ROWS, {}, {"category": "new"}], np.vstack([TEXT, TEXT[:2]]), np.append(TIMES, [500, -1]))
    assert found.shape == (14, 3)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    prices = np.array([row["price"] for row in ROWS if "price" in row], dtype=float)
    np.testing.assert_allclose(found[:12, 0][np.arange(12) % 4 > 0], (prices - prices.mean()) / prices.std(), atol=1e-5)


def test_a_gap_gets_the_median_of_training() -> None:
    """A row's values do not depend on the rows encoded with it."""
    side = fitted()
    prices = np.array([row["price"] for row in ROWS if "price" in row], dtype=float)
    expected = np.median((prices - prices.mean()) / prices.std())
    batches: list[list[Row]] = [[{}], [{}, {"price": 1e6}]]
    for rows in batches:
        assert side.encode(rows, TEXT[: len(rows)])[0, 0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_kept_restores_the_same(strategy: str) -> None:
    """Features survive JSON and arrays by name, as in an artifact."""
    side = fitted(strategy)
    plain = msgspec.json.decode(msgspec.json.encode(side.to_plain()))
    restored = SideFeatures.restore(plain, side.tensors("item_imputer."), "item_imputer.")
    assert restored.spec == side.spec
    rows: list[Row] = [{}, {"price": 4.0}]
    np.testing.assert_array_equal(restored.encode(rows, TEXT[:2], TIMES[:2]), side.encode(rows, TEXT[:2], TIMES[:2]))


def test_features_that_do_not_fit_together_are_refused() -> None:
    """An imputer of another width, another prefix or a damaged spec is an error."""
    side, narrow = fitted(), fit_side_features([{"price": 1.0}, {"price": 2.0}], TEXT[:2])
    with pytest.raises(ValueError, match="statistics has 1 columns, its spec 3"):
        SideFeatures.restore(side.to_plain(), narrow.tensors("x."), "x.")
    with pytest.raises(ValueError, match="missing"):
        SideFeatures.restore(side.to_plain(), side.tensors("x."), "y.")
    with pytest.raises(ValueError, match="spec"):
        SideFeatures.restore({"numeric": 3}, side.tensors("x."), "x.")


@pytest.mark.parametrize("n", [0, 5])
def test_without_features_there_are_no_columns(n: int) -> None:
    """Rows without features, and no rows, are no error."""
    side = fit_side_features([{}] * n, TEXT[:n])
    assert side.width == 0
    assert side.encode([{"price": 1.0}, {}], TEXT[:2]).shape == (2, 0)
    restored = SideFeatures.restore(side.to_plain(), side.tensors("u."), "u.")
    assert restored.width == 0
