"""What is popular now: the artifact's popularity as a prior, and the behaviours that have come in since."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from models.artifact import Artifact
from models.recommend import Catalogue, recent_counts
from models.types import Behaviour

#: Live popularity moves slowly: refreshing it this often is enough.
REFRESH_S: Final = 0.25


class LivePopularity:
    """Counts behaviours and keeps a catalogue's popularity current. For one event loop.

    Parameters
    ----------
    is_on : without it nothing is counted and popularity stays as the artifact has it
    clock : seconds, steady
    """

    def __init__(self, artifact: Artifact, *, is_on: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts = recent_counts(artifact)
        self._is_on = is_on
        self._clock = clock
        self._refreshed_s = float("-inf")
        self._newest_ms = 0

    def count(self, behaviours: Iterable[Behaviour], newest_ms: int) -> None:
        """Count behaviours of a user whose newest event is of ``newest_ms``."""
        if self._is_on:
            for behaviour in behaviours:
                self._counts.add(behaviour.item_id, behaviour.ts_ms)
            self._newest_ms = max(self._newest_ms, newest_ms)

    def refreshed(self, catalogue: Catalogue) -> Catalogue:
        """Return the catalogue with popularity as of now, or as it is where the last refresh is not long ago."""
        now_s = self._clock()
        if not self._is_on or now_s - self._refreshed_s <= REFRESH_S:
            return catalogue
        self._refreshed_s = now_s
        return catalogue.with_popularity(self._counts.scores(catalogue.item_ids, self._newest_ms))

    def invalidate(self) -> None:
        """Make the next :meth:`refreshed` count anew: the catalogue is another one."""
        self._refreshed_s = float("-inf")
