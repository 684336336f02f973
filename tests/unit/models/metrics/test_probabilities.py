"""Metrics of probabilities by hand and in edge cases."""

from __future__ import annotations

import doctest
import json
import math
from typing import Any

import numpy as np
import pytest

from models.metrics import probabilities as classification_metrics
from models.metrics.probabilities import (
    at_threshold,
    auc,
    expected_calibration_error,
    log_loss,
    reliability_curve,
    summarize_probabilities,
)

P = np.array([0.9, 0.8, 0.6, 0.4, 0.3, 0.1])
Y = np.array([1, 0, 1, 1, 0, 0])


def test_docstring_examples_hold() -> None:
    """The worked example beside each formula is right."""
    result = doctest.testmod(classification_metrics)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("threshold", "accuracy", "precision", "recall", "f1"),
    [(0.5, 4 / 6, 2 / 3, 2 / 3, 2 / 3), (0.85, 4 / 6, 1.0, 1 / 3, 1 / 2), (0.4, 5 / 6, 3 / 4, 1.0, 6 / 7)],
)
def test_decisions(threshold: float, accuracy: float, precision: float, recall: float, f1: float) -> None:
    """Counted by hand; a probability equal to the threshold is a yes."""
    expected = {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}
    assert at_threshold(P, Y, threshold) == pytest.approx(expected)


@pytest.mark.parametrize(("p", "y", "accuracy"), [(0.1, 0, 1.0), (0.1, 1, 0.0), (0.9, 0, 0.0)])
def test_decisions_without_any(p: float, y: int, accuracy: float) -> None:
    """Without chosen or positive cases accuracy is right and the others are 0, not NaN."""
    found = at_threshold(np.array([p, p]), np.array([y, y]))
    assert found == {"accuracy": accuracy, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_auc_counts_pairs() -> None:
    """The area equals counting each pair, a tie as a half."""
    rng = np.random.default_rng(0)
    p, y = np.round(rng.random(80), 1), rng.integers(0, 2, 80)
    pairs = [(a > b) + 0.5 * (a == b) for a in p[y == 1] for b in p[y == 0]]
    assert auc(p, y) == pytest.approx(np.mean(pairs))


def test_auc_of_one_class_is_none() -> None:
    """With one class there is no pair to order: the result is None."""
    assert auc(P, np.ones(6)) is None
    assert auc(P, np.zeros(6)) is None


def test_auc_of_a_constant_is_a_half() -> None:
    """A constant orders nothing: each pair is a tie."""
    assert auc(np.full(6, 0.5), Y) == 0.5


def test_a_sure_mistake_costs_much_and_not_infinity() -> None:
    """Probability 0 of the truth costs -log(1e-15); probability 1 costs nothing."""
    assert log_loss(np.array([0.0]), np.array([1])) == pytest.approx(-math.log(1e-15))
    assert log_loss(np.array([1.0, 0.0]), np.array([1, 0])) < 1e-14


def test_calibrated_probabilities_have_no_error() -> None:
    """Of ten cases at 0.3 three happen, of ten at 0.8 eight: no error, in both binnings."""
    p = np.repeat([0.3, 0.8], 10)
    y = np.array([1] * 3 + [0] * 7 + [1] * 8 + [0] * 2)
    assert expected_calibration_error(p, y, 10, "width") == pytest.approx(0.0)
    assert expected_calibration_error(p, y, 10, "mass") == pytest.approx(0.0)


def test_bins_of_equal_width_have_their_lower_edge() -> None:
    """0 is in the first of two bins, 0.5 in the second, and so is 1."""
    found = reliability_curve(np.array([0.0, 0.5, 1.0]), np.array([0, 1, 1]), 2)
    assert found.tolist() == [[0.0, 0.0, 1.0], [0.75, 1.0, 2.0]]


def test_bins_of_equal_mass() -> None:
    """Probabilities crowded near 0 fill four bins alike, where bins of equal width would be one."""
    p = np.linspace(0.001, 0.02, 12)
    assert reliability_curve(p, np.zeros(12), 4, "mass")[:, 2].tolist() == [3, 3, 3, 3]
    assert reliability_curve(p, np.zeros(12), 4, "width")[:, 2].tolist() == [12]


@pytest.mark.parametrize("bins", ["width", "mass"])
def test_order_of_cases_changes_nothing(bins: Any) -> None:
    """Equal probabilities share a bin, so shuffled cases give the same curve."""
    rng = np.random.default_rng(0)
    p, y = np.round(rng.random(100), 1), rng.integers(0, 2, 100)
    order = rng.permutation(100)
    np.testing.assert_allclose(reliability_curve(p, y, 7, bins), reliability_curve(p[order], y[order], 7, bins))


def test_summary_is_ready_for_json() -> None:
    """All values are plain and not NaN, even with one class; the curve counts each case."""
    for labels in (Y, np.zeros(6), np.ones(6, dtype=bool)):
        found = json.loads(json.dumps(summarize_probabilities(P, labels, 0.4), allow_nan=False))
        assert (found["n"], found["threshold"], found["accuracy"]) == (6, 0.4, at_threshold(P, labels, 0.4)["accuracy"])
        assert found["rmse"] == pytest.approx(math.sqrt(found["mse"]))
        assert sum(count for _, _, count in found["reliability"]) == 6


def test_float32_is_taken() -> None:
    """The network's own outputs need no conversion."""
    assert auc(P.astype(np.float32), Y.astype(bool)) == auc(P, Y)


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([], [], "none given"),
        ([0.5, 0.5], [1], "one label per case"),
        ([[0.5]], [[1]], r"need \(n,\)"),
        ([0.5, np.nan], [1, 0], "NaN"),
        ([0.5, 1.5], [1, 0], "not logits"),
        ([-0.1, 0.5], [1, 0], "from 0 to 1"),
        ([0.5, 0.5], [1, 2], "0 or 1"),
        ([0.5, 0.5], [1, 0.5], "0 or 1"),
        ([0.5, 0.5], [1, np.nan], "0 or 1"),
    ],
)
def test_bad_input_is_refused(p: Any, y: Any, message: str) -> None:
    """Each kind of wrong input has its own message."""
    with pytest.raises(ValueError, match=message):
        summarize_probabilities(np.array(p), np.array(y))


def test_bad_settings_are_refused() -> None:
    """A threshold in percent and a curve without bins are mistakes."""
    with pytest.raises(ValueError, match="threshold=50"):
        at_threshold(P, Y, 50)
    with pytest.raises(ValueError, match="n_bins=0"):
        reliability_curve(P, Y, 0)
