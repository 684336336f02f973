"""Fills missing features: fitted on training rows, kept as plain arrays, not as estimators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base.compiled import row_products
from models.base.types import AnyArray, Bool, Float32, Int64

STRATEGIES: Final = ("mean", "median", "most_frequent", "time", "model")
#: Penalty of the regressions behind ``model``, for inputs of unit variance.
RIDGE_ALPHA: Final = 10.0
#: Rounds over the features of ``model``: few are enough, because the text stays the same.
N_ROUNDS: Final = 3
#: Most rows that ``model`` is fitted on, evenly spaced: fifty for each coefficient of a wide text
#: and all features.
MAX_FIT_ROWS: Final = 10_000
#: Most knots that ``time`` keeps of a feature; neighbours in time are averaged above.
MAX_KNOTS: Final = 1_024
#: The arrays of the state by name, with their types.
TENSORS: Final = {
    "statistics": np.float32,
    "intercepts": np.float32,
    "coefficients": np.float32,
    "knot_times_ms": np.int64,
    "knot_values": np.float32,
    "knot_offsets": np.int64,
}


@dataclass(frozen=True)
class Imputer:
    """Fills a missing feature with a statistic, its course over time, or a linear prediction.

    Parameters
    ----------
    statistics : (n_features,) float32, the value where nothing better is known
    intercepts : (n_rounds, n_features) float32; no rounds without a model
    coefficients : (n_rounds, text_dim + n_features, n_features) float32; column j predicts feature
        j
    knot_times_ms : (n_knots,) int64, rising within a feature; no knots unless the strategy is
        ``time``
    knot_values : (n_knots,) float32
    knot_offsets : (n_features + 1,) int64; feature j has the knots from ``knot_offsets[j]`` to
        ``knot_offsets[j + 1]``
    """

    statistics: Float32
    intercepts: Float32
    coefficients: Float32
    knot_times_ms: Int64
    knot_values: Float32
    knot_offsets: Int64

    def __post_init__(self) -> None:
        n_features, n_rounds, n_knots = len(self.statistics), len(self.intercepts), len(self.knot_times_ms)
        inputs = self.coefficients.shape[1] if self.coefficients.ndim == 3 else 0
        _check("intercepts", self.intercepts, (n_rounds, n_features))
        _check("coefficients", self.coefficients, (n_rounds, max(inputs, n_features), n_features))
        _check("knot_values", self.knot_values, (n_knots,))
        _check("knot_offsets", self.knot_offsets, (n_features + 1,))
        if self.knot_offsets[0] != 0 or self.knot_offsets[-1] != n_knots or (np.diff(self.knot_offsets) < 0).any():
            raise ValueError(f"imputer: knot_offsets must rise from 0 to {n_knots}; train again")

    def apply(self, features: Float32, text: Float32, times_ms: Int64 | None = None) -> Float32:
        """Return features without NaN; known values stay as they are.

        Parameters
        ----------
        features : (n, n_features) float32, NaN where missing
        text : (n, text_dim) float32, whitened; used by ``model``
        times_ms : (n,) int64, negative where unknown; used by ``time``, which gives rows without a
            time the mean

        Returns
        -------
        (n, n_features) float32

        Raises
        ------
        ValueError
            When the shapes are not those of training, or ``time`` gets no times.
        """
        _check("features", features, (len(features), len(self.statistics)))
        is_missing = ~np.isfinite(features)
        filled: Float32 = np.where(is_missing, self.statistics, features).astype(np.float32)
        if len(self.knot_times_ms):
            self._fill_by_time(filled, is_missing, _checked_times(times_ms, len(features)))
        if len(self.intercepts):
            _check("text", text, (len(features), self.coefficients.shape[1] - len(self.statistics)))
            self._fill_by_model(filled, is_missing, text)
        return filled

    def tensors(self) -> dict[str, AnyArray]:
        """Return the state as arrays by the names of :data:`TENSORS`."""
        return {name: getattr(self, name) for name in TENSORS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyArray]) -> Imputer:
        """Return the imputer of :meth:`tensors`.

        Raises
        ------
        ValueError
            When an array is absent, or the shapes do not fit together.
        """
        absent = [name for name in TENSORS if name not in tensors]
        if absent:
            raise ValueError(f"imputer: {absent[0]} is missing; train again")
        return cls(**{name: np.asarray(tensors[name], dtype=TENSORS[name]) for name in TENSORS})

    def _fill_by_time(self, filled: Float32, is_missing: Bool, times_ms: Int64) -> None:
        for column, (start, end) in enumerate(zip(self.knot_offsets[:-1], self.knot_offsets[1:], strict=True)):
            rows = is_missing[:, column] & (times_ms >= 0)
            if end > start:
                knots, values = self.knot_times_ms[start:end], self.knot_values[start:end]
                filled[rows, column] = np.interp(times_ms[rows], knots, values)

    def _fill_by_model(self, filled: Float32, is_missing: Bool, text: Float32) -> None:
        inputs = np.concatenate([text, filled], axis=1)
        n_text = text.shape[1]
        for intercepts, coefficients in zip(self.intercepts, self.coefficients, strict=True):
            for column in np.flatnonzero(is_missing.any(axis=0)):
                rows = is_missing[:, column]
                predicted = row_products(inputs[rows], np.ascontiguousarray(coefficients[:, column : column + 1]))
                inputs[rows, n_text + column] = predicted[:, 0] + intercepts[column]
        filled[:] = inputs[:, n_text:]


def fit_imputer(
    features: Float32,
    text: Float32,
    strategy: str = "median",
    times_ms: Int64 | None = None,
    groups: Int64 | None = None,
) -> Imputer:
    """Fit an imputer to training rows; pass no other rows.

    A feature that is missing in every row becomes 0. ``time`` interpolates between known values at
    neighbouring times, and keeps the first value before them and the last after them. ``model``
    predicts each feature from the text and the other features by ridge regression (Hoerl and
    Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems, 1970), in rounds over
    all features that begin with the means (van Buuren and Groothuis-Oudshoorn, mice: Multivariate
    Imputation by Chained Equations in R, 2011); new rows go through the same rounds.

    Parameters
    ----------
    features : (n, n_features) float32, NaN where missing
    text : (n, text_dim) float32, whitened
    strategy : one of :data:`STRATEGIES`
    times_ms : (n,) int64, negative where unknown; needed by ``time``
    groups : (n_features,) int64, one number for columns that are missing together, such as those of
        one category: they cannot predict one another. Without it, each column is a group

    Raises
    ------
    ValueError
        When the strategy is unknown or an array has another shape.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"imputation {strategy!r}: must be one of {', '.join(STRATEGIES)}")
    n, n_features = features.shape
    _check("text", text, (n, text.shape[-1]))
    groups = _checked_groups(groups, n_features)
    known = np.where(np.isfinite(features), features, np.nan)
    statistics = _statistics(known, "mean" if strategy in ("time", "model") else strategy, groups)
    if strategy == "time":
        knots = [_knots(known[:, column], _checked_times(times_ms, n)) for column in range(n_features)]
    else:
        knots = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))] * n_features
    if strategy == "model":
        step = max(1, -(-n // MAX_FIT_ROWS))
        intercepts, coefficients = _fit_rounds(known[::step], text[::step], statistics, groups)
    else:
        intercepts = np.zeros((0, n_features), dtype=np.float32)
        coefficients = np.zeros((0, text.shape[1] + n_features, n_features), dtype=np.float32)
    return Imputer(
        statistics,
        intercepts,
        coefficients,
        np.concatenate([times for times, _ in knots], dtype=np.int64) if knots else np.zeros(0, dtype=np.int64),
        np.concatenate([values for _, values in knots], dtype=np.float32) if knots else np.zeros(0, dtype=np.float32),
        np.cumsum([0, *(len(times) for times, _ in knots)], dtype=np.int64),
    )


def _statistics(known: Float32, strategy: str, groups: Int64) -> Float32:
    """Return the mean, median or most frequent value of each column, 0 for a column without values.

    Columns of one group are the categories of one feature. Except for the mean, such a group gets
    its most frequent row, because a median of single columns may match no category.
    """
    if not known.size:
        return np.zeros(known.shape[1], dtype=np.float32)
    # loads in a second; a worker that only serves needs none of it
    from sklearn.impute import SimpleImputer

    simple = SimpleImputer(strategy=strategy, keep_empty_features=True)
    statistics: Float32 = simple.fit(known.astype(np.float64)).statistics_.astype(np.float32)
    names, widths = np.unique(groups, return_counts=True)
    for name in names[widths > 1] if strategy != "mean" else ():
        block = known[:, groups == name]
        block = block[np.isfinite(block).all(axis=1)]
        if len(block):
            found, counts = np.unique(block, axis=0, return_counts=True)
            statistics[groups == name] = found[counts.argmax()]
    return statistics


def _knots(values: Float32, times_ms: Int64) -> tuple[Int64, Float32]:
    """Return the times at which a feature is known, rising, and its mean value at each.

    Above :data:`MAX_KNOTS` neighbouring times are averaged.
    """
    is_known = np.isfinite(values) & (times_ms >= 0)
    times, place, counts = np.unique(times_ms[is_known], return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=values[is_known], minlength=len(times)) / counts
    if len(times) > MAX_KNOTS:
        starts = np.arange(MAX_KNOTS) * len(times) // MAX_KNOTS
        sizes = np.diff(starts, append=len(times))
        means = np.add.reduceat(means * counts, starts) / np.add.reduceat(counts, starts)
        times = times[starts] + np.add.reduceat(times - np.repeat(times[starts], sizes), starts) // sizes
    return times, means.astype(np.float32)


def _fit_rounds(known: Float32, text: Float32, statistics: Float32, groups: Int64) -> tuple[Float32, Float32]:
    """Return the intercepts and coefficients of each round.

    A feature that fewer than two rows have keeps its statistic.
    """
    from sklearn.linear_model import Ridge  # as above

    n_text, n_features = text.shape[1], known.shape[1]
    is_known = np.isfinite(known)
    inputs = np.concatenate([text, np.where(is_known, known, statistics)], axis=1).astype(np.float64)
    intercepts = np.tile(statistics, (N_ROUNDS, 1))
    coefficients = np.zeros((N_ROUNDS, n_text + n_features, n_features), dtype=np.float32)
    columns = np.flatnonzero(is_known.sum(axis=0) >= 2)
    for a_round in range(N_ROUNDS):
        for column in columns:
            rows = is_known[:, column]
            used = np.concatenate([np.ones(n_text, dtype=bool), groups != groups[column]])
            if not used.any():
                continue
            model = Ridge(alpha=RIDGE_ALPHA).fit(inputs[np.ix_(rows, used)], known[rows, column].astype(np.float64))
            intercepts[a_round, column] = model.intercept_
            coefficients[a_round, used, column] = model.coef_
            if not rows.all():
                inputs[~rows, n_text + column] = model.predict(inputs[np.ix_(~rows, used)])
    return intercepts, coefficients


def _check(name: str, array: AnyArray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"imputation: {name} has shape {array.shape}, must be {shape}; use the spec of training")


def _checked_times(times_ms: Int64 | None, n: int) -> Int64:
    if times_ms is None:
        raise ValueError("imputation: times_ms is None, strategy 'time' needs one per row; give -1 where it is unknown")
    _check("times_ms", times_ms, (n,))
    return times_ms


def _checked_groups(groups: Int64 | None, n_features: int) -> Int64:
    if groups is None:
        return np.arange(n_features, dtype=np.int64)
    _check("groups", groups, (n_features,))
    return groups
