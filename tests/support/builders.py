"""Small real objects for tests: events, consumed records."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from models.base.vocabulary import EventType
from streams.contract.records import Event, encode
from streams.health.watchdog import Health
from streams.settings.load import Settings

T0 = 1_700_000_000_000
#: A key for pseudonyms of user ids, in the form that ``headrace`` draws.
USER_ID_KEY: Final = "8f1d6a0be43c59277e90d5b2a6c1f348"


class FakeRecord(NamedTuple):
    """A consumed record with the fields that aiokafka gives."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    partition: int = 0
    topic: str = "events"
    timestamp: int = T0
    headers: Any = ()


def make_event(
    event_id: str,
    ts: int = T0,
    *,
    user_id: str = "u1",
    item_id: str | None = None,
    type: EventType = "view",
    **more: Any,
) -> Event:
    """Return an event; its item is named after its id unless given."""
    return Event(1, event_id, user_id, item_id or f"item-{event_id}", type, ts, **more)


def make_record(event: Event, offset: int = 0) -> FakeRecord:
    """Return the event as a consumed record."""
    return FakeRecord(event.user_id.encode(), encode(event), offset)


def write_key(path: Path) -> Path:
    """Write a key of user ids for this user alone."""
    path.touch(mode=0o600)
    path.write_text(f"{USER_ID_KEY}\n")
    return path


def idle_health() -> Health:
    """Return the watchdog of a worker that is connected to nothing."""
    app: Any = SimpleNamespace(settings=Settings(), conf=SimpleNamespace(id="headrace-worker"), should_stop=False)
    return Health(app)
