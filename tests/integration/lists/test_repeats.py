"""Lists of a live run with users, rules, repeats and impressions, judged item by item."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from streams.announcements.sending.announce import announce
from streams.announcements.sending.rules import record_of
from streams.contract.kafka_records import OutRecord
from streams.contract.records import Recommendation, User, encode
from streams.kafka.group_watch import group_lag
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import WAIT_S, lag, publish, read_lists, variables_of
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.builders import T0
from tests.support.tiny_models import N_GROUPS
from tests.support.waiting import wait_until
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka

DAY_MS: Final = 86_400_000
N_USERS: Final = 24
#: The users whom others follow; they follow nobody.
N_FRIENDS: Final = 8
N_NEW: Final = 6
N_BEHAVIOURS: Final = 14
#: An impression enters no window, but the window says what was shown.
TYPES: Final = {"view": {}, "purchase": {"weight": 3}, "impression": {"window": False, "shown": True}}
#: Items that lists must not have, one that they must, and what was shown before.
RULES: Final = """
deny = ["i02", "i07"]
[[pins]]
item = "i01"
place = 2
[shown]
not_again_within = "2h"
decay = 0.6
"""
#: Fewer behaviours than a user has, so that windows know the first ones by their hashes alone.
VARIABLES: Final = {"HEADRACE_WINDOW_MAX_EVENTS": "10", "HEADRACE_LIVE_POPULARITY": "off"}


def history(user: int) -> Iterator[tuple[str, str, int]]:
    """Yield type, item and time of a user's events: a round of ten items, one or two days apart."""
    for n in range(N_BEHAVIOURS):
        kind = "purchase" if n % 5 == 4 else "view"
        at = T0 + n * DAY_MS * (1 + user % 2)
        yield kind, f"i{(N_GROUPS * (n % 10) + user) % 60:02}", at
        yield "impression", f"i{(N_GROUPS * (n + 7) + user) % 60:02}", at + 60_000


def events(names: Iterable[int]) -> Iterator[OutRecord]:
    """Yield the records of users, each user's in order of time."""
    for user in names:
        for n, (kind, item, ts) in enumerate(history(user)):
            value = {"v": 1, "event_id": f"{user}-{n}", "user_id": f"u{user}", "item_id": item, "type": kind, "ts": ts}
            yield OutRecord(f"u{user}".encode(), json.dumps(value).encode())


def users(names: Iterable[int], at: str) -> Iterator[OutRecord]:
    """Yield records with a feature and up to three friends to follow; ``at`` changes it."""
    for n in names:
        follows = [f"u{(n + N_GROUPS * step) % N_FRIENDS}" for step in range(n % 4 if n >= N_FRIENDS else 0)]
        record = User(1, f"u{n}", {"group": f"g{n % N_GROUPS}", "at": at}, follows or None)
        yield OutRecord(f"u{n}".encode(), encode(record))


def newest(settings: Settings) -> dict[str, Recommendation]:
    """Return the newest list of each user."""
    return {made.user_id: made for _, made in read_lists(settings)}


def wait_all(settings: Settings, names: Iterable[str]) -> None:
    """Wait until every record is answered, and these users have lists of their newest ones."""

    def is_done() -> bool:
        sequencer = settings.kafka.group("sequencer")
        if asyncio.run(group_lag(settings.kafka, sequencer, "events")) or lag(settings):
            return False
        found, last = newest(settings), {(r.key or b"").decode(): r.offset for r in read_all(settings, "users")}
        first = [found[name] for name in names if name in found and found[name].revision == 0]
        return found.keys() >= set(names) and all(one.users_offset == last[one.user_id] for one in first)

    wait_until(is_done, WAIT_S, lambda: f"{len(newest(settings))} lists")


@contextmanager
def deployment(settings: Settings, folder: Path, artifact: Path) -> Iterator[None]:
    """Run both workers."""
    env = variables_of(settings, folder) | VARIABLES
    env |= {"HEADRACE_ARTIFACT": str(artifact), "HEADRACE_EVENT_TYPES": json.dumps(TYPES)}
    with ExitStack() as stack:
        for app in ("sequencer", "recommender"):
            stack.enter_context(Worker(app, env, free_port(), folder / f"{app}.log")).wait_ready(WAIT_S)
        yield


def differences(settings: Settings, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many published lists ``headrace oracle --compare`` finds to differ."""
    with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        patch.setenv("HEADRACE_EVENT_TYPES", json.dumps(TYPES))
        patch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
        command = ["oracle", "--compare", "--json", "--broker", settings.kafka.broker, "--artifact", str(artifact)]
        code = main(command)
    found = json.loads(out.getvalue().splitlines()[-1])
    assert found["lists"] == N_USERS + N_NEW and code == (1 if found["differences"] else 0)
    n_differing: int = found["differences"]
    return n_differing


@pytest.mark.parametrize(
    ("is_taught", "repeats"),
    [(True, ""), (True, 'default = "after 7d"'), (False, 'default = "always"\npurchase = "after 7d"')],
    ids=["always, as trained", "after 7d, by a rule", "by type, of an artifact that never repeats"],
)
def test_the_published_lists_are_those_of_the_oracle(
    is_taught: bool, repeats: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With users, rules, repeats and impressions; and one list more differs when a rule changes."""
    artifact = tiny.returning_artifact() if is_taught else tiny.homophily_artifact()
    rules = RULES + (f"[repeats]\n{repeats}\n" if repeats else "")
    asyncio.run(create_topics(settings.kafka))
    asyncio.run(announce(settings.kafka, "rules", "default", record_of("default", rules)))
    names = range(N_USERS + N_NEW)
    with deployment(settings, tmp_path, artifact):
        publish(settings, "users", users(names, "first"))
        publish(settings, "events", events(range(N_FRIENDS)))
        wait_all(settings, [f"u{n}" for n in range(N_FRIENDS)])
        # a list knows the followed users as they were, so those of the others come later
        publish(settings, "events", events(range(N_FRIENDS, N_USERS)))
        publish(settings, "users", users(range(N_USERS, N_USERS + N_NEW), "then"))
        wait_all(settings, [f"u{n}" for n in names])
    assert differences(settings, artifact, monkeypatch) == 0
    made = newest(settings)
    had = {f"u{n}": {item for kind, item, _ in history(n) if kind != "impression"} for n in range(N_USERS)}
    again = {name for name in had for item in made[name].items if item.item_id in had[name] - {"i01"}}
    assert len(again) > N_USERS // 3, "users get items that they had"
    assert all(made[f"u{n}"].items[1].item_id == "i01" for n in names)
    asyncio.run(
        announce(settings.kafka, "rules", "default", record_of("default", RULES + '[repeats]\ndefault = "never"\n'))
    )
    assert differences(settings, artifact, monkeypatch) >= N_USERS, "the lists are not those of other rules"
