"""What the server answers while its store of lists does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streams.errors import StoreError
from streams.server.forgetting import Forgotten
from streams.server.lists import patience as patience_module
from streams.server.lists.answers import Question
from streams.server.lists.patience import Patience
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.store import StoreLostError
from streams.server.routes import list_stream
from streams.settings.load import KafkaSettings
from tests.unit.streams.server.served import ServedApp, a_list
from tests.unit.streams.server.test_forgetting import RecordingReceipts, request

LIST = "/v1/users/u/recommendations"


class FlakyStore(RocksDbStore):
    """A store that answers while no failure is set."""

    failure: Exception | None = None

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def get(self, key: bytes) -> bytes | None:
        self._check()
        return await super().get(key)

    async def count(self) -> int:
        self._check()
        return await super().count()

    async def remove(self, key: bytes, mark: int) -> None:
        self._check()
        await super().remove(key, mark)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (StoreError("the store of lists at 10.1.2.3:6379/0: ConnectionError"), "store"),
        (StoreLostError("it was emptied"), "not-ready"),
    ],
)
def test_a_caller_is_told_to_ask_again_and_metrics_still_answer(tmp_path: Path, failure: Exception, kind: str) -> None:
    """Both ways to a list; no answer tells where the store is."""

    async def run() -> None:
        store = FlakyStore(tmp_path / "store")
        app = ServedApp(tmp_path, store=store)
        await app.put(a_list())
        store.failure = failure
        for path in (LIST, f"{LIST}?explain=true"):
            answer = await app.ask(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            problem = answer.json()
            assert problem["type"] == f"urn:headrace:problem:{kind}" and "ask again" in problem["remedy"]
            assert answer.headers["content-type"] == "application/problem+json" and "10.1" not in answer.text
        assert "headrace_serve_lists NaN" in (await app.ask("/metrics")).text
        store.failure = None
        assert (await app.ask(LIST)).status_code == 200
        assert "headrace_serve_lists 1.0" in (await app.ask("/metrics")).text

    asyncio.run(run())


def test_a_stream_waits_and_says_nothing_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither ends nor tells a removal, and has the newest list once the store answers."""
    monkeypatch.setattr(list_stream, "AWAY_S", 0.01)

    async def run() -> None:
        store = FlakyStore(tmp_path / "store")
        app = ServedApp(tmp_path, store=store)
        await app.put(a_list("u", 1))
        stream: Any = list_stream.lists(app.server, Question("u"), 5.0)
        assert '"revision":1' in str((await anext(stream)).data)
        store.failure = StoreError("away")
        await app.put(a_list("u", 2))
        assert [(await anext(stream)).comment for _ in range(2)] == ["waiting", "waiting"]
        store.failure = None
        app.caught_up.clear()
        assert (await anext(stream)).comment == "waiting"
        app.caught_up.set()
        assert '"revision":2' in str((await anext(stream)).data)
        await stream.aclose()

    asyncio.run(run())


def test_a_receipt_waits_for_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's list is gone before anybody hears so, although the store was away."""
    monkeypatch.setattr(patience_module, "FIRST_WAIT_S", 0.01)

    async def run() -> None:
        store, patience, told = FlakyStore(tmp_path), Patience(), RecordingReceipts()
        receipts: Any = told
        store.failure = StoreError("away")

        async def erase(marks: Mapping[bytes, int]) -> None:
            for key, mark in marks.items():
                await patience.until(partial(store.remove, key, mark))
            told.told.append(dict(marks))

        forgotten = Forgotten(KafkaSettings(), receipts, erase, 1_000)
        now_ms = int(1000 * time.time())
        taking = asyncio.ensure_future(forgotten.take(request("u", now_ms)))
        await asyncio.sleep(0.05)
        assert forgotten.is_former(b"u", now_ms) and told.told == [] and not patience.answers.is_set()
        store.failure = None
        await taking
        assert told.told == [{b"u": now_ms}, ("forget", "r", "done")] and patience.answers.is_set()
        await store.close()

    asyncio.run(run())
