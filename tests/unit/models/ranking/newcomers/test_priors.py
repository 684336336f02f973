"""Users without history: factors from features, and the blend of priors and evidence."""

from __future__ import annotations

import numpy as np
import pytest

from models.base.types import Float32
from models.ranking.newcomers.priors import Prior, blend, fit_feature_model


def linear_users(n: int = 200) -> tuple[Float32, Float32]:
    """Return features and the factors that a linear map makes of them."""
    rng = np.random.default_rng(8)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    return features, (features @ rng.normal(size=(3, 2)) + [5.0, -1.0]).astype(np.float32)


def test_the_feature_model_finds_a_linear_map() -> None:
    """With little regularisation the fit finds the map, whatever users of weight 0 say."""
    features, factors = linear_users()
    weights = np.ones(len(features))
    weights[:50], wrong = 0.0, factors.copy()
    wrong[:50] = 99.0
    model = fit_feature_model(features, wrong, weights, 1e-6)
    np.testing.assert_allclose(model.predict(features), factors, atol=1e-3)
    assert model.predict(features).dtype == np.float32


def test_the_feature_model_solves_the_penalised_problem() -> None:
    """The gradient of the objective vanishes; strong regularisation gives the mean user."""
    features, factors = linear_users(30)
    weights = np.linspace(0.1, 1.0, 30)
    model = fit_feature_model(features, factors, weights, 7.0)
    residuals = (factors - model.predict(features)) * weights[:, None]
    np.testing.assert_allclose(residuals.sum(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(features.T @ residuals, 7.0 * model.coefficients, atol=1e-3)
    mean = weights @ factors / weights.sum()
    shrunk = fit_feature_model(features, factors, weights, 1e9).predict(features)
    np.testing.assert_allclose(shrunk, np.tile(mean, (30, 1)), atol=1e-4)


def test_bad_training_data_is_named() -> None:
    """Lengths, weights, regularisation, NaN and the width at prediction are checked."""
    features, factors = linear_users(4)
    ones = np.ones(4)
    with pytest.raises(ValueError, match="4 features, 3 factors"):
        fit_feature_model(features, factors[:3], ones)
    with pytest.raises(ValueError, match=r"regularisation=0\.0"):
        fit_feature_model(features, factors, ones, 0.0)
    for weights in (np.zeros(4), np.array([1.0, 1.0, 1.0, -0.5]), np.array([1.0, 1.0, 1.0, np.nan])):
        with pytest.raises(ValueError, match="weights"):
            fit_feature_model(features, factors, weights)
    with pytest.raises(ValueError, match="NaN"):
        fit_feature_model(features * np.float32(np.nan), factors, ones)
    with pytest.raises(ValueError, match=r"need \(n, 3\)"):
        fit_feature_model(features, factors, ones).predict(features[:, :2])


EVIDENCE = np.array([[4.0, 0.0]] * 3, dtype=np.float32)
PRIOR = Prior(np.array([[0.0, 8.0]] * 3, dtype=np.float32), np.array([True, True, False]))


def test_the_blend_weighs_prior_and_evidence_by_events() -> None:
    """At s = 2 and n = 6 the prior weighs a quarter; without a prior evidence stands alone."""
    found = blend(EVIDENCE, np.full(3, 6), PRIOR, 2.0)
    np.testing.assert_allclose(found, [[3, 2], [3, 2], [4, 0]], atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_without_events_the_prior_stands_alone(strength: float) -> None:
    """Without events evidence is ignored, even NaN; users without any prior have zeros."""
    found = blend(EVIDENCE * np.float32(np.nan), np.zeros(3, dtype=np.int64), PRIOR, strength)
    assert found.tolist() == [[0, 8], [0, 8], [0, 0]]


def test_the_blend_goes_from_prior_to_evidence() -> None:
    """Each event moves the factors towards the evidence; at strength 0 one is enough."""
    n_events = np.array([0, 1, 10_000])
    prior = Prior(PRIOR.vectors, np.ones(3, dtype=np.bool_))
    first = blend(EVIDENCE, n_events, prior, 3.0)[:, 0]
    assert (np.diff(first) > 0).all()
    assert first[-1] == pytest.approx(4.0, abs=1e-2)
    assert blend(EVIDENCE, n_events, prior, 0.0)[1].tolist() == [4.0, 0.0]


def test_a_bad_blend_is_named() -> None:
    """A negative or infinite strength and counts of another length are errors."""
    for strength in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="strength="):
            blend(EVIDENCE, np.ones(3), PRIOR, strength)
    with pytest.raises(ValueError, match="n_events of shape"):
        blend(EVIDENCE, np.ones(2), PRIOR, 1.0)
