"""Windows whose users have a list of the model before, and get another without a new event.

No record batch waits for them, so they hold up no commit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final, Generic, cast

from streams.contract.windows import ListWindow
from streams.recommender.waiting.pending import BatchT, Key, PendingBatch, PendingWindow

#: Most windows of a micro-batch of them: a window without any list may come at any time.
MAX_AGAIN: Final = 32


class AgainQueue(Generic[BatchT]):
    """The users to be served again, in order of their coming."""

    def __init__(self) -> None:
        self._windows: OrderedDict[Key, tuple[ListWindow, int, PendingBatch[None]]] = OrderedDict()
        self._owners: dict[int, PendingBatch[None]] = {}  # by partition; tells whether that was taken away

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, user: Key, state: ListWindow, written_ms: int) -> None:
        """Queue a user's window."""
        owner = self._owners.setdefault(user[0], PendingBatch(None))
        self._windows[user] = (state, written_ms, owner)

    def drop(self, user: Key) -> None:
        """Drop a user who has a newer window, or was removed."""
        self._windows.pop(user, None)

    def take(self, max_tokens: int, now_s: float) -> list[PendingWindow[BatchT]]:
        """Remove and return few windows whose padded batch stays within ``max_tokens``."""
        taken: list[PendingWindow[BatchT]] = []
        longest = 0
        while self._windows and len(taken) < MAX_AGAIN:
            (partition, key), (state, written_ms, owner) = next(iter(self._windows.items()))
            longest = max(longest, len(state.items))
            if taken and longest * (len(taken) + 1) > max_tokens:
                break
            del self._windows[partition, key]
            batch = cast("PendingBatch[BatchT]", owner)
            taken.append(
                PendingWindow(partition, key, state, written_ms, batch, has_list=True, since_s=now_s, is_again=True)
            )
        return taken

    def forget(self, partitions: Collection[int] | None) -> None:
        """Drop the windows of partitions that were taken away; None means all."""
        for partition in set(self._owners) if partitions is None else self._owners.keys() & set(partitions):
            self._owners.pop(partition).is_forgotten = True
        for user in [user for user in self._windows if user[0] not in self._owners]:
            del self._windows[user]
