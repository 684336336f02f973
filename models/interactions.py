"""A log as arrays, the windows before its events, and how often one item follows another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from models.base.event_types import BY_VALUE, DEFAULT_TYPES, EventTypes, WindowType, WindowTypes
from models.base.types import Behaviour, Bool, Float32, Int64, positives_of, weights_of
from models.rules.repeats import NO_REPEATS, Repeats

N_NEXT: Final = 32


@dataclass(frozen=True)
class Interactions:
    """A log as arrays, in time order; events of equal time keep their order.

    Parameters
    ----------
    users, items : (n,) int64, rows of ``user_ids`` and ``item_ids``
    types : (n,) int64, rows of ``kinds``
    ts_ms : (n,) int64, milliseconds since 1970, UTC
    kinds : the types of events, as windows name them
    weights : (n,) float32, how much each event counts; None where each counts 1
    hidden : by user id, the items that the user hid, each with the time in ms of the first such
        event
    """

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    users: Int64
    items: Int64
    types: Int64
    ts_ms: Int64
    kinds: WindowTypes = DEFAULT_TYPES.window_types
    weights: Float32 | None = None
    hidden: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def from_rows(
        cls, rows: Iterable[tuple[str, str, str, int]], kinds: WindowTypes = DEFAULT_TYPES.window_types
    ) -> Interactions:
        """Return interactions from ``(user_id, item_id, type, ts_ms)`` in any order.

        Parameters
        ----------
        kinds : the types, by their names in windows; each event has its type's weight

        Raises
        ------
        KeyError
            For a type that is not in ``kinds``.
        """
        user_row: dict[str, int] = {}
        item_row: dict[str, int] = {}
        numbers = [
            (user_row.setdefault(u, len(user_row)), item_row.setdefault(i, len(item_row)), kinds.row_of[kind], ts)
            for u, i, kind, ts in rows
        ]
        columns = np.array(numbers, dtype=np.int64).reshape(-1, 4)
        columns = columns[np.argsort(columns[:, 3], kind="stable")]
        users, items, found, ts_ms = (columns[:, j].copy() for j in range(4))
        log = cls(tuple(user_row), tuple(item_row), users, items, found, ts_ms, kinds)
        return log if kinds.is_uniform else replace(log, weights=weights_of(kinds)[log.types])

    @classmethod
    def from_events(cls, rows: Iterable[tuple[str, str, str, int, float | None]], types: EventTypes) -> Interactions:
        """Return interactions from ``(user_id, item_id, type, ts_ms, value)`` in any order.

        Events whose type does not enter a window are left out. The kinds of the result have, for a
        type that weighs by value, the mean weight of its events.

        Parameters
        ----------
        types : the table of event types; a type is a name on ``events``

        Raises
        ------
        KeyError
            For a type that is not in the table.
        """
        kinds = types.window_types
        if types.is_plain and not any(one.weight == BY_VALUE for _, one in types.table):
            return cls.from_rows((row[:4] for row in rows), kinds)
        weights: list[float] = []
        times: list[int] = []
        hidden: dict[str, dict[str, int]] = {}

        def named() -> Iterable[tuple[str, str, str, int]]:
            for user_id, item_id, kind, ts_ms, value in rows:
                if types.by_name[kind].hides:
                    items = hidden.setdefault(user_id, {})
                    items[item_id] = min(ts_ms, items.get(item_id, ts_ms))
                name = types.window_name(kind, value)
                if name is not None:
                    weights.append(types.by_name[kind].weight_of(value))
                    times.append(ts_ms)
                    yield user_id, item_id, name, ts_ms

        log = cls.from_rows(named(), kinds)
        found = np.array(weights, dtype=np.float32)[np.argsort(np.array(times, dtype=np.int64), kind="stable")]
        is_mean = [types.by_name[name].weight == BY_VALUE if name in types.by_name else False for name in kinds.names]
        means = tuple(
            WindowType(one.name, float(found[log.types == row].mean(dtype=np.float64)), one.positive)
            if is_mean[row] and (log.types == row).any()
            else one
            for row, one in enumerate(kinds.types)
        )
        return replace(log, kinds=WindowTypes(means), weights=found, hidden=hidden)

    def __len__(self) -> int:
        return len(self.ts_ms)

    def where(self, kept: slice | Bool | Int64) -> Interactions:
        """Return the events at these positions or under this mask; rows keep their meaning."""
        return replace(
            self,
            users=self.users[kept],
            items=self.items[kept],
            types=self.types[kept],
            ts_ms=self.ts_ms[kept],
            weights=None if self.weights is None else self.weights[kept],
        )

    @property
    def is_positive(self) -> Bool:
        """Which events are a wish for their item, (n,) bool."""
        found: Bool = positives_of(self.kinds)[self.types]
        return found

    def wishes(self) -> Interactions:
        """Return the positive events alone; the log itself where all are."""
        return self if self.kinds.is_all_positive else self.where(self.is_positive)

    def count_by(self, add: Callable[[str, int, float], None]) -> None:
        """Call ``add`` with item id, time in ms and weight of each positive event."""
        log = self.wishes()
        weights = np.ones(len(log), dtype=np.float32) if log.weights is None else log.weights
        for item, ts_ms, weight in zip(log.items.tolist(), log.ts_ms.tolist(), weights.tolist(), strict=True):
            add(log.item_ids[item], ts_ms, weight)

    def first_ms_of_items(self) -> Int64:
        """Return the time of each item's first event, (n_items,) int64; -1 without one."""
        first = np.full(len(self.item_ids), -1, dtype=np.int64)
        first[self.items[::-1]] = self.ts_ms[::-1]  # the earliest write stays
        return first

    def hidden_at(self, position: int) -> set[str]:
        """Return the items that are hidden from an event's user at the event's time.

        Whether its user hid the event's own item before the event or after it, equal times do not
        say.
        """
        item_id, ts_ms = self.item_ids[self.items[position]], int(self.ts_ms[position])
        hidden = self.hidden.get(self.user_ids[self.users[position]], {})
        return {other for other, at_ms in hidden.items() if at_ms < ts_ms or (at_ms == ts_ms and other != item_id)}

    def behaviour(self, position: int) -> Behaviour:
        """Return one event as a behaviour."""
        kind = self.kinds.names[self.types[position]]
        return Behaviour(self.item_ids[self.items[position]], kind, int(self.ts_ms[position]))


