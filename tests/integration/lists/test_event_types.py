"""A shop's own table of event types, from the topic ``events`` to the lists, on a real broker."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.contract.kafka_records import OutRecord
from streams.contract.records import Event, Recommendation, encode
from streams.contract.windows import decode_window
from streams.kafka.topics import create_topics
from streams.settings.load import Settings, load_settings
from tests.integration.lists.recommender_runs import WAIT_S, lag, publish, put_items, read_lists, variables_of
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.builders import T0, make_event
from tests.support.waiting import wait_until
from tools.broker.local_broker import BrokerInfo
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka

#: An impression enters no window; a dislike hides its item from all later lists.
TABLE = {
    "view": {},
    "purchase": {"weight": 3},
    "加购": {"weight": 2},
    "收藏": {},
    "dislike": {"hides": True},
    "impression": {"window": False},
}
#: Each user's events by type; every user has an item that only they dislike.
HISTORY = (("view", 0), ("加购", 2), ("收藏", 4), ("dislike", 7), ("impression", 9), ("purchase", 6))


def event(user: int, step: int, kind: str, item: int) -> Event:
    """Return one event of a user."""
    at = T0 + 60_000 * step
    made = make_event(f"u{user}-{step}", at, user_id=f"u{user}", item_id=f"i{(item + user) % tiny.N_ITEMS}")
    return replace(made, type=kind)


def test_types_of_a_shop_reach_the_lists(broker: BrokerInfo, tmp_path: Path) -> None:
    """Windows name the types in words, unknown ones are rejected, and no list holds a hidden item.

    The artifact was trained on views alone, as that of a shop which adds a type later.
    """
    settings = load_settings({}, broker=broker.bootstrap, topic_prefix=f"{tmp_path.name}-{free_port()}-")
    asyncio.run(create_topics(settings.kafka))
    put_items(settings, tiny.write_items(tmp_path / "items.csv"))
    env = variables_of(settings, tmp_path) | {"HEADRACE_EVENT_TYPES": json.dumps(TABLE)}
    n_users = 6
    events = [event(user, step, *each) for step, each in enumerate(HISTORY) for user in range(n_users)]
    strangers = [event(user, 99, "zorp", 1) for user in range(n_users)]
    with ExitStack() as stack:
        for app in ("sequencer", "recommender"):
            worker = stack.enter_context(Worker(app, env, free_port(), tmp_path / f"{app}.log"))
            worker.wait_ready(WAIT_S)
        records = (OutRecord(one.user_id.encode(), encode(one)) for one in [*events, *strangers])
        publish(settings, "events", records)
        wait_until(lambda: len(read_newest(settings)) == n_users and lag(settings) == 0, WAIT_S, lambda: "no lists")
        rejected = list(read_all(settings, "events.rejected"))
    assert len(rejected) == n_users and all((dict(r.headers)["reason"]) == b"value" for r in rejected)
    of_users = [r for r in read_all(settings, "sequences") if (r.key or b"").startswith(b"u")]  # not the fences
    windows = {(r.key or b"").decode(): decode_window(r.value or b"") for r in of_users}
    entering = [kind for kind, _ in HISTORY if kind != "impression"]
    for user in range(n_users):
        window = windows[f"u{user}"]
        assert [one.type for one in window.items] == entering
        newest = read_newest(settings)[f"u{user}"]
        listed = {item.item_id for item in newest.items}
        assert (newest.degraded, bool(listed)) == ("none", True)
        hidden = f"i{(7 + user) % tiny.N_ITEMS}"
        assert hidden not in listed and listed.isdisjoint(one.item_id for one in window.items)


def read_newest(settings: Settings) -> dict[str, Recommendation]:
    """Return the list of each user's fifth revision or later, which knows all of their events."""
    found: dict[str, Recommendation] = {}
    for _, one in read_lists(settings):
        if one.revision >= len(HISTORY) - 1 and one.revision >= (
            found[one.user_id].revision if one.user_id in found else 0
        ):
            found[one.user_id] = one
    return found
