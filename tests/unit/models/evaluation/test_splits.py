"""Protocols: the questions, the events to learn from, and no event in both."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.splits import Cases, leave_one_out, shuffle_ties, time_split
from models.interactions import Interactions
from tests.support.tiny_models import T0, tiny_log


def log_of(text: str) -> Interactions:
    """Return a log of ``user item`` pairs such as ``ax by``, a second apart."""
    return Interactions.from_rows((pair[0], pair[1], "view", T0 + 1_000 * i) for i, pair in enumerate(text.split()))


def check(cases: Cases) -> None:
    """Assert the laws of every protocol."""
    positions = cases.positions
    assert (np.diff(positions) > 0).all()
    assert not cases.learnt[positions].any()
    assert cases.learnt.shape == (len(cases.log),)
    assert cases.train.ts_ms.tolist() == cases.log.ts_ms[cases.learnt].tolist()
    for position in positions:
        assert (cases.log.users[:position] == cases.log.users[position]).any()
    assert cases.users.tolist() == cases.log.users[positions].tolist()


def test_leave_one_out_asks_for_the_last_event_of_users_with_three() -> None:
    """Users with one or two events are only learnt from."""
    log = log_of("ax bx ay cx az by dx bz")
    cases = leave_one_out(log)
    check(cases)
    assert cases.protocol == "loo"
    assert cases.positions.tolist() == [4, 7]
    assert cases.learnt.tolist() == [True] * 4 + [False] + [True] * 2 + [False]
    assert cases.train.user_ids == log.user_ids  # rows keep their meaning


def test_leave_one_out_asks_each_user_once() -> None:
    """Thirty users of twelve events: thirty questions, each the user's last."""
    log = tiny_log()
    cases = leave_one_out(log)
    check(cases)
    assert sorted(cases.users.tolist()) == list(range(30))
    for position in cases.positions:
        assert not (log.users[position + 1 :] == log.users[position]).any()


def test_leave_one_out_of_tied_times_asks_for_the_last_in_order() -> None:
    """Of events at one time the last row is the question."""
    log = Interactions.from_rows([("a", item, "view", T0) for item in "xyz"])
    assert leave_one_out(log).positions.tolist() == [2]


def test_time_split_learns_from_the_past_only() -> None:
    """Each later event of a user with an earlier event is a question."""
    log = log_of("ax bx ay cx cy az dx dy")
    cases = time_split(log, 0.5)
    check(cases)
    assert cases.protocol == "time"
    assert cases.learnt.tolist() == [True] * 4 + [False] * 4
    assert cases.positions.tolist() == [4, 5, 7]  # d's first event has no window
    assert log.ts_ms[cases.learnt].max() < log.ts_ms[cases.positions].min()


def test_events_at_the_time_of_the_cut_are_all_learnt() -> None:
    """A cut through equal times would leak the answer."""
    rows = [("a", f"i{i}", "view", T0 + (0 if i < 2 else 5 if i < 8 else 9)) for i in range(10)]
    cases = time_split(Interactions.from_rows(rows), 0.5)
    check(cases)
    assert cases.learnt.tolist() == [True] * 8 + [False] * 2


def test_the_last_events_alone() -> None:
    """Each user has at most one question, the last event."""
    log = log_of("ax bx ay cx cy az cz bz by")
    cases = time_split(log, 0.3, last_only=True)
    check(cases)
    assert cases.positions.tolist() == [5, 6, 8]


def test_prequential_asks_the_same_under_its_own_name() -> None:
    """The prequential protocol has the same questions; its baselines learn later."""
    log = tiny_log()
    plain, live = time_split(log, 0.8), time_split(log, 0.8, prequential=True)
    check(live)
    assert (plain.protocol, live.protocol) == ("time", "prequential")
    assert live.positions.tolist() == plain.positions.tolist()
    assert live.learnt.tolist() == plain.learnt.tolist()


def test_a_share_of_all_leaves_nothing_to_ask() -> None:
    """A log without questions is no error."""
    cases = time_split(tiny_log(), 1.0)
    assert len(cases) == 0
    assert cases.learnt.all()
    assert cases.n_repeats == 0


def test_repeats_are_targets_that_their_user_had_before() -> None:
    """Another user's item is no repeat, nor an item that the user has only later."""
    log = log_of("ax bx ay by ax bz az az")
    assert time_split(log, 0.3).positions.tolist() == [3, 4, 5, 6, 7]
    assert time_split(log, 0.3).n_repeats == 2  # a has x again, and z a second time
    assert leave_one_out(log).n_repeats == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_shuffling_moves_ties_and_nothing_else(seed: int) -> None:
    """Time order stays; the seed fixes the order of equal times."""
    log = Interactions.from_rows([("u", f"i{i}", "view", 5 if i < 20 else 9) for i in range(21)])
    found = shuffle_ties(log, seed)
    assert found.items[-1] == log.items[-1]
    assert sorted(found.items.tolist()) == sorted(log.items.tolist())
    assert found.items.tolist() != log.items.tolist()
    assert found.items.tolist() == shuffle_ties(log, seed).items.tolist()
    assert found.items.tolist() != shuffle_ties(log, seed + 1).items.tolist()
    assert (np.diff(found.ts_ms) >= 0).all()