def next_item_counts(
    users: Int64, items: Int64, n_items: int, n_next: int = N_NEXT, weights: Float32 | None = None
) -> tuple[Int64, Float32]:
    """Count which item follows which: a first-order Markov chain.

    Parameters
    ----------
    users, items : (n,) int64, rows of each event, in time order
    n_next : followers kept per item, the most frequent ones; of equals the lower row
    weights : (n,) float32, how much a step to each event counts; None counts each as 1

    Returns
    -------
    rows : (n_items, n_next) int64, -1 where there are fewer
    shares : (n_items, n_next) float32, share of all steps from the item
    """
    order = np.argsort(users, kind="stable")
    same = users[order][1:] == users[order][:-1]
    pairs = items[order][:-1][same] * n_items + items[order][1:][same]
    if weights is None:
        pair, count = np.unique(pairs, return_counts=True)
    else:
        pair, place_of = np.unique(pairs, return_inverse=True)
        count = np.bincount(place_of, weights=weights[order][1:][same], minlength=len(pair))
        pair, count = pair[count > 0], count[count > 0]
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
    log: Interactions, positions: Iterable[int], max_length: int, repeats: Repeats = NO_REPEATS
) -> tuple[list[list[Behaviour]], list[set[str]], list[str]]:
    """Return the state of a user before each position.

    Parameters
    ----------
    positions : of events in the log
    max_length : behaviours of a window, the newest ones
    repeats : which items may come back

    Returns
    -------
    tuple Per position, by rising position: the user's window before the event; the ids of the items
        that the user has had by then and that may not come back; and the event's own item id.
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
            result[1].append(set(seen) if repeats.is_never else _hidden(window, seen, repeats))
            result[2].append(event.item_id)
        window.append(event)
        if repeats.is_never:
            seen.add(event.item_id)
        else:
            seen.update(gone.item_id for gone in window[:-max_length])
        del window[:-max_length]
    return result


def _hidden(window: Sequence[Behaviour], gone: set[str], repeats: Repeats) -> set[str]:
    """Return the items that may not come back.

    Parameters
    ----------
    gone : the items of behaviours that have left the window
    """
    reach_ms = window[-1].ts_ms - window[0].ts_ms if window else 0
    return repeats.hidden_items(window) | (gone if repeats.hides_beyond(reach_ms) else set())


def sample_positions(log: Interactions, positions: Sequence[int], n: int, seed: int) -> list[int]:
    """Return at most ``n`` of the positions, rising, whose user has an earlier event."""
    first = np.full(len(log.user_ids), len(log), dtype=np.int64)
    first[log.users[::-1]] = np.arange(len(log))[::-1]  # the earliest write stays
    usable = [position for position in positions if first[log.users[position]] < position]
    if len(usable) > n:
        usable = sorted(np.random.default_rng(seed).choice(usable, n, replace=False).tolist())
    return usable
