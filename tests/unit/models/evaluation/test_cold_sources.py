"""Parts of the evaluation of users without events: histories, split, scores, mixes."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.cold_sources import Histories, mix, split_users, standardised


def test_histories_hold_each_pair_once() -> None:
    """Repeated pairs count once; a user without items has none."""
    found = Histories.of(np.array([2, 0, 2, 2]), np.array([5, 1, 5, 3]), 4)
    assert found.n_events.tolist() == [1, 0, 2, 0]
    assert found.of_user(2).tolist() == [3, 5]
    assert found.of_user(1).tolist() == []


def test_the_split_hides_a_seeded_fifth_of_users_with_events() -> None:
    """The parts are disjoint, without users without events, and fixed by the seed."""
    n_events = np.r_[np.zeros(10, dtype=np.int64), np.ones(100, dtype=np.int64)]
    split, same, other = (split_users(n_events, seed) for seed in (1, 1, 2))
    assert (len(split.train), len(split.validation), len(split.test)) == (80, 10, 10)
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(10, 110))
    assert np.array_equal(split.test, same.test)
    assert not np.array_equal(split.test, other.test)
    with pytest.raises(ValueError, match="users with events: 3"):
        split_users(np.ones(3, dtype=np.int64), 1)


def test_standardised_scores_of_equals_are_zero() -> None:
    """A user's scores have mean 0 and deviation 1; equal scores become 0."""
    found = standardised(np.array([[1, 2, 3], [7, 7, 7]], dtype=np.float32))
    np.testing.assert_allclose([found.mean(axis=1)[0], found.std(axis=1)[0]], [0, 1], atol=1e-6)
    assert found[1].tolist() == [0, 0, 0]


def test_a_mix_of_nothing_is_an_error() -> None:
    """Weights that are all 0 would rank by row."""
    with pytest.raises(ValueError, match="all are 0"):
        mix({"a": np.zeros((1, 2), dtype=np.float32)}, {"a": 0.0})
