"""Users without events get a list from their record on ``users``; events make it their own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from models.artifact.artifact import load_artifact
from streams.announcements.sending.announce import announce
from streams.announcements.sending.rules import record_of
from streams.contract.kafka_records import OutRecord
from streams.contract.newest_lists import LatestLists
from streams.contract.records import Recommendation, User, UserVector, encode
from streams.kafka.topics import create_topics
from streams.recommender.users.first_lists import stored_vector
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import WAIT_S, publish, read_lists, variables_of
from tests.integration.reading import read_all
from tests.support import tiny
from tests.support.tiny_models import N_GROUPS
from tests.support.waiting import wait_until
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker

pytestmark = pytest.mark.kafka


@pytest.fixture(autouse=True)
def _topics(settings: Settings) -> None:
    asyncio.run(create_topics(settings.kafka))


@contextmanager
def worker(
    settings: Settings, folder: Path, app: Literal["sequencer", "recommender"] = "recommender", **variables: str
) -> Iterator[Worker]:
    """Run a worker that serves the artifact which knows of groups."""
    env = variables_of(settings, folder) | {"HEADRACE_ARTIFACT": str(tiny.homophily_artifact())} | variables
    with Worker(app, env, free_port(), folder / f"{app}.log") as found:
        found.wait_ready(WAIT_S)
        yield found


def user(user_id: str, group: int | None = None, follows: Iterable[str] = (), at: str = "") -> OutRecord:
    """Return a record of ``users``."""
    features: dict[str, float | str | None] = {} if group is None else {"group": f"g{group}"}
    record = User(1, user_id, features | ({"at": at} if at else {}), list(follows) or None)
    return OutRecord(user_id.encode(), encode(record))


def event(user_id: str, item: int, n: int = 0) -> OutRecord:
    """Return an event of now."""
    ts = int(1000 * time.time()) + n
    value = {"v": 1, "event_id": f"{user_id}-{n}-{item}", "user_id": user_id, "item_id": f"i{item:02}", "type": "view"}
    return OutRecord(user_id.encode(), json.dumps(value | {"ts": ts}).encode())


def lists_of(settings: Settings, user_id: str) -> list[Recommendation]:
    """Return the full lists of a user, in the order of the topic."""
    return [made for _, made in read_lists(settings) if made.user_id == user_id and not made.provisional]


def wait_lists(settings: Settings, user_id: str, n: int) -> list[Recommendation]:
    """Return a user's lists as soon as there are ``n``."""
    wait_until(lambda: len(lists_of(settings, user_id)) >= n, WAIT_S, lambda: str(lists_of(settings, user_id)))
    return lists_of(settings, user_id)


def of_group(made: Recommendation, group: int) -> int:
    """Return how many of a list's items are the group's."""
    return sum(int(item.item_id[1:]) % N_GROUPS == group for item in made.items)


def sources_of(made: Recommendation) -> set[str]:
    """Return the names of all sources of a list."""
    return {name for item in made.items for name in item.sources}


