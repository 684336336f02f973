"""Two servers share a Valkey, which dies under load and comes back empty."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streams.contract.kafka_records import OutRecord
from streams.forgetting.read_marks import read_marks
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.integration.lists.recommender_runs import publish
from tests.integration.server.test_serve import Running, push, put_item, serving
from tests.unit.streams.server.lists.store_servers import StoreServer
from tools.announcing.forgetting.ask import ask, wait
from tools.announcing.forgetting.people import Person
from tools.announcing.forgetting.shared_store_proof import read_shared_store
from tools.announcing.forgetting.topics_proof import Traces

pytestmark = [pytest.mark.kafka, pytest.mark.long]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[StoreServer]:
    """Give a Valkey that the test stops and starts."""
    server = StoreServer("valkey", tmp_path)
    yield server
    server.stop()


class Asking(threading.Thread):
    """Asks servers for a user's list without end: it is never missing, and never an older one."""

    def __init__(self, servers: list[Running], user_id: str) -> None:
        super().__init__(daemon=True)
        self._servers = servers
        self._user_id = user_id
        self._seen = dict.fromkeys(range(len(servers)), 0)
        self.statuses: set[int] = set()
        self.wrong: list[object] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            for number, server in enumerate(self._servers):
                status, found = server.ask(f"/v1/users/{self._user_id}/recommendations")
                self.statuses.add(status)
                if status == 503:
                    if not found["remedy"]:
                        self.wrong.append(found)
                elif status != 200 or found["revision"] < self._seen[number]:
                    self.wrong.append(found)
                else:
                    self._seen[number] = found["revision"]
            time.sleep(0.005)


def traces_in_store(settings: Settings, valkey: StoreServer, user_id: str) -> list[tuple[str, str]]:
    """Return what a proof finds of a user in the shared store: kind and what, each in words."""
    traces = Traces([Person(user_id, user_id)], asyncio.run(read_marks(settings.kafka)))
    server = replace(settings.server, serve_store=f"valkey://{valkey.address}")
    assert asyncio.run(read_shared_store(replace(settings, server=server), traces))
    found = traces.found.get(user_id, [])
    assert all(valkey.address in one.place for one in found)
    return [(one.kind, one.what) for one in found]


def wait_for_status(server: Running, path: str, status: int) -> None:
    server.wait(lambda: server.ask(path)[0] == status)


def wait_for_list(server: Running, user_id: str, items: str) -> None:
    server.wait(lambda: server.items(user_id) == list(items))


@pytest.mark.usefixtures("several_workers")
def test_servers_that_share_a_store_answer_right_or_not_at_all_while_it_dies(
    settings: Settings, tmp_path: Path, valkey: StoreServer
) -> None:
    """Meanwhile a list is pushed, an item withdrawn, a user forgotten; receipts wait for it."""
    kafka = settings.kafka
    asyncio.run(create_topics(kafka))
    for item_id in "abc":
        put_item(settings, item_id)
    for user_id in "uvw":
        push(settings, user_id, 1, "abc")
    variables = {"HEADRACE_SERVE_STORE": f"valkey://{valkey.address}"}
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    with serving(settings, folders[0], **variables) as one, serving(settings, folders[1], **variables) as other:
        servers = [one, other]
        for revision in range(2, 6):
            push(settings, "u", revision, "abc" if revision % 2 else "cba")
        for server in servers:
            wait_for_list(server, "u", "abc")
            wait_for_list(server, "w", "abc")
        assert traces_in_store(settings, valkey, "v") == [("left", "the user's list")]
        asking = Asking(servers, "u")
        asking.start()
        valkey.stop()
        for server in servers:
            wait_for_status(server, "/readyz", 503)
            assert "the store of lists" in server.ask("/readyz")[1]["waiting"]
            status, problem = server.ask("/v1/users/u/recommendations")
            assert (status, problem["type"].partition("problem:")[2]) in ((503, "store"), (503, "not-ready"))
            assert server.ask("/healthz")[0] == 200
        push(settings, "u", 6, "bca")
        put_item(settings, "b", available=False)
        publish(settings, "recommendations", [OutRecord(b"w", None)])
        outcome = asyncio.run(ask(kafka, [Person("v", "v")]))
        valkey.start()
        for server in servers:
            server.wait_ready()
            wait_for_list(server, "u", "ca")
            assert (server.items("v"), server.items("w")) == (None, None)
        asyncio.run(wait(kafka, outcome, 8))
        given = [found.stage for each in outcome.receipts.values() for found in each if found.app == "server"]
        assert given == ["done", "done"]
        assert traces_in_store(settings, valkey, "v") == []
        push(settings, "v", int(1000 * time.time()) + 60_000, "ac")  # the user came back
        wait_for_list(one, "v", "ac")
        assert traces_in_store(settings, valkey, "v") == [("new life", "the user's list")]
        asking.is_over.set()
        asking.join(30)
        assert asking.wrong == [] and asking.statuses == {200, 503}
        assert [server.stop() for server in servers] == [0, 0]
        assert all(f"the store of lists at {valkey.address}" in server.log.read_text() for server in servers)
