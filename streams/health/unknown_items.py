"""Counts events of items that the catalogue lacks: their users get lists that ignore these events.

::

    events of a minute, or of several until there are 20 ──► Tally ──► log, /health, headrace status
    a new catalogue                                      ──► its items are no longer unknown
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from streams.contract.committed_note import CatalogueShare

if TYPE_CHECKING:
    # imports PyTorch, which the sequencer does not need
    from models.ranking.catalogue import Catalogue

log = logging.getLogger(__name__)

#: A tally counts this many different unknown ids; later ids count in the total alone.
MAX_IDS: Final = 1_000
SHOWN: Final = 5
SHOWN_LENGTH: Final = 40
PERIOD_S: Final = 60.0
#: A tally ends with the first minute after this many events; in a small shop that takes hours.
MIN_EVENTS: Final = 20
#: A tally with at least MIN_EVENTS events and this share of unknown items is an alarm ...
ALARM_SHARE: Final = 0.5
#: ... and so is a tally with at least MIN_FEW events and the share FEW_SHARE.
MIN_FEW: Final = 5
FEW_SHARE: Final = 0.8
#: After an alarm the worker counts as unhealthy for this long, whatever the next tallies say.
UNHEALTHY_S: Final = 300.0
#: A tally whose last event is older than this proves nothing.
STALE_S: Final = 86_400.0
REMEDY: Final = "publish these items, or correct the ids: headrace items list shows those of the catalogue"


def is_too_much(n_events: int, n_unknown: int) -> bool:
    """Whether this many events of unknown items are an alarm."""
    return n_events >= MIN_FEW and n_unknown >= (FEW_SHARE if n_events < MIN_EVENTS else ALARM_SHARE) * n_events


@dataclass
class Tally:
    """Events, and those of unknown items."""

    n_events: int = 0
    n_unknown: int = 0
    ids: Counter[str] = field(default_factory=Counter)
    example: str = ""  # the last unknown id
    last_s: float = 0.0  # when the last event was counted

    def is_too_much(self) -> bool:
        """Whether it is an alarm."""
        return is_too_much(self.n_events, self.n_unknown)

    def add(self, item_id: str) -> None:
        """Count an unknown item."""
        self.n_unknown += 1
        self.example = item_id
        if item_id in self.ids or len(self.ids) < MAX_IDS:
            self.ids[item_id] += 1

    def learn(self, catalogue: Container[str]) -> None:
        """Count the items of a new catalogue as known."""
        for item_id in [item_id for item_id in self.ids if item_id in catalogue]:
            self.n_unknown -= self.ids.pop(item_id)
        if self.example in catalogue:
            self.example = next(iter(self.ids), "")

    def text(self) -> str:
        """Return the alarm's text, with the most frequent ids."""
        names = ", ".join(f"{shown(item_id)} ({n})" for item_id, n in self.ids.most_common(SHOWN))
        return (
            f"{self.n_unknown} of the last {self.n_events} events are of items that the catalogue does not have, most often {names}; "
            f"{REMEDY}"
        )


class UnknownItems:
    """Counts events of unknown items. For one event loop.

    Parameters
    ----------
    clock : returns seconds of a steady clock
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now = Tally()
        self._last: Tally | None = None  # the one before
        self._is_told = False  # whether the present tally's alarm was logged
        self._alarmed_s: float | None = None
        self._line = ""  # of the last alarm

    def count(self, item_ids: Sequence[str], catalogue: Container[str]) -> int:
        """Count the items of a user's new behaviours; return how many are outside the catalogue."""
        before = self._now.n_unknown
        if item_ids:
            self._now.n_events += len(item_ids)
            self._now.last_s = self._clock()
        for item_id in item_ids:
            if item_id not in catalogue:
                self._now.add(item_id)
        return self._now.n_unknown - before

    def learn(self, catalogue: Container[str]) -> bool:
        """Judge the last events again by a new catalogue; return whether the judgement changed."""
        before = self.share()
        for tally in (self._now, self._last):
            if tally is not None:
                tally.learn(catalogue)
        if not self._latest().is_too_much():
            self._alarmed_s, self._is_told = None, False
        return self.share() != before

    def end_period(self) -> None:
        """Log the tally, as a warning if it is an alarm; begin a new one if it has enough events.

        Called once a minute.
        """
        tally = self._now
        is_whole = tally.n_events >= MIN_EVENTS
        if tally.is_too_much() and (is_whole or not self._is_told):
            self._line, self._alarmed_s, self._is_told = tally.text(), self._clock(), True
            log.warning("%s", self._line)
        elif tally.n_unknown and is_whole:
            log.info("%s", tally.text())
        if is_whole:
            self._last, self._now, self._is_told = tally, Tally(), False

    async def run(self) -> None:
        """End a period once a minute, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.end_period()

    def alarm(self) -> str:
        """Return the alarm of the last events, or of the last five minutes; ``""`` for none."""
        latest = self._latest()
        if latest.is_too_much() and self._clock() - latest.last_s < STALE_S:
            return latest.text()
        is_on = self._alarmed_s is not None and self._clock() - self._alarmed_s < UNHEALTHY_S
        return self._line if is_on else ""

    def share(self) -> tuple[int, int, str]:
        """Return the number of last events, of those with unknown items, and one such item."""
        latest = self._latest()
        return latest.n_events, latest.n_unknown, latest.example if latest.n_unknown else ""

    def note(self, worker: str) -> CatalogueShare:
        """Return the note to commit for ``headrace status``.

        ``worker`` is this worker's member id.
        """
        n_events, n_unknown, example = self.share()
        age_s = self._clock() - self._latest().last_s
        return CatalogueShare(worker, n_events, n_unknown, example[:SHOWN_LENGTH], int((time.time() - age_s) * 1000))

    def _latest(self) -> Tally:
        """Return the present tally, or the last one while the present one has few events."""
        if self._last is None or self._now.n_events >= MIN_EVENTS or self._now.is_too_much():
            return self._now
        return self._last


def describe_generation(catalogue: Catalogue, n_trained: int, share: tuple[int, int, str]) -> tuple[int, str]:
    """Return log level and line for a new catalogue: how many of the model's items it has.

    It is a warning when the catalogue has entries but none of the items that the model was trained
    on, or, at the worker's start, less than half of them.

    Parameters
    ----------
    n_trained : number of items with events that the artifact was trained on
    share : what :meth:`UnknownItems.share` returns for this catalogue
    """
    n_items, n_known = len(catalogue.item_ids), len(catalogue.is_new) - int(np.count_nonzero(catalogue.is_new))
    n_events, n_unknown, example = share
    text = (
        f"catalogue generation {catalogue.generation}: {n_items} items; "
        f"it has {n_known} of the {n_trained} items that the model was trained on"
    )
    if n_events:
        text += f", and the items of {n_events - n_unknown} of the last {n_events} events"
    is_first = catalogue.generation == 1
    if n_items and n_trained and (not n_known or (is_first and n_known < ALARM_SHARE * n_trained)):
        return logging.WARNING, f"{text}; {REMEDY}"
    return logging.INFO, text + (f" (not that of {shown(example)})" if n_unknown else "")


def shown(item_id: str) -> str:
    """Return an id as messages show it: quoted, and cut if it is long."""
    return repr(item_id if len(item_id) <= SHOWN_LENGTH else f"{item_id[:SHOWN_LENGTH]}...")
