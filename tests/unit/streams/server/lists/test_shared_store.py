"""Servers share a store: it is emptied, goes away, comes back older, and no answer is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from streams.contract.records import Recommendation, encode
from streams.errors import StoreError
from streams.server.lists import follower as follower_module
from streams.server.lists import redis_store
from streams.server.lists.follower import ListFollower
from streams.server.lists.patience import Patience
from streams.server.lists.redis_store import RedisStore, open_redis_store
from streams.server.lists.store import Span, StoreLostError
from streams.settings.load import KafkaSettings
from streams.settings.server import ServerSettings
from tests.unit.streams.server.lists.fake_topic import FakeTopic
from tests.unit.streams.server.lists.store_servers import StoreServer
from tests.unit.streams.server.served import a_list, begun, change

USERS = [f"u{number}" for number in range(12)]


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> FakeTopic:
    """Give a topic that every follower reads."""
    found = FakeTopic(3)
    monkeypatch.setattr(follower_module, "open_reader", found.open)
    monkeypatch.setattr(follower_module, "partition_count", found.count)
    monkeypatch.setattr(follower_module, "KEEP_EVERY_S", 0.02)
    return found


class Following:
    """A server's follower and its store, and a caller that asks it for every list without end."""

    def __init__(self, server: StoreServer, name: str) -> None:
        self.store = opened(server, name)
        self.patience = Patience()
        self.follower = ListFollower(KafkaSettings(), self.store, patience=self.patience)
        self.refused = 0
        self._jobs: list[asyncio.Task[None]] = []
        self.unchecked: set[str] = set()
        self._seen = dict.fromkeys(USERS, 0)

    @property
    def is_ready(self) -> bool:
        return self.follower.progress.caught_up.is_set() and self.patience.answers.is_set()

    def start(self) -> None:
        self._jobs = [asyncio.ensure_future(job) for job in (self.follower.run(), self._ask())]

    async def stop(self) -> None:
        ended, self._jobs = self._jobs, []
        for job in ended:
            assert not job.done(), job.exception()
            job.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await self.store.close()

    async def revisions(self) -> list[int | None]:
        """Return the revision of each user's list, as the server would answer now."""
        return [await revision(self.store, user) for user in USERS]

    async def _ask(self) -> None:
        """Check that no answer is older than the one before, and that no list vanishes."""
        while True:
            for user in USERS:
                await asyncio.sleep(0)
                if not self.is_ready:
                    self.refused += 1
                    continue
                try:
                    found = await revision(self.store, user)
                except StoreError:
                    self.refused += 1
                    continue
                assert user in self.unchecked or (found or 0) >= self._seen[user], (user, found, self._seen)
                self._seen[user] = found or 0
            await asyncio.sleep(0.001)


def opened(server: StoreServer, name: str, **more: Any) -> RedisStore:
    return open_redis_store(ServerSettings(serve_store=f"valkey://{server.address}", **more), name)


async def revision(store: RedisStore, user_id: str) -> int | None:
    value = await store.get(user_id.encode())
    return None if value is None else msgspec.msgpack.decode(value, type=Recommendation).revision


@contextlib.asynccontextmanager
async def following(server: StoreServer, name: str, n: int = 2) -> AsyncIterator[list[Following]]:
    """Give servers that follow and are asked."""
    found = [Following(server, name) for _ in range(n)]
    for one in found:
        one.start()
    try:
        yield found
    finally:
        for one in found:
            await one.stop()


def publish(topic: FakeTopic, number: int) -> None:
    """Put the next list of every user on the topic, and some repeats of the one before."""
    for place, user in enumerate(USERS):
        for revised in (number, number - 1) if number > 1 and place % 3 == 0 else (number,):
            topic.put(place % 3, user.encode(), encode(a_list(user, revised)))


