"""Asks a store of lists again while it does not answer, and tells whether it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from streams.errors import StoreError
from streams.server.lists.store import StoreLostError

log = logging.getLogger(__name__)
Found = TypeVar("Found")

#: Seconds between two questions: twice as long after each, up to the latter.
FIRST_WAIT_S: Final = 0.1
MOST_WAIT_S: Final = 3.0


class Patience:
    """Repeats questions to one store until it answers. For one event loop.

    Attributes
    ----------
    answers : set while the store answers
    """

    def __init__(self, count: Callable[[str, int], None] = lambda name, n: None) -> None:
        self._count = count
        self.answers = asyncio.Event()

    async def until(self, ask: Callable[[], Awaitable[Found]]) -> Found:
        """Return the answer to a question that may be repeated.

        Raises
        ------
        StoreLostError
            When the store answers that it is another one.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                found = await ask()
            except StoreLostError:
                self.answers.set()
                raise
            except StoreError as exc:
                self._count("store_failures", 1)
                if wait_s == FIRST_WAIT_S:
                    log.warning("%s; asking again until it answers", exc)
                self.answers.clear()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, MOST_WAIT_S)
            else:
                if wait_s > FIRST_WAIT_S:
                    log.warning("the store of lists answers again")
                self.answers.set()
                return found
