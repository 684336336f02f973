"""Metrics of several relevant items, by hand."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from models.metrics import sets as set_metrics
from models.metrics.sets import list_metrics, top_rows


def test_docstring_examples_hold() -> None:
    """The worked example beside the metrics is right."""
    result = doctest.testmod(set_metrics)
    assert result.attempted > 0
    assert result.failed == 0


def test_metrics_by_hand() -> None:
    """At k = 2 one user has one of three at rank 2, one has both, one has none relevant."""
    scores = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 1, 1]], dtype=np.float32)
    relevant = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]], dtype=np.bool_)
    found = list_metrics(scores, relevant, 2)
    second = 1 / np.log2(3)
    assert found["hr@2"] == 1.0
    assert found["ndcg@2"] == pytest.approx((second / (1 + second) + 1.0) / 2)
    assert found["recall@2"] == pytest.approx((1 / 3 + 1.0) / 2)
    assert list_metrics(scores, np.zeros_like(relevant), 2)["ndcg@2"] == 0.0


def test_lists_take_the_lower_row_of_equals() -> None:
    """The best k are those of a full stable sort, with ties at the edge and with masked items."""
    rng = np.random.default_rng(2)
    scores = rng.integers(4, size=(20, 15)).astype(np.float32)
    scores[:, 3] = -np.inf
    for k in (1, 5, 15, 99):
        assert np.array_equal(top_rows(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_bad_scores_are_named() -> None:
    """NaN and shapes that differ are errors."""
    with pytest.raises(ValueError, match="NaN"):
        list_metrics(np.full((1, 2), np.nan, dtype=np.float32), np.ones((1, 2), dtype=np.bool_))
    with pytest.raises(ValueError, match="must be equal"):
        list_metrics(np.zeros((1, 2), dtype=np.float32), np.ones((1, 3), dtype=np.bool_))
