"""How well users without events, or with few, are served: unseen users, hidden whole, against popularity and against chance.

For data without times. A seeded share of users is hidden with all they did; factors and popularity come from the others. One half
of the hidden users chooses every weight (validation), the other half is asked once (test). All items are ranked, nothing is
sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np

from models.als import AlsConfig, fit_als, fold_in_als
from models.cold_start import Prior, blend, fit_feature_model
from models.factors import gram
from models.metrics import check_k
from models.social import CHUNK, friend_votes, has_known_follows, knowledge, social_prior
from models.types import Bool, Float32, Int64

K: Final = 10
#: Chosen by validation users' NDCG over the data of docs/results/cold-start.md; more factors gained next to nothing.
CONFIG: Final = AlsConfig(dim=32, unobserved_weight=0.3)
#: Events revealed at each point of the curve. Items are judged beyond the last of them, so that all points share one question.
REVEALED: Final = (0, 1, 2, 5, 10)
#: What validation users choose from: pseudo events of the prior, and weights beside the prior's 1.
STRENGTHS: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
FADES: Final = (1.0, 4.0, 16.0, 1e6)  # the last: votes and popularity stay
POPULARITY_WEIGHTS: Final = (0.0, 0.25, 1.0, 4.0, 16.0)
VOTE_WEIGHTS: Final = (0.0, 0.5, 2.0, 8.0)
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


def list_metrics(scores: Float32, relevant: Bool, k: int = K) -> dict[str, float]:
    """Return the means over users of hit rate, NDCG and recall at ``k``, with several relevant items for each user.

    ``HR@k = [any of the first k is relevant]``; ``NDCG@k = DCG / ideal DCG`` with gain 1 and discount ``1 / log2(1 + rank)`` (Järvelin
    and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, 2002); ``recall@k = |first k and relevant| / |relevant|``.
    Users with nothing relevant are left out; without users all are 0. Of equal scores the lower row comes first.

    Parameters
    ----------
    scores : (n, n_items) float32, ``-inf`` for what must not be listed
    relevant : (n, n_items) bool

    Examples
    --------
    >>> found = list_metrics(np.array([[3.0, 2.0, 1.0]], np.float32), np.array([[False, True, True]]), k=2)
    >>> found["hr@2"], found["recall@2"], round(found["ndcg@2"], 4)
    (1.0, 0.5, 0.3869)
    """
    check_k(k)
    if scores.shape != relevant.shape:
        raise ValueError(f"scores of shape {scores.shape}, relevant of shape {relevant.shape}: must be alike")
    if np.isnan(scores).any():
        raise ValueError("scores: NaN has no rank; every score must be a number")
    is_asked = relevant.any(axis=1)
    if not is_asked.any():
        return {f"hr@{k}": 0.0, f"ndcg@{k}": 0.0, f"recall@{k}": 0.0}
    truth = relevant[is_asked]
    best = top_rows(scores[is_asked], k)
    hits = np.take_along_axis(truth, best, axis=1)  # [n, k]
    discounts = 1.0 / np.log2(np.arange(2, best.shape[1] + 2))
    n_relevant = truth.sum(axis=1)
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(n_relevant, best.shape[1])]
    return {
        f"hr@{k}": float(hits.any(axis=1).mean()),
        f"ndcg@{k}": float((hits @ discounts / ideal).mean()),
        f"recall@{k}": float((hits.sum(axis=1) / n_relevant).mean()),
    }


def top_rows(scores: Float32, k: int) -> Int64:
    """Return the rows of each user's best ``k`` items, (n, min(k, n_items)) int64, best first; of equals the lower row first."""
    n_items = scores.shape[1]
    if k >= n_items:
        return np.argsort(-scores, axis=1, kind="stable").astype(np.int64)
    worst_listed = np.partition(scores, n_items - k, axis=1)[:, n_items - k, None]
    best = np.empty((len(scores), k), dtype=np.int64)
    for row, (values, least) in enumerate(zip(scores, worst_listed, strict=True)):
        candidates = np.flatnonzero(values >= least)  # in rising row, so that a stable sort breaks ties by row
        best[row] = candidates[np.argsort(-values[candidates], kind="stable")[:k]]
    return best


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


def evaluate_unseen(fitted: Fitted, validation: Asked, test: Asked) -> dict[str, Any]:
    """Return metrics of each source and of mixes for users without events, all that they did being relevant.

    Returns
    -------
    ``methods`` : name to metrics on test users; ``weights`` : of each mix, as validation users' NDCG chose them
    """
    truths = [
        relevance([fitted.histories.of_user(user) for user in who.users], fitted.data.n_items)
        for who in (validation, test)
    ]
    singles = [name for name in test.parts if name not in ("votes", "prior")]
    methods = {name: list_metrics(test.parts[name], truths[1]) for name in singles}
    mixes = {"prior + popularity": {"prior": (1.0,), "popularity": POPULARITY_WEIGHTS}}
    if "votes" in test.parts:
        mixes["votes + popularity"] = {"votes": (1.0,), "popularity": POPULARITY_WEIGHTS}
        mixes["prior + popularity + votes"] = {**mixes["prior + popularity"], "votes": VOTE_WEIGHTS}
    chosen = {name: choose_weights(validation.parts, truths[0], grid) for name, grid in mixes.items()}
    methods |= {name: list_metrics(mix(test.parts, weights), truths[1]) for name, weights in chosen.items()}
    return {"methods": methods, "weights": chosen}


