"""The evaluation of users without events: nothing leaks, and what is known to help is found to help."""

from __future__ import annotations

import doctest
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from models.evaluation.cold_evaluation import choose_weights, evaluate_cold, evaluate_unseen
from models.evaluation.cold_sources import ColdData, Histories, ask, fit_cold, mix, split_users, standardised
from models.factors.als import AlsConfig
from models.metrics import sets as set_metrics
from models.metrics.sets import list_metrics, top_rows

N_USERS, N_ITEMS, N_GROUPS = 120, 60, 4
CONFIG = AlsConfig(dim=6, n_sweeps=5)


@cache
def homophily() -> ColdData:
    """Return users of four groups who mostly like their group's items, follow their own group, and tell it as a feature."""
    rng = np.random.default_rng(6)
    group = np.arange(N_USERS) % N_GROUPS
    liking = np.where(group[:, None] == np.arange(N_ITEMS) % N_GROUPS, 0.9, 0.1)
    users, items = np.nonzero(rng.random((N_USERS, N_ITEMS)) < liking)
    follows = rng.integers(N_USERS // N_GROUPS, size=(N_USERS, 4)) * N_GROUPS + group[:, None]
    features = np.eye(N_GROUPS, dtype=np.float32)[group]
    return ColdData(users, items, N_USERS, N_ITEMS, follows, np.ones(follows.shape, dtype=np.bool_), features)


def test_docstring_examples_hold() -> None:
    """The worked example beside the metrics is right."""
    result = doctest.testmod(set_metrics)
    assert result.attempted > 0
    assert result.failed == 0


def test_histories_hold_each_pair_once() -> None:
    """Repeated pairs count once; a user without items has none."""
    found = Histories.of(np.array([2, 0, 2, 2]), np.array([5, 1, 5, 3]), 4)
    assert found.n_events.tolist() == [1, 0, 2, 0]
    assert found.of_user(2).tolist() == [3, 5]
    assert found.of_user(1).tolist() == []


def test_the_split_hides_a_seeded_fifth_of_users_with_events() -> None:
    """Halves are disjoint, users without events are in none, and only the seed changes it."""
    n_events = np.r_[np.zeros(10, dtype=np.int64), np.ones(100, dtype=np.int64)]
    split, same, other = (split_users(n_events, seed) for seed in (1, 1, 2))
    assert (len(split.train), len(split.validation), len(split.test)) == (80, 10, 10)
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(10, 110))
    assert np.array_equal(split.test, same.test)
    assert not np.array_equal(split.test, other.test)
    with pytest.raises(ValueError, match="3 users with events"):
        split_users(np.ones(3, dtype=np.int64), 1)


def test_metrics_by_hand() -> None:
    """Two users at k = 2: the first has one of three, at rank 2; the second both; a third has nothing relevant."""
    scores = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 1, 1]], dtype=np.float32)
    relevant = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]], dtype=np.bool_)
    found = list_metrics(scores, relevant, 2)
    second = 1 / np.log2(3)
    assert found["hr@2"] == 1.0
    assert found["ndcg@2"] == pytest.approx((second / (1 + second) + 1.0) / 2)
    assert found["recall@2"] == pytest.approx((1 / 3 + 1.0) / 2)
    assert list_metrics(scores, np.zeros_like(relevant), 2)["ndcg@2"] == 0.0


def test_lists_take_the_lower_row_of_equals() -> None:
    """The best k are those of a full stable sort, with ties at the edge and with masked items."""
    rng = np.random.default_rng(2)
    scores = rng.integers(4, size=(20, 15)).astype(np.float32)
    scores[:, 3] = -np.inf
    for k in (1, 5, 15, 99):
        assert np.array_equal(top_rows(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])


def test_bad_scores_are_named() -> None:
    """NaN and shapes that differ are errors, as is a mix of nothing."""
    with pytest.raises(ValueError, match="NaN"):
        list_metrics(np.full((1, 2), np.nan, dtype=np.float32), np.ones((1, 2), dtype=np.bool_))
    with pytest.raises(ValueError, match="must be alike"):
        list_metrics(np.zeros((1, 2), dtype=np.float32), np.ones((1, 3), dtype=np.bool_))
    with pytest.raises(ValueError, match="all are 0"):
        mix({"a": np.zeros((1, 2), dtype=np.float32)}, {"a": 0.0})


