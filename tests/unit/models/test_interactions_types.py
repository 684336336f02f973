"""A log with a table of event types.

The table says which events count, with which weight, and what is left out.
"""

from __future__ import annotations

import numpy as np

from models.base.event_types import DEFAULT_TYPES, event_types
from models.evaluation.splits import leave_one_out, time_split
from models.factors.als import AlsConfig, fit_als
from models.factors.item_neighbours import interaction_matrix, item_neighbours
from models.factors.matrix_factorisation import FactorsConfig, fit_factors, fold_in, gram
from models.interactions import Interactions, next_item_counts
from models.popularity import DecayedCounts
from models.sequence.batches import padded_steps
from models.training.log_slices import cut

TYPES = event_types(
    {
        "view": {},
        "buy": {"weight": 4},
        "rating": {"positive_when": ">= 4"},
        "dislike": {"hides": True},
        "impression": {"window": False},
        "play": {"weight": "value", "least": 1, "most": 5},
    }
)
ROWS = [
    ("a", "x", "view", 1, None),
    ("a", "y", "impression", 2, None),
    ("a", "y", "buy", 3, None),
    ("a", "z", "dislike", 4, None),
    ("b", "x", "rating", 5, 5.0),
    ("b", "z", "rating", 6, 2.0),
    ("b", "y", "play", 8, 9.0),
    ("a", "x", "play", 7, 3.0),
    ("b", "z", "view", 9, None),
    ("a", "w", "dislike", 10, None),
]


def log() -> Interactions:
    """Return the rows as a log."""
    return Interactions.from_events(ROWS, TYPES)


def test_a_log_leaves_out_what_enters_no_window_and_names_what_breaks_its_rule() -> None:
    """Windows of a log and of the sequencer hold the same names."""
    found = [log().behaviour(i).type for i in range(len(log()))]
    assert found == ["view", "buy", "dislike", "rating", "not rating", "play", "play", "view", "dislike"]
    assert log().is_positive.tolist() == [True, True, False, True, False, True, True, True, False]


def test_events_have_the_weight_of_their_type_or_of_their_value() -> None:
    """A behaviour in a window has no value: its type then weighs the mean of the log."""
    weights = log().weights
    assert weights is not None and weights[log().is_positive].tolist() == [1, 4, 1, 3, 5, 1]
    assert {one.name: one.weight for one in log().kinds.types}["play"] == 4.0


def test_the_default_table_weighs_nothing() -> None:
    """A log of the default table takes the same way as before."""
    rows = [(user, item, "purchase", ts, 7.0) for user, item, _, ts, _ in ROWS]
    found = Interactions.from_events(rows, DEFAULT_TYPES)
    assert found.weights is None and found.wishes() is found
    assert found.kinds is DEFAULT_TYPES.window_types


def test_popularity_counts_wishes_by_weight() -> None:
    """Neither a dislike nor a rating that breaks its rule makes an item popular."""
    counts = DecayedCounts(half_life_ms=10**12)
    log().count_by(counts.add)
    assert np.allclose(counts.scores(["x", "y", "z", "w"], 10), [1 + 1 + 3, 4 + 5, 1, 0], atol=1e-3)


def test_only_wishes_are_questions() -> None:
    """What a user did not want is no answer, in training and in evaluation."""
    found = log()
    positions = {"time": time_split(found, 0.3).positions, "loo": leave_one_out(found).positions}
    positions |= {"last": np.concatenate([cut(found, "last", 1).fusion, cut(found, "last", 1).validation])}
    positions |= {"cut": np.concatenate([cut(found, "time", 1).fusion, cut(found, "time", 1).validation])}
    for name, chosen in positions.items():
        assert len(chosen) and found.is_positive[chosen].all(), name


def test_the_sequence_model_predicts_wishes_alone() -> None:
    """A dislike is an input and never a target."""
    found = log()
    chunk = np.flatnonzero(found.users == 0)
    rows, kinds, _, targets = padded_steps([chunk], found.items, found.types, found.ts_ms, found.is_positive)
    assert rows.shape == (1, 4) and kinds[0].tolist() == found.types[chunk[:-1]].tolist()
    assert (targets[0] >= 0).tolist() == found.is_positive[chunk[1:]].tolist()