def choose_weights(
    parts: Mapping[str, Float32], relevant: Bool, grid: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Return the weights of parts, of all in the grid, whose mix has the greatest NDCG; of equals the first."""
    tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    return max(tried, key=lambda weights: list_metrics(mix(parts, weights), relevant)[f"ndcg@{K}"])


def evaluate_curve(
    fitted: Fitted, validation: Asked, test: Asked, weights: Mapping[str, float], seed: int
) -> dict[str, Any]:
    """Return metrics as the first events of hidden users are revealed, in a seeded order.

    Asked are the users with more than ten events, about the items beyond the tenth; the first ten are never listed, so that every
    point has the same users, candidates and relevant items. What stands beside the prior in the mix fades by ``c / (c + n)``, with a
    ``c`` of its own: votes and popularity can outlast the prior.

    Parameters
    ----------
    weights : of the mix for users without events, as validation chose them

    Returns
    -------
    ``strength``, ``fade`` : ``s`` of the prior and ``c`` of the mix, as validation users' NDCG summed over the points chose them;
    ``users`` : how many are asked; ``points`` : revealed events to method to metrics
    """
    of_validation, of_test = Revealing.of(fitted, validation, seed), Revealing.of(fitted, test, seed)
    strength = max(STRENGTHS, key=lambda s: sum(of_validation.ndcg(of_validation.blended(n, s)) for n in REVEALED[1:]))
    blended = {n: of_validation.blended(n, strength) for n in REVEALED[1:]}

    def ndcg_of_fade(fade: float) -> float:
        return sum(of_validation.ndcg(of_validation.mixed(scores, n, fade, weights)) for n, scores in blended.items())

    fade = max(FADES, key=ndcg_of_fade)
    points = {n: of_test.point(n, strength, fade, weights) for n in REVEALED}
    return {"strength": strength, "fade": fade, "users": len(of_test.asked.users), "points": points}


@dataclass(frozen=True)
class Revealing:
    """Hidden users with more events than are ever revealed: each one's items in the order of revealing.

    ``is_first`` (n, n_items) bool are the items that may be revealed and are never listed, ``truth`` the relevant ones.
    """

    fitted: Fitted
    asked: Asked
    orders: tuple[Int64, ...]
    is_first: Bool
    truth: Bool

    @classmethod
    def of(cls, fitted: Fitted, asked: Asked, seed: int) -> Revealing:
        """Return those of the asked users who have enough events."""
        rng = np.random.default_rng(seed)
        orders = [rng.permutation(fitted.histories.of_user(user)) for user in asked.users]
        kept = np.array([i for i, order in enumerate(orders) if len(order) > REVEALED[-1]], dtype=np.int64)
        priors = tuple(Prior(prior.vectors[kept], prior.is_known[kept]) for prior in asked.priors)
        parts = {name: part[kept] for name, part in asked.parts.items()}
        enough, last = tuple(orders[i] for i in kept), REVEALED[-1]
        is_first, truth = (
            relevance(part, fitted.data.n_items) for part in ([o[:last] for o in enough], [o[last:] for o in enough])
        )
        return cls(fitted, Asked(asked.users[kept], priors, parts), enough, is_first, truth)

    def blended(self, n: int, strength: float) -> Float32:
        """Return the scores of the blend after ``n`` events."""
        return blended_scores(self.fitted, self.asked, self._revealed(n), strength)

    def mixed(self, blended: Float32, n: int, fade: float, weights: Mapping[str, float]) -> Float32:
        """Return the blend with what stands beside the prior, which after ``n`` events counts ``fade / (fade + n)``."""
        share = 1.0 / (1.0 + n / fade)
        beside = {name: share * weight for name, weight in weights.items() if name != "prior"}
        return mix({**self.asked.parts, "blend": blended}, {"blend": 1.0, **beside})

    def ndcg(self, scores: Float32) -> float:
        """Return the NDCG of scores."""
        return self._judge(scores)[f"ndcg@{K}"]

    def point(self, n: int, strength: float, fade: float, weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Return the metrics of each method after ``n`` events."""
        blended = self.blended(n, strength)
        without_priors = Asked(self.asked.users, (), self.asked.parts)
        return {
            "popularity": self._judge(self.asked.parts["popularity"]),
            "evidence only": self._judge(blended_scores(self.fitted, without_priors, self._revealed(n), strength)),
            "blend": self._judge(blended),
            "blend, mixed": self._judge(self.mixed(blended, n, fade, weights)),
        }

    def _revealed(self, n: int) -> list[Int64]:
        return [order[:n] for order in self.orders]

    def _judge(self, scores: Float32) -> dict[str, float]:
        return list_metrics(np.where(self.is_first, np.float32(-np.inf), scores), self.truth)


def evaluate_cold(data: ColdData, config: AlsConfig, seed: int) -> dict[str, Any]:
    """Return :func:`evaluate_unseen` and :func:`evaluate_curve` of one seed, as ``unseen`` and ``curve``."""
    fitted = fit_cold(data, config, seed)
    validation, test = (ask(fitted, users, seed) for users in (fitted.split.validation, fitted.split.test))
    unseen = evaluate_unseen(fitted, validation, test)
    mixes = unseen["weights"]
    weights = mixes.get("prior + popularity + votes", mixes["prior + popularity"])
    return {"unseen": unseen, "curve": evaluate_curve(fitted, validation, test, weights, seed)}
