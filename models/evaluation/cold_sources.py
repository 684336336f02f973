"""What each source knows of users with few events: popularity, their follows, their features.

For data without times. The evaluation hides a seeded share of users with all their events, and
learns factors and popularity from the other users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.evaluation.cold_priors import Prior, blend, fit_feature_model
from models.evaluation.cold_social import CHUNK, friend_votes, has_known_follows, knowledge, social_prior
from models.factors.als import AlsConfig, fit_als, fold_in_als
from models.factors.matrix_factorisation import gram

#: The evaluation holds several score matrices of half the hidden users at once: 400 MB each at this
#: limit.
MAX_CELLS: Final = 100_000_000


@dataclass(frozen=True)
class ColdData:
    """Interactions, follows and features of users, without times.

    Parameters
    ----------
    users, items : (n,) int64, rows of each interaction; a repeated pair counts once
    follows, mask : (n_users, m), rows of followed users, padded, and which of them are real; m may
        be 0
    features : (n_users, p) float32; p may be 0
    """

    users: Int64
    items: Int64
    n_users: int
    n_items: int
    follows: Int64
    mask: Bool
    features: Float32


@dataclass(frozen=True)
class Histories:
    """Each user's items: user ``u`` has ``items[starts[u]:starts[u + 1]]``, each once, rising."""

    starts: Int64
    items: Int64

    @classmethod
    def of(cls, users: Int64, items: Int64, n_users: int) -> Histories:
        """Return the histories of interactions, (n,) int64 each; repeated pairs count once."""
        pairs = np.unique(np.column_stack([users, items]), axis=0)
        counts = np.bincount(pairs[:, 0], minlength=n_users)
        return cls(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), pairs[:, 1].astype(np.int64))

    @property
    def n_events(self) -> Int64:
        """The number of items of each user, (n_users,) int64."""
        return np.diff(self.starts)

    def of_user(self, user: int) -> Int64:
        """Return one user's items."""
        return self.items[self.starts[user] : self.starts[user + 1]]


@dataclass(frozen=True)
class Split:
    """Rows of users: to learn from, to choose weights, to test. None is a user without events."""

    train: Int64
    validation: Int64
    test: Int64


def split_users(n_events: Int64, seed: int, share: float = 0.2) -> Split:
    """Return a seeded split that hides ``share`` of the users with events.

    Half of the hidden users choose weights (validation), half are asked once (test).

    Raises
    ------
    ValueError
        When a half, or the rest, would be empty.
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(n_events > 0)).astype(np.int64)
    n_half = round(len(order) * share / 2)
    if not 0 < 2 * n_half < len(order):
        raise ValueError(f"users with events: {len(order)}, share {share} hides {2 * n_half}; give more users")
    return Split(np.sort(order[2 * n_half :]), np.sort(order[:n_half]), np.sort(order[n_half : 2 * n_half]))


def fold_in_all(item_factors: Float32, histories: Sequence[Int64], config: AlsConfig) -> Float32:
    """Return each user's factors by fold-in, (n, f) float32; zeros for a user without items."""
    gram_matrix, n_items = gram(item_factors), len(item_factors)
    folded = np.zeros((len(histories), item_factors.shape[1]), dtype=np.float32)
    order = np.argsort(
        [len(had) for had in histories], kind="stable"
    )  # users with histories of like length together: little padding
    for chunk in (order[start : start + CHUNK] for start in range(0, len(order), CHUNK)):
        longest = max(len(histories[row]) for row in chunk)
        rows, mask = np.zeros((len(chunk), longest), dtype=np.int64), np.zeros((len(chunk), longest), dtype=np.bool_)
        for i, row in enumerate(chunk):
            n = len(histories[row])
            rows[i, :n], mask[i, :n] = histories[row], True
        folded[chunk] = fold_in_als(item_factors, gram_matrix, rows, mask, n_items=n_items, config=config)
    return folded


