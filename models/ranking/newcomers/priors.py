"""What to expect of users with few events: a prior from what is known, and a blend with evidence.

Ridge regression predicts a user's factors from features; ``models.ranking.newcomers.social``
predicts them from follows. Both give way to fold-in (``models.factors.folding``) as events arrive.
New items need nothing from this module: their text vectors make them retrievable at once
(``models.ranking.catalogue.build_catalogue``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.base.types import AnyArray, Bool, Float32


@dataclass(frozen=True)
class FeatureModel:
    """A linear map from users' features to their factors.

    Parameters
    ----------
    coefficients : (p, f) float32
    intercept : (f,) float32
    """

    coefficients: Float32
    intercept: Float32

    def predict(self, features: Float32) -> Float32:
        """Return the expected factors of users, (n, f) float32.

        Parameters
        ----------
        features : (n, p) float32

        Raises
        ------
        ValueError
            When the features have another width than in training.
        """
        if features.ndim != 2 or features.shape[1] != len(self.coefficients):
            raise ValueError(
                f"features of shape {features.shape}: need (n, {len(self.coefficients)}); encode them as for training"
            )
        # each user alone: the same bits in every batch
        products = np.einsum("np,pf->nf", features, self.coefficients)
        predicted: Float32 = (products + self.intercept).astype(np.float32)
        return predicted


def fit_feature_model(
    features: Float32, factors: Float32, weights: AnyArray, regularisation: float = 10.0
) -> FeatureModel:
    """Return the ridge regression of users' factors on their features, in closed form.

    Minimises ``sum_u w_u |y_u - b - B'x_u|^2 + regularisation |B|^2``: after weighted centring ``B
    = (X'WX + rI)^-1 X'WY``. The intercept is not shrunk, so that features that say nothing predict
    the mean user (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009,
    equation 3.44; factors from attributes: Gantner et al., Learning Attribute-to-Feature Mappings
    for Cold-Start Recommendations, 2010).

    Parameters
    ----------
    features : (n, p) float32
    factors : (n, f) float32, as fold-in gives them
    weights : (n,) of float, 0 or more: how much is known of each user, see
        :func:`models.ranking.newcomers.social.knowledge`
    regularisation : above 0, in units of fully known users
    """
    if not (len(features) == len(factors) == len(weights)):
        raise ValueError(f"{len(features)} features, {len(factors)} factors, {len(weights)} weights: need one per user")
    if not regularisation > 0:
        raise ValueError(
            f"regularisation={regularisation}: must be above 0; without it equal features cannot be told apart"
        )
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
    """Expected factors (n, f) float32, and which users the prior knows, (n,) bool."""

    vectors: Float32
    is_known: Bool


def blend(evidence: Float32, n_events: AnyArray, prior: Prior, strength: float) -> Float32:
    """Return users' factors from prior and evidence: ``(s * prior + n * evidence) / (s + n)``.

    This is the posterior mean of a Gaussian whose prior is worth ``s`` pseudo events, each as noisy
    as a real one (Bishop, Pattern Recognition and Machine Learning, 2006, equation 2.141). Fold-in
    is only about the mean of a user's events, so choose ``s`` on validation users. Without a prior
    the evidence counts alone; without events the prior does, for every ``s``.

    Parameters
    ----------
    evidence : (n, f) float32, fold-in of each user's events; ignored for a user without events
    n_events : (n,) of int or float, 0 or more
    strength : ``s``, 0 or more

    Returns
    -------
    (n, f) float32
        Zeros for a user with neither.

    Raises
    ------
    ValueError
        When the strength is negative or not finite, or ``n_events`` has another length.
    """
    if not (strength >= 0 and math.isfinite(strength)):
        raise ValueError(f"strength={strength}: must be finite and 0 or more; give the pseudo events of the prior")
    if n_events.shape != evidence.shape[:1]:
        raise ValueError(f"n_events of shape {n_events.shape}: need one per row of evidence, {evidence.shape[:1]}")
    has_events = n_events > 0
    pseudo = np.where(prior.is_known, np.where(has_events, strength, 1.0), 0.0)
    total = pseudo + n_events
    share = np.divide(pseudo, total, out=np.zeros(len(evidence)), where=total > 0)[:, None]
    vectors = share * prior.vectors + np.where(has_events[:, None], (1.0 - share) * evidence, 0.0)
    blended: Float32 = vectors.astype(np.float32)
    return blended
