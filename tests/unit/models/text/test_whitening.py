"""Whitened embeddings have uncorrelated columns of unit variance."""

from __future__ import annotations

import numpy as np
import pytest

from models.text.whitening import fit_whitening


def test_whitening_gives_uncorrelated_columns_of_unit_variance() -> None:
    """The covariance of whitened data is the identity."""
    x = (np.random.default_rng(1).normal(size=(500, 6)) @ np.diag([1, 2, 3, 4, 5, 6]) + 7).astype(np.float32)
    white = fit_whitening(x, 4).apply(x)
    np.testing.assert_allclose(white.T @ white / len(x), np.eye(4), atol=1e-3)


@pytest.mark.parametrize("n", [1, 3])
def test_whitening_of_few_rows_and_constant_columns_is_finite(n: int) -> None:
    """Where there are fewer directions than columns, the rest are zeros."""
    x = np.random.default_rng(1).normal(size=(n, 6)).astype(np.float32)
    x[:, 2] = 5
    white = fit_whitening(x, 8).apply(x)
    assert white.shape == (n, 8)
    assert np.isfinite(white).all()
    assert not white[:, n:].any()


def test_items_without_text_take_no_part_and_stay_zeros() -> None:
    """Rows of zeros would be a direction of their own: that of having a text."""
    x = np.random.default_rng(5).normal(size=(50, 6)).astype(np.float32)
    with_blanks = np.concatenate([x, np.zeros((200, 6), dtype=np.float32)])
    fitted = fit_whitening(with_blanks, 4)
    expected = fit_whitening(x, 4)
    assert np.array_equal(fitted.matrix, expected.matrix) and np.array_equal(fitted.mean, expected.mean)
    assert not fitted.apply(with_blanks)[50:].any()
    nothing = fit_whitening(np.zeros((3, 6), dtype=np.float32), 4)
    assert not nothing.matrix.any() and nothing.matrix.shape == (6, 4)
