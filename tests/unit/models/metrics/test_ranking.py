"""Ranking metrics against hand-computed values."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest

from models.metrics import ranking as metrics
from models.metrics.ranking import (
    coverage,
    hit_at_k,
    intra_list_diversity,
    ndcg_at_k,
    novelty,
    ranks_of_targets,
    summarize,
    values_of_ranks,
)

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


def test_coverage_counts_each_item_once() -> None:
    """Three distinct items of six: a half."""
    assert coverage([["a", "b"], ["b", "c"]], 6) == 0.5


def test_novelty_is_mean_self_information() -> None:
    """Counts 3, 1 and 1, plus one each, are 4/8, 2/8 and 2/8: 1, 2 and 2 bits."""
    assert novelty([["a", "b"]], {"a": 3, "b": 1, "c": 1}) == pytest.approx(1.5)


def test_ties_rank_pessimistically() -> None:
    """A model that scores all items alike must not look perfect."""
    assert ranks_of_targets(np.zeros((1, 5)), np.array([2])).tolist() == [5]


def test_ranks_from_scores() -> None:
    """Rank 1 is the greatest score."""
    assert ranks_of_targets(np.array([[0.1, 0.9, 0.5]]), np.array([2])).tolist() == [2]


def test_summary_of_ranks() -> None:
    """Ranks 1, 2 and 11 at a cut-off of 10: the third counts for nothing."""
    found = summarize(np.array([1, 2, 11]), 10)
    assert found == pytest.approx(
        {
            "hr@10": 2 / 3,
            "ndcg@10": (1 + 1 / math.log2(3)) / 3,
            "mrr@10": (1 + 1 / 2) / 3,
        }
    )


def test_summary_is_the_mean_of_the_cases() -> None:
    """An interval around a mean must be around the mean that is reported."""
    ranks = np.random.default_rng(3).integers(1, 30, 200)
    found = summarize(ranks, 5)
    assert {name: float(values.mean()) for name, values in values_of_ranks(ranks, 5).items()}.items() <= found.items()


def test_summary_of_nothing_is_zero() -> None:
    """No case at all gives 0 and no warning of an empty mean."""
    assert set(summarize(np.zeros(0, dtype=np.int64)).values()) == {0.0}


@pytest.mark.parametrize("ranks", [np.array([1, 0]), np.array([np.nan, 2.0])], ids=["zero", "nan"])
def test_a_rank_below_one_is_refused(ranks: Any) -> None:
    """Ranks start at 1: a row index given by mistake must not count as a hit."""
    with pytest.raises(ValueError, match="at least 1"):
        values_of_ranks(ranks)


def test_diversity_equals_all_pairs() -> None:
    """The short formula equals the mean over pairs, over several steps and two list lengths."""
    rng = np.random.default_rng(0)
    vectors, rows = rng.normal(size=(30, 4)), rng.integers(0, 30, (2100, 3))
    rows[::2, 2] = -1
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    pairs = [[(a, b) for i, a in enumerate(one) for b in one[i + 1 :] if a >= 0 <= b] for one in rows.tolist()]
    by_hand = np.mean([np.mean([1 - cosine[a, b] for a, b in of_list]) for of_list in pairs])
    assert intra_list_diversity(vectors, rows) == pytest.approx(by_hand)


def test_diversity_without_a_pair() -> None:
    """Lists without a pair do not count; a zero vector has cosine 0 to every vector."""
    vectors = np.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    assert intra_list_diversity(vectors, np.array([[0, -1], [-1, -1]])) == 0.0
    assert intra_list_diversity(vectors, np.array([[0, 1], [0, -1]])) == pytest.approx(2.0)
    assert intra_list_diversity(vectors, np.array([[0, 2]])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("vectors", "rows", "message"),
    [
        (np.eye(2), np.array([[0, 2]]), "to 1"),
        (np.eye(2), np.array([0, 1]), "shape"),
        (np.full((2, 2), np.nan), np.array([[0, 1]]), "finite"),
    ],
    ids=["outside", "flat", "nan"],
)
def test_diversity_refuses(vectors: Any, rows: Any, message: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(ValueError, match=message):
        intra_list_diversity(vectors, rows)
