"""Backpressure: while too many users wait for the model, the agent takes no batch.

Faust's buffers then fill, and Faust pauses the partitions.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streams.health.counters import Metrics
from streams.recommender.waiting.window_queue import WindowQueue


class Backpressure:
    """Says whether the queue has room, and publishes the queue's metrics. For one event loop.

    Parameters
    ----------
    max_windows : the queue is full when this many users wait
    """

    def __init__(self, queue: WindowQueue[Any], max_windows: int, metrics: Metrics) -> None:
        self._queue = queue
        self._max_windows = max_windows
        self._metrics = metrics
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def wait_for_room(self) -> None:
        """Wait until the queue has room."""
        await self._has_room.wait()

    def update(self) -> None:
        """Look at the queue again. Whoever changes the queue calls this."""
        self._metrics.put("pending_windows", len(self._queue))
        self._metrics.put("windows_held", self._queue.n_held)
        self._metrics.put("windows_superseded", self._queue.n_superseded)
        if len(self._queue) < self._max_windows:
            self._has_room.set()
        else:
            self._has_room.clear()
