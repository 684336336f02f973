"""Learns what features and follows say of users without events, on users whom it hides.

A seeded share of the users is hidden with all their events; factors, popularity and the regression
are fitted on the others. The weights are those whose order of the whole catalogue has the greatest
NDCG for the hidden users. A source that does not help gets weight 0, and where neither helps
clearly, both do: the lists are then those of popularity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from models.artifact.manifest import NewcomerWeights
from models.base.types import Bool, Float32, Int64
from models.factors.matrix_factorisation import ItemFactors
from models.features.columns import Row
from models.features.side_features import SideFeatures
from models.interactions import Interactions
from models.metrics.sets import ndcg_of_users
from models.popularity import DecayedCounts, log_share
from models.ranking.newcomers.histories import FoldIn, followed_of, places_of
from models.ranking.newcomers.known import (
    Moments,
    expected,
    mixed,
    standard_popularity,
    together,
    told_features,
    with_one,
)
from models.ranking.newcomers.priors import FeatureModel, Prior, blend, fit_feature_model
from models.ranking.newcomers.social import knowledge, social_prior
from models.training.clear_gain import clearly_best

#: Share of the users with features or follows who are hidden, and how many at most.
HIDDEN_SHARE: Final = 0.2
MAX_HIDDEN: Final = 1_000
#: With fewer hidden users chance would choose the weights.
MIN_HIDDEN: Final = 20
#: Weights of a source beside popularity's 1.
WEIGHTS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0)
STRENGTHS: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SCALES: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
#: Events after which a strength is judged.
REVEALED: Final = (1, 2, 5)
#: Scores of hidden users held at once: 16 MB of float32 in each part.
CHUNK_CELLS: Final = 4_000_000


@dataclass(frozen=True)
class Learnt:
    """What training learnt of newcomers.

    Parameters
    ----------
    model : from features to factors; None where features have no weight
    """

    weights: NewcomerWeights
    model: FeatureModel | None

    def tensors(self) -> dict[str, Float32]:
        """Return the arrays of the artifact."""
        if self.model is None:
            return {}
        return {"newcomers.coefficients": self.model.coefficients, "newcomers.intercept": self.model.intercept}


@dataclass(frozen=True, eq=False)
class About:
    """What is known of users beside the log: features and whom they follow, by user id."""

    side: SideFeatures
    features: Mapping[str, Row]
    follows: Mapping[str, Sequence[str]]

    def of(self, user_ids: Sequence[str]) -> list[Row]:
        """Return the features of users."""
        return [self.features.get(user_id, {}) for user_id in user_ids]


def learn_newcomers(
    log: Interactions,
    about: About,
    fold_in: FoldIn,
    fit: Callable[[Interactions], ItemFactors],
    factors: ItemFactors,
    seed: int,
) -> Learnt | None:
    """Return what features and follows say of newcomers; None where too few users have either.

    Parameters
    ----------
    fit : fits factors to a log, for the choice of the weights
    factors : those of the artifact, for which the regression is fitted in the end
    seed : hides users
    """
    hidden = hidden_users(log, about, seed)
    if len(hidden) < MIN_HIDDEN:
        return None
    rest = log.where(~np.isin(log.users, hidden))
    asked = _Asked.of(log, rest, hidden, about, fold_in, fit(rest))
    social, features = asked.best_weights()
    weights = NewcomerWeights(social=social, features=features, strength=0.0, scale=1.0)
    if social or features:
        weights = NewcomerWeights(
            social=social, features=features, strength=asked.best_strength(weights), scale=asked.best_scale(weights)
        )
    model = fit_features(log, about, fold_in, factors.factors) if features else None
    return Learnt(weights, model)


def hidden_users(log: Interactions, about: About, seed: int) -> Int64:
    """Return the rows of the users whom the choice of weights hides, rising."""
    n_wishes = np.bincount(log.wishes().users, minlength=len(log.user_ids))
    told = [bool(about.features.get(user_id) or about.follows.get(user_id)) for user_id in log.user_ids]
    users = np.flatnonzero((n_wishes > 0) & np.array(told, dtype=np.bool_)).astype(np.int64)
    n = min(MAX_HIDDEN, int(HIDDEN_SHARE * len(users)))
    return np.sort(np.random.default_rng(seed).permutation(users)[:n])


def fit_features(log: Interactions, about: About, fold_in: FoldIn, factors: Float32) -> FeatureModel | None:
    """Return the regression from features to factors; None where nobody has events and features."""
    n_events = np.bincount(log.wishes().users, minlength=len(log.user_ids))
    encoded, is_told = told_features(about.side, about.of(log.user_ids))
    users = np.flatnonzero(is_told & (n_events > 0)).astype(np.int64)
    if not len(users):
        return None
    return fit_feature_model(encoded[users], fold_in.users(factors, log, users), knowledge(n_events[users]))


@dataclass(frozen=True, eq=False)
class _Asked:
    """Hidden users, and what the others let expect of them.

    Parameters
    ----------
    histories : per user, rows of the items in order of time, each once
    popular : (n_items,) float32, standardised
    """

    histories: list[Int64]
    social: Prior
    features: Prior
    items: Float32
    moments: Moments
    popular: Float32
    fold_in: FoldIn

    @classmethod
    def of(
        cls, log: Interactions, rest: Interactions, hidden: Int64, about: About, fold_in: FoldIn, factors: ItemFactors
    ) -> _Asked:
        wishes = log.wishes()
        histories = [_each_once(wishes.items[places]) for places in places_of(wishes, hidden)]
        ids = [log.user_ids[user] for user in hidden]
        dim = factors.factors.shape[1]
        row_of = {user_id: row for row, user_id in enumerate(log.user_ids)}
        named = {other for user_id in ids for other in about.follows.get(user_id, ())}
        rows = np.array(sorted(row_of[other] for other in named if other in row_of), dtype=np.int64)
        user_factors = np.zeros((len(log.user_ids), dim), dtype=np.float32)
        user_factors[rows] = fold_in.users(factors.factors, rest, rows)
        n_events = np.bincount(rest.users, minlength=len(log.user_ids)).astype(np.int64)
        social = social_prior(followed_of(about.follows, ids, row_of, user_factors, n_events), dim)
        model = fit_features(rest, about, fold_in, factors.factors)
        counts = DecayedCounts()
        rest.count_by(counts.add)
        popular = standard_popularity(log_share(counts.scores(log.item_ids, int(log.ts_ms[-1]))))
        items = np.concatenate([factors.factors, factors.biases[:, None]], axis=1)
        features = expected(model, about.side, about.of(ids), dim)
        return cls(histories, social, features, items, Moments.of(items), popular, fold_in)

    def best_weights(self) -> tuple[float, float]:
        """Return the weights of social and of features with the greatest NDCG; of equals the least.

        Zeros where the best mix does not beat popularity clearly.
        """
        social = WEIGHTS if self.social.is_known.any() else (0.0,)
        features = WEIGHTS if self.features.is_known.any() else (0.0,)
        tried = list(product(social, features))
        values: dict[tuple[float, float], list[Float32]] = {one: [] for one in tried}
        for part in self._parts():
            parts, relevant = self._standardised(part), self._relevant(self.histories[part])
            for one in tried:
                weights = NewcomerWeights(social=one[0], features=one[1], strength=0.0, scale=1.0)
                values[one].append(ndcg_of_users(mixed(weights, *parts), relevant))
        found = {one: np.concatenate(values_of) for one, values_of in values.items()}
        return clearly_best({one: own - found[0.0, 0.0] for one, own in found.items()}, (0.0, 0.0))

    def best_scale(self, weights: NewcomerWeights) -> float:
        """Return the scale under which the items of hidden users are likeliest."""
        totals = dict.fromkeys(SCALES, 0.0)
        for part in self._parts():
            scores, relevant = mixed(weights, *self._standardised(part)), self._relevant(self.histories[part])
            for scale in SCALES:
                logits = (scale * scores).astype(np.float64)
                logits -= logits.max(axis=1, keepdims=True)
                logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
                totals[scale] += float(logits[relevant].sum())
        return max(SCALES, key=totals.__getitem__)

    def best_strength(self, weights: NewcomerWeights) -> float:
        """Return the strength with the greatest NDCG after the first events, by factors alone.

        Users with more items than are revealed are asked about the others.
        """
        both, last = together(weights, self.social, self.features), REVEALED[-1]
        users = [i for i, had in enumerate(self.histories) if len(had) > last and both.is_known[i]]
        totals = dict.fromkeys(STRENGTHS, 0.0)
        size = max(1, CHUNK_CELLS // len(self.items))
        for start in range(0, len(users), size):
            chosen = users[start : start + size]
            histories = [self.histories[i] for i in chosen]
            prior, is_first = (
                Prior(both.vectors[chosen], both.is_known[chosen]),
                self._relevant([h[:last] for h in histories]),
            )
            relevant = self._relevant([had[last:] for had in histories])
            for n in REVEALED:
                revealed = [had[:n] for had in histories]
                ones = [np.ones(n, dtype=np.float32) for _ in revealed]
                evidence = self.fold_in.histories(self.items[:, :-1], revealed, ones)
                for strength in STRENGTHS:
                    vectors = blend(evidence, np.full(len(chosen), n), prior, strength)
                    scores = np.where(is_first, np.float32(-np.inf), with_one(vectors) @ self.items.T)
                    totals[strength] += float(ndcg_of_users(scores, relevant).sum())
        return max(STRENGTHS, key=totals.__getitem__)

    def _parts(self) -> Iterator[slice]:
        size = max(1, CHUNK_CELLS // len(self.items))
        for start in range(0, len(self.histories), size):
            yield slice(start, start + size)

    def _standardised(self, part: slice) -> tuple[Float32, Float32, Float32]:
        found = []
        for prior in (self.social, self.features):
            users = with_one(prior.vectors[part])
            scores = self.moments.standardised(users, users @ self.items.T)
            found.append(scores * prior.is_known[part][:, None])
        return np.broadcast_to(self.popular, found[0].shape), found[0], found[1]

    def _relevant(self, histories: Sequence[Int64]) -> Bool:
        found = np.zeros((len(histories), len(self.items)), dtype=np.bool_)
        for row, had in enumerate(histories):
            found[row, had] = True
        return found


def _each_once(rows: Int64) -> Int64:
    """Return rows in order, each at its first place."""
    return rows[np.sort(np.unique(rows, return_index=True)[1])]