def test_a_record_gives_a_list_a_change_another_and_an_event_the_users_own(settings: Settings, tmp_path: Path) -> None:
    """From outside: records and events in, lists out, as fresh as those of users with events."""
    friends = [f"friend{i}" for i in range(4)]
    history = [event(friend, 4 * n + 2, n) for friend in friends for n in range(6)]
    with worker(settings, tmp_path, "sequencer"), worker(settings, tmp_path) as recommender:
        publish(settings, "events", history)
        for friend in friends:
            wait_until(
                lambda friend=friend: any(made.revision == 6 for made in lists_of(settings, friend)),  # type: ignore[misc]
                WAIT_S,
                lambda: "friends have no lists",
            )
        publish(settings, "users", [user("new", 2, friends), user("told", 1), user("nobody")])
        (first,) = wait_lists(settings, "new", 1)
        assert (first.revision, first.event_id, first.offset, first.degraded) == (0, "", -1, "newcomer")
        assert {"social", "features"} <= sources_of(first) and of_group(first, 2) >= 7
        assert isinstance(first.users_offset, int) and first.users_offset >= 0
        (told,) = wait_lists(settings, "told", 1)
        assert "social" not in sources_of(told) and of_group(told, 1) >= 6
        (nobody,) = wait_lists(settings, "nobody", 1)
        assert nobody.degraded == "popular" and sources_of(nobody) == {"popular"}

        publish(settings, "users", [user("told", 3), user("new", 2, friends)])
        changed = wait_lists(settings, "told", 2)[1]
        assert of_group(changed, 3) >= 6 and changed.revision == 0
        assert isinstance(changed.users_offset, int) and isinstance(told.users_offset, int)
        assert changed.users_offset > told.users_offset and changed.list_id != told.list_id

        publish(settings, "events", [event("told", 0)])
        own = wait_lists(settings, "told", 3)[2]
        assert (own.revision, own.degraded, own.users_offset) == (1, "none", changed.users_offset)
        assert own.event_id and "i00" not in {item.item_id for item in own.items}
        assert "features" in sources_of(own)
        newest = LatestLists()
        assert [newest.accept(made) for made in (told, changed, told, own, changed)] == [True, True, False, True, False]
        values = recommender.counts()["values"]
        assert values["users_known"] == 3 and values["lists_first"] == 4
    assert len(lists_of(settings, "new")) == 1, "an equal record gives no list"
    written = {r.offset: r.timestamp for r in read_all(settings, "users") if r.key == b"told"}
    ages = [made.produced_ts - written[made.users_offset] for made in (told, changed)]  # type: ignore[index]
    assert max(ages) < 5_000, ages


def test_a_restart_brings_no_first_list_again(settings: Settings, tmp_path: Path) -> None:
    """The answered record is remembered; one that changed meanwhile is answered, others are not."""
    publish(settings, "users", [user(f"n{i}", i % N_GROUPS) for i in range(20)])
    with worker(settings, tmp_path):
        wait_until(lambda: len(read_lists(settings)) >= 20, WAIT_S, lambda: str(len(read_lists(settings))))
    kept = [stored_vector(record.value) for record in read_all(settings, "user-vectors")]
    answered = {one.user_id: one for one in kept if isinstance(one, UserVector) and one.record}
    assert len(answered) == 20 and not any(one.vector or one.factors for one in answered.values())
    publish(settings, "users", [user("n3", 0), OutRecord(b"n4", None), OutRecord(b"bad", b"\x93")])
    with worker(settings, tmp_path) as recommender:
        wait_lists(settings, "n3", 2)
        wait_lists(settings, "n4", 2)
        wait_until(
            lambda: recommender.counts()["values"].get("users_malformed") == 1, WAIT_S, lambda: "nothing malformed"
        )
        assert recommender.counts()["values"]["users_known"] == 19
    with worker(settings, tmp_path):
        publish(settings, "users", [user("last", 1)])
        wait_lists(settings, "last", 1)
    counts: dict[str, int] = {}
    for _, made in read_lists(settings):
        counts[made.user_id] = counts.get(made.user_id, 0) + 1
    assert counts == {f"n{i}": 1 for i in range(20)} | {"n3": 2, "n4": 2, "last": 1}
    gone = lists_of(settings, "n4")[1]
    assert gone.degraded == "popular" and gone.users_offset > lists_of(settings, "n4")[0].users_offset  # type: ignore[operator]
    assert [r.value for r in read_all(settings, "user-vectors") if r.key == b"n4"][-1] is None


