"""What is popular now: the artifact's popularity as a prior, and the events since its training.

These events are read from users' newest windows; each item of a window counts once. So popularity
follows from state that survives a restart: a worker that starts, or gets partitions, counts the
windows on ``sequences`` again (``streams.recommender.popularity.recount``) and reaches the same
numbers. The prior holds the events up to the end of training, so these are not counted. A worker
counts the users of its own partitions.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import numpy as np

from models.artifact.artifact import Artifact
from models.base.event_types import WindowTypes
from models.ranking.catalogue.scores import ScoresByRow
from models.ranking.pipeline import Catalogue, recent_counts
from streams.contract.windows import BaseWindow

#: Seconds between two refreshes of a catalogue: live popularity moves slowly.
REFRESH_S: Final = 0.25
#: In a large catalogue one refresh costs tens of milliseconds: a second for so many rows at least.
ROWS_PER_S: Final = 400_000
#: A counted event: the number of its item and weight, and its time. Packed, because a worker keeps
#: all users'.
EVENT: Final = np.dtype([("item", "<u4"), ("ts_ms", "<i8")])
SIZE: Final = EVENT.itemsize


class LivePopularity:
    """Counts the events of windows and keeps a catalogue's popularity current. For one event loop.

    Every method is safe to repeat: a window replaces the user's window before it.

    Parameters
    ----------
    is_on : False counts nothing, and popularity stays the artifact's
    clock : seconds, steady
    """

    def __init__(self, artifact: Artifact, *, is_on: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts = recent_counts(artifact)
        self._trained_to_ms = artifact.manifest.trained_to_ms
        self._kinds = artifact.kinds
        self._weight_of = {name: _weight(artifact.kinds, name) for name in artifact.kinds.names}
        self._is_on = is_on
        self._clock = clock
        self._refreshed_s = float("-inf")
        self._last: Catalogue | None = None  # what was returned last
        self._by_row = ScoresByRow(self._counts, self._counts.shares(artifact.manifest.item_ids))
        self._recent_counts = artifact.recent_popularity
        self._newest_ms = 0
        self._item_ids: list[str] = []
        self._weights: list[float] = []
        self._numbers: dict[tuple[str, float], int] = {}
        self._windows: dict[int, dict[bytes, bytes]] = {}  # by partition and user
        self._put_live: dict[int, set[bytes]] = {}  # by partition that is being counted again
        self.n_events = 0

    def put(self, partition: int, key: bytes, window: BaseWindow) -> None:
        """Count a user's newest window in place of the one before."""
        if self._is_on:
            self._note_live(partition, (key,))
            self._replace(partition, key, window)

    def remove(self, partition: int, keys: Collection[bytes]) -> None:
        """Take users' windows out of the counts."""
        if self._is_on:
            self._note_live(partition, keys)
            for key in keys:
                self._replace(partition, key, None)

    def keep(self, partitions: Collection[int]) -> None:
        """Take the windows of all other partitions out of the counts: other workers own them."""
        for partition in self._windows.keys() - set(partitions):
            windows = self._windows.pop(partition)
            events = np.frombuffer(b"".join(windows.values()), EVENT)
            self._counts.remove_all(
                self._item_ids, events["item"].astype(np.int64), events["ts_ms"].astype(np.int64), self._weights
            )
            self.n_events -= len(events)

    def begin_recount(self, partitions: Iterable[int]) -> None:
        """Begin to count the topic's windows too. Windows put from now on are newer than these."""
        self._put_live = {partition: set() for partition in partitions}

    def recount(self, partition: int, windows: Mapping[bytes, BaseWindow | None]) -> None:
        """Count windows of the topic, None for a removed user.

        Users whose newer window was put meanwhile are skipped.
        """
        if self._is_on:
            for key in windows.keys() - self._put_live.get(partition, set()):
                self._replace(partition, key, windows[key])

    def end_recount(self) -> None:
        """End what :meth:`begin_recount` began."""
        self._put_live = {}

    @property
    def counts_from_ms(self) -> int:
        """Return the time from which on events are counted: the end of the training."""
        return self._trained_to_ms

    def since(self, since_ms: int) -> Callable[[], dict[str, float]]:
        """Return a function that gives the weight of each item's counted events since a time.

        It may run on any thread: this method copies the events, and the function counts them.

        Parameters
        ----------
        since_ms : not before :attr:`counts_from_ms`
        """
        packed = b"".join(events for windows in self._windows.values() for events in windows.values())

        def weights() -> dict[str, float]:
            events = np.frombuffer(packed, EVENT)
            counted = np.bincount(events["item"][events["ts_ms"] >= since_ms])
            found: dict[str, float] = {}
            for number in np.flatnonzero(counted).tolist():
                item_id = self._item_ids[number]  # numbers are given once, at the end of the list
                found[item_id] = found.get(item_id, 0.0) + float(counted[number]) * self._weights[number]
            return found

        return weights

    def refreshed(self, catalogue: Catalogue) -> Catalogue:
        """Return the catalogue with popularity as of now.

        Popularity that was refreshed within :data:`REFRESH_S` is carried over to a later
        generation.
        """
        now_s = self._clock()
        period_s = max(REFRESH_S, len(catalogue.item_ids) / ROWS_PER_S)
        last = self._last
        if not self._is_on or (
            last is not None and last.rows is catalogue.rows and now_s - self._refreshed_s <= period_s
        ):
            if last is None or last.generation == catalogue.generation:
                return catalogue
            self._last = catalogue.with_counts(last.counts, self._recent_counts)
            return self._last
        self._refreshed_s = now_s
        self._last = catalogue.with_popularity(self._by_row.scores(catalogue, self._newest_ms))
        return self._last

    def _note_live(self, partition: int, keys: Iterable[bytes]) -> None:
        if partition in self._put_live:
            self._put_live[partition].update(keys)

    def _replace(self, partition: int, key: bytes, window: BaseWindow | None) -> None:
        """Add events that are new in the window, and subtract those that have left it."""
        counted = self._windows.setdefault(partition, {})
        before, now = counted.get(key, b""), b"" if window is None else self._packed(window)
        n_gone = 0  # a window loses events at its beginning and gains some at its end
        while not now.startswith(before[n_gone:]):
            n_gone += SIZE
        for number, ts_ms in struct.iter_unpack("<Iq", before[:n_gone]):
            self._counts.remove(self._item_ids[number], ts_ms, self._weights[number])
        for number, ts_ms in struct.iter_unpack("<Iq", now[len(before) - n_gone :]):
            self._counts.add(self._item_ids[number], ts_ms, self._weights[number])
        self.n_events += (len(now) - len(before)) // SIZE
        if now:
            counted[key] = now
        else:
            counted.pop(key, None)
        if window is not None:
            self._newest_ms = max(self._newest_ms, window.newest_ts)

    def _packed(self, window: BaseWindow) -> bytes:
        """Return each item's first wish since training, oldest first, packed as :data:`EVENT`.

        Each item counts once, with the greatest weight of its wishes: one user alone makes nothing
        popular.
        """
        first: dict[str, int] = {}
        weights: dict[str, float] = {}
        known, since_ms = self._weight_of, self._trained_to_ms
        for ts, _, item_id, kind in window.items:
            if ts <= since_ms:
                continue
            weight = known[kind] if kind in known else _weight(self._kinds, kind)
            if weight is None:
                continue
            if item_id not in first:
                first[item_id], weights[item_id] = ts, weight
            elif weight > weights[item_id]:
                weights[item_id] = weight
        fields = [field for item_id, ts in first.items() for field in (self._number(item_id, weights[item_id]), ts)]
        return struct.pack("<" + "Iq" * (len(fields) // 2), *fields)

    def _number(self, item_id: str, weight: float) -> int:
        """Return the number of an item that counts with this weight."""
        number = self._numbers.get((item_id, weight))
        if number is None:
            number = self._numbers[item_id, weight] = len(self._item_ids)
            self._item_ids.append(item_id)
            self._weights.append(weight)
        return number


def _weight(kinds: WindowTypes, name: str) -> float | None:
    """Return the weight of a type; None where it is no wish for its item."""
    return kinds.types[kinds.row(name)].weight if kinds.is_positive(name) else None
