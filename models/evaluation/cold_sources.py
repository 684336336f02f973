"""Users without events, or with few, and what each source says of them: popularity, whom they follow, what is known of them.

For data without times. A seeded share of users is hidden with all they did; factors and popularity come from the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.evaluation.cold_priors import Prior, blend, fit_feature_model
from models.evaluation.cold_social import CHUNK, friend_votes, has_known_follows, knowledge, social_prior
from models.factors.als import AlsConfig, fit_als, fold_in_als
from models.factors.matrix_factorisation import gram
from models.types import Bool, Float32, Int64

#: Scores of one half of the hidden users are held at once, a few times over: 400 MB each at the limit.
MAX_CELLS: Final = 100_000_000


@dataclass(frozen=True)
class ColdData:
    """What users did, whom they follow and what is known of them; there are no times.

    Parameters
    ----------
    users, items : (n,) int64, rows of each interaction; a pair counts once
    follows, mask : (n_users, m), rows of followed users, padded, and which are there; m may be 0
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
    """Rows of users: those learnt from, those that choose weights, those asked. Users without events are in none."""

    train: Int64
    validation: Int64
    test: Int64


def split_users(n_events: Int64, seed: int, share: float = 0.2) -> Split:
    """Return a seeded split that hides ``share`` of the users with events, half for validation and half for test.

    Raises
    ------
    ValueError
        When either half, or what is left, would be empty.
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(n_events > 0)).astype(np.int64)
    n_half = round(len(order) * share / 2)
    if not 0 < 2 * n_half < len(order):
        raise ValueError(f"{len(order)} users with events, share {share}: hides {2 * n_half}; give more users")
    return Split(np.sort(order[2 * n_half :]), np.sort(order[:n_half]), np.sort(order[n_half : 2 * n_half]))


def fold_in_all(item_factors: Float32, histories: Sequence[Int64], config: AlsConfig) -> Float32:
    """Return each user's factors by fold-in from the user's items, (n, f) float32; zeros for who has none."""
    gram_matrix, n_items = gram(item_factors), len(item_factors)
    folded = np.zeros((len(histories), item_factors.shape[1]), dtype=np.float32)
    order = np.argsort([len(had) for had in histories], kind="stable")  # alike lengths together: little padding
    for chunk in (order[start : start + CHUNK] for start in range(0, len(order), CHUNK)):
        longest = max(len(histories[row]) for row in chunk)
        rows, mask = np.zeros((len(chunk), longest), dtype=np.int64), np.zeros((len(chunk), longest), dtype=np.bool_)
        for i, row in enumerate(chunk):
            n = len(histories[row])
            rows[i, :n], mask[i, :n] = histories[row], True
        folded[chunk] = fold_in_als(item_factors, gram_matrix, rows, mask, n_items=n_items, config=config)
    return folded


def standardised(scores: Float32) -> Float32:
    """Return scores with mean 0 and deviation 1 over the items of each user, (n, n_items) float32; equal scores become 0.

    So that one weight mixes sources of different scale alike for all users.
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    scaled: Float32 = (centred / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    return scaled


def mix(parts: Mapping[str, Float32], weights: Mapping[str, float]) -> Float32:
    """Return the weighted sum of parts of equal shape, float32; parts without weight are left out."""
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
    """What is learnt from the users who are not hidden.

    Parameters
    ----------
    known : the histories of these users; hidden users have none
    item_factors : (n_items, f) float32
    user_factors : (n_users, f) float32, zeros for hidden users
    popularity : (n_items,) float32, log of one more than an item's users
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
        When there are too few users, or too many users and items for one machine.
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
    """Hidden users, what is expected of them before any event, and standardised scores by source, (n, n_items) each."""

    users: Int64
    priors: tuple[Prior, ...]
    parts: dict[str, Float32]


def ask(fitted: Fitted, users: Int64, seed: int) -> Asked:
    """Return what each source says of hidden users before their first event.

    ``popularity`` and ``random`` always; ``social prior`` and ``friends' vote`` (ties by popularity) where there are follows;
    ``features`` where there are features; ``prior`` is the blend of priors, which falls back to popularity.
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
    """Return standardised scores of the blend of priors and evidence, (n, n_items); popularity for who has neither."""
    n_events = np.array([len(had) for had in revealed], dtype=np.int64)
    evidence = fold_in_all(fitted.item_factors, revealed, fitted.config)
    vectors, has_any = blend(evidence, n_events, asked.priors, strength)
    scores = standardised(vectors @ fitted.item_factors.T)
    scores[~has_any] = asked.parts["popularity"][~has_any]
    return scores
