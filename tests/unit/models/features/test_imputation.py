"""Missing features: each strategy by hand or against scikit-learn, and edge cases."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import safetensors.numpy
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  without it the next line fails
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import Ridge

from models.base.types import Float32, Int64
from models.features import imputation
from models.features.imputation import N_ROUNDS, RIDGE_ALPHA, STRATEGIES, Imputer, fit_imputer

NAN = np.nan
FEATURES = np.array([[1.0, NAN], [3.0, NAN], [3.0, NAN], [NAN, NAN]], dtype=np.float32)
TEXT = np.array([[1.0], [3.0], [3.0], [5.0]], dtype=np.float32)
TIMES = np.array([10, 20, 30, 40])


def noise(n: int, columns: int, seed: int) -> Float32:
    """Return standard normal numbers."""
    return np.random.default_rng(seed).normal(size=(n, columns)).astype(np.float32)


def remove_at_random(features: Float32, share: float, seed: int, groups: Int64 | None = None) -> Float32:
    """Return features of which a share was removed; columns of one group go together."""
    places = np.arange(features.shape[1]) if groups is None else groups
    drawn = np.random.default_rng(seed).random((len(features), int(places.max()) + 1))
    return np.where(drawn[:, places] < share, np.nan, features).astype(np.float32)


@pytest.mark.parametrize(("strategy", "value"), [("mean", 7 / 3), ("median", 3.0), ("most_frequent", 3.0)])
def test_statistics_fill(strategy: str, value: float) -> None:
    """A missing value becomes the statistic of the known ones; an empty column becomes 0."""
    filled = fit_imputer(FEATURES, TEXT, strategy).apply(FEATURES, TEXT)
    assert filled[3].tolist() == pytest.approx([value, 0.0])
    assert filled[:3, 0].tolist() == [1.0, 3.0, 3.0]


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent"])
def test_statistics_are_those_of_scikit_learn(strategy: str) -> None:
    """Rows that were not fitted are filled as SimpleImputer fills them."""
    features = remove_at_random(np.round(noise(60, 4, 1)), 0.3, seed=2)
    expected = SimpleImputer(strategy=strategy).fit(features[:40]).transform(features[40:])
    text = noise(60, 2, 3)
    filled = fit_imputer(features[:40], text[:40], strategy).apply(features[40:], text[40:])
    assert filled == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("strategy", ["median", "most_frequent"])
def test_a_category_becomes_the_most_frequent_one(strategy: str) -> None:
    """Columns of one group are filled together, with a category that exists."""
    features = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 0], [NAN] * 3], dtype=np.float32)
    filled = fit_imputer(features, np.zeros((7, 1), dtype=np.float32), strategy, groups=np.zeros(3, dtype=np.int64))
    assert filled.statistics.tolist() == [0, 1, 0]


def test_time_interpolates_between_known_neighbours() -> None:
    """Values lie on a line between known times, and stay constant outside; else the mean."""
    features = np.array([[1.0], [NAN], [3.0], [5.0], [7.0]], dtype=np.float32)
    imputer = fit_imputer(features, np.zeros((5, 1), dtype=np.float32), "time", np.array([10, 20, 40, 40, -1]))
    asked = np.array([5, 10, 25, 40, 99, -1])
    filled = imputer.apply(np.full((6, 1), NAN, dtype=np.float32), np.zeros((6, 1), dtype=np.float32), asked)
    assert filled[:, 0].tolist() == pytest.approx([1.0, 1.0, 2.5, 4.0, 4.0, 4.0])


def test_many_times_are_averaged_to_few_knots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit, neighbours in time share a knot, and a straight course stays straight."""
    monkeypatch.setattr(imputation, "MAX_KNOTS", 8)
    times = np.arange(100) * 1_000 + 1_700_000_000_000
    features = np.linspace(0, 99, 100, dtype=np.float32)[:, None]
    imputer = fit_imputer(features, np.zeros((100, 1), dtype=np.float32), "time", times)
    assert len(imputer.knot_times_ms) == 8
    filled = imputer.apply(np.full((100, 1), NAN, dtype=np.float32), np.zeros((100, 1), dtype=np.float32), times)
    assert filled[10:90, 0] == pytest.approx(features[10:90, 0], abs=0.1)


def test_model_uses_the_text() -> None:
    """Where text tells the value, the model-based strategy is nearer than the mean."""
    text = np.linspace(-3, 3, 50, dtype=np.float32)[:, None]
    features = 2 * text + 1
    known = features.copy()
    known[-1] = NAN
    filled = fit_imputer(known, text, "model").apply(known, text)[-1, 0]
    assert abs(filled - features[-1, 0]) < 1.0 < abs(np.nanmean(known) - features[-1, 0])


def test_model_is_that_of_scikit_learn() -> None:
    """New rows are filled as IterativeImputer with the same regression fills them."""
    text = noise(80, 3, 1)
    whole = text @ noise(3, 3, 2) + 0.3 * noise(80, 3, 3)
    whole[:, 2] += whole[:, 0]
    features = remove_at_random(whole, 0.3, seed=4)
    oracle = IterativeImputer(Ridge(alpha=RIDGE_ALPHA), max_iter=N_ROUNDS, tol=0.0, imputation_order="roman")
    joined = np.concatenate([text, features], axis=1).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        oracle.fit(joined[:60])
    filled = fit_imputer(features[:60], text[:60], "model").apply(features[60:], text[60:])
    assert filled == pytest.approx(oracle.transform(joined[60:])[:, 3:], abs=1e-4)
    mean = fit_imputer(features[:60], text[:60], "mean").apply(features[60:], text[60:])
    assert np.square(filled - whole[60:]).sum() < 0.5 * np.square(mean - whole[60:]).sum()


