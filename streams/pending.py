"""Windows that wait for the model: the newest one per user, and which record batches they finish.

When the recommender falls behind, a newer window replaces the older one of the same user. Nothing is lost by that: a window
holds all the events before it. Work per event falls as load grows.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from streams.records import WindowState, decode_window, encode

BatchT = TypeVar("BatchT")


@dataclass(slots=True)
class PendingBatch(Generic[BatchT]):
    """A record batch and how many entries must be delivered before it is done."""

    batch: BatchT
    remaining: int = 0


@dataclass(slots=True)
class PendingWindow(Generic[BatchT]):
    """A user's newest window; ``owner`` is the batch that brought the first of the windows it stands for."""

    partition: int
    key: bytes
    state: WindowState
    written_ms: int
    owner: PendingBatch[BatchT]


@dataclass(slots=True)
class _Waiting(Generic[BatchT]):
    """A waiting window, encoded: decoded ones take about eight times the memory."""

    value: bytes
    n_behaviours: int
    written_ms: int
    owner: PendingBatch[BatchT]
    since: float


class PendingWindows(Generic[BatchT]):
    """The queue in front of the model. For one event loop.

    A batch is finished when all windows it owns are delivered and all earlier batches of its partition are finished, so that
    finishing follows offset order.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[int, bytes], _Waiting[BatchT]] = OrderedDict()
        self._batches: dict[int, deque[PendingBatch[BatchT]]] = {}
        self.n_superseded = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, partition: int, windows: Iterable[tuple[bytes, WindowState, int]], batch: BatchT) -> list[BatchT]:
        """Queue a batch's windows, each ``(key, state, written_ms)`` in offset order; return batches finished at once."""
        owner = PendingBatch(batch)
        self._batches.setdefault(partition, deque()).append(owner)
        for key, state, written_ms in windows:
            value, n_behaviours = encode(state), len(state.items)
            waiting = self._waiting.get((partition, key))
            if waiting is not None:
                waiting.value, waiting.n_behaviours, waiting.written_ms = value, n_behaviours, written_ms
                self.n_superseded += 1
            else:
                entry = _Waiting(value, n_behaviours, written_ms, owner, time.monotonic())
                self._waiting[(partition, key)] = entry
                owner.remaining += 1
        return self._finished(partition)

    def oldest_age_s(self) -> float:
        """Return how long the oldest window has waited, in seconds; 0 when none waits."""
        if not self._waiting:
            return 0.0
        return time.monotonic() - next(iter(self._waiting.values())).since

    def n_tokens(self, limit: int) -> int:
        """Return the tokens of a batch of all that waits, padding included, counted up to ``limit``."""
        longest = n_windows = 0
        for window in self._waiting.values():
            longest = max(longest, window.n_behaviours)
            n_windows += 1
            if longest * n_windows >= limit:
                return limit
        return longest * n_windows

    def take(self, max_tokens: int) -> list[PendingWindow[BatchT]]:
        """Remove and return the oldest windows whose padded batch stays within ``max_tokens``; at least one, if any waits."""
        taken: list[PendingWindow[BatchT]] = []
        longest = 0
        while self._waiting:
            (partition, key), waiting = next(iter(self._waiting.items()))
            longest = max(longest, waiting.n_behaviours)
            if taken and longest * (len(taken) + 1) > max_tokens:
                break
            del self._waiting[partition, key]
            state = decode_window(waiting.value)
            taken.append(PendingWindow(partition, key, state, waiting.written_ms, waiting.owner))
        return taken

    def done(self, windows: Sequence[PendingWindow[BatchT]]) -> list[BatchT]:
        """Mark taken windows as delivered; return the batches that this finishes, in offset order per partition."""
        for window in windows:
            window.owner.remaining -= 1
        return [batch for partition in {w.partition for w in windows} for batch in self._finished(partition)]

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop what waits for partitions that another worker owns now."""
        for partition in set(partitions):
            self._batches.pop(partition, None)
            for key in [key for key in self._waiting if key[0] == partition]:
                del self._waiting[key]

    def _finished(self, partition: int) -> list[BatchT]:
        batches = self._batches.get(partition, deque())
        finished: list[BatchT] = []
        while batches and batches[0].remaining == 0:
            finished.append(batches.popleft().batch)
        return finished