async def eventually(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Wait until a condition, which may be a coroutine and may fail, holds."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = condition()
            found = await found if asyncio.iscoroutine(found) else found
        except StoreError:
            found = False
        if found:
            return
        assert time.monotonic() < deadline, "it never held"
        await asyncio.sleep(0.01)


async def have(servers: list[Following], number: int) -> None:
    """Wait until every server is ready, and answers with lists of this revision."""

    async def is_so() -> bool:
        return all([one.is_ready and await one.revisions() == [number] * len(USERS) for one in servers])

    await eventually(is_so)


def test_two_servers_fill_one_store_and_neither_puts_an_older_list_over_a_newer_one(
    topic: FakeTopic, valkey_server: StoreServer
) -> None:
    """They start at once on an empty store, and read at different speeds; a third one joins."""

    async def run() -> None:
        name = uuid.uuid4().hex
        publish(topic, 1)
        async with following(valkey_server, name) as servers:
            for number in range(2, 12):
                publish(topic, number)
                await asyncio.sleep(0.005)
            await have(servers, 11)
            life = (await servers[0].store.state()).life
            async with following(valkey_server, name, 1) as joined:
                await have([*servers, *joined], 11)
            for one in servers:
                one.unchecked.add("u0")
            topic.put(0, b"u0", None)
            await eventually(lambda: gone(servers, "u0"))
            assert (await servers[1].store.state()).life == life

    async def gone(servers: list[Following], user: str) -> bool:
        return all([await revision(one.store, user) is None for one in servers])

    asyncio.run(run())


def test_a_store_that_is_emptied_under_load_is_filled_again(topic: FakeTopic, own_server: StoreServer) -> None:
    """Meanwhile no server says that a user has no list."""

    async def run() -> None:
        client = Redis(port=own_server.port)
        publish(topic, 1)
        async with following(own_server, "a") as servers:
            await have(servers, 1)
            for number in range(2, 6):
                publish(topic, number)
                await client.flushall()
                publish(topic, number)
                await have(servers, number)
            assert all(one.refused for one in servers)
        await client.aclose()

    asyncio.run(run())


def test_a_store_that_goes_away_loses_nothing(
    topic: FakeTopic, own_server: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked again until it answers, which is logged once; it comes back empty."""

    async def run() -> None:
        publish(topic, 1)
        async with following(own_server, "a") as servers:
            await have(servers, 1)
            own_server.stop()
            publish(topic, 2)
            await eventually(lambda: not any(one.is_ready for one in servers))
            with pytest.raises(StoreError, match="see whether it runs and this machine reaches it"):
                await servers[0].store.get(b"u0")
            publish(topic, 3)
            await asyncio.sleep(0.5)
            own_server.start()
            await have(servers, 3)

    asyncio.run(run())
    assert len([line for line in caplog.messages if "asking again until it answers" in line]) == 2


def test_a_store_that_hangs_is_not_waited_for(
    topic: FakeTopic, own_server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections stay open; after the time for an answer the server is not ready."""
    monkeypatch.setattr(redis_store, "TIMEOUT_S", 0.3)

    async def run() -> None:
        publish(topic, 1)
        async with following(own_server, "a", 1) as servers:
            await have(servers, 1)
            own_server.pause()
            begun_s = time.monotonic()
            with pytest.raises(StoreError):
                await servers[0].store.get(b"u0")
            await eventually(lambda: not servers[0].is_ready)
            assert time.monotonic() - begun_s < 5
            publish(topic, 2)
            own_server.resume()
            await have(servers, 2)

    asyncio.run(run())


def test_an_older_copy_of_the_store_is_followed_from_where_it_ends(topic: FakeTopic, own_server: StoreServer) -> None:
    """A replica that lagged took the place of its primary."""

    async def run() -> None:
        client: Any = Redis(port=own_server.port)
        publish(topic, 1)
        async with following(own_server, "a") as servers:
            await have(servers, 1)
            (key,) = await client.keys("*")
            older = await client.dump(key)
            publish(topic, 2)
            await have(servers, 2)
            for one in servers:
                one.unchecked.update(USERS)  # until it is noticed, answers are as old as the copy
            await client.restore(key, 0, older, replace=True)
            await have(servers, 2)
            assert await client.pttl(key) > 0
        await client.aclose()

    asyncio.run(run())


def test_one_of_two_servers_begins(valkey_server: StoreServer) -> None:
    """The other one finds that the life that it wanted to end is over, and follows the new one."""

    async def run() -> None:
        name = uuid.uuid4().hex
        one, other = opened(valkey_server, name), opened(valkey_server, name)
        await one.begin("", {0: 0})
        await other.begin("", {0: 5})
        assert (await other.state()).offsets == {0: 0}
        life = (await one.state()).life
        await other.begin(life, {0: 5})
        one.follow(life)
        for question in (
            one.get(b"u"), one.keep([Span(0, 0, 0)], is_complete=True), one.apply(Span(0, 0, 1), [change(0, a_list())])
        ):  # fmt: skip
            with pytest.raises(StoreLostError):
                await question
        assert (await one.state()).offsets == {0: 5}
        for store in (one, other):
            await store.close()

    asyncio.run(run())


def test_questions_that_come_at_once_go_together(valkey_server: StoreServer) -> None:
    """A thousand callers cost a handful of commands; one who has left costs nothing."""

    async def run() -> None:
        store, client = opened(valkey_server, uuid.uuid4().hex), Redis(port=valkey_server.port)
        await begun(store)
        await store.apply(Span(0, 0, len(USERS)), [change(n, a_list(user, n + 1)) for n, user in enumerate(USERS)])
        before = (await client.info("commandstats"))["cmdstat_hmget"]["calls"]
        gone = asyncio.ensure_future(store.get(b"u0"))
        await asyncio.sleep(0)
        gone.cancel()
        found = await asyncio.gather(*(revision(store, f"u{n % 20}") for n in range(1_000)))
        assert found == [n % 20 + 1 if n % 20 < len(USERS) else None for n in range(1_000)]
        assert (await client.info("commandstats"))["cmdstat_hmget"]["calls"] - before <= 10
        await store.close()
        await client.aclose()

    asyncio.run(run())
