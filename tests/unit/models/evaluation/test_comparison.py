"""Comparisons of models on the same cases, and the cases that a report shows."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.comparison import hit_tests, leads, moving_hit_rate
from models.evaluation.examples import HISTORY_SHOWN, N_EXAMPLES, drawn, example
from models.evaluation.splits import time_split
from models.interactions import Interactions

USERS = np.arange(40) // 2


def test_a_lead_is_the_mean_paired_difference_with_its_interval() -> None:
    """Rank 1 gives NDCG 1, rank 3 gives 1/2: a lead of 1/2 in every case has no spread."""
    first, third = np.ones(40, dtype=np.int64), np.full(40, 3)
    found = leads(first, {"third": third, "same": first}, USERS, 10, seed=1)
    assert found["third"] == {"ndcg@10_lead": 0.5, "ndcg@10_lead_ci": [0.5, 0.5]}
    assert found["same"] == {"ndcg@10_lead": 0.0, "ndcg@10_lead_ci": [0.0, 0.0]}
    assert leads(third, {"first": first}, USERS, 10, seed=1)["first"]["ndcg@10_lead"] == -0.5


def test_hits_are_compared_case_by_case() -> None:
    ours, theirs = np.array([1, 10, 11, 3]), np.array([11, 11, 2, 3])
    found = hit_tests(ours, {"a": theirs}, 10)["a"]
    assert (found["only_pipeline"], found["only_model"]) == (2, 1)


def test_a_moving_hit_rate_ends_with_the_last_thousand() -> None:
    ranks = np.concatenate([np.full(1_500, 11), np.ones(1_000, dtype=np.int64)])
    curve = moving_hit_rate(ranks, 10)
    assert curve[0] == [1_000.0, 0.0] and curve[-1][1] > 0.99 and len(curve) <= 251


def log_of(n_users: int) -> Interactions:
    return Interactions.from_rows((f"u{u}", f"i{j}", "view", 1_000 * j + u) for j in range(8) for u in range(n_users))


@pytest.mark.parametrize(("n_users", "n"), [(30, N_EXAMPLES), (3, 3)])
def test_each_example_is_of_another_user_and_drawn_by_the_seed(n_users: int, n: int) -> None:
    cases = time_split(log_of(n_users), 0.5)
    found = drawn(cases, seed=1)
    assert len(found) == n == len({cases.users[case] for case in found})
    assert found == drawn(cases, seed=1)
    assert n_users < 10 or found != drawn(cases, seed=2)


def test_an_example_shows_the_newest_of_a_history() -> None:
    found = example("u", [f"i{j}" for j in range(9)], ["a", "b"], "b")
    assert found["history"] == [f"i{j}" for j in range(9 - HISTORY_SHOWN, 9)]
    assert (found["n_history"], found["list"], found["next"]) == (9, ["a", "b"], "b")
