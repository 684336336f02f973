"""The evaluation of users without events: nothing leaks, and helpful sources win."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from models.evaluation.cold_evaluation import choose_weights, evaluate_cold, evaluate_unseen
from models.evaluation.cold_sources import ColdData, ask, fit_cold
from models.factors.als import AlsConfig

pytestmark = pytest.mark.model

N_USERS, N_ITEMS, N_GROUPS = 120, 60, 4
CONFIG = AlsConfig(dim=6, n_sweeps=5)


@cache
def homophily() -> ColdData:
    """Return users of four groups who like, follow and are described by their group."""
    rng = np.random.default_rng(6)
    group = np.arange(N_USERS) % N_GROUPS
    liking = np.where(group[:, None] == np.arange(N_ITEMS) % N_GROUPS, 0.9, 0.1)
    users, items = np.nonzero(rng.random((N_USERS, N_ITEMS)) < liking)
    follows = rng.integers(N_USERS // N_GROUPS, size=(N_USERS, 4)) * N_GROUPS + group[:, None]
    features = np.eye(N_GROUPS, dtype=np.float32)[group]
    return ColdData(users, items, N_USERS, N_ITEMS, follows, np.ones(follows.shape, dtype=np.bool_), features)


def test_weights_are_those_of_the_best_mix() -> None:
    """A right part gets weight, a wrong one gets none."""
    right, wrong = (np.array([row], dtype=np.float32) for row in ([0, 0, 0, 1] * 5, [1, 0, 0, 0] * 5))
    grid = {"wrong": (1.0, 0.0), "right": (0.5, 0.75)}
    assert choose_weights({"right": right, "wrong": wrong}, right > 0, grid) == {"wrong": 0.0, "right": 0.5}


def test_what_hidden_users_did_changes_nothing_before_it_is_revealed() -> None:
    """Other items of the hidden users change neither the factors nor the scores."""
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
    """With homophily each prior is far better than popularity until evidence catches up."""
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
    """With random follows the prior beats popularity by noise at most."""
    data = homophily()
    rng = np.random.default_rng(9)
    shuffled = replace(data, follows=rng.integers(N_USERS, size=data.follows.shape), features=data.features[:, :0])
    fitted = fit_cold(shuffled, CONFIG, 1)
    asked = ask(fitted, fitted.split.test, 1)
    methods = evaluate_unseen(fitted, asked, asked)["methods"]
    assert methods["social prior"]["ndcg@10"] < methods["popularity"]["ndcg@10"] + 0.15


def test_the_same_seed_gives_the_same_numbers() -> None:
    """Scores depend on data and seed only; another seed hides other users."""
    data = homophily()
    one, same, other = (
        ask(fitted, fitted.split.test, 1).parts for fitted in (fit_cold(data, CONFIG, seed) for seed in (1, 1, 2))
    )
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["prior"], other["prior"])
