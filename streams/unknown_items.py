"""How many of the events that come in are of items that the catalogue does not have: their users get lists that know little of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Final

from models.types import Behaviour

log = logging.getLogger(__name__)

#: So many different ids are counted in a minute; those that come later are counted in the total alone.
MAX_IDS: Final = 1_000
SHOWN: Final = 5
SHOWN_LENGTH: Final = 40
PERIOD_S: Final = 60.0
#: From so many events in a minute on, this share of unknown items is worth a warning, and makes the worker count as unhealthy.
MIN_EVENTS: Final = 20
ALARM_SHARE: Final = 0.5
#: The worker counts as unhealthy for so long after the last such minute.
UNHEALTHY_S: Final = 300.0


class UnknownItems:
    """Counts events of unknown items, a minute at a time. For one event loop.

    Parameters
    ----------
    clock : seconds, steady
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._n_events = self._n_unknown = 0
        self._ids: Counter[str] = Counter()
        self._alarmed_s: float | None = None
        self._line = ""  # of the last minute with an alarm

    def count(self, behaviours: Iterable[Behaviour], catalogue: Container[str]) -> int:
        """Count new behaviours of a user; return how many are of items outside the catalogue."""
        n_unknown = 0
        for behaviour in behaviours:
            self._n_events += 1
            if behaviour.item_id not in catalogue:
                n_unknown += 1
                if behaviour.item_id in self._ids or len(self._ids) < MAX_IDS:
                    self._ids[behaviour.item_id] += 1
        self._n_unknown += n_unknown
        return n_unknown

    def end_period(self) -> None:
        """Log what the minute had, where it had unknown items: a warning where they were the half or more; begin a new one."""
        if self._is_too_much():
            self._line, self._alarmed_s = self._text(), self._clock()
            log.warning("%s", self._line)
        elif self._n_unknown:
            log.info("%s", self._text())
        self._n_events = self._n_unknown = 0
        self._ids.clear()

    async def run(self) -> None:
        """End a period once a minute, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.end_period()

    def alarm(self) -> str:
        """Return what is wrong, of this minute or the last alarm of the last five; ``""`` for nothing."""
        if self._is_too_much():
            return self._text()
        is_on = self._alarmed_s is not None and self._clock() - self._alarmed_s < UNHEALTHY_S
        return self._line if is_on else ""

    def _is_too_much(self) -> bool:
        return self._n_events >= MIN_EVENTS and self._n_unknown >= ALARM_SHARE * self._n_events

    def _text(self) -> str:
        names = ", ".join(f"{_shown(item_id)} ({n})" for item_id, n in self._ids.most_common(SHOWN))
        return (
            f"{self._n_unknown} of the last {self._n_events} events are of items that the catalogue does not have, most often {names}; "
            "publish these items, or correct the ids: headrace items list shows those of the catalogue"
        )


def _shown(item_id: str) -> str:
    return repr(item_id if len(item_id) <= SHOWN_LENGTH else f"{item_id[:SHOWN_LENGTH]}...")
