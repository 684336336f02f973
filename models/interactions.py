"""A log as arrays, the windows before its events, and how often one item follows another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.types import TYPE_INDEX, Behaviour, Bool, Float32, Int64
from models.vocabulary import EVENT_TYPES

N_NEXT: Final = 32


@dataclass(frozen=True)
class Interactions:
    """A log as arrays, in time order; events of equal time keep their order.

    Parameters
    ----------
    users, items : (n,) int64, rows of ``user_ids`` and ``item_ids``
    types : (n,) int64, places in ``EVENT_TYPES``
    ts_ms : (n,) int64, milliseconds since 1970, UTC
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    users: Int64
    items: Int64
    types: Int64
    ts_ms: Int64

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, str, int]]) -> Interactions:
        """Return interactions from ``(user_id, item_id, type, ts_ms)`` in any order.

        Raises
        ------
        KeyError
            For a type that is not in ``EVENT_TYPES``.
        """
        user_row: dict[str, int] = {}
        item_row: dict[str, int] = {}
        numbers = [
            (user_row.setdefault(u, len(user_row)), item_row.setdefault(i, len(item_row)), TYPE_INDEX[kind], ts)
            for u, i, kind, ts in rows
        ]
        columns = np.array(numbers, dtype=np.int64).reshape(-1, 4)
        columns = columns[np.argsort(columns[:, 3], kind="stable")]
        return cls(tuple(user_row), tuple(item_row), *(columns[:, j].copy() for j in range(4)))

    def __len__(self) -> int:
        return len(self.ts_ms)

    def where(self, kept: slice | Bool | Int64) -> Interactions:
        """Return the events at these positions or under this mask; rows keep their meaning."""
        return Interactions(
            self.user_ids, self.item_ids, self.users[kept], self.items[kept], self.types[kept], self.ts_ms[kept]
        )

    def first_ms_of_items(self) -> Int64:
        """Return the time of each item's first event, (n_items,) int64; -1 without one."""
        first = np.full(len(self.item_ids), -1, dtype=np.int64)
        first[self.items[::-1]] = self.ts_ms[::-1]  # the earliest write stays
        return first

    def behaviour(self, position: int) -> Behaviour:
        """Return one event as a behaviour."""
        kind = EVENT_TYPES[self.types[position]]
        return Behaviour(self.item_ids[self.items[position]], kind, int(self.ts_ms[position]))


def next_item_counts(users: Int64, items: Int64, n_items: int, n_next: int = N_NEXT) -> tuple[Int64, Float32]:
    """Count which item follows which: a first-order Markov chain.

    Parameters
    ----------
    users, items : (n,) int64, rows of each event, in time order
    n_next : followers kept per item, the most frequent ones; of equals the lower row

    Returns
    -------
    rows : (n_items, n_next) int64, -1 where there are fewer
    shares : (n_items, n_next) float32, share of all steps from the item
    """
    order = np.argsort(users, kind="stable")
    same = users[order][1:] == users[order][:-1]
    pairs = items[order][:-1][same] * n_items + items[order][1:][same]
    pair, count = np.unique(pairs, return_counts=True)
    first, second = pair // n_items, pair % n_items
    totals = np.bincount(first, weights=count, minlength=n_items)
    ranking = np.lexsort((second, -count, first))
    first, second, count = first[ranking], second[ranking], count[ranking]
    place = np.arange(len(first)) - np.searchsorted(first, first)
    kept = place < n_next
    rows = np.full((n_items, n_next), -1, dtype=np.int64)
    shares = np.zeros((n_items, n_next), dtype=np.float32)
    rows[first[kept], place[kept]] = second[kept]
    shares[first[kept], place[kept]] = count[kept] / totals[first[kept]]
    return rows, shares


def no_next_items(n_items: int, n_next: int = N_NEXT) -> tuple[Int64, Float32]:
    """Return the counts of :func:`next_item_counts` for a log whose order is unknown: none."""
    return np.full((n_items, n_next), -1, dtype=np.int64), np.zeros((n_items, n_next), dtype=np.float32)


def windows_before(
    log: Interactions, positions: Iterable[int], max_length: int
) -> tuple[list[list[Behaviour]], list[set[str]], list[str]]:
    """Return the state of a user before each position.

    Parameters
    ----------
    positions : of events in the log
    max_length : behaviours of a window, the newest ones

    Returns
    -------
    tuple Per position, by rising position: the user's window before the event, all item ids that
        the user has had by then, and the event's own item id.
    """
    wanted = set(positions)
    windows: dict[int, list[Behaviour]] = {}
    had: dict[int, set[str]] = {}
    result: tuple[list[list[Behaviour]], list[set[str]], list[str]] = ([], [], [])
    for position in range(max(wanted, default=-1) + 1):
        user = int(log.users[position])
        event = log.behaviour(position)
        window, seen = windows.setdefault(user, []), had.setdefault(user, set())
        if position in wanted:
            result[0].append(list(window))
            result[1].append(set(seen))
            result[2].append(event.item_id)
        window.append(event)
        del window[:-max_length]
        seen.add(event.item_id)
    return result


def sample_positions(log: Interactions, positions: Sequence[int], n: int, seed: int) -> list[int]:
    """Return at most ``n`` of the positions, rising, whose user has an earlier event."""
    first = np.full(len(log.user_ids), len(log), dtype=np.int64)
    first[log.users[::-1]] = np.arange(len(log))[::-1]  # the earliest write stays
    usable = [position for position in positions if first[log.users[position]] < position]
    if len(usable) > n:
        usable = sorted(np.random.default_rng(seed).choice(usable, n, replace=False).tolist())
    return usable
