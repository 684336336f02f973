"""What a user's follows say about the user: a prior for the factors, and a vote for items.

People resemble those they follow (McPherson, Smith-Lovin and Cook, Birds of a Feather: Homophily in
Social Networks, 2001). The factors of followed users are a known start for a user without ratings
(Jamali and Ester, A Matrix Factorization Technique with Trust Propagation for Recommendation in
Social Networks, 2010).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.base.types import AnyArray, Bool, Float32, Int64

#: Events at which a followed user counts half as much as a fully known one; values from 1 to 20
#: gave the same quality.
HALF_KNOWN: Final = 5.0
#: Users whose follows are gathered at once: bounds memory to this many times the longest list of
#: follows times the factors.
CHUNK: Final = 256


def knowledge(n_events: AnyArray) -> Float32:
    """Return how much is known of users: ``n / (n + HALF_KNOWN)``, 0 for no event, near 1 for many.

    This is the share of evidence in the posterior mean of a Gaussian whose prior counts
    :data:`HALF_KNOWN` events, as in :func:`models.evaluation.cold_priors.blend`.

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


def has_known_follows(follows: Int64, mask: Bool, n_events: AnyArray) -> Bool:
    """Return who follows at least one user with events, (n,) bool.

    For the other users :func:`social_prior` is only the mean user.

    Parameters
    ----------
    follows, mask, n_events : as in :func:`social_prior`
    """
    _check_follows(follows, mask, len(n_events))
    known: Bool = np.any(mask & (n_events[follows] > 0), axis=1)
    return known


def mean_user(vectors: Float32, n_events: AnyArray) -> Float32:
    """Return the mean of users' factors, each weighted by :func:`knowledge`.

    Returns
    -------
    (f,) float32
        Zeros without users.
    """
    weights = knowledge(n_events)
    total = float(weights.sum())
    mean: Float32 = (weights @ vectors / (total or 1.0)).astype(np.float32)
    return mean


def social_prior(follows: Int64, mask: Bool, vectors: Float32, n_events: AnyArray) -> Float32:
    """Return the expected factors of users: the mean of the factors of the users they follow.

    Each followed user weighs :func:`knowledge`, so that a user with one event counts less than a
    user with a history. A user who follows nobody with events gets the mean user, so that a prior
    always exists.

    Parameters
    ----------
    follows : (n, m) int64, rows of ``vectors``, padded with any valid row
    mask : (n, m) bool, which follows are real
    vectors : (n_users, f) float32, users' factors
    n_events : (n_users,) of int or float, events behind each user's factors; 0 for none

    Returns
    -------
    (n, f) float32

    Raises
    ------
    ValueError
        When shapes do not fit, a row lies outside, or a number of events is negative.
    """
    if n_events.shape != vectors.shape[:1]:
        raise ValueError(f"n_events of shape {n_events.shape}: need one per row of vectors, {vectors.shape[:1]}")
    _check_follows(follows, mask, len(vectors))
    weights = np.where(mask, knowledge(n_events)[follows], 0.0).astype(np.float32)  # [n, m]
    totals = weights.sum(axis=1)
    prior = np.tile(mean_user(vectors, n_events), (len(follows), 1))
    for start in range(0, len(follows), CHUNK):
        rows = start + np.flatnonzero(totals[start : start + CHUNK] > 0)
        summed = np.einsum("nm,nmf->nf", weights[rows], vectors[follows[rows]])
        prior[rows] = summed / totals[rows, None]
    return prior


def friend_votes(follows: Int64, mask: Bool, starts: Int64, items: Int64, n_items: int) -> Float32:
    """Return how many of the followed users have each item, (n, n_items) float32.

    Parameters
    ----------
    follows, mask : (n, m), users as in :func:`social_prior`
    starts : (n_users + 1,) int64, user ``u`` has ``items[starts[u]:starts[u + 1]]``, each once
    items : (n_interactions,) int64, item rows
    """
    _check_follows(follows, mask, len(starts) - 1)
    votes = np.zeros((len(follows), n_items), dtype=np.float32)
    for row, (friends, is_there) in enumerate(zip(follows, mask, strict=True)):
        had = [items[starts[friend] : starts[friend + 1]] for friend in friends[is_there]]
        if had:
            votes[row] = np.bincount(np.concatenate(had), minlength=n_items)
    return votes


def _check_follows(follows: Int64, mask: Bool, n_users: int) -> None:
    if follows.ndim != 2 or follows.shape != mask.shape:
        raise ValueError(
            f"follows of shape {follows.shape}, mask of shape {mask.shape}: need (n, m) both; pad the rows"
        )
    if follows.size and not 0 <= follows.min() <= follows.max() < n_users:
        worst = follows.min() if follows.min() < 0 else follows.max()
        raise ValueError(f"follows={worst}: must be from 0 to {n_users - 1}; give rows of users, padding included")
