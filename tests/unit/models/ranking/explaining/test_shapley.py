"""Shapley values: their axioms, and the mean over all orders that defines them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from models.base.types import Float64
from models.ranking.explaining.shapley import MAX_PLAYERS, coalitions, shapley_values


def worth_of(rng: np.random.Generator, n: int) -> Float64:
    """Return any worth of each coalition."""
    worth: Float64 = rng.normal(size=2**n)
    return worth


@pytest.mark.parametrize("n", [0, 1, 2, 5, 9])
def test_values_sum_to_what_all_reach_together(n: int) -> None:
    worth = worth_of(np.random.default_rng(n), n)
    assert shapley_values(worth).sum() == pytest.approx(worth[-1] - worth[0], abs=1e-12)


def test_a_value_is_the_mean_addition_over_all_orders() -> None:
    """The definition, written out."""
    n = 4
    worth = worth_of(np.random.default_rng(1), n)
    orders = list(permutations(range(n)))
    expected = np.zeros(n)
    for order in orders:
        here = 0
        for player in order:
            expected[player] += (worth[here | 1 << player] - worth[here]) / len(orders)
            here |= 1 << player
    np.testing.assert_allclose(shapley_values(worth), expected, atol=1e-12)


def test_players_who_add_the_same_have_the_same_value_and_one_who_adds_nothing_has_none() -> None:
    """Two players share a product term; the third changes nothing."""
    members = coalitions(3)
    worth = 5.0 + 3.0 * (members[:, 0] & members[:, 2]).astype(np.float64)
    np.testing.assert_allclose(shapley_values(worth), np.array([1.5, 0.0, 1.5]), atol=1e-12)


def test_values_of_a_sum_are_its_terms() -> None:
    terms: Float64 = np.array([2.0, -1.0, 0.5])
    worth: Float64 = coalitions(3).astype(np.float64) @ terms
    np.testing.assert_allclose(shapley_values(worth), terms, atol=1e-12)


def test_too_many_players_and_a_missing_coalition_are_refused() -> None:
    with pytest.raises(ValueError, match=f"limit {MAX_PLAYERS}"):
        coalitions(MAX_PLAYERS + 1)
    with pytest.raises(ValueError, match="power of 2"):
        shapley_values(np.zeros(6))
