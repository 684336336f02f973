"""What a user's follows say about the user: an expectation of the user's factors.

People resemble those they follow (McPherson, Smith-Lovin and Cook, Birds of a Feather: Homophily in
Social Networks, 2001). The factors of followed users are a known start for a user without events
(Jamali and Ester, A Matrix Factorization Technique with Trust Propagation for Recommendation in
Social Networks, 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from models.base.types import AnyArray, Float32
from models.ranking.newcomers.priors import Prior

#: Events at which a followed user counts half as much as a fully known one; values from 1 to 20
#: gave the same quality.
HALF_KNOWN: Final = 5.0
#: The followed users that count, the first ones: serving looks each up with each list.
MAX_FOLLOWED: Final = 256


class Followed(NamedTuple):
    """The followed users of whom factors are known.

    Parameters
    ----------
    factors : (m, f) float32, as fold-in gave them with a user's last list
    n_events : (m,) of int, events behind each user's factors; 0 for none
    """

    factors: Float32
    n_events: AnyArray


def knowledge(n_events: AnyArray) -> Float32:
    """Return how much is known of users: ``n / (n + HALF_KNOWN)``, 0 for no event, near 1 for many.

    This is the share of evidence in the posterior mean of a Gaussian whose prior counts
    :data:`HALF_KNOWN` events, as in :func:`models.ranking.newcomers.priors.blend`.

    Parameters
    ----------
    n_events : (n_users,) of int or float, 0 or more

    Returns
    -------
    (n_users,) float32
    """
    if n_events.size and not n_events.min() >= 0:
        raise ValueError(f"n_events={n_events.min()}: must be 0 or more; count each user's events")
    counts = n_events.astype(np.float64)
    known: Float32 = (counts / (counts + HALF_KNOWN)).astype(np.float32)
    return known


def social_prior(followed: Sequence[Followed | None], dim: int) -> Prior:
    """Return the expected factors of users: the mean of the factors of the users they follow.

    Each followed user weighs :func:`knowledge`, so that a user with one event counts less than a
    user with a history. A user who follows nobody with events has zeros and is not known.

    Parameters
    ----------
    followed : per user, None for nobody
    dim : factors of a user

    Raises
    ------
    ValueError
        When factors have another width, or a number of events is negative.
    """
    vectors = np.zeros((len(followed), dim), dtype=np.float32)
    is_known = np.zeros(len(followed), dtype=np.bool_)
    for i, one in enumerate(followed):
        if one is None or not len(one.factors):
            continue
        if one.factors.shape != (len(one.n_events), dim):
            raise ValueError(f"factors of shape {one.factors.shape}: need ({len(one.n_events)}, {dim})")
        weights = knowledge(one.n_events)
        total = float(weights.sum())
        if total > 0:
            vectors[i] = weights @ one.factors / total
            is_known[i] = True
    return Prior(vectors, is_known)
