"""A log as arrays: its order, next-item counts by hand, windows, samples of positions."""

from __future__ import annotations

import numpy as np

from models.interactions import Interactions, next_item_counts, sample_positions, windows_before
from tests.support.tiny_models import tiny_log


def test_interactions_are_sorted_by_time_and_ties_keep_their_order() -> None:
    """Rows may come in any order; users and items are numbered by first appearance."""
    log = Interactions.from_rows([("b", "y", "purchase", 5), ("a", "x", "click", 3), ("a", "y", "view", 5)])
    assert (log.user_ids, log.item_ids) == (("b", "a"), ("y", "x"))
    assert log.ts_ms.tolist() == [3, 5, 5]
    assert log.users.tolist() == [1, 0, 1]
    assert log.items.tolist() == [1, 0, 0]
    assert [log.behaviour(i).type for i in range(3)] == ["click", "purchase", "view"]
    assert len(log.where(slice(1, 3))) == 2
    assert len(Interactions.from_rows([])) == 0


def test_next_item_counts_by_hand() -> None:
    """Steps count within a user; frequent followers first, ties by row; shares of all steps."""
    # interleaved: user 0 walks 0 1 0 2 0 1, user 1 walks 2 0 3
    users = np.array([0, 1, 0, 0, 1, 0, 0, 1, 0])
    items = np.array([0, 2, 1, 0, 0, 2, 0, 3, 1])
    rows, shares = next_item_counts(users, items, 5, n_next=3)
    assert rows.tolist() == [[1, 2, 3], [0, -1, -1], [0, -1, -1], [-1, -1, -1], [-1, -1, -1]]
    assert shares.tolist() == [[0.5, 0.25, 0.25], [1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_next_item_counts_keep_the_most_frequent() -> None:
    """With more followers than places, shares are of all steps; ties go to the lower row."""
    users = np.repeat(np.arange(6), 2)
    items = np.array([0, 3, 0, 3, 0, 2, 0, 1, 0, 4, 0, 0])
    rows, shares = next_item_counts(users, items, 5, n_next=2)
    assert rows[0].tolist() == [3, 0]
    np.testing.assert_allclose(shares[0], [2 / 6, 1 / 6])


def test_next_item_counts_without_steps() -> None:
    """Users with one event have no steps, and no step crosses users."""
    rows, shares = next_item_counts(np.array([0, 1, 2]), np.array([0, 1, 0]), 2, n_next=2)
    assert (rows == -1).all()
    assert not shares.any()


def test_a_window_ends_before_its_event() -> None:
    """Window and seen items hold only the user's own earlier events."""
    log = tiny_log()
    positions = [0, 7, 100, 200, 359]
    windows, had, targets = windows_before(log, positions, 4)
    for position, before, seen, target in zip(positions, windows, had, targets, strict=True):
        earlier = [i for i in range(position) if log.users[i] == log.users[position]]
        assert before == [log.behaviour(i) for i in earlier[-4:]]
        assert seen == {log.behaviour(i).item_id for i in earlier}
        assert target == log.behaviour(position).item_id
    assert windows[0] == []
    assert windows_before(log, [], 4) == ([], [], [])


def test_only_events_of_users_with_a_history_are_asked_for() -> None:
    """A user's first event has no window; a sample is bounded, in order and deterministic."""
    log = Interactions.from_rows([(user, "x", "view", i) for i, user in enumerate("aabcabdd")])
    assert sample_positions(log, range(3, 8), 10, seed=1) == [4, 5, 7]
    assert sample_positions(log, range(0, 8), 10, seed=1) == [1, 4, 5, 7]
    few = sample_positions(tiny_log(), range(100, 300), 20, seed=1)
    assert few == sorted(set(few)) == sample_positions(tiny_log(), range(100, 300), 20, seed=1)
    assert len(few) == 20
