"""Ranking metrics against hand-computed values."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from models import metrics
from models.metrics import coverage, hit_at_k, ndcg_at_k, novelty, ranks_of_targets, reciprocal_rank, summarize

RANKED = ["a", "b", "c", "d"]


def test_docstring_examples_hold() -> None:
    """The worked example beside each formula is right."""
    result = doctest.testmod(metrics)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("target", "k", "hit", "ndcg"),
    [("a", 2, 1, 1.0), ("b", 2, 1, 1 / math.log2(3)), ("c", 2, 0, 0.0), ("x", 4, 0, 0.0)],
)
def test_hit_and_ndcg_of_one_target(target: str, k: int, hit: int, ndcg: float) -> None:
    """With one relevant item NDCG is 1 / log2(1 + rank), and both are 0 past the cut-off."""
    assert hit_at_k(RANKED, target, k) == hit
    assert ndcg_at_k(RANKED, target, k) == pytest.approx(ndcg)


def test_reciprocal_rank() -> None:
    """The reciprocal of the rank, 0 for an absent item."""
    assert [reciprocal_rank(RANKED, target) for target in ("a", "d", "x")] == [1.0, 0.25, 0.0]


def test_coverage_counts_each_item_once() -> None:
    """Three distinct items of six: a half."""
    assert coverage([["a", "b"], ["b", "c"]], 6) == 0.5


def test_novelty_is_mean_self_information() -> None:
    """With one added to each count, counts 3, 1 and 1 of three items are 4/8, 2/8 and 2/8: 1, 2 and 2 bits."""
    assert novelty([["a", "b"]], {"a": 3, "b": 1, "c": 1}) == pytest.approx(1.5)


def test_ties_rank_pessimistically() -> None:
    """A model that scores everything equal must not look perfect."""
    assert ranks_of_targets(np.zeros((1, 5)), np.array([2])).tolist() == [5]


def test_ranks_from_scores() -> None:
    """Rank 1 is the greatest score."""
    assert ranks_of_targets(np.array([[0.1, 0.9, 0.5]]), np.array([2])).tolist() == [2]


def test_summary_of_ranks() -> None:
    """Ranks 1, 2 and 11 at a cut-off of 10."""
    found = summarize(np.array([1, 2, 11]), 10)
    assert found["hr@10"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3)) / 3)
