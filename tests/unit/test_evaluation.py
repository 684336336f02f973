"""Evaluation protocols on logs whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from models.encoder import FakeEncoder
from models.evaluation import evaluate, leave_one_out, shuffle_ties, time_split
from models.interactions import Interactions
from models.training import TextSource, TrainingOptions, train
from models.types import Float32

N_ITEMS = 12


def cycle_log(n_users: int = 30, length: int = 9) -> Interactions:
    """Return a log in which item i is always followed by item i + 1."""
    rows = [
        (f"u{user}", f"i{(user + step) % N_ITEMS}", "view", 1_000_000 * step + user)
        for step in range(length)
        for user in range(n_users)
    ]
    return Interactions.from_rows(rows)


def item_vectors() -> dict[str, Float32]:
    """Return fake text embeddings."""
    ids = [f"i{i}" for i in range(N_ITEMS)]
    return dict(zip(ids, FakeEncoder(8).encode(ids), strict=True))


def test_leave_one_out_asks_for_the_last_event_and_hides_it() -> None:
    """The target is each user's last item; neither the window nor the baselines' training part contains it."""
    log = cycle_log()
    cases = leave_one_out(log, 50)
    assert len(cases) == 30
    assert len(cases.train) == len(log) - 30
    assert all(len(window) == 8 for window in cases.windows)
    assert all(target not in seen for target, seen in zip(cases.targets, cases.seen, strict=True))


def test_time_split_trains_on_the_past_only() -> None:
    """No training event is later than the first question, and each case's window ends before its target."""
    cases = time_split(cycle_log(), 0.7, 50)
    assert cases.train.ts_ms.max() < min(cases.now_ms)
    assert all(window[-1].ts_ms < now for window, now in zip(cases.windows, cases.now_ms, strict=True))


def test_next_item_counts_are_perfect_on_a_cycle() -> None:
    """Where the next item is certain, Markov-1 hits always and ranks it first."""
    log = cycle_log()
    vectors = item_vectors()
    artifact = train(log, vectors, TextSource("fake", "fake-8", "1"), TrainingOptions())
    found = evaluate(artifact, vectors, leave_one_out(log, 50))
    assert found["markov1"]["hr@10"] == 1.0
    assert found["markov1"]["ndcg@10"] == 1.0
    assert found["popularity"]["ndcg@10"] < 1.0
    assert found["pipeline"]["ndcg@10"] > found["popularity"]["ndcg@10"]


def test_shuffling_moves_ties_and_nothing_else() -> None:
    """Order in time stays; among equal times it changes with the seed."""
    rows = [("u", f"i{i}", "view", 5 if i < 20 else 9) for i in range(21)]
    log = Interactions.from_rows(rows)
    one, other = shuffle_ties(log, 1), shuffle_ties(log, 2)
    assert one.items[-1] == other.items[-1] == log.items[-1]
    assert sorted(one.items.tolist()) == sorted(log.items.tolist())
    assert one.items.tolist() != other.items.tolist()
    assert (np.diff(one.ts_ms) >= 0).all()


def test_nothing_to_evaluate_is_an_error() -> None:
    """Users with one event each give no case."""
    log = Interactions.from_rows([(f"u{i}", "i1", "view", i) for i in range(5)])
    artifact = train(cycle_log(), item_vectors(), TextSource("fake", "fake-8", "1"), TrainingOptions())
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(artifact, item_vectors(), leave_one_out(log, 50))
