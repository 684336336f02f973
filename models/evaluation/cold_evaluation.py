"""How well users without events, or with few, are served, beside popularity and chance.

The evaluation hides users with all their events. Half of the hidden users choose every weight
(validation); the other half is asked once (test). All items are ranked; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.evaluation.cold_priors import Prior
from models.evaluation.cold_sources import Asked, ColdData, Fitted, ask, blended_scores, fit_cold, mix, relevance
from models.factors.als import AlsConfig
from models.metrics.sets import list_metrics

K: Final = 10
#: Chosen by the NDCG of validation users on the data of docs/results/cold-start.md; more factors
#: gained almost nothing.
CONFIG: Final = AlsConfig(dim=32, unobserved_weight=0.3)
#: Events revealed at each point of the curve. Only items beyond the last of them are relevant, so
#: that all points ask the same question.
REVEALED: Final = (0, 1, 2, 5, 10)
#: Validation users choose from these: pseudo events of the prior, and weights beside the prior's 1.
STRENGTHS: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
FADES: Final = (1.0, 4.0, 16.0, 1e6)  # with the last one votes and popularity stay
POPULARITY_WEIGHTS: Final = (0.0, 0.25, 1.0, 4.0, 16.0)
VOTE_WEIGHTS: Final = (0.0, 0.5, 2.0, 8.0)


def evaluate_unseen(fitted: Fitted, validation: Asked, test: Asked) -> dict[str, Any]:
    """Return metrics of each source and of mixes for users without events.

    All items of a hidden user are relevant.

    Returns
    -------
    dict ``methods``: name to metrics on test users; ``weights``: of each mix, chosen by the NDCG of
        validation users.
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
    """Return the weights of the grid whose mix has the greatest NDCG; of equals the first."""
    tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    return max(tried, key=lambda weights: list_metrics(mix(parts, weights), relevant)[f"ndcg@{K}"])


def evaluate_curve(
    fitted: Fitted, validation: Asked, test: Asked, weights: Mapping[str, float], seed: int
) -> dict[str, Any]:
    """Return metrics as the first events of hidden users are revealed, in a seeded order.

    The evaluation asks users with more than ten events about their items beyond the tenth. The
    first ten items are never listed, so that every point has the same users, candidates and
    relevant items. Votes and popularity beside the prior fade by ``c / (c + n)`` with their own
    ``c``, so they can outlast the prior.

    Parameters
    ----------
    weights : of the mix for users without events, chosen on validation users

    Returns
    -------
    dict ``strength`` (``s`` of the prior) and ``fade`` (``c`` of the mix), chosen by the NDCG of
        validation users summed over the points; ``users``: how many are asked; ``points``: number
        of revealed events to method to metrics.
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
    """Hidden users with more events than are ever revealed.

    Parameters
    ----------
    orders : per user, item rows in the order of revealing
    is_first : (n, n_items) bool, the items that may be revealed and are never listed
    truth : (n, n_items) bool, the relevant items
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
        """Return the blend mixed with its other sources, which weigh ``fade / (fade + n)``."""
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
    """Return :func:`evaluate_unseen` and :func:`evaluate_curve`: ``unseen`` and ``curve``."""
    fitted = fit_cold(data, config, seed)
    validation, test = (ask(fitted, users, seed) for users in (fitted.split.validation, fitted.split.test))
    unseen = evaluate_unseen(fitted, validation, test)
    mixes = unseen["weights"]
    weights = mixes.get("prior + popularity + votes", mixes["prior + popularity"])
    return {"unseen": unseen, "curve": evaluate_curve(fitted, validation, test, weights, seed)}
