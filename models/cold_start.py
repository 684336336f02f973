"""What to show when there is no history, or little: popularity, a prior from users' features, and a blend with evidence.

Popularity is decayed by event time. Factors are expected from a user's features by ridge regression, or from the user's follows
(``models.evaluation.cold_social``), and give way to fold-in (``models.factors.matrix_factorisation.fold_in``) as events arrive. A new item
needs nothing from here: its text vector makes it retrievable at once (``models.ranking.catalogue.build_catalogue``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from models.types import AnyArray, Bool, Float32, Int64

#: Interest in an item halves in a week: long enough to be stable, short enough to follow a season.
HALF_LIFE_MS: Final = 7 * 86_400_000
#: Weights are kept relative to a reference time, which moves on before 2 ** 256 is near the end of float64.
MAX_EXPONENT: Final = 256.0
#: The last place of a list that history defends, and how many fresh events it is worth at least: four users alone do not bring in an
#: item that history does not know. More would hold a list back from what is popular now: docs/decisions/0014.
DEFENDED_PLACE: Final = 10
DEFENDED_EVENTS: Final = 5.0
#: History is never worth fewer events than this altogether.
MIN_PRIOR_EVENTS: Final = 50.0
#: What is left of a weight after a removal, relative to what was removed, is rounding below this.
ROUNDING: Final = 1e-9
#: Scores lie within 2 ** -100 and 2 ** 100, which float32 holds, whatever time they are asked for; their ratios are kept.
MAX_SCORE_EXPONENT: Final = 100.0


class DecayedCounts:
    """Counts of interactions per item that halve every ``half_life_ms`` of event time.

    The weight of an event of age ``a`` is ``2 ** (-a / half_life_ms)``. Adding is O(1) and order does not matter.
    """

    def __init__(
        self, counts: Mapping[str, float] | None = None, at_ms: int = 0, half_life_ms: int = HALF_LIFE_MS
    ) -> None:
        self._half_life_ms = half_life_ms
        self._reference_ms = at_ms
        self._weights: dict[str, float] = dict(counts or {})

    def add(self, item_id: str, ts_ms: int) -> None:
        """Count one interaction at event time ``ts_ms``."""
        if (ts_ms - self._reference_ms) / self._half_life_ms > MAX_EXPONENT:
            self._move_reference(ts_ms)
        self._weights[item_id] = self._weights.get(item_id, 0.0) + self._weight(ts_ms)

    def remove(self, item_id: str, ts_ms: int) -> None:
        """Take back one interaction that was counted."""
        self._take(item_id, self._weight(ts_ms))

    def remove_all(self, item_ids: Sequence[str], rows: Int64, ts_ms: Int64) -> None:
        """Take back many interactions that were counted: (n,) rows of ``item_ids``, and (n,) event times."""
        exponents = np.clip((ts_ms - self._reference_ms) / self._half_life_ms, -1_000.0, MAX_EXPONENT)
        sums = np.bincount(rows, weights=np.exp2(exponents), minlength=len(item_ids))
        for row in np.flatnonzero(sums).tolist():
            self._take(item_ids[row], float(sums[row]))

    def add_all(self, interactions: Iterable[tuple[str, int]]) -> None:
        """Count many interactions, each ``(item_id, ts_ms)``."""
        for item_id, ts_ms in interactions:
            self.add(item_id, ts_ms)

    def scores(self, item_ids: Sequence[str], now_ms: int) -> Float32:
        """Return the decayed count of each item as of ``now_ms``, (n,) float32; 0 for items never counted."""
        get = self._weights.get
        weights = np.fromiter((get(i, 0.0) for i in item_ids), np.float64, len(item_ids))
        peak = float(weights.max(initial=0.0))
        if peak <= 0.0:
            return np.zeros(len(item_ids), dtype=np.float32)
        exponent = (self._reference_ms - now_ms) / self._half_life_ms + math.log2(peak)  # of the greatest score
        greatest = 2.0 ** min(max(exponent, -MAX_SCORE_EXPONENT), MAX_SCORE_EXPONENT)
        decayed: Float32 = (weights / peak * greatest).astype(np.float32)
        return decayed

    def _weight(self, ts_ms: int) -> float:
        return math.exp2(max((ts_ms - self._reference_ms) / self._half_life_ms, -1_000.0))

    def _take(self, item_id: str, weight: float) -> None:
        left = self._weights.get(item_id, 0.0) - weight
        if left > ROUNDING * weight:
            self._weights[item_id] = left
        else:
            self._weights.pop(item_id, None)

    def _move_reference(self, ts_ms: int) -> None:
        scale = 2.0 ** max((self._reference_ms - ts_ms) / self._half_life_ms, -1_000.0)
        self._weights = {item_id: weight * scale for item_id, weight in self._weights.items() if weight * scale > 0.0}
        self._reference_ms = ts_ms


class CountsWithPrior:
    """Live decayed counts beside those of history, which is a prior that does not vanish.

    The score of an item is ``m * share + count``: its share of history, as it was at the end of history, and its live decayed
    count. Up to a factor this is the posterior mean of its probability under a Dirichlet prior worth ``m`` events (Zhai and
    Lafferty, A Study of Smoothing Methods for Language Models Applied to Ad Hoc Information Retrieval, 2001). ``m``
    is what history's events weigh by now, as they halve like all others, but never so little that a few users undo it: at least
    :data:`MIN_PRIOR_EVENTS`, and so many that the item in place :data:`DEFENDED_PLACE` weighs :data:`DEFENDED_EVENTS`.

    Parameters
    ----------
    history : decayed counts as of ``at_ms``
    """

    def __init__(self, history: Mapping[str, float], at_ms: int, half_life_ms: int = HALF_LIFE_MS) -> None:
        self._n_events = float(sum(history.values()))
        self._shares = {item_id: count / self._n_events for item_id, count in history.items() if count > 0}
        self._at_ms = at_ms
        self._half_life_ms = half_life_ms
        self._least = _least_prior(self._shares)
        self._live = DecayedCounts(at_ms=at_ms, half_life_ms=half_life_ms)

    def add(self, item_id: str, ts_ms: int) -> None:
        """Count one live interaction at event time ``ts_ms``."""
        self._live.add(item_id, ts_ms)

    def remove(self, item_id: str, ts_ms: int) -> None:
        """Take back one live interaction that was counted."""
        self._live.remove(item_id, ts_ms)

    def remove_all(self, item_ids: Sequence[str], rows: Int64, ts_ms: Int64) -> None:
        """Take back many live interactions, see :meth:`DecayedCounts.remove_all`."""
        self._live.remove_all(item_ids, rows, ts_ms)

    def prior_events(self, now_ms: int) -> float:
        """Return how many events as of ``now_ms`` history is worth, ``m``."""
        age = max(now_ms - self._at_ms, 0) / self._half_life_ms
        return max(self._n_events * math.exp2(-min(age, 1_000.0)), self._least)

    def scores(self, item_ids: Sequence[str], now_ms: int) -> Float32:
        """Return each item's score as of ``now_ms``, (n,) float32; 0 for items that neither history nor a live event knows."""
        get = self._shares.get
        shares = np.fromiter((get(i, 0.0) for i in item_ids), np.float64, len(item_ids))
        total: Float32 = (self.prior_events(now_ms) * shares + self._live.scores(item_ids, now_ms)).astype(np.float32)
        return total