def test_standardised_scores_of_equals_are_zero() -> None:
    """Each user's scores have mean 0 and deviation 1; a source that tells nothing apart adds nothing."""
    found = standardised(np.array([[1, 2, 3], [7, 7, 7]], dtype=np.float32))
    np.testing.assert_allclose([found.mean(axis=1)[0], found.std(axis=1)[0]], [0, 1], atol=1e-6)
    assert found[1].tolist() == [0, 0, 0]


def test_weights_are_those_of_the_best_mix() -> None:
    """A part that is right gets weight, one that is wrong gets none."""
    right, wrong = (np.array([row], dtype=np.float32) for row in ([0, 0, 0, 1] * 5, [1, 0, 0, 0] * 5))
    grid = {"wrong": (1.0, 0.0), "right": (0.5, 0.75)}
    assert choose_weights({"right": right, "wrong": wrong}, right > 0, grid) == {"wrong": 0.0, "right": 0.5}


def test_what_hidden_users_did_changes_nothing_before_it_is_revealed() -> None:
    """Other items for the hidden users leave the factors and what they are offered as they were."""
    data = homophily()
    fitted = fit_cold(data, CONFIG, 1)
    is_hidden = ~np.isin(data.users, fitted.split.train)
    changed = replace(data, items=np.where(is_hidden, (data.items + 1) % N_ITEMS, data.items))
    other = fit_cold(changed, CONFIG, 1)
    assert np.array_equal(fitted.item_factors, other.item_factors)
    assert not fitted.user_factors[np.r_[fitted.split.validation, fitted.split.test]].any()
    one, two = (ask(fit, fit.split.test, 1).parts for fit in (fitted, other))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", ["social", "features"])
def test_a_prior_beats_popularity_where_friends_or_features_tell(kind: str) -> None:
    """With homophily each kind is far better than popularity, at no events and at first ones, and evidence catches up."""
    data = homophily()
    if kind == "social":
        data = replace(data, features=np.zeros((N_USERS, 0), dtype=np.float32))
    else:
        data = replace(data, mask=np.zeros(data.mask.shape, dtype=np.bool_))
    found = evaluate_cold(data, CONFIG, 1)
    ndcg = {name: metrics["ndcg@10"] for name, metrics in found["unseen"]["methods"].items()}
    assert ndcg["social prior" if kind == "social" else "features"] > ndcg["popularity"] + 0.3
    assert ("friends' vote" in ndcg) == (kind == "social")
    points = found["curve"]["points"]
    assert list(points) == [0, 1, 2, 5, 10]
    assert points[0]["evidence only"] == points[0]["popularity"]
    assert points[1]["blend"]["ndcg@10"] > points[1]["evidence only"]["ndcg@10"]
    assert points[10]["evidence only"]["ndcg@10"] > points[1]["evidence only"]["ndcg@10"]


def test_follows_at_random_help_nobody() -> None:
    """Where friends are drawn from everybody the prior is no better than popularity by more than noise."""
    data = homophily()
    rng = np.random.default_rng(9)
    shuffled = replace(data, follows=rng.integers(N_USERS, size=data.follows.shape), features=data.features[:, :0])
    fitted = fit_cold(shuffled, CONFIG, 1)
    asked = ask(fitted, fitted.split.test, 1)
    methods = evaluate_unseen(fitted, asked, asked)["methods"]
    assert methods["social prior"]["ndcg@10"] < methods["popularity"]["ndcg@10"] + 0.15


def test_the_same_seed_gives_the_same_numbers() -> None:
    """What each source says of hidden users is a function of data and seed; another seed hides others."""
    data = homophily()
    one, same, other = (
        ask(fitted, fitted.split.test, 1).parts for fitted in (fit_cold(data, CONFIG, seed) for seed in (1, 1, 2))
    )
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["prior"], other["prior"])
