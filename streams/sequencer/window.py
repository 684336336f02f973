"""The sliding window of one user: pure functions over :class:`WindowState`.

Events have a total order, ``(ts, event_id)``. Whatever the order of arrival, the window holds the
last events of that order, each once::

    arrival   e1(t=10)  e3(t=30)  e2(t=20)  e3(t=30)
    outcome   accepted  accepted  accepted  duplicate
    window    e1        e1 e3     e1 e2 e3  e1 e2 e3

An event whose type does not enter the window changes no list. It is remembered, so that a repeat is
a duplicate, and it has no part in the order above: neither the newest time nor the revision follows
it. A type that hides its item adds the item to those that no list may hold; then the revision
grows. Such events have a memory apart, so that many impressions make no dislike late.

Bounds count back from the user's newest event, never from the wall clock. So a replay of old events
gives the same windows as the live stream did.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from streams.contract.records import VERSION, Event
from streams.contract.windows import Trigger, WindowItem, WindowState, note_shown, seen_hash
from streams.settings.record_limits import MAX_RUNS, SEEN_BYTES, WindowBounds


@dataclass(slots=True)
class Outcome:
    """The result of some events of one user: three counts, and the state, None if unchanged."""

    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    state: WindowState | None = None


def absorb(state: WindowState | None, events: Iterable[tuple[Event, int]], bounds: WindowBounds) -> Outcome:
    """Fold events of one user, each with its offset, into that user's window.

    Repeat-safe: a repeated event is a duplicate and changes nothing. ``state`` is not modified.

    Parameters
    ----------
    state : the window so far, or None for a new user
    events : ``(event, offset)`` in order of arrival
    """
    is_plain = bounds.types.is_plain and not (state and (state.hidden or state.passed or state.hiding or state.shown))
    return (_Fold if is_plain else _TypedFold)(state, bounds).run(events)


def mark_run(runs: dict[str, int], run: str, seq: int) -> None:
    """Note how far a replay has come.

    Of too many replays, the window forgets the one that it used longest ago.
    """
    runs.pop(run, None)  # dicts keep insertion order: the run used last moves to the end
    runs[run] = seq
    if len(runs) > MAX_RUNS:
        del runs[next(iter(runs))]


class _Fold:
    """The working state of one :func:`absorb` call, where each event enters under its own type."""

    def __init__(self, state: WindowState | None, bounds: WindowBounds) -> None:
        self.bounds = bounds
        self.items: list[WindowItem] = list(state.items) if state else []
        self.recent: list[tuple[int, str]] = list(state.recent) if state else []
        self.floor = state.floor if state else None
        self.seen = state.seen if state else b""
        self.runs = dict(state.runs) if state and state.runs else {}
        self.newest_ts = state.newest_ts if state else -1
        self.revision = state.revision if state else 0
        self.trigger: Trigger | None = None
        self.ids = {item[1] for item in self.items}
        self.ids.update(event_id for _, event_id in self.recent)

    def run(self, events: Iterable[tuple[Event, int]]) -> Outcome:
        outcome = Outcome()
        for event, offset in events:
            if event.event_id in self.ids or self._is_repeat_of_run(event):
                outcome.duplicate += 1
                continue
            if self._is_late(event):
                outcome.late += 1
                continue
            if event.run is not None and event.seq is not None:
                mark_run(self.runs, event.run, event.seq)
            self._insert(event, offset)
            outcome.accepted += 1
        if self.trigger is not None:
            outcome.state = self._freeze(self.trigger)
        return outcome

    def _is_repeat_of_run(self, event: Event) -> bool:
        return event.run is not None and event.seq is not None and event.seq <= self.runs.get(event.run, -1)

    def _is_late(self, event: Event) -> bool:
        if event.ts < self.newest_ts - self.bounds.allowed_lateness_ms:
            return True
        return self.floor is not None and (event.ts, event.event_id) <= self.floor

    def _insert(self, event: Event, offset: int) -> None:
        item = WindowItem(event.ts, event.event_id, event.item_id, event.type)
        if not self.items or item > self.items[-1]:
            self.items.append(item)
        else:
            self.items.insert(bisect_right(self.items, item), item)
        self.ids.add(event.event_id)
        self.newest_ts = max(self.newest_ts, event.ts)
        self.revision += 1
        self.trigger = Trigger(event.event_id, event.ts, offset)
        while len(self.items) > self.bounds.max_events or self.items[0].ts < self.newest_ts - self.bounds.max_age_ms:
            self._leave_window()

    def _leave_window(self) -> None:
        item = self.items.pop(0)
        mark = seen_hash(item.item_id)
        self.seen = (self.seen + mark)[-SEEN_BYTES * self.bounds.max_seen :] if self.bounds.max_seen else b""
        insort(self.recent, (item.ts, item.event_id))
        while self.recent and (len(self.recent) > self.bounds.max_recent or self._is_past_lateness(self.recent[0][0])):
            key = self.recent.pop(0)
            self.ids.discard(key[1])
            if not self._is_past_lateness(key[0]):
                self.floor = key if self.floor is None else max(self.floor, key)

    def _is_past_lateness(self, ts: int) -> bool:
        return ts < self.newest_ts - self.bounds.allowed_lateness_ms

    def _freeze(self, trigger: Trigger) -> WindowState:
        return WindowState(
            v=VERSION,
            revision=self.revision,
            newest_ts=self.newest_ts,
            items=self.items,
            trigger=trigger,
            recent=self.recent,
            floor=self.floor,
            seen=self.seen,
            runs=self.runs,
        )


class _TypedFold(_Fold):
    """The same for a table in which some types do not enter, have a rule, or hide their item."""

    def __init__(self, state: WindowState | None, bounds: WindowBounds) -> None:
        super().__init__(state, bounds)
        self.hidden = state.hidden if state else b""
        self.shown = state.shown if state else b""
        self.passed: list[tuple[int, str]] = list(state.passed) if state else []
        self.hiding: list[tuple[int, str]] = list(state.hiding) if state else []
        self.ids.update(event_id for _, event_id in self.passed)
        self.ids.update(event_id for _, event_id in self.hiding)
        # the state before a life has no event, see streams/contract/marks.py
        self.last_trigger = state.trigger if state and state.trigger.event_id else None

    def _is_late(self, event: Event) -> bool:
        """Return whether an event is late, or may be a forgotten one that did not enter."""
        if super()._is_late(event):
            return True
        one = self.bounds.types.by_name[event.type]
        if one.window:
            return False
        memory = self.hiding if one.hides else self.passed
        return 0 < len(memory) >= self.bounds.max_recent and (event.ts, event.event_id) <= memory[0]

    def _insert(self, event: Event, offset: int) -> None:
        """Take an accepted event: into the window under its name there, or past it."""
        types = self.bounds.types
        name, is_hiding = types.window_name(event.type, event.value), types.by_name[event.type].hides
        here = Trigger(event.event_id, event.ts, offset)
        if is_hiding:
            self._hide(event.item_id)
        if types.by_name[event.type].shown:
            self.shown = note_shown(self.shown, event.item_id, event.ts)
        if name is not None:
            super()._insert(event if name == event.type else replace(event, type=name), offset)
        else:
            self._pass(event, self.hiding if is_hiding else self.passed)
            self.revision += is_hiding
            self.trigger = here if is_hiding else self.trigger or self.last_trigger or here

    def _pass(self, event: Event, memory: list[tuple[int, str]]) -> None:
        """Remember an event that does not enter; of too many, the oldest is forgotten."""
        insort(memory, (event.ts, event.event_id))
        self.ids.add(event.event_id)
        while memory and (len(memory) > self.bounds.max_recent or self._is_past_lateness(memory[0][0])):
            self.ids.discard(memory.pop(0)[1])

    def _hide(self, item_id: str) -> None:
        """Remember the item as the newest hidden one; of too many, the oldest is forgotten."""
        mark, size = seen_hash(item_id), SEEN_BYTES
        marks = [self.hidden[i : i + size] for i in range(0, len(self.hidden), size)]
        kept = [one for one in marks if one != mark] + [mark]
        self.hidden = b"".join(kept[-self.bounds.max_seen :]) if self.bounds.max_seen else b""

    def _freeze(self, trigger: Trigger) -> WindowState:
        state = super()._freeze(trigger)
        state.newest_ts = max(self.newest_ts, 0)  # a window without any event has no newest time
        state.hidden, state.passed, state.hiding = self.hidden, self.passed, self.hiding
        state.shown = self.shown
        return state
