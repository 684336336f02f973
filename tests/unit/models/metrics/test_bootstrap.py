"""Bootstrap intervals against drawing case by case, against theory, and in edge cases."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from models.metrics import bootstrap
from models.metrics.bootstrap import difference_interval, mean_interval


def test_docstring_examples_hold() -> None:
    """The worked examples are right."""
    result = doctest.testmod(bootstrap)
    assert result.attempted > 0
    assert result.failed == 0


def test_equals_drawing_case_by_case() -> None:
    """The multinomial draws give the interval of the plain method, which draws n indices."""
    values = np.round(np.random.default_rng(0).random(60), 1)
    drawn = values[np.random.default_rng(1).integers(0, 60, (20_000, 60))].mean(axis=1)
    plain = np.quantile(drawn, [0.025, 0.975])
    assert mean_interval(values, seed=2, n_resamples=20_000) == pytest.approx(plain, abs=0.004)


def test_width_of_many_cases_is_the_normal_one() -> None:
    """For many cases the interval is the mean plus and minus 1.96 standard errors."""
    values = (np.random.default_rng(0).random(5000) < 0.3).astype(float)
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert mean_interval(values, seed=1) == pytest.approx(
        (values.mean() - error, values.mean() + error), abs=0.1 * error
    )


def test_covers_the_truth_as_often_as_it_says() -> None:
    """Of 200 samples, about 80 in 100 intervals of level 0.8 hold the true mean."""
    rng = np.random.default_rng(5)
    intervals = [mean_interval(rng.random(50), seed=i, level=0.8, n_resamples=200) for i in range(200)]
    assert 0.72 < np.mean([low <= 0.5 <= high for low, high in intervals]) < 0.88


def test_steps_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resampling in small steps gives the same interval as at once."""
    values = np.random.default_rng(0).random(40)
    at_once = mean_interval(values, seed=1, n_resamples=101)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_PER_STEP", 400)
    assert mean_interval(values, seed=1, n_resamples=101) == at_once


def test_seed_decides() -> None:
    """One seed, one interval; another seed, another."""
    values = np.random.default_rng(0).random(30)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_copies_of_a_case_add_no_certainty() -> None:
    """Ten equal cases of a user count as one: with clusters the interval is that of users."""
    of_user = np.random.default_rng(0).random(40)
    values, users = np.repeat(of_user, 10), np.repeat(np.arange(40), 10)
    assert mean_interval(values, seed=1, clusters=users) == pytest.approx(mean_interval(of_user, seed=1))
    low, high = mean_interval(values, seed=1)
    lower, higher = mean_interval(values, seed=1, clusters=users)
    assert (higher - lower) > 2.5 * (high - low)


def test_clusters_of_unequal_size() -> None:
    """The mean is over cases, not users: resamples of b alone give 0, both 3/4, a alone 1."""
    values, users = np.array([1.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "a", "b"])
    rng = np.random.default_rng(0)
    means = bootstrap.resampled_means(values, users, rng, 4000)
    found, counts = np.unique(means, return_counts=True)
    assert found.tolist() == [0.0, 0.75, 1.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_pairing_sees_a_small_steady_difference() -> None:
    """A model slightly better on every case is told apart, though both means vary more."""
    rng = np.random.default_rng(0)
    second = rng.random(200)
    first = second + 0.01 + 0.005 * rng.normal(size=200)
    low, high = difference_interval(first, second, seed=1)
    assert 0.0 < low < 0.01 < high < 0.02
    assert mean_interval(first, seed=1)[0] < mean_interval(second, seed=1)[1]


def test_one_case() -> None:
    """The interval of one case is its value."""
    assert mean_interval(np.array([0.3]), seed=1) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one case"),
        ([[1.0]], {}, r"need \(n,\)"),
        ([1.0, np.nan], {}, "NaN"),
        ([1.0, np.inf], {}, "infinity"),
        ([1.0, 2.0], {"clusters": np.array([1])}, "one per case"),
        ([1.0], {"level": 95}, "level=95"),
        ([1.0], {"n_resamples": 0}, "n_resamples=0"),
    ],
)
def test_bad_input_is_refused(values: Any, options: dict[str, Any], message: str) -> None:
    """The error names the field and the remedy."""
    with pytest.raises(ValueError, match=message):
        mean_interval(np.array(values), seed=1, **options)


def test_models_on_other_cases_are_refused() -> None:
    """A difference needs two values per case."""
    with pytest.raises(ValueError, match="same n cases"):
        difference_interval(np.zeros(2), np.zeros(1), seed=1)
