"""Whether the server has read what requests need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from streams.server.gate.problems import not_ready


class Readiness:
    """Knows what is still being read, and whether the server is about to stop.

    Parameters
    ----------
    needed : by name, what is set once it is read
    later : the same, of what only some answers need
    """

    def __init__(self, needed: Mapping[str, asyncio.Event], later: Mapping[str, asyncio.Event] | None = None) -> None:
        self._needed = dict(needed)
        self._later = dict(later or {})
        self.stopping = asyncio.Event()

    def waiting(self) -> list[str]:
        """Return the names of what is not read yet; empty when the server is ready."""
        found = [name for name, event in (self._needed | self._later).items() if not event.is_set()]
        return [*found, "nothing: it stops"] if self.stopping.is_set() else found

    def check(self) -> None:
        """Raise :class:`~streams.server.gate.problems.Problem` while answers could be wrong.

        A server that stops still answers.
        """
        waiting = [name for name, event in self._needed.items() if not event.is_set()]
        if waiting:
            raise not_ready(", ".join(waiting))