def _least_prior(shares: Mapping[str, float]) -> float:
    if not shares:
        return MIN_PRIOR_EVENTS
    top = sorted(shares.values(), reverse=True)[:DEFENDED_PLACE]
    # A history that is all but a few items leaves nothing to defend in the places after them: the mean share bounds it.
    return max(MIN_PRIOR_EVENTS, DEFENDED_EVENTS / max(top[-1], 1 / len(shares)))


def log_share(scores: Float32) -> Float32:
    """Return popularity as a feature: log of an item's share relative to the mean share, (n,) float32.

    Independent of how many events were counted, so that a shard of the traffic gives about the same values as all of it.
    Items never counted get a fixed low value.
    """
    mean = float(scores.mean()) if scores.size else 0.0
    if mean <= 0.0:
        return np.zeros_like(scores)
    shares: Float32 = np.log(scores / mean + 0.05).astype(np.float32)
    return shares


@dataclass(frozen=True)
class FeatureModel:
    """A linear map from users' features to their factors: ``coefficients`` (p, f) float32, ``intercept`` (f,) float32."""

    coefficients: Float32
    intercept: Float32

    def predict(self, features: Float32) -> Float32:
        """Return the factors to expect of users with these features, (n, p) float32 to (n, f) float32."""
        if features.ndim != 2 or features.shape[1] != len(self.coefficients):
            raise ValueError(
                f"features of shape {features.shape}: need (n, {len(self.coefficients)}); encode them as for training"
            )
        predicted: Float32 = (features @ self.coefficients + self.intercept).astype(np.float32)
        return predicted


