"""Missing numeric item features, filled in; fitted by scikit-learn and kept as plain arrays, so that no estimator is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge

from models.types import Float32

STRATEGIES: Final = ("mean", "median", "most_frequent", "model")
#: Penalty of the regression behind ``model``, for inputs of unit variance.
RIDGE_ALPHA: Final = 10.0


@dataclass(frozen=True)
class Imputer:
    """Fills each missing feature with a statistic, or with a linear model of the item's text.

    Parameters
    ----------
    statistics : (n_features,) float32, what fills where there is no model
    coefficients : (text_dim, n_features) float32, zeros where there is no model
    """

    statistics: Float32
    coefficients: Float32

    def apply(self, features: Float32, text: Float32) -> Float32:
        """Return features without NaN.

        Parameters
        ----------
        features : (n, n_features) float32, NaN where missing
        text : (n, text_dim) float32, whitened
        """
        filled: Float32 = np.where(np.isfinite(features), features, self.statistics + text @ self.coefficients)
        return filled.astype(np.float32)


def fit_imputer(features: Float32, text: Float32, strategy: str = "median") -> Imputer:
    """Fit an imputer to items.

    A feature that no item has is filled with 0. ``model`` is a ridge regression on the text, for features that at least two items
    have (Hoerl and Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems, 1970).

    Parameters
    ----------
    features : (n, n_features) float32, NaN where missing
    text : (n, text_dim) float32, whitened
    strategy : one of :data:`STRATEGIES`
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"imputation {strategy!r}: must be one of {', '.join(STRATEGIES)}")
    n_features = features.shape[1]
    coefficients = np.zeros((text.shape[1], n_features), dtype=np.float32)
    if not n_features:
        return Imputer(np.zeros(0, dtype=np.float32), coefficients)
    simple = SimpleImputer(strategy="mean" if strategy == "model" else strategy, keep_empty_features=True)
    statistics = simple.fit(features).statistics_.astype(np.float32)
    for column in range(n_features) if strategy == "model" else ():
        is_known = np.isfinite(features[:, column])
        if is_known.sum() >= 2:
            model = Ridge(alpha=RIDGE_ALPHA).fit(text[is_known], features[is_known, column])
            statistics[column] = model.intercept_
            coefficients[:, column] = model.coef_
    return Imputer(statistics, coefficients)
