"""The social prior against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from models.ranking.newcomers.social import Followed, knowledge, social_prior

#: Three users: one with much, one with little, one with nothing known.
FACTORS = np.array([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]], dtype=np.float32)
N_EVENTS = np.array([15, 5, 0])  # knowledge: 3/4, 1/2, 0


def followed(*rows: int) -> Followed:
    """Return these of the users as followed ones."""
    return Followed(FACTORS[list(rows)], N_EVENTS[list(rows)])


def test_knowledge_is_half_at_half_known() -> None:
    """Nothing is known at 0 events, half at ``HALF_KNOWN``, and nearly all far beyond."""
    assert knowledge(np.array([0, 5, 15, 10**9])).tolist() == pytest.approx([0.0, 0.5, 0.75, 1.0])


def test_the_prior_is_the_mean_of_the_followed_weighted_by_what_is_known() -> None:
    """Weights 3/4 and 1/2 give 0.6 and 0.4; a followed user without events adds nothing."""
    prior = social_prior([followed(0, 1), followed(0, 2), followed(1)], 2)
    np.testing.assert_allclose(prior.vectors, [[0.6, 0.4], [1.0, 0.0], [0.0, 1.0]], atol=1e-6)
    assert prior.vectors.dtype == np.float32 and prior.is_known.all()


def test_who_follows_nobody_known_is_not_known() -> None:
    """Nobody, nobody with events, and an empty set give zeros, not NaN."""
    prior = social_prior([None, followed(2), Followed(FACTORS[:0], N_EVENTS[:0])], 2)
    assert not prior.vectors.any() and not prior.is_known.any()


@pytest.mark.parametrize(
    ("one", "field"),
    [
        (Followed(FACTORS[:2], N_EVENTS[:1]), r"need \(1, 2\)"),
        (Followed(FACTORS[:, :1], N_EVENTS), r"need \(3, 2\)"),
        (Followed(FACTORS[:1], np.array([-2])), "n_events=-2"),
    ],
)
def test_bad_input_is_named(one: Followed, field: str) -> None:
    """The message is one line and names what does not fit."""
    with pytest.raises(ValueError, match=field) as caught:
        social_prior([one], 2)
    assert "\n" not in str(caught.value)