def fit_feature_model(
    features: Float32, factors: Float32, weights: AnyArray, regularisation: float = 10.0
) -> FeatureModel:
    """Return the ridge regression of users' factors on their features, in closed form.

    Minimises ``sum_u w_u |y_u - b - B'x_u|^2 + regularisation |B|^2``: after weighted centring ``B = (X'WX + rI)^-1 X'WY``. The
    intercept is not shrunk, so that features that say nothing predict the mean user (Hastie, Tibshirani and Friedman, The Elements
    of Statistical Learning, 2009, equation 3.44; factors from attributes: Gantner et al., Learning Attribute-to-Feature Mappings
    for Cold-Start Recommendations, 2010).

    Parameters
    ----------
    features : (n, p) float32
    factors : (n, f) float32, as fold-in gives them
    weights : (n,) of float, 0 or more: how much is known of each user, see :func:`models.evaluation.cold_social.knowledge`
    regularisation : above 0, in units of fully known users
    """
    if not (len(features) == len(factors) == len(weights)):
        raise ValueError(f"{len(features)} features, {len(factors)} factors, {len(weights)} weights: need one per user")
    if not regularisation > 0:
        raise ValueError(f"regularisation={regularisation}: must be above 0; without it equal features cannot be told")
    if not (np.isfinite(features).all() and np.isfinite(factors).all()):
        raise ValueError(
            "features or factors: NaN or infinite; encode and impute features first (models.features.side_features)"
        )
    w = weights.astype(np.float64)
    total = float(w.sum())
    if not (total > 0 and w.min() >= 0 and math.isfinite(total)):
        raise ValueError(f"weights sum to {total}: need a sum above 0 and none below 0; give users with events")
    x_mean, y_mean = w @ features / total, w @ factors / total
    x, y = features - x_mean, factors - y_mean
    xw = x.T * w  # [p, n]
    coefficients = np.linalg.solve(xw @ x + regularisation * np.eye(x.shape[1]), xw @ y)
    return FeatureModel(coefficients.astype(np.float32), (y_mean - x_mean @ coefficients).astype(np.float32))


class Prior(NamedTuple):
    """Expected factors (n, f) float32 and for which users they say anything, (n,) bool."""

    vectors: Float32
    is_known: Bool


class Blend(NamedTuple):
    """Users' factors (n, f) float32, zeros for who has nothing, and who has any, (n,) bool. The others get what is popular."""

    vectors: Float32
    has_any: Bool


def blend(evidence: Float32, n_events: AnyArray, priors: Sequence[Prior], strength: float) -> Blend:
    """Return users' factors from what is expected and what was seen: ``(s * prior + n * evidence) / (s + n)``.

    It is the posterior mean of a Gaussian whose prior is worth ``s`` pseudo events, each as noisy as a real one (Bishop, Pattern
    Recognition and Machine Learning, 2006, equation 2.141). Fold-in is not quite the mean of its events, so ``s`` is best chosen
    on validation users. Without a prior the evidence stands alone; without events the prior does, whatever ``s``.

    Parameters
    ----------
    evidence : (n, f) float32, fold-in of each user's events; not looked at where there are none
    n_events : (n,) of int or float, 0 or more
    priors : the first that knows a user speaks: social, then model-based
    strength : ``s``, 0 or more
    """
    if not (strength >= 0 and math.isfinite(strength)):
        raise ValueError(f"strength={strength}: must be finite and 0 or more; give the pseudo events of the prior")
    if n_events.shape != evidence.shape[:1]:
        raise ValueError(f"n_events of shape {n_events.shape}: need one per row of evidence, {evidence.shape[:1]}")
    expected, has_prior = np.zeros_like(evidence), np.zeros(len(evidence), dtype=np.bool_)
    for prior in priors:
        is_first = prior.is_known & ~has_prior
        expected[is_first] = prior.vectors[is_first]
        has_prior |= is_first
    has_events = n_events > 0
    pseudo = np.where(has_prior, np.where(has_events, strength, 1.0), 0.0)
    share = np.divide(pseudo, pseudo + n_events, out=np.zeros(len(evidence)), where=has_prior | has_events)[:, None]
    vectors = share * expected + np.where(has_events[:, None], (1.0 - share) * evidence, 0.0)
    return Blend(vectors.astype(np.float32), has_prior | has_events)