@pytest.mark.usefixtures("several_workers")
def test_followed_users_of_another_worker_are_found(settings: Settings, tmp_path: Path) -> None:
    """Two workers share the partitions; each finds followed users on the other's."""
    friends = [f"friend{i}" for i in range(12)]
    version = load_artifact(tiny.homophily_artifact()).version
    with worker(settings, tmp_path, "sequencer"):
        publish(settings, "events", [event(friend, 4 * n + 2, n) for friend in friends for n in range(6)])
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        with worker(settings, tmp_path / "one") as one, worker(settings, tmp_path / "two") as two:
            wait_until(
                lambda: {m.user_id for _, m in read_lists(settings) if m.revision == 6} >= set(friends),
                WAIT_S,
                lambda: "friends have no lists",
            )
            publish(settings, "users", [user(f"n{i}", None, friends) for i in range(16)])
            found = [wait_lists(settings, f"n{i}", 1)[0] for i in range(16)]
            assert all(made.degraded == "newcomer" and sources_of(made) >= {"social"} for made in found)
            assert {made.artifact for made in found} == {version}
            known = [each.counts()["values"].get("users_known", 0) for each in (one, two)]
            followed = [each.counts()["values"].get("users_followed", 0) for each in (one, two)]
            assert sum(known) == 16 and min(known) > 0 and min(followed) > 0
    first = {item.item_id: item.score for item in found[0].items}
    for made in found[1:]:  # all have the same follows: no worker saw fewer of them
        assert {item.item_id: item.score for item in made.items} == pytest.approx(first, rel=1e-4)


#: Items that lists must not have, and one that they must.
RULES = 'deny = ["i02", "i07"]\n[[pins]]\nitem = "i01"\nplace = 2\n'


def test_the_published_lists_are_those_of_the_oracle(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Item by item, under rules: users with events, newcomers, and others."""
    friends = [f"friend{i}" for i in range(10)]
    users = [user(f"new{i}", i % N_GROUPS if i % 3 else None, friends[: i % 5]) for i in range(40)]
    users += [user(f"old{i}", i % N_GROUPS, friends[i % 7 :]) for i in range(20)] + [user("friend0", 1)]
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", settings.kafka.topic_prefix)
    monkeypatch.setenv("HEADRACE_ARTIFACT", str(tiny.homophily_artifact()))
    asyncio.run(announce(settings.kafka, "rules", "default", record_of("default", RULES)))
    with worker(settings, tmp_path, "sequencer"), worker(settings, tmp_path, HEADRACE_LIVE_POPULARITY="off"):
        publish(settings, "users", users)
        publish(
            settings, "events", [event(one, (7 * n + i) % 60, n) for i, one in enumerate(friends) for n in range(5)]
        )
        wait_until(
            lambda: {m.user_id for _, m in read_lists(settings) if m.revision == 5} >= set(friends),
            WAIT_S,
            lambda: "friends have no lists",
        )
        # a newcomer's list knows the friends as they are now: a changed record brings it again
        publish(settings, "users", [user(f"new{i}", 1, friends[: i % 5], at="now") for i in range(40)])
        publish(settings, "events", [event(f"old{i}", (i + n) % 60, n) for i in range(20) for n in range(1 + i % 3)])
        publish(settings, "events", [event(f"plain{i}", i, 0) for i in range(10)])

        def is_done() -> bool:
            newest: dict[str, Recommendation] = {made.user_id: made for _, made in read_lists(settings)}
            new = [newest.get(f"new{i}") for i in range(40)]
            old = [newest.get(f"old{i}") for i in range(20)]
            plain = [newest.get(f"plain{i}") for i in range(10)]
            last = {(r.key or b"").decode(): r.offset for r in read_all(settings, "users")}
            return (
                all(made is not None and made.users_offset == last[made.user_id] for made in new)
                and all(made is not None and made.revision == 1 + i % 3 for i, made in enumerate(old))
                and None not in plain
            )

        wait_until(is_done, WAIT_S, lambda: "lists are missing")
    capsys.readouterr()
    compare = ["oracle", "--compare", "--json", "--broker", settings.kafka.broker]
    code = main(compare)
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])
    assert (code, found["lists"], found["differences"]) == (0, 80, 0), err
    newest: dict[str, Recommendation] = {made.user_id: made for _, made in read_lists(settings)}
    assert all(made.items[1].item_id == "i01" for made in newest.values())
    assert not {item.item_id for made in newest.values() for item in made.items} & {"i02", "i07"}
    publish(settings, "users", [user("new1", 2, friends[:1])])  # nobody serves it
    assert main(compare) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["differences"] == 1
