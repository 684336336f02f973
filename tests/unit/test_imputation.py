"""Missing features: each strategy by hand, and the corners."""

from __future__ import annotations

import numpy as np
import pytest

from models.imputation import fit_imputer

NAN = np.nan
FEATURES = np.array([[1.0, NAN], [3.0, NAN], [3.0, NAN], [NAN, NAN]], dtype=np.float32)
TEXT = np.array([[1.0], [3.0], [3.0], [5.0]], dtype=np.float32)


@pytest.mark.parametrize(("strategy", "value"), [("mean", 7 / 3), ("median", 3.0), ("most_frequent", 3.0)])
def test_statistics_fill(strategy: str, value: float) -> None:
    """A missing value becomes the statistic of the known ones; known values stay; a column without any becomes 0."""
    filled = fit_imputer(FEATURES, TEXT, strategy).apply(FEATURES, TEXT)
    assert filled[3].tolist() == pytest.approx([value, 0.0])
    assert filled[:3, 0].tolist() == [1.0, 3.0, 3.0]


def test_model_uses_the_text() -> None:
    """Where text tells the value, the model-based strategy is nearer than the mean."""
    text = np.linspace(-3, 3, 50, dtype=np.float32)[:, None]
    features = 2 * text + 1
    known = features.copy()
    known[-1] = NAN
    filled = fit_imputer(known, text, "model").apply(known, text)[-1, 0]
    assert abs(filled - features[-1, 0]) < 1.0 < abs(np.nanmean(known) - features[-1, 0])


def test_unknown_strategy_is_refused() -> None:
    """The error names what there is."""
    with pytest.raises(ValueError, match="median"):
        fit_imputer(FEATURES, TEXT, "guess")
