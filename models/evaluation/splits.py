"""Evaluation protocols: which events are the questions, and which ones models may learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models.base.types import Bool, Int64
from models.interactions import Interactions

Protocol = Literal["loo", "time", "prequential"]
MIN_EVENTS_LOO: Final = 3


@dataclass(frozen=True)
class Cases:
    """The questions of an evaluation.

    Parameters
    ----------
    protocol : ``loo``, ``time`` or ``prequential``
    log : in time order
    positions : (n,) int64, rising: the events that models must predict; each user has an earlier
        event
    learnt : (n_events,) bool, the events that models may learn from before the first question
    """

    protocol: Protocol
    log: Interactions
    positions: Int64
    learnt: Bool

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def train(self) -> Interactions:
        """Return the events to learn from."""
        return self.log.where(self.learnt)

    @property
    def users(self) -> Int64:
        """Return each question's user, (n,) int64 rows of the log's users."""
        return self.log.users[self.positions]

    @property
    def n_repeats(self) -> int:
        """Return how many targets the user had before.

        Where seen items are masked, every model misses these targets.
        """
        pairs = self.log.users * len(self.log.item_ids) + self.log.items
        _, first = np.unique(pairs, return_index=True)
        is_first = np.zeros(len(pairs), dtype=np.bool_)
        is_first[first] = True
        return int((~is_first[self.positions]).sum())


def leave_one_out(log: Interactions) -> Cases:
    """Ask for the last event of each user with at least three; learn from all other events.

    Learnt events of other users may be later than a question, as in published protocols. Only
    positive events are counted and asked for.
    """
    wishes = np.flatnonzero(log.is_positive)
    last = np.full(len(log.user_ids), -1, dtype=np.int64)
    last[log.users[wishes]] = wishes  # the last write of a user stays
    positions = np.sort(last[np.bincount(log.users[wishes], minlength=len(last)) >= MIN_EVENTS_LOO])
    learnt = np.ones(len(log), dtype=np.bool_)
    learnt[positions] = False
    return Cases("loo", log, positions, learnt)


def time_split(log: Interactions, share: float, *, last_only: bool = False, prequential: bool = False) -> Cases:
    """Ask for the positive events after the ``share`` quantile of time; learn from those up to it.

    A question needs an earlier event of its user. Each event enters its user's window once it has
    been asked (successive targets).

    Parameters
    ----------
    share : between 0 and 1
    last_only : ask for each user's last event only
    prequential : the baselines also learn from events that have been asked (Vinagre, Jorge and
        Gama, Evaluation of Recommender Systems in Streaming Environments, 2014)
    """
    cut_ms = int(np.quantile(log.ts_ms, share))
    n_train = int(np.searchsorted(log.ts_ms, cut_ms, side="right"))
    first = np.full(len(log.user_ids), len(log), dtype=np.int64)
    last = np.full(len(log.user_ids), -1, dtype=np.int64)
    first[log.users[::-1]] = np.arange(len(log))[::-1]
    wishes = np.flatnonzero(log.is_positive)
    last[log.users[wishes]] = wishes
    positions = wishes[wishes >= n_train]
    positions = positions[first[log.users[positions]] < positions]
    if last_only:
        positions = positions[last[log.users[positions]] == positions]
    return Cases("prequential" if prequential else "time", log, positions, np.arange(len(log)) < n_train)


def shuffle_ties(log: Interactions, seed: int) -> Interactions:
    """Return the log with events of equal time in random order.

    In some logs the order of such events gives the answer away.
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(log)), log.ts_ms))
    return log.where(order)


def histories_before(users: Int64, rows: Int64, positions: Sequence[int], is_wish: Bool) -> list[Int64]:
    """Return, for each position, the items of its user's positive events before, oldest first."""
    order = np.argsort(users, kind="stable")
    order = order[is_wish[order]]
    starts = np.searchsorted(users[order], np.arange(users.max(initial=0) + 2))
    result = []
    for position in positions:
        user = users[position]
        events = order[starts[user] : starts[user + 1]]
        result.append(rows[events[: np.searchsorted(events, position)]])
    return result