def standardised(scores: Float32) -> Float32:
    """Return scores with mean 0 and deviation 1 over the items of each user; equal scores become 0.

    Standardised scores let one weight mix sources of different scale in the same way for all users.

    Returns
    -------
    (n, n_items) float32
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    scaled: Float32 = (centred / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    return scaled


def mix(parts: Mapping[str, Float32], weights: Mapping[str, float]) -> Float32:
    """Return the weighted sum of parts of equal shape, float32; parts without weight do not count.

    Raises
    ------
    ValueError
        When all weights are 0.
    """
    chosen = [np.float32(weight) * parts[name] for name, weight in weights.items() if weight]
    if not chosen:
        raise ValueError(f"weights {dict(weights)}: all are 0; give at least one part a weight")
    total: Float32 = np.sum(chosen, axis=0, dtype=np.float32)
    return total


def relevance(histories: Sequence[Int64], n_items: int) -> Bool:
    """Return which items each user has, (n, n_items) bool."""
    found = np.zeros((len(histories), n_items), dtype=np.bool_)
    for row, had in enumerate(histories):
        found[row, had] = True
    return found


@dataclass(frozen=True)
class Fitted:
    """What was learnt from the users who are not hidden.

    Parameters
    ----------
    histories : of all users
    known : of the users who are not hidden; hidden users have empty ones
    item_factors : (n_items, f) float32
    user_factors : (n_users, f) float32, zeros for hidden users
    popularity : (n_items,) float32, logarithm of one plus the number of an item's users
    """

    data: ColdData
    config: AlsConfig
    histories: Histories
    known: Histories
    split: Split
    item_factors: Float32
    user_factors: Float32
    popularity: Float32


def fit_cold(data: ColdData, config: AlsConfig, seed: int) -> Fitted:
    """Hide a seeded share of users and learn from the others.

    Raises
    ------
    ValueError
        When there are too few users, or the scores of the hidden users would exceed
        :data:`MAX_CELLS`.
    """
    histories = Histories.of(data.users, data.items, data.n_users)
    split = split_users(histories.n_events, seed)
    if len(split.test) * data.n_items > MAX_CELLS:
        raise ValueError(
            f"{len(split.test)} hidden users times {data.n_items} items: limit {MAX_CELLS} scores; give fewer users or items"
        )
    is_known = np.isin(data.users, split.train)
    users, items = data.users[is_known], data.items[is_known]
    factors = fit_als(users, items, data.n_users, data.n_items, config, seed)
    known = Histories.of(users, items, data.n_users)
    popularity = np.log1p(np.bincount(known.items, minlength=data.n_items)).astype(np.float32)
    return Fitted(data, config, histories, known, split, factors.items, factors.users, popularity)


@dataclass(frozen=True)
class Asked:
    """Hidden users, the priors of their factors before any event, and scores by source.

    Parameters
    ----------
    users : (n,) int64, rows
    priors : social and model-based, in this order, where the data has them
    parts : source name to standardised scores, (n, n_items) float32 each
    """

    users: Int64
    priors: tuple[Prior, ...]
    parts: dict[str, Float32]


def ask(fitted: Fitted, users: Int64, seed: int) -> Asked:
    """Return the scores of each source for hidden users before their first event.

    Always ``popularity`` and ``random``; where there are follows ``social prior``, ``votes``
    (logarithm of the number of followed users who have an item) and ``friends' vote`` (the number
    itself, ties ordered by popularity); where there are features ``features``; and ``prior``, the
    blend of priors, which is popularity for a user without any prior.
    """
    data, n_events = fitted.data, fitted.known.n_events
    rng, shape = np.random.default_rng(seed), (len(users), data.n_items)
    popular = np.broadcast_to(fitted.popularity, shape)
    parts = {"random": rng.random(shape, dtype=np.float32), "popularity": popular}
    priors = []
    if data.mask.any():
        follows, mask = data.follows[users], data.mask[users]
        votes = friend_votes(follows, mask, fitted.known.starts, fitted.known.items, data.n_items)
        prior = social_prior(follows, mask, fitted.user_factors, n_events)
        priors.append(Prior(prior, has_known_follows(follows, mask, n_events)))
        parts["friends' vote"] = votes + popular / (
            1.0 + fitted.popularity.max()
        )  # below 1, so that it orders equal votes
        parts["votes"] = np.log1p(votes)
        parts["social prior"] = prior @ fitted.item_factors.T
    if data.features.shape[1]:
        train = fitted.split.train
        weights = knowledge(n_events[train])
        model = fit_feature_model(data.features[train], fitted.user_factors[train], weights)
        predicted = model.predict(data.features[users])
        is_told: Bool = np.any(data.features[users] != 0, axis=1)
        priors.append(Prior(predicted, is_told))
        parts["features"] = predicted @ fitted.item_factors.T
    asked = Asked(users, tuple(priors), {name: standardised(part) for name, part in parts.items()})
    asked.parts["prior"] = blended_scores(fitted, asked, [np.zeros(0, dtype=np.int64)] * len(users), 1.0)
    return asked


def blended_scores(fitted: Fitted, asked: Asked, revealed: Sequence[Int64], strength: float) -> Float32:
    """Return standardised scores of the blend of priors and evidence, (n, n_items) float32.

    A user with neither gets popularity.

    Parameters
    ----------
    revealed : per user, the rows of the items that count as evidence
    strength : of the priors, see :func:`models.evaluation.cold_priors.blend`
    """
    n_events = np.array([len(had) for had in revealed], dtype=np.int64)
    evidence = fold_in_all(fitted.item_factors, revealed, fitted.config)
    vectors, has_any = blend(evidence, n_events, asked.priors, strength)
    scores = standardised(vectors @ fitted.item_factors.T)
    scores[~has_any] = asked.parts["popularity"][~has_any]
    return scores