def test_model_is_fitted_on_evenly_spaced_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit of rows, every second one is as good."""
    features, text = remove_at_random(noise(60, 2, 1), 0.2, seed=2), noise(60, 2, 3)
    half = fit_imputer(features[::2], text[::2], "model")
    monkeypatch.setattr(imputation, "MAX_FIT_ROWS", 30)
    limited = fit_imputer(features, text, "model")
    assert limited.statistics == pytest.approx(np.nanmean(features, axis=0), abs=1e-6)
    assert limited.coefficients == pytest.approx(half.coefficients, abs=0.05)
    assert limited.coefficients.shape == (N_ROUNDS, 4, 2)


def test_columns_of_one_category_do_not_predict_one_another() -> None:
    """Columns missing together are predicted from the text, not from each other's mean."""
    text = noise(200, 2, 1)
    is_first = text[:, :1] + noise(200, 1, 2) > 0
    groups = np.zeros(2, dtype=np.int64)
    known = remove_at_random(np.concatenate([is_first, ~is_first], axis=1).astype(np.float32), 0.2, 3, groups)
    nothing = np.full((200, 2), NAN, dtype=np.float32)
    filled = fit_imputer(known, text, "model", groups=groups).apply(nothing, text)
    for column in (slice(0, 1), slice(1, 2)):
        alone = fit_imputer(known[:, column], text, "model").apply(nothing[:, column], text)
        assert filled[:, column] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_missing_comes_out(strategy: str) -> None:
    """Empty, constant, single and infinite values, and no rows, give finite features."""
    features = np.array([[NAN, 2, 1, np.inf], [NAN, 2, NAN, 1], [NAN, NAN, NAN, 3], [NAN] * 4], dtype=np.float32)
    for fitted in (features, features[:0]):
        imputer = fit_imputer(fitted, TEXT[: len(fitted)], strategy, TIMES[: len(fitted)])
        assert np.isfinite(imputer.apply(features, TEXT, TIMES)).all()
        assert imputer.apply(features[:0], TEXT[:0], TIMES[:0]).shape == (0, 4)
    filled = fit_imputer(features, TEXT, strategy, TIMES).apply(features, TEXT, TIMES)
    assert filled[3, :3].tolist() == pytest.approx([0, 2, 1])  # nothing known, constant, known once
    none = np.zeros((4, 0), dtype=np.float32)
    assert fit_imputer(none, TEXT, strategy, TIMES).apply(none, TEXT, TIMES).shape == (4, 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_training_rows_are_seen(strategy: str) -> None:
    """Filling a row changes neither the imputer nor other rows."""
    features, text, times = remove_at_random(noise(40, 3, 1), 0.4, seed=2), noise(40, 2, 3), np.arange(40)
    imputer = fit_imputer(features[:30], text[:30], strategy, times[:30])
    alone = imputer.apply(features[30:31], text[30:31], times[30:31])
    changed, before = features.copy(), features.copy()
    changed[31:] = 1e6
    assert imputer.apply(changed, text, times)[30] == pytest.approx(alone[0], abs=1e-6)
    assert np.array_equal(features, before, equal_nan=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_arrays_are_the_whole_state(strategy: str) -> None:
    """An imputer restored from tensors fills the same values."""
    features, text, times = remove_at_random(noise(40, 3, 1), 0.4, seed=2), noise(40, 2, 3), np.arange(40)
    imputer = fit_imputer(features, text, strategy, times)
    again = Imputer.from_tensors(safetensors.numpy.load(safetensors.numpy.save(imputer.tensors())))
    assert again.apply(features, text, times).tolist() == imputer.apply(features, text, times).tolist()


def test_damaged_state_is_refused() -> None:
    """An array that is absent or has another shape is named."""
    tensors = fit_imputer(FEATURES, TEXT, "time", TIMES).tensors()
    with pytest.raises(ValueError, match="knot_values is missing"):
        Imputer.from_tensors({name: array for name, array in tensors.items() if name != "knot_values"})
    with pytest.raises(ValueError, match="intercepts has shape"):
        Imputer.from_tensors(tensors | {"intercepts": np.zeros((1, 9))})
    with pytest.raises(ValueError, match="knot_offsets must rise"):
        Imputer.from_tensors(tensors | {"knot_offsets": np.array([0, 9, 3])})


def test_wrong_input_is_refused() -> None:
    """The error names the value, the problem and the remedy."""
    with pytest.raises(ValueError, match="'guess': must be one of mean, median"):
        fit_imputer(FEATURES, TEXT, "guess")
    with pytest.raises(ValueError, match="'time' needs one per row"):
        fit_imputer(FEATURES, TEXT, "time")
    with pytest.raises(ValueError, match="groups has shape"):
        fit_imputer(FEATURES, TEXT, groups=np.zeros(1, dtype=np.int64))
    with pytest.raises(ValueError, match=r"features has shape \(4, 1\), must be \(4, 2\)"):
        fit_imputer(FEATURES, TEXT).apply(FEATURES[:, :1], TEXT)
    with pytest.raises(ValueError, match="text has shape"):
        fit_imputer(FEATURES, TEXT, "model").apply(FEATURES, np.zeros((4, 2), dtype=np.float32))