def test_a_step_counts_the_weight_of_the_event_that_it_leads_to() -> None:
    """A purchase after a view says more than another view."""
    users, items = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 2])
    rows, shares = next_item_counts(users, items, 3, 2, weights=np.array([1, 3, 1, 1], dtype=np.float32))
    assert rows[0].tolist() == [1, 2] and np.allclose(shares[0], [0.75, 0.25])
    ones = next_item_counts(users, items, 3, 2, weights=np.ones(4, dtype=np.float32))
    plain = next_item_counts(users, items, 3, 2)
    assert np.array_equal(ones[0], plain[0]) and np.array_equal(ones[1], plain[1])


def test_weights_of_one_give_what_no_weights_give() -> None:
    """Weights change results only where they differ."""
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 20, 150), rng.integers(0, 9, 150)
    ones = np.ones(150, dtype=np.float32)
    plain, weighted = (interaction_matrix(users, items, 20, 9, w) for w in (None, ones))
    assert (plain != weighted).nnz == 0
    near, far = item_neighbours(users, items, 9, 4), item_neighbours(users, items, 9, 4, weights=ones)
    assert np.array_equal(near[0], far[0]) and np.array_equal(near[1], far[1])
    config = AlsConfig(dim=4, n_sweeps=2)
    assert np.allclose(
        fit_als(users, items, 20, 9, config, 1).items,
        fit_als(users, items, 20, 9, config, 1, weights=ones).items,
        atol=1e-5,
    )
    small = FactorsConfig(dim=4, epochs=2)
    assert np.array_equal(
        fit_factors(users, items, 20, 9, small, 1).factors,
        fit_factors(users, items, 20, 9, small, 1, weights=ones).factors,
    )


def test_a_repeated_pair_has_its_greatest_weight() -> None:
    """Ten views do not make a purchase, and an event of weight 0 is none."""
    users, items = np.array([0, 0, 0, 1]), np.array([1, 1, 0, 0])
    matrix = interaction_matrix(users, items, 2, 2, np.array([1, 5, 0, 2], dtype=np.float32))
    assert matrix.toarray().tolist() == [[0, 5], [2, 0]]


def test_weighted_als_solves_its_objective() -> None:
    """The users are the exact weighted solution for the items: the gradient is 0."""
    rng = np.random.default_rng(5)
    users, items = np.repeat(np.arange(12), 3), np.concatenate([rng.permutation(7)[:3] for _ in range(12)])
    weights = rng.uniform(0.5, 4, len(users)).astype(np.float32)
    for dim in (2, 5):  # a history of 3 is longer than the one and shorter than the other
        config = AlsConfig(dim=dim, n_sweeps=1, frequency_exponent=0.0)
        found = fit_als(users, items, 12, 7, config, 1, weights=weights)
        x, y = found.users.astype(np.float64), found.items.astype(np.float64)
        for user in range(12):
            own, w = y[items[users == user]], weights[users == user]
            gradient = own.T @ (w * (own @ x[user] - 1)) + config.unobserved_weight * y.T @ (y @ x[user])
            assert np.allclose(gradient + config.regularisation * x[user], 0, atol=2e-3)


def test_fold_in_weighs_the_confidence_in_an_item() -> None:
    """It solves (G + alpha Y'WY + regularisation I) x = Y'(1 + alpha w)."""
    y = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    w = np.array([[2.0, 0.5, 0.0]], dtype=np.float32)
    found = fold_in(y[None], np.ones((1, 3), dtype=np.bool_), gram(y), alpha=3.0, regularisation=0.5, weights=w)
    left = gram(y) + 3.0 * y.T @ (w[0][:, None] * y) + 0.5 * np.eye(4)
    assert np.allclose(left @ found[0], y.T @ (1 + 3.0 * w[0]), atol=1e-4)
