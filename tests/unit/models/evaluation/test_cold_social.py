"""The social prior and the friends' vote against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from models.base.types import Bool, Int64
from models.evaluation.cold_social import friend_votes, has_known_follows, knowledge, mean_user, social_prior

#: Four users: one with much, one with little, one with nothing known, and one more.
VECTORS = np.array([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0], [-1.0, 2.0]], dtype=np.float32)
N_EVENTS = np.array([15, 5, 0, 5])  # knowledge: 3/4, 1/2, 0, 1/2


def padded(*rows: list[int]) -> tuple[Int64, Bool]:
    """Return follows padded with a row that must not count, and their mask."""
    longest = max(len(row) for row in rows)
    follows = np.full((len(rows), longest), 3, dtype=np.int64)
    mask = np.zeros(follows.shape, dtype=np.bool_)
    for i, row in enumerate(rows):
        follows[i, : len(row)], mask[i, : len(row)] = row, True
    return follows, mask


def test_knowledge_is_half_at_half_known() -> None:
    """Nothing is known at 0 events, half at ``HALF_KNOWN``, and nearly all far beyond."""
    assert knowledge(np.array([0, 5, 15, 10**9])).tolist() == pytest.approx([0.0, 0.5, 0.75, 1.0])


def test_the_prior_is_the_mean_of_the_followed_weighted_by_what_is_known() -> None:
    """Weights 3/4 and 1/2 give 0.6 and 0.4; a followed user without events adds nothing."""
    follows, mask = padded([0, 1], [0, 2], [1])
    prior = social_prior(follows, mask, VECTORS, N_EVENTS)
    np.testing.assert_allclose(prior, [[0.6, 0.4], [1.0, 0.0], [0.0, 1.0]], atol=1e-6)
    assert prior.dtype == np.float32


def test_without_known_follows_the_prior_is_the_mean_user() -> None:
    """A user without known follows gets the weighted mean user, and is marked."""
    follows, mask = padded([], [2], [0])
    prior = social_prior(follows, mask, VECTORS, N_EVENTS)
    mean = (0.75 * VECTORS[0] + 0.5 * VECTORS[1] + 0.5 * VECTORS[3]) / 1.75
    np.testing.assert_allclose(prior[:2], [mean, mean], atol=1e-6)
    np.testing.assert_allclose(mean_user(VECTORS, N_EVENTS), mean, atol=1e-6)
    assert has_known_follows(follows, mask, N_EVENTS).tolist() == [False, False, True]


def test_nobody_known_gives_zeros() -> None:
    """Without events the mean user is zeros, not NaN; m = 0 is no error."""
    follows, mask = padded([0, 1])
    assert social_prior(follows, mask, VECTORS, np.zeros(4, dtype=np.int64)).tolist() == [[0.0, 0.0]]
    empty = np.zeros((2, 0), dtype=np.int64)
    assert social_prior(empty, empty.astype(np.bool_), VECTORS, N_EVENTS).shape == (2, 2)


def test_many_users_get_what_each_gets_alone() -> None:
    """The size of a chunk changes no result."""
    rng = np.random.default_rng(3)
    follows, mask = rng.integers(4, size=(600, 5)), rng.random((600, 5)) < 0.5
    together = social_prior(follows, mask, VECTORS, N_EVENTS)
    for i in (0, 255, 256, 599):
        alone = social_prior(follows[i : i + 1], mask[i : i + 1], VECTORS, N_EVENTS)
        np.testing.assert_allclose(together[i], alone[0], atol=1e-6)


def test_friends_vote_for_what_they_have() -> None:
    """Each followed user has one vote per item; padding has none."""
    starts, items = np.array([0, 2, 3, 3, 5]), np.array([0, 1, 1, 2, 3])
    follows, mask = padded([0, 1], [], [2])
    assert friend_votes(follows, mask, starts, items, 5).tolist() == [[1, 2, 0, 0, 0], [0] * 5, [0] * 5]


@pytest.mark.parametrize(
    ("follows", "mask", "n_events", "field"),
    [
        ([[4]], [[True]], [1, 1, 1, 1], "follows=4"),
        ([[-1]], [[False]], [1, 1, 1, 1], "follows=-1"),
        ([[0, 1]], [[True]], [1, 1, 1, 1], "mask of shape"),
        ([[0]], [[True]], [1, 1, 1], "n_events of shape"),
        ([[0]], [[True]], [1, 1, 1, -2], "n_events=-2"),
    ],
)
def test_bad_input_is_named(follows: list[list[int]], mask: list[list[bool]], n_events: list[int], field: str) -> None:
    """The message is one line and names the field."""
    with pytest.raises(ValueError, match=field) as caught:
        social_prior(np.array(follows), np.array(mask), VECTORS, np.array(n_events))
    assert "\n" not in str(caught.value)
