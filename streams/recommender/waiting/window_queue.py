"""Windows that wait for the model: the newest one per user, and which record batches they finish.

When the recommender falls behind, a newer window replaces the older one of the same user. Nothing
is lost: a window holds the events before it. Work per event falls as load grows. A user above the
list rate is *held* until the next list is due, and delays nobody else::

    add ──► ready ──► take ──► (the model) ──► done
      └───► held ──┘    ▲                 └──► give_back, when the model fails
                        └── without_list: for a provisional list; the window stays
    add_again ──► again ──► take, where no other window is ready
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from streams.contract.marks import NO_MARKS, Marks
from streams.contract.records import encode
from streams.contract.windows import MAX_REVISION, ListWindow, decode_list_window
from streams.recommender.waiting.again import AgainQueue
from streams.recommender.waiting.list_rate import ListRate
from streams.recommender.waiting.pending import Key, PendingBatch, PendingWindow

BatchT = TypeVar("BatchT")

#: Most windows of one micro-batch: each list costs its candidates too, however short its window.
MAX_WINDOWS: Final = 512
#: While fewer users wait, their windows stay decoded: they soon get their lists.
MAX_DECODED: Final = 4_096


@dataclass(slots=True)
class _Waiting(Generic[BatchT]):
    """A waiting window: decoded, or encoded where many wait.

    An encoded window takes an eighth of the memory.

    ``since_s`` is when the window came, or became ready.
    """

    window: ListWindow | bytes
    n_behaviours: int
    written_ms: int
    owner: PendingBatch[BatchT]
    since_s: float

    def replace(self, window: ListWindow | bytes, n_behaviours: int, written_ms: int, since_s: float) -> None:
        """Put a newer window of the user in its place."""
        self.window, self.n_behaviours, self.written_ms, self.since_s = window, n_behaviours, written_ms, since_s


class WindowQueue(Generic[BatchT]):
    """The queue in front of the model. For one event loop.

    A batch is finished when all windows that it owns are delivered and all earlier batches of its
    partition are finished. So batches finish in offset order.

    Parameters
    ----------
    rate : how often one user may get a list; None means without a limit
    clock : seconds, steady

    Attributes
    ----------
    arrived : set when windows come; whoever waits for windows clears it
    """

    def __init__(self, rate: ListRate | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = ListRate(float("inf")) if rate is None else rate
        self._clock = clock
        self._ready: OrderedDict[Key, _Waiting[BatchT]] = OrderedDict()
        self._held: dict[Key, _Waiting[BatchT]] = {}
        self._due: list[tuple[float, Key]] = []  # heap of when held users are due
        # ready windows that had no provisional list
        self._without_list: OrderedDict[Key, None] = OrderedDict()
        # taken, neither done nor given back
        self._in_hand: dict[Key, list[PendingWindow[BatchT]]] = {}
        self._batches: dict[int, deque[PendingBatch[BatchT]]] = {}
        # windows that have lists of the model before; no record batch waits for them
        self._again: AgainQueue[BatchT] = AgainQueue()
        self.arrived = asyncio.Event()
        self.n_superseded = 0

    def __len__(self) -> int:
        """Return the number of users waiting, held ones too."""
        return len(self._ready) + len(self._held)

    @property
    def n_held(self) -> int:
        """Users held back by the list rate."""
        return len(self._held)

    def add(
        self, partition: int, windows: Iterable[tuple[bytes, ListWindow, int]], batch: BatchT | None = None
    ) -> list[BatchT]:
        """Queue a batch's windows; return the batches that are finished at once.

        Parameters
        ----------
        windows : ``(key, state, written_ms)`` each, in offset order
        batch : None for windows that no record batch brought
        """
        self.arrived.set()
        owner = PendingBatch(batch)
        self._batches.setdefault(partition, deque()).append(owner)
        now_s = self._clock()
        for key, state, written_ms in windows:
            window, n_behaviours, user = self._kept(state), len(state.items), (partition, key)
            self._again.drop(user)
            ready = self._ready.get(user)
            waiting = ready or self._held.get(user)
            if waiting is None:
                owner.remaining += 1
                self._put(user, _Waiting(window, n_behaviours, written_ms, owner, now_s))
                continue
            waiting.replace(window, n_behaviours, written_ms, now_s)
            self.n_superseded += 1
            if ready is not None:
                self._without_list[user] = None
        return self._finished(partition)

    @property
    def n_again(self) -> int:
        """Windows that wait for a list of a new model."""
        return len(self._again)

    def add_again(self, partition: int, key: bytes, state: ListWindow, written_ms: int) -> bool:
        """Queue a window whose user has a list of the model before; False where none is needed.

        It comes after all windows that have no list, gets no provisional list, and holds up no
        commit. A user with a newer window, waiting or in the model's hands, needs none.
        """
        user = (partition, key)
        if user in self._ready or user in self._held or user in self._in_hand:
            return False
        self._again.add(user, state, written_ms)
        self.arrived.set()
        return True

    def release(self) -> float | None:
        """Make held users ready whose list is due now.

        Returns the seconds until the next held user is due, None when none is held.
        """
        now_s = self._clock()
        while self._due and (self._due[0][0] <= now_s or self._due[0][1] not in self._held):
            _, user = heapq.heappop(self._due)
            waiting = self._held.pop(user, None)
            if waiting is not None:
                waiting.since_s = now_s
                self._ready[user] = waiting
                self._without_list[user] = None
        return self._due[0][0] - now_s if self._due else None

    def n_ready(self) -> int:
        """Return how many users the model may have now."""
        return len(self._ready) or len(self._again)

    def take(self, max_tokens: int, max_windows: int = MAX_WINDOWS) -> list[PendingWindow[BatchT]]:
        """Remove and return the oldest ready windows whose padded batch stays within both bounds.

        Returns at least one window when any is ready.
        """
        taken: list[PendingWindow[BatchT]] = []
        longest, now_s = 0, self._clock()
        while self._ready:
            user, waiting = next(iter(self._ready.items()))
            longest = max(longest, waiting.n_behaviours)
            if len(taken) == max_windows or (taken and longest * (len(taken) + 1) > max_tokens):
                break
            del self._ready[user]
            self._rate.note(user, now_s)
            taken.append(_decoded(user, waiting, has_list=user not in self._without_list))
            self._in_hand.setdefault(user, []).append(taken[-1])
            self._without_list.pop(user, None)
        if not taken:
            taken = self._again.take(max_tokens, now_s)
            for window in taken:
                self._in_hand.setdefault((window.partition, window.key), []).append(window)
        return taken

    def without_list(self, n: int) -> list[PendingWindow[BatchT]]:
        """Return up to ``n`` ready windows for provisional lists, each window once.

        The windows go on waiting for their full list. Users above the list rate come later. The
        method looks at no more than ``2 * n`` windows, so that it takes little time.
        """
        chosen: list[PendingWindow[BatchT]] = []
        now_s = self._clock()
        for _ in range(min(2 * n, len(self._without_list))):
            user, _ = self._without_list.popitem(last=False)
            if self._rate.ready_at_s(user) > now_s:
                self._without_list[user] = None
                continue
            self._rate.note(user, now_s)
            chosen.append(_decoded(user, self._ready[user], has_list=True))
            if len(chosen) == n:
                break
        return chosen

    def is_waiting(self, window: PendingWindow[BatchT]) -> bool:
        """Whether another window of this user waits."""
        user = (window.partition, window.key)
        return user in self._ready or user in self._held

    def pending(self, partition: int, key: bytes) -> list[ListWindow]:
        """Return a user's windows that wait or are in the model's hands."""
        user = (partition, key)
        waiting = self._ready.get(user) or self._held.get(user)
        found = [] if waiting is None else [_state(waiting)]
        return found + [window.state for window in self._in_hand.get(user, ())]

    def give_back(self, windows: Sequence[PendingWindow[BatchT]]) -> None:
        """Queue windows again, in front, after the model failed on them.

        A newer window of the same user supersedes a window that is given back.
        """
        for window in reversed(windows):
            self._put_down(window)
            if window.owner.is_forgotten or window.is_removed:
                continue
            user = (window.partition, window.key)
            if window.is_again:
                self.add_again(window.partition, window.key, window.state, window.written_ms)
                continue
            if not window.has_list:
                self._rate.take_back(user)
            newer = self._ready.get(user) or self._held.get(user)
            if newer is not None:
                # The earlier batch stays open until the newer window is delivered;
                # the later batch cannot finish before the earlier one.
                newer.owner.remaining -= 1
                newer.owner = window.owner
                self.n_superseded += 1
                continue
            state = window.state
            waiting = _Waiting(self._kept(state), len(state.items), window.written_ms, window.owner, self._clock())
            self._ready[user] = waiting
            self._ready.move_to_end(user, last=False)
            if not window.has_list:
                self._without_list[user] = None

    def done(self, windows: Sequence[PendingWindow[BatchT]]) -> list[BatchT]:
        """Mark taken windows as delivered; return the finished batches, in offset order."""
        for window in windows:
            self._put_down(window)
            if not window.is_removed:
                window.owner.remaining -= 1
        return [batch for partition in {w.partition for w in windows} for batch in self._finished(partition)]

    def remove(self, partition: int, keys: Iterable[bytes], marks: Marks = NO_MARKS) -> list[BatchT]:
        """Drop waiting windows of removed users, mark taken ones; return the finished batches.

        Parameters
        ----------
        marks : of a user with a mark, only windows of the former life are dropped
        """
        for user in ((partition, key) for key in keys):
            self._again.drop(user)
            mark = marks.get(user[1], MAX_REVISION)
            waiting = self._ready.get(user) or self._held.get(user)
            if waiting is not None and _state(waiting).revision <= mark:
                self._ready.pop(user, None)
                self._held.pop(user, None)
                self._without_list.pop(user, None)
                self._rate.take_back(user)
                waiting.owner.remaining -= 1
            for window in self._in_hand.get(user, ()):
                if window.state.revision <= mark:
                    window.is_removed = True
                    window.owner.remaining -= 1
            left = [window for window in self._in_hand.pop(user, ()) if not window.is_removed]
            if left:
                self._in_hand[user] = left
        return self._finished(partition)

    def forget(self, partitions: Iterable[int] | None = None) -> list[BatchT]:
        """Drop waiting windows of lost partitions; return the unfinished batches of these.

        Parameters
        ----------
        partitions : those that were taken away; None means all
        """
        gone = set(self._batches if partitions is None else partitions)
        self._again.forget(None if partitions is None else gone)
        dropped = [owner for partition in gone for owner in self._batches.pop(partition, ())]
        for owner in dropped:
            owner.is_forgotten = True
        for waiting in (self._ready, self._held, self._without_list, self._in_hand):
            for user in [user for user in waiting if user[0] in gone]:
                del waiting[user]
        return [owner.batch for owner in dropped if owner.batch is not None]

    def _put_down(self, window: PendingWindow[BatchT]) -> None:
        user = (window.partition, window.key)
        left = [other for other in self._in_hand.pop(user, ()) if other is not window]
        if left:
            self._in_hand[user] = left

    def _kept(self, state: ListWindow) -> ListWindow | bytes:
        return state if len(self) < MAX_DECODED else encode(state)

    def _put(self, user: Key, waiting: _Waiting[BatchT]) -> None:
        due_s = self._rate.ready_at_s(user)
        if due_s > self._clock():
            self._held[user] = waiting
            heapq.heappush(self._due, (due_s, user))
        else:
            self._ready[user] = waiting
            self._without_list[user] = None

    def _finished(self, partition: int) -> list[BatchT]:
        batches = self._batches.get(partition, deque())
        finished: list[BatchT] = []
        while batches and batches[0].remaining == 0:
            batch = batches.popleft().batch
            if batch is not None:
                finished.append(batch)
        return finished


def _state(waiting: _Waiting[BatchT]) -> ListWindow:
    kept = waiting.window
    return decode_list_window(kept) if isinstance(kept, bytes) else kept


def _decoded(user: Key, waiting: _Waiting[BatchT], *, has_list: bool) -> PendingWindow[BatchT]:
    partition, key = user
    return PendingWindow(
        partition, key, _state(waiting), waiting.written_ms, waiting.owner, has_list, since_s=waiting.since_s
    )
