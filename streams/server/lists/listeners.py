"""Wakes those who wait for a new list of a user."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from streams.server.gate.problems import Problem
from streams.server.lists.store import Change

#: Most streams that are open at once: each holds a connection.
MAX_LISTENERS: Final = 2_000


class Listeners:
    """Knows who waits for which user. For one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, set[asyncio.Event]] = {}
        self.n = 0

    def tell(self, changes: Sequence[Change]) -> None:
        """Wake those who wait for one of these users."""
        self.wake(change.key for change in changes)

    def wake(self, keys: Iterable[bytes]) -> None:
        """Wake those who wait for users of these keys."""
        if self._waiting:
            for key in keys:
                for event in self._waiting.get(key, ()):
                    event.set()

    @contextlib.contextmanager
    def listen(self, key: bytes) -> Iterator[asyncio.Event]:
        """Give an event that is set at each new list, or removal, of a user; who waits clears it.

        Raises
        ------
        Problem
            When :data:`MAX_LISTENERS` are open.
        """
        if self.n >= MAX_LISTENERS:
            raise Problem(503, "streams", f"{MAX_LISTENERS} streams are open", remedy="ask for the list itself")
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        self.n += 1
        try:
            yield event
        finally:
            self.n -= 1
            waiting = self._waiting[key]
            waiting.discard(event)
            if not waiting:
                del self._waiting[key]
